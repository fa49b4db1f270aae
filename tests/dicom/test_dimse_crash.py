"""kill -9 during parallel C-STORE: what was answered 0000, and what storage commitment claimed, is there afterwards,
whole, and is described in FHIR."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.dicom import commitment, dataset, encode, part10
from adapters.dicom.ul import dimse, pdu
from adapters.dicom.ul.association import Association
from hub.errors import HubError
from tests.running import Process

from .conftest import image


@dataclass
class Said:
    """What the hub said before it died: instances answered 0000, instances it took responsibility for."""

    answered: dict[str, part10.File] = field(default_factory=dict)
    committed: set[str] = field(default_factory=set)


def send(address: tuple[str, int], files: list[part10.File], said: Said) -> None:
    """Store one file after the other until the peer dies, and now and then ask for commitment to more than was sent."""
    proposed = (
        pdu.Context(1, files[0].sop_class, (files[0].transfer_syntax,)),
        pdu.Context(3, commitment.SOP_CLASS, (dataset.IMPLICIT,)),
    )
    with contextlib.suppress(OSError, HubError):
        association = Association.request(
            address, pdu.Associate("HUB", "KILL_CT", proposed, 65536, "2.25.1", "TEST"), idle_seconds=10
        )
        with contextlib.closing(association), contextlib.suppress(OSError):
            _send(association, files, said)


def _send(association: Association, files: list[part10.File], said: Said) -> None:
    for number, file in enumerate(files):
        command: dimse.Command = {
            "CommandField": dimse.C_STORE,
            "MessageID": number,
            "AffectedSOPClassUID": file.sop_class,
            "AffectedSOPInstanceUID": file.sop_instance,
            "Priority": 0,
        }
        association.send(association.contexts[1], command, file.data)
        answer = association.receive()
        if answer is None:
            return
        if answer.command["Status"] == 0x0000:
            said.answered[file.sop_instance] = file
        if number % 10 == 9:
            said.committed |= commit(association, files[: number + 4])


def commit(association: Association, files: list[part10.File]) -> set[str]:
    """The instances that the hub takes responsibility for, of these."""
    references = [
        {"00081150": {"vr": "UI", "Value": [file.sop_class]}, "00081155": {"vr": "UI", "Value": [file.sop_instance]}}
        for file in files
    ]
    asked = {"00081195": {"vr": "UI", "Value": ["2.25.1"]}, "00081199": {"vr": "SQ", "Value": references}}
    command: dimse.Command = {
        "CommandField": dimse.N_ACTION,
        "MessageID": 1,
        "RequestedSOPClassUID": commitment.SOP_CLASS,
        "RequestedSOPInstanceUID": commitment.SOP_INSTANCE,
        "ActionTypeID": 1,
    }
    association.send(association.contexts[3], command, encode.encode(asked, implicit=True))
    while (message := association.receive()) is not None:
        if message.field == dimse.N_EVENT_REPORT:
            report = dataset.parse(bytes(message.data), dataset.IMPLICIT).attributes
            association.send(message.context, dimse.response(message.command, 0))
            return {dataset.text(item, "00081155") for item in report.get("00081199", {}).get("Value", ())}
    return set()


def slice_of(rng: random.Random, turn: int, lane: int, number: int) -> part10.File:
    study = f"{turn}.{lane}"
    pixels = {"PixelData": rng.randbytes(20_000), "BitsAllocated": 16, "PixelRepresentation": 0}
    return image(f"{study}.{number}", study=study, series=f"{study}.0", **pixels)


def rounds(start: Callable[..., Process], data: Path, count: int) -> None:
    rng = random.Random(20261120)
    said = Said()
    for turn in range(count):
        hub = start(data)
        files = [[slice_of(rng, turn, lane, number) for number in range(80)] for lane in range(1, 5)]
        threads = [threading.Thread(target=send, args=(hub.dicom, lane, said)) for lane in files]
        for thread in threads:
            thread.start()
        time.sleep(rng.uniform(0.1, 0.6))
        hub.kill()
        for thread in threads:
            thread.join()
    assert said.answered and said.committed
    assert said.committed <= said.answered.keys()
    hub = start(data)
    with httpx.Client(base_url=hub.base, timeout=30) as client:
        for uid, file in said.answered.items():
            study = ".".join(uid.split(".")[:2])
            url = f"/dicom-web/studies/{study}/series/{study}.0/instances/{uid}"
            kept = client.get(url, headers={"Accept": "application/dicom; transfer-syntax=*"})
            assert kept.status_code == 200, uid
            assert part10.split(kept.content) == file
        studies = {".".join(uid.split(".")[:2]) for uid in said.answered}
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not all(described(client, study) for study in studies):
            time.sleep(0.2)
        assert all(described(client, study) for study in studies)
    hub.stop()


def described(client: httpx.Client, study: str) -> bool:
    """Whether the ImagingStudy tells as many instances as the archive has."""
    found: dict[str, Any] = client.get("/fhir/ImagingStudy", params={"identifier": f"urn:oid:{study}"}).json()
    (listed,) = client.get("/dicom-web/studies", params={"StudyInstanceUID": study}).json()
    counted = listed["00201208"]["Value"][0]
    return [entry["resource"]["numberOfInstances"] for entry in found.get("entry", ())] == [counted]


def test_nothing_answered_is_lost_by_kill_9(start: Callable[..., Process], tmp_path: Path) -> None:
    rounds(start, tmp_path / "data", 2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_nothing_answered_is_lost_by_100_kills(start: Callable[..., Process], tmp_path: Path) -> None:
    rounds(start, tmp_path / "data", 100)

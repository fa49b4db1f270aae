"""Load and latency of a DICOM archive, this hub or another: ``hub bench dicom``.

Clients are the hub's own upper layer (which costs less than what it measures) and, where it is installed, dcmtk's
storescu as a modality would run it. Images are CT slices of 512 x 512 x 16 bit, 0.5 MB each.
"""

from __future__ import annotations

import http.client
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from adapters.dicom import dataset, encode, find, part10, retrieve
from adapters.dicom.ul import dimse, pdu
from adapters.dicom.ul.association import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION, Association
from hub.errors import HubError

CT = "1.2.840.10008.5.1.4.1.1.2"
STUDIES, STORESCU_INSTANCES = 200, 100
STORESCU = Path("/usr/bin/storescu")
"""Not the program of that name on the path: pynetdicom installs one, too."""


@dataclass(frozen=True, slots=True)
class Target:
    """The archive to measure: DIMSE address, AE title, base URL of its DICOMweb ("" if it has none)."""

    host: str
    port: int
    ae_title: str
    url: str = ""

    def associate(self, abstract: str, syntax: str = dataset.EXPLICIT, get: bool = False) -> Association:
        contexts = [pdu.Context(1, abstract, (syntax,))]
        roles = {}
        if get:
            contexts.append(pdu.Context(3, CT, (dataset.EXPLICIT,)))
            roles[CT] = (0, 1)
        asked = pdu.Associate(
            self.ae_title, "BENCH_CT", tuple(contexts), 131_072, IMPLEMENTATION_UID, IMPLEMENTATION_VERSION, roles
        )
        return Association.request((self.host, self.port), asked, idle_seconds=60)


def images(studies: int, slices: int, run: str) -> list[part10.File]:
    """CT slices, every one with pixels of its own."""
    files = []
    for study in range(studies):
        for number in range(slices):
            uid = f"2.25.{run}.{study}.{number}"
            attributes = {
                "00080016": _ui(CT), "00080018": _ui(uid), "00080020": _of("DA", f"2026{study % 12 + 1:02}15"),
                "00080030": _of("TM", "083000"), "00080050": _of("SH", f"{run}{study}"), "00080060": _of("CS", "CT"),
                "00080090": _of("PN", {}), "00081030": _of("LO", "CHEST CT"), "0008103E": _of("LO", "AXIAL 1.0"),
                "00100010": _of("PN", {"Alphabetic": f"BENCH{study}^ONE"}), "00100020": _of("LO", f"B{run}-{study}"),
                "00100030": _of("DA", "19850317"), "00100040": _of("CS", "M"), "00180015": _of("CS", "CHEST"),
                "0020000D": _ui(f"2.25.{run}.{study}"), "0020000E": _ui(f"2.25.{run}.{study}.0"),
                "00200010": _of("SH", "1"), "00200011": _of("IS", 1), "00200013": _of("IS", number + 1),
                "00200052": _ui(f"2.25.{run}.{study}.1"), "00280002": _of("US", 1),
                "00280004": _of("CS", "MONOCHROME2"), "00280010": _of("US", 512), "00280011": _of("US", 512),
                "00280100": _of("US", 16), "00280101": _of("US", 12), "00280102": _of("US", 11),
                "00280103": _of("US", 0),
            }  # fmt: skip
            head = encode.encode(attributes, implicit=False)
            pixels = b"\xe0\x7f\x10\x00OW\0\0" + (512 * 512 * 2).to_bytes(4, "little")
            body = (study * slices + number).to_bytes(4, "little") * (512 * 512 // 2)
            files.append(part10.File(CT, uid, dataset.EXPLICIT, head + pixels + body))
    return files


def _of(vr: str, value: object) -> dict[str, object]:
    return {"vr": vr, "Value": [value]}


def _ui(uid: str) -> dict[str, object]:
    return _of("UI", uid)


def send(target: Target, files: Sequence[part10.File]) -> None:
    """All files over one association. HubError("exception") for a status other than 0000."""
    association = target.associate(CT)
    for number, file in enumerate(files):
        command: dimse.Command = {
            "CommandField": dimse.C_STORE, "MessageID": number + 1 & 0xFFFF, "AffectedSOPClassUID": file.sop_class,
            "AffectedSOPInstanceUID": file.sop_instance, "Priority": 0,
        }  # fmt: skip
        association.send(association.contexts[1], command, file.data)
        answer = association.receive()
        if answer is None or answer.command.get("Status") != 0:
            status = association.ending if answer is None else f"{answer.command.get('Status'):04X}"
            raise HubError("exception", f"C-STORE of image {number} ended with {status}")
    association.release()


def store(target: Target, files: Sequence[part10.File], associations: int) -> float:
    """Instances a second, over so many associations at once."""
    shares = [files[n::associations] for n in range(associations)]
    with ThreadPoolExecutor(associations) as pool:
        begin = time.perf_counter()
        list(pool.map(lambda share: send(target, share), shares))
        return len(files) / (time.perf_counter() - begin)


def store_by_storescu(target: Target, files: Sequence[part10.File]) -> float | None:
    """Instances a second by an unmodified storescu; None where it is not installed."""
    if not STORESCU.exists():
        return None
    folder = Path(tempfile.mkdtemp())
    try:
        for number, file in enumerate(files):
            header = part10.file_meta(file.sop_class, file.sop_instance, file.transfer_syntax)
            (folder / f"{number:06}.dcm").write_bytes(header + file.data)
        arguments = ["-xe", "-aec", target.ae_title, "+sd", target.host, str(target.port), str(folder)]
        begin = time.perf_counter()
        done = subprocess.run([str(STORESCU), *arguments], capture_output=True, text=True, check=False)
        took = time.perf_counter() - begin
    finally:
        shutil.rmtree(folder)
    if done.returncode:
        raise HubError("exception", f"storescu: {done.stderr.strip()[:200]}")
    return len(files) / took


def median(repeat: int, work: Callable[[], object]) -> float:
    """Median milliseconds of ``work``."""
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        work()
        times.append((time.perf_counter() - begin) * 1000)
    return statistics.median(times)


def query(target: Target, run: str) -> dict[str, float]:
    """Milliseconds of a C-ECHO, and of C-FIND for all studies and for one patient, on a warm association."""
    echo = target.associate("1.2.840.10008.1.1", dataset.IMPLICIT)
    association = target.associate(find.STUDY_ROOT)
    try:
        return {
            "echo_ms": median(20, lambda: _ask(echo, {"CommandField": dimse.C_ECHO}, None)),
            "find_studies_ms": median(5, lambda: _find(association, f"B{run}6-*")),
            "find_patient_ms": median(10, lambda: _find(association, f"B{run}6-0")),
        }
    finally:
        echo.release()
        association.release()


def _find(association: Association, patient: str) -> int:
    asked = {
        tag: {"vr": vr}
        for tag, vr in (
            ("00080020", "DA"), ("00080050", "SH"), ("00080061", "CS"), ("00081030", "LO"), ("00100010", "PN"),
            ("0020000D", "UI"), ("00201208", "IS"),
        )
    }  # fmt: skip
    identifier: dataset.Attributes = {**asked, "00080052": _of("CS", "STUDY"), "00100020": _of("LO", patient)}
    return _ask(association, {"CommandField": dimse.C_FIND, "Priority": 0}, encode.encode(identifier, implicit=False))


def _ask(association: Association, command: dimse.Command, data: bytes | None) -> int:
    """Send a request and take all its responses; how many were pending."""
    context = association.contexts[1]
    association.send(context, {"MessageID": 1, "AffectedSOPClassUID": context.abstract, **command}, data)
    pending = 0
    while (answer := association.receive()) is not None and int(answer.command["Status"]) >> 8 == 0xFF:
        pending += 1
    return pending


def get(target: Target, study: str) -> float:
    """Instances a second of a C-GET of one study."""
    association = target.associate(retrieve.STUDY_GET, get=True)
    identifier: dataset.Attributes = {"00080052": _of("CS", "STUDY"), "0020000D": _ui(study)}
    command: dimse.Command = {
        "CommandField": dimse.C_GET, "MessageID": 1, "AffectedSOPClassUID": retrieve.STUDY_GET, "Priority": 0,
    }  # fmt: skip
    begin, count = time.perf_counter(), 0
    association.send(association.contexts[1], command, encode.encode(identifier, implicit=False))
    while (message := association.receive()) is not None:
        if message.field == dimse.C_STORE:
            count += 1
            association.send(message.context, dimse.response(message.command, 0))
        elif int(message.command["Status"]) >> 8 != 0xFF:
            break
    took = time.perf_counter() - begin
    association.release()
    return count / took


def web(target: Target, study: str) -> dict[str, float]:
    """Milliseconds of QIDO-RS and WADO-RS requests on one connection that stays open."""
    parts = urlsplit(target.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80)
    series = f"{parts.path}/studies/{study}/series/{study}.0"

    def fetch(path: str, accept: str) -> None:
        connection.request("GET", path, headers={"Accept": accept})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise HubError("exception", f"GET {path} was answered with {answer.status}")

    try:
        json = "application/dicom+json"
        return {
            "qido_studies_ms": median(5, lambda: fetch(f"{parts.path}/studies?limit={STUDIES}", json)),
            "metadata_series_ms": median(5, lambda: fetch(f"{series}/metadata", json)),
            "rendered_ms": median(10, lambda: fetch(f"{series}/instances/{study}.0/rendered", "image/jpeg")),
            "wado_instance_ms": median(
                10,
                lambda: fetch(
                    f"{series}/instances/{study}.0", 'multipart/related; type="application/dicom"; transfer-syntax=*'
                ),
            ),
        }
    finally:
        connection.close()


def report(
    hub: tuple[str, int], url: str, instances: int, rounds: int, peer_dicom: str = "", peer_url: str = ""
) -> dict[str, Any]:
    """Entry point of the group ``hub.bench``: figures of the hub, of a peer, and how often the hub is better.

    Both are measured in turns, so that what else the machine does meets both.
    """
    targets = {"hub": Target(*hub, "HUB", url)}
    if peer_dicom:
        targets["peer"] = target(peer_dicom, peer_url)
    taken: dict[str, dict[str, list[float]]] = {name: {} for name in targets}
    for turn in range(rounds):
        for name, archive in targets.items():
            for key, value in measure(archive, instances, f"{time.time_ns()}{turn}").items():
                taken[name].setdefault(key, []).append(value)
    figures = {
        name: {key: round(statistics.median(values), 2) for key, values in found.items()}
        for name, found in taken.items()
    }
    if "peer" in figures:
        both = [(key, mine, figures["peer"][key]) for key, mine in figures["hub"].items() if key in figures["peer"]]
        better = {key: mine / its if key.endswith("_per_s") else its / mine for key, mine, its in both if its and mine}
        figures["times"] = {key: round(value, 2) for key, value in better.items()}
    return {"figures": figures, "instances": instances, "rounds": rounds}


def target(address: str, url: str = "") -> Target:
    """``AE@host:port``. HubError("parameter-value")."""
    title, _, place = address.rpartition("@")
    host, _, port = place.rpartition(":")
    if not (title and host and port.isdecimal()):
        raise HubError("parameter-value", f"{address!r} is not of the form AE@HOST:PORT")
    return Target(host, int(port), title, url)


def measure(archive: Target, instances: int, run: str) -> dict[str, float]:
    """The figures of one archive. ``run`` makes the UIDs of this run its own."""
    figures: dict[str, float] = {}
    one, four = images(1, instances, run), images(4, instances // 4, f"{run}4")
    figures["store_1_per_s"] = store(archive, one, 1)
    figures["store_4_per_s"] = store(archive, four, 4)
    by_storescu = store_by_storescu(archive, images(1, min(instances, STORESCU_INSTANCES), f"{run}5"))
    if by_storescu is not None:
        figures["storescu_per_s"] = by_storescu
    store(archive, images(STUDIES, 1, f"{run}6"), 1)
    figures |= query(archive, run)
    figures["get_per_s"] = get(archive, f"2.25.{run}.0")
    if archive.url:
        figures |= web(archive, f"2.25.{run}.0")
    return figures

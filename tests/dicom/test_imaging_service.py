"""The imaging service on every store: durable rows, matching, conflicts, studies that wait."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub.errors import HubError
from hub.services import imaging_rows
from hub.services.context import Context
from hub.services.imaging import Imaging, Instance
from hub.store.packs import Packs
from hub.store.protocol import Store

CONTEXT = Context(door="dicom", actor="CT_1", peer="127.0.0.1")


@pytest.fixture
def service(store: Store, tmp_path: Path, clock: Callable[[], int]) -> Imaging:
    numbers = itertools.count()
    return Imaging(store, Packs(tmp_path / "images"), clock, lambda: f"id-{next(numbers)}")


def instance(
    uid: str = "1.1.1", *, study: str = "1", series: str = "1.1", content: bytes = b"", **more: Any
) -> Instance:
    attributes = {
        "00080020": {"vr": "DA", "Value": ["20261120"]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小东"}]},
        "00100020": {"vr": "LO", "Value": ["10001"]},
        **more.pop("attributes", {}),
    }
    return Instance(
        "1.2.840.10008.5.1.4.1.1.2",
        uid,
        study,
        series,
        "1.2.840.10008.1.2.1",
        b"header",
        uid.encode() + content,
        attributes,
        more.pop("issuer", "urn:a"),
        "A",
    )


def studies(service: Imaging, **keys: str) -> list[str]:
    return sorted(row["uid"] for row in service.find(CONTEXT, "study", list(keys.items())))


def test_an_instance_is_there_when_receive_returns(service: Imaging) -> None:
    assert service.receive(instance(), CONTEXT).new
    row = service.instance(CONTEXT, "1", "1.1", "1.1.1")
    assert service.file(row) == b"header1.1.1" and row["received"]["from"] == "CT_1"
    assert service.held("1.1.1") == row and service.held("9") is None
    assert not service.receive(instance(), CONTEXT).new


def test_other_bytes_are_kept_apart(service: Imaging) -> None:
    service.receive(instance(), CONTEXT)
    for _ in range(2):
        with pytest.raises(HubError, match="duplicate"):
            service.receive(instance(content=b"other"), CONTEXT)
    (conflict,) = service.reports(imaging_rows.CONFLICTS)
    assert conflict.data["uid"] == "1.1.1"
    assert service.file(service.instance(CONTEXT, "1", "1.1", "1.1.1")) == b"header1.1.1"


@pytest.mark.parametrize("uid", ["", "../../x", "1.2.3\n", "1" * 65, "1..2", "１.2"])
def test_what_is_no_uid_is_refused(service: Imaging, uid: str) -> None:
    with pytest.raises(HubError, match="value"):
        service.receive(instance(uid), CONTEXT)


def test_sixteen_at_once_are_one_study_with_all_its_series(service: Imaging) -> None:
    received = [instance(f"1.{n % 4}.{n}", series=f"1.{n % 4}") for n in range(16)]
    threads = [threading.Thread(target=service.receive, args=(one, CONTEXT)) for one in received]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (study,) = service.find(CONTEXT, "study", [])
    assert len(service.below("series", study["id"])) == 4 and len(service.below("instance", study["id"])) == 16
    assert service.counts("instance", study["id"]) == 16


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"PatientName": "wang*"}, ["1"]),
        ({"PatientName": "王*东"}, ["1"]),
        ({"PatientName": "*ong"}, ["1"]),
        ({"PatientName": "w?ng^*"}, ["1"]),
        ({"PatientName": "%"}, []),
        ({"PatientID": "1000*"}, ["1", "2"]),
        ({"StudyDate": "20261101-20261130"}, ["1", "2"]),
        ({"StudyDate": "20261121-"}, []),
        ({"ModalitiesInStudy": "CT\\MR"}, ["1", "2"]),
        ({"IssuerOfPatientID": "A", "PatientID": "10001"}, ["1", "2"]),
        ({"StudyInstanceUID": "1\\2\\3"}, ["1", "2"]),
    ],
)
def test_keys_are_matched_as_the_standard_says(service: Imaging, keys: dict[str, str], expected: list[str]) -> None:
    service.receive(instance(), CONTEXT)
    other = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Li^Si"}]}}
    service.receive(instance("2.1.1", study="2", series="2.1", attributes=other), CONTEXT)
    assert studies(service, **keys) == expected


def test_a_study_waits_until_it_is_settled_and_again_when_more_comes(service: Imaging, store: Store) -> None:
    service.receive(instance(), CONTEXT)
    (waiting,) = service.waiting(0)
    service.receive(instance("1.1.2"), CONTEXT)
    store.write(lambda tx: service.settle(tx, waiting["id"], 1, 1))  # two have come: one was read too early
    assert service.waiting(0)
    store.write(lambda tx: service.settle(tx, waiting["id"], 1, 2))
    assert service.waiting(0) == []
    (study,) = service.find(CONTEXT, "study", [])
    assert study["attributes"]["00201208"]["Value"] == [2]
    service.receive(instance("1.2.1", series="1.2"), CONTEXT)
    assert [row["uid"] for row in service.waiting(0)] == ["1"]
    assert service.waiting(10**15) == []


def test_equal_patient_ids_of_two_issuers_are_two_studies_and_a_finding(service: Imaging) -> None:
    service.receive(instance(), CONTEXT)
    service.receive(instance("1.1.2", issuer="urn:b"), CONTEXT)
    assert studies(service) == ["1", "1"]
    (finding,) = service.reports(imaging_rows.FINDINGS)
    assert finding.data["patient"] == ["urn:b", "10001"]
    assert service.find(CONTEXT, "instance", [("PatientID", "10001")])[0]["uid"] == "1.1.1"


@pytest.mark.parametrize(
    ("keyword", "name"), [("PixelSpacing", "parameter-unknown"), ("SpecificCharacterSet", "parameter-unknown")]
)
def test_a_keyword_that_is_not_matched_is_refused(service: Imaging, keyword: str, name: str) -> None:
    with pytest.raises(HubError) as refusal:
        service.find(CONTEXT, "study", [(keyword, "x")])
    assert refusal.value.name == name

"""DICOMweb: QIDO-RS and WADO-RS, by requests and by dicomweb-client over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pydicom
import pytest

from adapters.dicom import multipart, part10
from hub.errors import HubError

from .conftest import FILES, Hub, image, running


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Two patients, three studies, one of them with two series."""
    with running(tmp_path_factory.mktemp("hub")) as hub:
        hub.store(
            image("1.1.1", study="1", series="1.1", StudyDate="20260101", AccessionNumber="A1", InstanceNumber=1),
            image("1.1.2", study="1", series="1.1", StudyDate="20260101", AccessionNumber="A1", InstanceNumber=2),
            image("1.2.1", study="1", series="1.2", StudyDate="20260101", AccessionNumber="A1", Modality="SR"),
            image(
                "2.1.1", study="2", series="2.1", StudyDate="20260215", StudyTime="083000", StudyDescription="CHEST CT"
            ),
            image(
                "3.1.1", study="3", series="3.1", StudyDate="20261120", PatientID="10002", Modality="DX",
                SpecificCharacterSet="GB18030", PatientName="Wang^XiaoDong=王^小东",
            ),
        )  # fmt: skip
        yield hub


def studies(hub: Hub, **parameters: str) -> list[str]:
    answer = hub.web.get("/studies", params=parameters)
    assert answer.status_code == 200, answer.text
    return [study["0020000D"]["Value"][0] for study in answer.json()]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, ["1", "2", "3"]),
        ({"limit": "1", "offset": "1"}, ["2"]),
        ({"StudyInstanceUID": "1,3"}, ["1", "3"]),
        ({"0020000d": "2"}, ["2"]),
        ({"PatientID": "10001"}, ["1", "2"]),
        ({"PatientID": "1000?"}, ["1", "2", "3"]),
        ({"StudyDate": "20260101"}, ["1"]),
        ({"StudyDate": "20260201-20261231"}, ["2", "3"]),
        ({"StudyDate": "-20260215"}, ["1", "2"]),
        ({"StudyDate": "20260216-"}, ["3"]),
        ({"StudyTime": "0800-0900"}, ["2"]),
        ({"PatientName": "zhang*"}, ["1", "2"]),
        ({"PatientName": "ZHANG^SAN"}, ["1", "2"]),
        ({"PatientName": "*xiaodong"}, ["3"]),
        ({"PatientName": "王*"}, ["3"]),
        ({"PatientName": "王^小东"}, ["3"]),
        ({"PatientName": "*小?"}, ["3"]),
        ({"PatientName": "[a-z]*"}, []),
        ({"AccessionNumber": "A1"}, ["1"]),
        ({"ModalitiesInStudy": "SR"}, ["1"]),
        ({"ModalitiesInStudy": "DX"}, ["3"]),
        ({"StudyDescription": "chest*"}, ["2"]),
        ({"StudyInstanceUID": "9"}, []),
    ],
)  # fmt: skip
def test_search_for_studies(stored: Hub, parameters: dict[str, str], expected: list[str]) -> None:
    assert sorted(studies(stored, **parameters)) == expected


def test_studies_are_listed_newest_first(stored: Hub) -> None:
    assert studies(stored) == ["3", "2", "1"]


def test_a_study_answers_with_what_the_standard_asks_for(stored: Hub) -> None:
    stored.until(lambda: not stored.doors.imaging.waiting(0))
    (study,) = stored.web.get("/studies", params={"StudyInstanceUID": "1"}).json()
    assert study["00201206"]["Value"] == [2] and study["00201208"]["Value"] == [3]
    assert study["00080061"]["Value"] == ["CT", "SR"] and study["00080056"]["Value"] == ["ONLINE"]
    assert study["00081190"]["Value"] == ["http://hub.test/dicom-web/studies/1"]
    assert study["00100010"]["Value"] == [{"Alphabetic": "Zhang^San"}]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/studies/1/series", ["1.1", "1.2"]),
        ("/series?Modality=CT", ["1.1", "2.1"]),
        ("/series?PatientID=10002", ["3.1"]),
        ("/studies/1/series?Modality=SR", ["1.2"]),
        ("/studies/9/series", []),
    ],
)
def test_search_for_series(stored: Hub, path: str, expected: list[str]) -> None:
    assert [series["0020000E"]["Value"][0] for series in stored.web.get(path).json()] == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/instances", ["1.1.1", "1.1.2", "1.2.1", "2.1.1", "3.1.1"]),
        ("/studies/1/instances", ["1.1.1", "1.1.2", "1.2.1"]),
        ("/studies/1/series/1.1/instances", ["1.1.1", "1.1.2"]),
        ("/studies/1/series/1.1/instances?InstanceNumber=2", ["1.1.2"]),
        ("/studies/2/series/1.1/instances", []),
        ("/instances?SOPInstanceUID=3.1.1", ["3.1.1"]),
        ("/instances?PatientID=10002", ["3.1.1"]),
    ],
)
def test_search_for_instances(stored: Hub, path: str, expected: list[str]) -> None:
    assert [found["00080018"]["Value"][0] for found in stored.web.get(path).json()] == expected


def test_fields_are_included_when_asked_for(stored: Hub) -> None:
    plain, more, everything = (
        stored.web.get(f"/studies/2/series/2.1/instances{query}").json()[0]
        for query in ("", "?includefield=StudyDescription,00100020", "?includefield=all")
    )
    assert "00081030" not in plain and "00100020" not in plain
    assert more["00081030"]["Value"] == ["CHEST CT"] and more["00100020"]["Value"] == ["10001"]
    assert everything["00080060"]["Value"] == ["CT"]


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        ("/studies?NoSuchThing=1", 400, "parameter-unknown"),
        ("/studies?PixelSpacing=1", 400, "parameter-unknown"),
        ("/studies?StudyDate=2026-13-99x", 400, "parameter-value"),
        ("/studies?limit=-1", 400, "parameter-value"),
        ("/studies?includefield=Nonsense", 400, "parameter-unknown"),
        ("/studies/9", 404, "not-found"),
        ("/studies/1/series/9/metadata", 404, "not-found"),
        ("/studies/2/series/1.1/instances/1.1.1", 404, "not-found"),
        ("/studies/1/series/1.1/instances/..%2F..%2Fetc%2Fpasswd", 404, ""),
        ("/studies/1/series/1.1/instances/1.1.1/bulkdata/0-x", 404, "not-found"),
        ("/studies/1/series/1.1/instances/1.1.1/bulkdata/pixels", 404, "not-found"),
    ],
)
def test_what_cannot_be_answered_says_why(stored: Hub, path: str, status: int, name: str) -> None:
    answer = stored.web.get(path)
    assert answer.status_code == status
    if name:
        assert answer.json()["name"] == name


@pytest.mark.parametrize(
    ("value", "expected"),
    [("san zhang", ["1", "2"]), ("ZHANG", ["1", "2"]), ("小东", ["3"]), ("xiao wang", ["3"]), ("zhang wang", [])],
)
def test_fuzzy_matching_finds_words_of_a_name_in_any_order(stored: Hub, value: str, expected: list[str]) -> None:
    assert sorted(studies(stored, PatientName=value, fuzzymatching="true")) == expected
    assert studies(stored, PatientName="san zhang") == []


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("", 200),
        ("*/*", 200),
        ("application/dicom", 200),
        ('multipart/related; type="application/dicom"', 200),
        ('multipart/related; type="application/dicom"; transfer-syntax=*', 200),
        ('multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1', 200),
        ("image/jpeg", 406),
        ("application/dicom; q=0", 406),
        ("application/dicom; transfer-syntax=1.2.840.10008.1.2", 200),
        ('multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.50', 406),
        ('multipart/related; type="application/dicom"; transfer-syntax=1.2.3', 406),
    ],
)
def test_retrieve_negotiates(stored: Hub, accept: str, status: int) -> None:
    answer = stored.web.get("/studies/2/series/2.1/instances/2.1.1", headers={"Accept": accept})
    assert answer.status_code == status
    if status == 200:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        single = accept.startswith("application/dicom")
        assert answer.headers["Content-Type"].startswith("application/dicom;" if single else "multipart/related;")


def test_a_study_is_retrieved_part_by_part(stored: Hub) -> None:
    answer = stored.web.get("/studies/1")
    _, parameters = multipart.media_type(answer.headers["Content-Type"])
    parts = multipart.decode(answer.content, parameters["boundary"])
    assert [part10.split(content).sop_instance for _, content in parts] == ["1.1.1", "1.1.2", "1.2.1"]
    assert {kind for kind, _ in parts} == {"application/dicom; transfer-syntax=1.2.840.10008.1.2.1"}


def test_metadata_refers_to_bulk_data_that_can_be_had(hub: Hub) -> None:
    path = FILES / "test_files" / "MR_small.dcm"
    hub.store(part10.split(path.read_bytes()))
    reference = pydicom.dcmread(path)
    study, series, instance = reference.StudyInstanceUID, reference.SeriesInstanceUID, reference.SOPInstanceUID
    url = f"/studies/{study}/series/{series}/instances/{instance}"
    (metadata,) = hub.web.get(f"{url}/metadata").json()
    assert metadata["00280010"] == {"vr": "US", "Value": [64]}
    uri = metadata["7FE00010"]["BulkDataURI"].removeprefix("/dicom-web")
    assert hub.web.get(uri).content == reference.PixelData


@pytest.mark.parametrize(
    "body",
    [b"", b"--x", b"--x\r\n", b"--x\r\nContent-Type: a\r\n\r\nabc", b"--x\r\n\r\nabc\r\n--x"],
)
def test_a_multipart_body_that_breaks_off_is_refused(body: bytes) -> None:
    with pytest.raises(HubError):
        multipart.decode(body, "x")


def test_a_multipart_body_comes_back() -> None:
    parts = [("application/dicom", b"\r\n--x not a boundary\r\n"), ("text/plain", b""), ("a/b", b"--")]
    boundary = multipart.new_boundary()
    assert multipart.decode(b"".join(multipart.encode(parts, boundary)), boundary) == parts

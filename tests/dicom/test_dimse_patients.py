"""Whose a study is: hospitals that give the same number, persons with several numbers, merges and their undoing."""

from __future__ import annotations

import io
from typing import Any

import pydicom
import pytest

from adapters.dicom import coerce, dataset, encode, part10
from adapters.dicom.ul import dimse
from adapters.hl7v2.interpret import CHANNEL, Interpreter
from hub.services.context import Context

from .conftest import Hub, image, shipped

FIND, GET, CT = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3", "1.2.840.10008.5.1.4.1.1.2"


def say(hub: Hub, kind: str, *segments: str, facility: str = "A") -> None:
    """An HL7 v2 message of a hospital."""
    doors = hub.doors
    doors.inbox.register(CHANNEL, Interpreter(doors.clock, doors.new_id, doors.settings.time_zone, "en"))
    id = doors.new_id()[:20]
    head = f"MSH|^~\\&|HIS|{facility}|HUB|R|20261120083000||{kind}|{id}|P|2.5.1||||||UNICODE UTF-8"
    raw = "\r".join((head, "EVN||20261120083000", *segments, "")).encode()
    answer = doors.inbox.receive(channel=CHANNEL, sender=f"HIS|{facility}", control_id=id, raw=raw, kind=kind)
    assert b"MSA|AA|" in answer, answer


def find(hub: Hub, **keys: str) -> list[pydicom.Dataset]:
    """C-FIND at study level, asked in UTF-8."""
    wanted = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID")
    asked: dict[str, Any] = {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080052": {"vr": "CS", "Value": ["STUDY"]},
    }
    for keyword in wanted:
        tag = f"{pydicom.datadict.tag_for_keyword(keyword):08X}"
        value: Any = keys.get(keyword)
        vr = pydicom.datadict.dictionary_VR(keyword)
        value = {"Ideographic": value} if vr == "PN" and value else value
        asked[tag] = {"vr": vr, "Value": [value]} if value else {"vr": vr}
    association = hub.associate((FIND, dataset.IMPLICIT))
    command: dimse.Command = {"CommandField": dimse.C_FIND, "MessageID": 1, "AffectedSOPClassUID": FIND, "Priority": 0}
    body = encode.encode(asked, implicit=True, terms=("ISO_IR 192",))
    association.send(association.contexts[1], command, body)
    found = []
    while (answer := association.receive()) is not None and answer.command["Status"] == 0xFF00:
        found.append(pydicom.dcmread(io.BytesIO(bytes(answer.data)), force=True))
    association.release()
    return found


def got(hub: Hub, study: str) -> pydicom.Dataset:
    """The one instance of a study, by WADO-RS; by C-GET its data set is the same."""
    url = f"/dicom-web/studies/{study}/series/{study}.0/instances/{study}.1"
    file = hub.web.get(
        url.removeprefix("/dicom-web"), headers={"Accept": "application/dicom; transfer-syntax=*"}
    ).content
    asked = {"00080052": {"vr": "CS", "Value": ["STUDY"]}, "0020000D": {"vr": "UI", "Value": [study]}}
    association = hub.associate((GET, dataset.IMPLICIT), (CT, dataset.EXPLICIT))
    command: dimse.Command = {"CommandField": dimse.C_GET, "MessageID": 1, "AffectedSOPClassUID": GET, "Priority": 0}
    association.send(association.contexts[1], command, encode.encode(asked, implicit=True))
    message = association.receive()
    assert message is not None and message.field == dimse.C_STORE
    association.send(message.context, dimse.response(message.command, 0))
    assert part10.split(file).data == bytes(message.data)
    association.receive()
    association.release()
    return pydicom.dcmread(io.BytesIO(file))


def one(study: str, **attributes: Any) -> part10.File:
    return image(f"{study}.1", study=study, series=f"{study}.0", **attributes)


def subjects(hub: Hub) -> set[str]:
    return {found["subject"]["reference"] for found in hub.resources("ImagingStudy")}


def test_two_hospitals_with_one_number_are_two_people(hub: Hub) -> None:
    hub.store(one("1.1", PatientName="Zhang^San", IssuerOfPatientID="HOSP_A"), calling="A_CT")
    hub.store(one("1.2", PatientName="Li^Si", PatientBirthDate="19700101", IssuerOfPatientID="HOSP_B"), calling="B_CT")
    hub.store(one("1.3", PatientName="Wang^Wu"), calling="C_CT")
    assert len(find(hub, PatientID="10001")) == 3
    (found,) = find(hub, PatientID="10001", IssuerOfPatientID="HOSP_B")
    assert found.PatientName == "Li^Si" and found.StudyInstanceUID == "1.2"
    hub.until(lambda: len(hub.resources("ImagingStudy")) == 3)
    assert len(subjects(hub)) == 3
    persons = {hub.doors.identity._linker.person_of(hub.doors.store, patient)["id"] for patient in subjects(hub)}
    assert len(persons) == 3


def test_one_person_with_two_numbers_is_found_as_one(hub: Hub) -> None:
    same = {"PatientBirthDate": "19850317", "PatientSex": "M", "SpecificCharacterSet": "ISO_IR 192"}
    for hospital, number in (("A", "a77"), ("B", "b99")):
        pid = f"PID|1||{number}^^^^MR~100101198503170012^^^^NI||欧阳^小东||19850317|M"
        say(hub, "ADT^A28^ADT_A05", pid, facility=hospital)
    hub.store(one("1.1", PatientID="a77", PatientName="OuYang^XiaoDong=欧阳^小东", **same), calling="A_CT")
    hub.store(one("1.2", PatientID="b99", PatientName="OuYang^XiaoDong=欧阳^小东", **same), calling="B_CT")
    hub.until(lambda: len(hub.resources("ImagingStudy")) == 2)
    assert {found.StudyInstanceUID for found in find(hub, PatientName="欧阳*")} == {"1.1", "1.2"}
    assert len(subjects(hub)) == 2
    (person,) = {hub.doors.identity._linker.person_of(hub.doors.store, patient)["id"] for patient in subjects(hub)}
    region = hub.doors.settings.region
    both = find(hub, PatientID=person, IssuerOfPatientID=region)
    assert {found.StudyInstanceUID for found in both} == {"1.1", "1.2"}
    assert {found.PatientID for found in both} == {person}
    listed = hub.web.get("/series", params={"PatientID": person, "IssuerOfPatientID": region}).json()
    assert {series["0020000D"]["Value"][0] for series in listed} == {"1.1", "1.2"}
    assert [found.StudyInstanceUID for found in find(hub, PatientID="a77")] == ["1.1"]
    assert find(hub, PatientID="somebody", IssuerOfPatientID=region) == []


def test_a_merge_moves_the_studies_and_its_undoing_brings_them_back(hub: Hub) -> None:
    kept = "PID|1||10001^^^^MR||张^三||19850317|M"
    prior = "PID|1||20002^^^^MR||张^叁||19850318|M"
    for pid in (kept, prior):
        say(hub, "ADT^A28^ADT_A05", pid)
    hub.store(one("1.1", PatientName="Zhang^San"), calling="A_CT")
    file = one("1.2", PatientID="20002", PatientName="Zhang^San2", PatientBirthDate="19850318", PatientSex="M")
    hub.store(file, calling="A_CT")
    hub.until(lambda: len(subjects(hub)) == 2)
    before = got(hub, "1.2")
    say(hub, "ADT^A40^ADT_A39", kept, "MRG|20002^^^^MR")

    assert find(hub, PatientID="20002") == []
    assert {found.StudyInstanceUID for found in find(hub, PatientID="10001")} == {"1.1", "1.2"}
    (found,) = find(hub, StudyInstanceUID="1.2")
    assert (found.PatientID, str(found.PatientName), found.PatientBirthDate) == ("10001", "=张^三", "19850317")
    listed = hub.web.get("/studies", params={"PatientID": "10001", "PatientName": "张^三"}).json()
    assert [study["0020000D"]["Value"] for study in listed] == [["1.2"]]
    moved = got(hub, "1.2")
    assert (moved.PatientID, str(moved.PatientName), moved.PatientSex) == ("10001", "=张^三", "M")
    assert moved.OtherPatientIDsSequence[0].PatientID == "20002"
    assert moved.SpecificCharacterSet == "ISO_IR 192"
    (metadata,) = hub.web.get("/studies/1.2/metadata").json()
    assert metadata["00100020"]["Value"] == ["10001"]
    hub.until(lambda: len(subjects(hub)) == 1)
    row = hub.doors.imaging.find(Context(door="test", actor="t"), "instance", [("SOPInstanceUID", "1.2.1")])[0]
    assert part10.split(hub.doors.imaging.file(row)) == file

    hub.store(image("1.2.2", study="1.2", series="1.2.0", PatientID="20002"), calling="A_CT")  # a slice that comes late
    hub.store(one("1.3", PatientID="20002"), calling="A_CT")
    assert {found.StudyInstanceUID for found in find(hub, PatientID="10001")} == {"1.1", "1.2", "1.3"}

    say(hub, "ADT^A37^ADT_A37", kept, prior)
    assert {found.StudyInstanceUID for found in find(hub, PatientID="20002")} == {"1.2", "1.3"}
    hub.until(lambda: len(subjects(hub)) == 2)
    url = "/studies/1.2/series/1.2.0/instances/1.2.1"
    back = hub.web.get(url, headers={"Accept": "application/dicom; transfer-syntax=*"}).content
    assert pydicom.dcmread(io.BytesIO(back)) == before


NEW = {
    "00100010": {"vr": "PN", "Value": [{"Ideographic": "王^五"}]},
    "00100020": {"vr": "LO", "Value": ["77"]},
    "00101002": {"vr": "SQ", "Value": [{"00100020": {"vr": "LO", "Value": ["1"]}}]},
    "00100030": {"vr": "DA"},
}


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "image_dfl.dcm",
        "MR_small_bigendian.dcm",
        "rtplan.dcm",
        "JPEG2000.dcm",
        "chrX2.dcm",
        "chrRuss.dcm",
    ],
)
def test_coercion_changes_these_elements_and_no_other(name: str) -> None:
    """In every transfer syntax and character set; compared by pydicom."""
    path = next(path for path in shipped() if path.name == name)
    file = part10.split(path.read_bytes())
    coerced = coerce.coerce(file.data, file.transfer_syntax, NEW)
    header = part10.file_meta(file.sop_class, file.sop_instance, file.transfer_syntax)
    before, after = pydicom.dcmread(path), pydicom.dcmread(io.BytesIO(header + coerced))
    assert after.PatientID == "77" and "PatientBirthDate" not in after
    assert str(after.PatientName) == ("" if name == "chrRuss.dcm" else "=王^五")
    changed = {"PatientName", "PatientID", "OtherPatientIDsSequence", "PatientBirthDate", "SpecificCharacterSet"}
    for element in before:
        if element.keyword not in changed and element.tag.element:
            assert after[element.tag] == element, element.tag
    assert len(coerced) % 2 == 0

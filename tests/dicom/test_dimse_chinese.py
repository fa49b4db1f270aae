"""Chinese names in five encodings, asked for in hanzi and pinyin over C-FIND, Modality Worklist and QIDO-RS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adapters.dicom import charset, dataset, encode, part10
from adapters.dicom.ul import dimse
from hub.services.context import Context
from hub.services.imaging_names import alphabetic, readings

from .conftest import Hub, image, running

FIND, WORKLIST = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.31"
STORED = {
    "1": ("GB18030", "gb18030"),
    "2": ("GBK", "gbk"),
    "3": ("ISO_IR 192", "utf-8"),
    "4": ("\\ISO 2022 IR 58", ""),
    "5": ("ISO_IR 100", "gbk"),  # GBK bytes under a wrong label
}
"""Study -> Specific Character Set as written, codec of the bytes."""
NAME = "王^小东"


def written(study: str) -> part10.File:
    """A CT image whose name is in hanzi only, in the bytes of its character set."""
    term, codec = STORED[study]
    file = image(f"{study}.1", study=study, series=f"{study}.0", PatientName="X", SpecificCharacterSet="ISO_IR 6")
    raw = b"=" + (NAME.encode(codec) if codec else charset.encode(NAME, ("", "ISO 2022 IR 58"), name=True))
    data = file.data
    for tag, vr, value in (("00080005", b"CS", term.encode()), ("00100010", b"PN", raw)):
        value += b" " * (len(value) % 2)
        elements, _, rest = dataset.elements_before(data, dataset.EXPLICIT, int(tag, 16))
        old = dataset.elements_before(rest, dataset.EXPLICIT, int(tag, 16) + 1)[2]
        head = bytes.fromhex(tag[2:4] + tag[:2] + tag[6:] + tag[4:6]) + vr + len(value).to_bytes(2, "little")
        data = b"".join(elements.values()) + head + value + old
    return part10.File(file.sop_class, file.sop_instance, file.transfer_syntax, data)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running(tmp_path_factory.mktemp("hub")) as hub:
        hub.store(*map(written, STORED))
        hub.store(image("6.1", study="6", series="6.0", PatientName="Li^Si"))
        hub.doors.ingest.submit({"entry": [{"resource": PATIENT}, {"resource": ORDER}]}, Context("test", "test"))
        yield hub


PATIENT = {
    "resourceType": "Patient", "id": "p1", "name": [{"text": "王小东", "family": "王", "given": ["小东"]}],
    "identifier": [{"system": "https://region-hub.example/fhir/authority/TEST", "value": "77"}],
}  # fmt: skip
ORDER = {
    "resourceType": "ServiceRequest", "id": "o1", "status": "active", "intent": "order",
    "subject": {"reference": "Patient/p1"},
    "identifier": [{"system": "https://region-hub.example/fhir/authority/TEST/ACSN", "value": "A1"}],
    "code": {"coding": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"}]},
}  # fmt: skip


def ask(hub: Hub, model: str, name: str, terms: tuple[str, ...], **more: Any) -> list[tuple[dataset.Attributes, bytes]]:
    """C-FIND by patient's name, asked in a character set; the answers, decoded and as they came."""
    group = "Alphabetic" if name.isascii() else "Ideographic"
    asked: dict[str, Any] = {
        "00100010": {"vr": "PN", "Value": [{group: name}]},
        "0020000D": {"vr": "UI"},
        "00080050": {"vr": "SH"},
        **more,
    }
    if terms:
        asked["00080005"] = {"vr": "CS", "Value": [term or None for term in terms]}
    association = hub.associate((model, dataset.IMPLICIT))
    command: dimse.Command = {"CommandField": dimse.C_FIND, "MessageID": 1, "AffectedSOPClassUID": model, "Priority": 0}
    association.send(association.contexts[1], command, encode.encode(asked, implicit=True, terms=terms))
    found = []
    while (answer := association.receive()) is not None and answer.command["Status"] == 0xFF00:
        found.append((dataset.parse(bytes(answer.data), dataset.IMPLICIT).attributes, bytes(answer.data)))
    assert answer is not None and answer.command["Status"] == 0
    association.release()
    return found


SPOKEN = ["王^小东", "王*", "*小东", "王^小?", "Wang^XiaoDong", "WANG^XIAODONG", "wang*", "Wang XiaoDong", "*dong"]
ASKED = [("GB18030",), ("GBK",), ("ISO_IR 192",), ("", "ISO 2022 IR 58")]


@pytest.mark.parametrize("terms", [*ASKED, ()])
@pytest.mark.parametrize("name", SPOKEN)
def test_a_name_is_found_in_all_encodings_and_answered_in_the_callers(
    hub: Hub, name: str, terms: tuple[str, ...]
) -> None:
    if not name.isascii() and not terms:
        terms = ("ISO_IR 192",)
    study = {"00080052": {"vr": "CS", "Value": ["STUDY"]}}
    found = ask(hub, FIND, name, terms, **study)
    assert {dataset.text(answer, "0020000D") for answer, _ in found} == set(STORED)
    for answer, raw in found:
        assert dataset.text(answer, "00100010").strip("=") == NAME
        if terms:
            assert tuple(term or "" for term in answer["00080005"]["Value"]) == terms
            assert charset.encode(NAME, terms, name=True) in raw


@pytest.mark.parametrize("name", [*SPOKEN, "Li*"])
def test_qido_finds_them_as_well(hub: Hub, name: str) -> None:
    listed = hub.web.get("/studies", params={"PatientName": name}).json()
    found = {study["0020000D"]["Value"][0] for study in listed}
    assert found == ({"6"} if name == "Li*" else set(STORED))


@pytest.mark.parametrize("name", ["王*", "王^小东", "wang^xiaodong", "WANG*"])
@pytest.mark.parametrize("terms", ASKED)
def test_a_worklist_names_the_patient_in_the_modalitys_set(hub: Hub, name: str, terms: tuple[str, ...]) -> None:
    ((answer, raw),) = ask(hub, WORKLIST, name, terms)
    assert answer["00100010"]["Value"] == [{"Alphabetic": "Wang^Xiaodong", "Ideographic": NAME}]
    assert charset.encode(NAME, terms, name=True) in raw


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("欧阳^小东", "Ouyang^Xiaodong"),
        ("欧阳小东", "Ouyang^Xiaodong"),
        ("諸葛亮", "Zhuge^Liang"),
        ("曾^乐", "Zeng^Le"),
        ("单^丹", "Shan^Dan"),
        ("Müller^Hans", ""),
    ],
)
def test_a_name_is_read_as_names_are(name: str, read: str) -> None:
    assert alphabetic(name) == read
    assert bool(readings(name)) == bool(read)

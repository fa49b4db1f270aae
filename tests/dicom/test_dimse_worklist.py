"""Modality Worklist (PS3.4 K) from orders in FHIR, by pynetdicom and dcmtk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import ModalityWorklistInformationFind

from hub.services.context import Context

from .conftest import Hub, running

TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"


def order(number: str, facility: str, when: str, code: str | None, patient: str) -> dict[str, Any]:
    category = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": code}]}
    return {
        "resourceType": "ServiceRequest",
        "id": number,
        "meta": {"source": f"https://region-hub.example/fhir/source/{facility}/HIS"},
        "identifier": [{"type": {"coding": [{"system": TYPE, "code": "FILL"}]}, "value": number}],
        "status": "active",
        "intent": "order",
        **({"category": [category]} if code else {}),
        "code": {
            "text": "胸部CT平扫",
            "coding": [{"system": "http://loinc.org", "code": "24627-2", "display": "Chest CT"}],
        },
        "subject": {"reference": f"Patient/{patient}"},
        "occurrenceDateTime": when,
        "requester": {"display": "陈建国"},
    }


def patient(id: str, *names: dict[str, Any]) -> dict[str, Any]:
    system = "https://region-hub.example/fhir/authority/XHRM"
    return {
        "resourceType": "Patient",
        "id": id,
        "identifier": [{"system": system, "value": f"N{id}"}],
        "name": list(names),
        "gender": "male",
        "birthDate": "1985-03-17",
    }


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running(tmp_path_factory.mktemp("hub")) as hub:
        resources = [
            patient("p1", {"family": "王", "given": ["小东"]}, {"family": "Wang", "given": ["XiaoDong"]}),
            patient("p2", {"text": "李四"}),
            order("A1", "XHRM", "2026-11-20T09:30:00+08:00", "CT", "p1"),
            order("A2", "XHRM", "2026-11-21T01:00:00Z", "RX", "p2"),
            order("A3", "OTHER", "2026-11-20T09:30:00+08:00", "CT", "p2"),
            order("A4", "XHRM", "2026-11-20T09:30:00+08:00", None, "p2"),
        ]
        bundle = {"entry": [{"resource": resource} for resource in resources]}
        hub.doors.ingest.submit(bundle, Context(door="test", actor="HIS"))
        yield hub


def find(hub: Hub, charset: str = "ISO_IR 192", step: dict[str, str] | None = None, **keys: str) -> list[Dataset]:
    asked = Dataset()
    asked.SpecificCharacterSet = charset
    scheduled = Dataset()
    for keyword in (
        "Modality",
        "ScheduledStationAETitle",
        "ScheduledProcedureStepStartDate",
        "ScheduledProcedureStepStartTime",
    ):
        setattr(scheduled, keyword, (step or {}).get(keyword, ""))
    asked.ScheduledProcedureStepSequence = [scheduled]
    for keyword in ("PatientName", "PatientID", "AccessionNumber", "RequestedProcedureDescription", "PatientBirthDate"):
        setattr(asked, keyword, keys.get(keyword, ""))
    ae = AE("XHRM_CT1")
    ae.add_requested_context(ModalityWorklistInformationFind)
    association = ae.associate(*hub.address, ae_title="HUB")
    answers = list(association.send_c_find(asked, ModalityWorklistInformationFind))
    association.release()
    assert answers[-1][0].Status == 0x0000
    return [identifier for _, identifier in answers if identifier is not None]


@pytest.mark.parametrize(
    ("keys", "step", "expected"),
    [
        ({}, {}, ["A1", "A2"]),  # not another hospital's, not what is no imaging
        ({}, {"Modality": "CT"}, ["A1"]),
        ({}, {"Modality": "DX"}, ["A2"]),
        ({}, {"ScheduledProcedureStepStartDate": "20261120"}, ["A1"]),
        ({}, {"ScheduledProcedureStepStartDate": "20261121-"}, ["A2"]),
        ({}, {"ScheduledProcedureStepStartDate": "20261120", "ScheduledProcedureStepStartTime": "0900-1000"}, ["A1"]),
        ({}, {"ScheduledStationAETitle": "XHRM_CT1"}, ["A1", "A2"]),
        ({}, {"ScheduledStationAETitle": "OTHER"}, []),
        ({"PatientName": "王*"}, {}, ["A1"]),
        ({"PatientName": "wang^x*"}, {}, ["A1"]),
        ({"PatientID": "Np2"}, {}, ["A2"]),
        ({"AccessionNumber": "A2"}, {"Modality": "CT"}, []),
    ],
)
def test_steps_are_matched(hub: Hub, keys: dict[str, str], step: dict[str, str], expected: list[str]) -> None:
    assert [answer.AccessionNumber for answer in find(hub, step=step, **keys)] == expected


@pytest.mark.parametrize("charset", ["GB18030", "ISO_IR 192"])
def test_a_step_has_what_a_modality_needs_in_its_character_set(hub: Hub, charset: str) -> None:
    (answer,) = find(hub, charset, AccessionNumber="A1")
    assert answer.SpecificCharacterSet == charset
    assert str(answer.PatientName) == "Wang^XiaoDong=王^小东"
    assert answer.PatientBirthDate == "19850317"
    assert answer.RequestedProcedureDescription == "胸部CT平扫"
    (scheduled,) = answer.ScheduledProcedureStepSequence
    assert (scheduled.Modality, scheduled.ScheduledStationAETitle) == ("CT", "XHRM_CT1")
    assert (scheduled.ScheduledProcedureStepStartDate, scheduled.ScheduledProcedureStepStartTime) == (
        "20261120",
        "093000",
    )


@pytest.mark.dcmtk
@pytest.mark.skipif(not Path("/usr/bin/findscu").exists(), reason="Debian's dcmtk is not installed")
def test_findscu_reads_the_worklist(hub: Hub, tmp_path: Path) -> None:
    arguments = ["-W", "-X", "-od", str(tmp_path), "-aet", "XHRM_CT1", "-aec", "HUB"]
    keys = ["-k", "ScheduledProcedureStepSequence[0].Modality=CT", "-k", "PatientName", "-k", "PatientID"]
    done = subprocess.run(["/usr/bin/findscu", *arguments, *keys, "127.0.0.1", hub.port], check=False, timeout=30)
    assert done.returncode == 0 and len(list(tmp_path.iterdir())) == 1

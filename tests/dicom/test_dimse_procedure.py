"""Modality Performed Procedure Step (PS3.4 F.7) by pynetdicom: create, set, and what may not be."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import ModalityPerformedProcedureStep

from hub.fhir.ids import resource_id
from hub.services.context import Context

from .conftest import Hub, image

SYSTEM = "https://region-hub.example/fhir/authority/TEST"
PATIENT = resource_id("Patient", SYSTEM, "10001")


def step(**more: Any) -> Dataset:
    scheduled = Dataset()
    scheduled.StudyInstanceUID, scheduled.AccessionNumber = "1.2.3", "A1"
    scheduled.ReferencedStudySequence, scheduled.RequestedProcedureID = [], "A1"
    ds = Dataset()
    ds.ScheduledStepAttributesSequence = [scheduled]
    ds.PatientName, ds.PatientID, ds.Modality = "Zhang^San", "10001", "CT"
    ds.PerformedProcedureStepID, ds.PerformedStationAETitle = "1", "TEST_CT"
    ds.PerformedProcedureStepStartDate, ds.PerformedProcedureStepStartTime = "20261120", "093000"
    ds.PerformedProcedureStepStatus = "IN PROGRESS"
    ds.PerformedProcedureStepDescription = "Chest CT"
    ds.PerformedSeriesSequence = []
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return ds


def end(state: str, *series: str) -> Dataset:
    ds = Dataset()
    ds.PerformedProcedureStepStatus = state
    ds.PerformedProcedureStepEndDate, ds.PerformedProcedureStepEndTime = "20261120", "094500"
    ds.PerformedSeriesSequence = []
    for uid in series:
        item = Dataset()
        item.SeriesInstanceUID, item.ProtocolName = uid, "CHEST"
        ds.PerformedSeriesSequence.append(item)
    return ds


def send(hub: Hub, uid: str, ds: Dataset, *, create: bool) -> int:
    ae = AE("TEST_CT")
    ae.add_requested_context(ModalityPerformedProcedureStep)
    association = ae.associate(*hub.address, ae_title="HUB")
    act = association.send_n_create if create else association.send_n_set
    status, _ = act(ds, ModalityPerformedProcedureStep, uid)
    association.release()
    return int(status.Status)


def test_a_step_is_a_procedure_and_finishes_its_order(hub: Hub) -> None:
    order = {
        "resourceType": "ServiceRequest", "id": "o1", "status": "active", "intent": "order",
        "identifier": [{"value": "A1"}], "subject": {"reference": f"Patient/{PATIENT}"},
    }  # fmt: skip
    hub.doors.ingest.submit({"entry": [{"resource": order}]}, Context(door="test", actor="HIS"))
    assert send(hub, "1.9", step(), create=True) == 0x0000
    (procedure,) = hub.resources("Procedure")
    assert procedure["status"] == "in-progress" and procedure["code"] == {"text": "Chest CT"}
    assert procedure["subject"] == {"reference": f"Patient/{PATIENT}"}
    assert procedure["basedOn"] == [{"reference": "ServiceRequest/o1"}]
    assert procedure["performedPeriod"] == {"start": "2026-11-20T09:30:00+08:00"}
    assert hub.resources("Patient")[0]["id"] == PATIENT
    assert send(hub, "1.9", end("COMPLETED", "1.2.3.0"), create=False) == 0x0000
    (procedure,) = hub.resources("Procedure")
    assert procedure["status"] == "completed"
    assert procedure["performedPeriod"]["end"] == "2026-11-20T09:45:00+08:00"
    assert hub.resources("ServiceRequest")[0]["status"] == "completed"
    hub.store(image(AccessionNumber="A1"))
    (study,) = hub.until(lambda: hub.resources("ImagingStudy"))
    assert study["procedureReference"] == {"reference": f"Procedure/{procedure['id']}"}
    assert study["basedOn"] == [{"reference": "ServiceRequest/o1"}]


def test_a_step_that_ended_is_not_changed(hub: Hub) -> None:
    assert send(hub, "1.9", step(), create=True) == 0x0000
    assert send(hub, "1.9", end("DISCONTINUED"), create=False) == 0x0000
    assert send(hub, "1.9", end("COMPLETED", "1"), create=False) == 0x0110
    assert hub.resources("Procedure")[0]["status"] == "stopped"


def test_what_may_not_be_is_refused(hub: Hub) -> None:
    assert send(hub, "1.9", end("COMPLETED", "1"), create=False) == 0x0112
    assert send(hub, "1.9", step(PerformedProcedureStepStatus="COMPLETED"), create=True) == 0x0106
    assert send(hub, "1.9", step(ScheduledStepAttributesSequence=[]), create=True) == 0x0120
    assert send(hub, "1.9", step(), create=True) == 0x0000
    assert send(hub, "1.9", step(), create=True) == 0x0111
    assert send(hub, "1.9", end("DONE"), create=False) == 0x0106
    assert send(hub, "1.9", end("COMPLETED"), create=False) == 0x0120
    assert hub.resources("Procedure")[0]["status"] == "in-progress"

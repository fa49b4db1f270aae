"""Rejection notes (IHE RAD IOCM): what they name is shown no more, by no door, and does not come back."""

from __future__ import annotations

from typing import Any

import pydicom
import pytest

from adapters.dicom import dataset, part10
from hub.services.context import Context
from hub.services.imaging_rejection import KEY_OBJECT_SELECTION, REASONS

from .conftest import Hub, image

CONTEXT = Context(door="test", actor="test")


def note(code: str, *uids: str, uid: str = "1.9", study: str = "1") -> part10.File:
    """A Key Object Selection that names these instances as evidence."""
    ds = pydicom.Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID = KEY_OBJECT_SELECTION, uid, study
    ds.SeriesInstanceUID, ds.PatientID, ds.PatientName, ds.Modality = f"{study}.99", "10001", "Zhang^San", "KO"
    title = pydicom.Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = code, "DCM", REASONS.get(code, "Of Interest")
    ds.ConceptNameCodeSequence = [title]
    evidence, series = pydicom.Dataset(), pydicom.Dataset()
    evidence.StudyInstanceUID, evidence.ReferencedSeriesSequence = study, [series]
    series.SeriesInstanceUID, series.ReferencedSOPSequence = f"{study}.1", []
    for named in uids:
        reference = pydicom.Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = pydicom.uid.CTImageStorage, named
        series.ReferencedSOPSequence.append(reference)
    ds.CurrentRequestedProcedureEvidenceSequence = [evidence]
    raw = pydicom.filebase.DicomBytesIO()
    raw.is_little_endian, raw.is_implicit_VR = True, False
    pydicom.filewriter.write_dataset(raw, ds)
    return part10.File(KEY_OBJECT_SELECTION, uid, dataset.EXPLICIT, raw.getvalue())


def slices(count: int = 3) -> list[part10.File]:
    return [image(f"1.1.{number}", study="1", series="1.1") for number in range(1, count + 1)]


def shown(hub: Hub) -> list[str]:
    rows = hub.doors.imaging.find(CONTEXT, "instance", [("SOPClassUID", str(pydicom.uid.CTImageStorage))])
    return sorted(row["uid"] for row in rows)


def described(hub: Hub) -> dict[str, Any]:
    hub.until(lambda: not hub.doors.imaging.waiting(0))
    (study,) = hub.resources("ImagingStudy")
    return study


@pytest.mark.parametrize("code", REASONS)
def test_what_a_note_names_is_shown_no_more(hub: Hub, code: str) -> None:
    hub.store(*slices())
    assert described(hub)["numberOfInstances"] == 3
    assert hub.store(note(code, "1.1.1", "1.1.3")) == [0x0000]
    assert shown(hub) == ["1.1.2"]
    study = described(hub)
    listed = {row["uid"] for series in study["series"] for row in series["instance"]}
    assert listed == {"1.1.2", "1.9"} and study["numberOfInstances"] == 2
    assert hub.web.get("/studies/1/series/1.1/instances/1.1.1").status_code == 404
    assert len(hub.web.get("/studies/1/series/1.1/instances").json()) == 1
    assert hub.doors.imaging.held("1.1.1") is None
    again = hub.store(slices()[0])
    assert again == ([0x0000] if code == "113039" else [0xA900])
    assert ("1.1.1" in shown(hub)) == (code == "113039")


def test_an_instance_that_comes_after_its_rejection_is_kept_out(hub: Hub) -> None:
    hub.store(slices()[0], note("113037", "1.1.2"))
    hub.until(lambda: not hub.doors.imaging.waiting(0))
    assert hub.store(slices()[1]) == [0xA900]
    assert shown(hub) == ["1.1.1"]


def test_a_series_that_is_rejected_whole_is_gone(hub: Hub) -> None:
    hub.store(*slices(2), image("1.2.1", study="1", series="1.2"), note("113001", "1.1.1", "1.1.2"))
    assert {row["0020000E"]["Value"][0] for row in hub.web.get("/studies/1/series").json()} == {"1.2", "1.99"}
    assert described(hub)["numberOfSeries"] == 2


def test_a_note_has_no_say_in_another_study(hub: Hub) -> None:
    hub.store(*slices(1), note("113001", "1.1.1", uid="2.9", study="2"))
    assert shown(hub) == ["1.1.1"]


def test_a_selection_of_another_kind_rejects_nothing(hub: Hub) -> None:
    hub.store(*slices(1), note("113000", "1.1.1"))
    assert shown(hub) == ["1.1.1"]

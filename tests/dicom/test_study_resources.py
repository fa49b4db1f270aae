"""What a study becomes beside its ImagingStudy: DiagnosticReports of its documents, the Device that made it."""

from __future__ import annotations

import base64
from typing import Any

import pydicom
import pytest

from adapters.dicom import part10

from .conftest import FILES, Hub, image


def concept(value: str, meaning: str, scheme: str = "DCM") -> pydicom.Dataset:
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def said(value: str, meaning: str, content: str) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", content
    item.ConceptNameCodeSequence = [concept(value, meaning)]
    return item


def written(**changed: Any) -> part10.File:
    """A Basic Text SR in the study of ``image``."""
    content = [said("121071", "Finding", "右肺中叶结节"), said("121077", "Conclusion", "建议复查")]
    attributes: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192", "Modality": "SR", "ValueType": "CONTAINER",
        "ContentDate": "20261120", "ContentTime": "153000", "CompletionFlag": "COMPLETE",
        "VerificationFlag": "VERIFIED", "ContentSequence": content,
        "ConceptNameCodeSequence": [concept("18748-4", "Diagnostic imaging report", "LN")],
    }  # fmt: skip
    return image("1.2.3.9", series="1.2.3.8", SOPClassUID=pydicom.uid.BasicTextSRStorage, **(attributes | changed))


@pytest.mark.parametrize(
    ("changed", "status"),
    [({}, "final"), ({"VerificationFlag": "UNVERIFIED"}, "preliminary"), ({"CompletionFlag": "PARTIAL"}, "partial")],
)
def test_a_structured_report_is_a_diagnostic_report_of_the_study(
    hub: Hub, changed: dict[str, Any], status: str
) -> None:
    hub.store(image(), written(**changed))
    (report,) = hub.until(lambda: hub.resources("DiagnosticReport"))
    (study,) = hub.resources("ImagingStudy")
    assert report["status"] == status
    assert report["imagingStudy"] == [{"reference": f"ImagingStudy/{study['id']}"}]
    assert report["subject"] == study["subject"]
    assert report["code"]["coding"][0]["system"] == "http://loinc.org"
    assert report["conclusion"] == "建议复查"
    assert (
        base64.b64decode(report["presentedForm"][0]["data"]).decode() == "Finding: 右肺中叶结节\nConclusion: 建议复查"
    )
    assert report["effectiveDateTime"] == "2026-11-20T15:30:00+08:00"


def test_shipped_reports_are_read(hub: Hub) -> None:
    hub.store(part10.split(next(FILES.rglob("test-SR.dcm")).read_bytes()))
    (report,) = hub.until(lambda: hub.resources("DiagnosticReport"))
    assert len(base64.b64decode(report["presentedForm"][0]["data"]).splitlines()) > 5


def test_the_device_is_known_once(hub: Hub) -> None:
    made = {"Manufacturer": "ACME", "ManufacturerModelName": "One", "DeviceSerialNumber": "SN7", "StationName": "CT_1"}
    hub.store(image("1.1", study="1", series="1.0", **made), image("2.1", study="2", series="2.0", **made))
    studies = hub.until(lambda: found if len(found := hub.resources("ImagingStudy")) == 2 else None)
    (device,) = hub.resources("Device")
    assert (device["manufacturer"], device["serialNumber"], device["modelNumber"]) == ("ACME", "SN7", "One")
    assert device["type"]["coding"][0]["code"] == "CT"
    for study in studies:
        assert study["series"][0]["performer"] == [{"actor": {"reference": f"Device/{device['id']}"}}]
    assert hub.resources("Endpoint")[0]["connectionType"]["code"] == "dicom-wado-rs"

"""Structured Reports and encapsulated PDFs of a study -> DiagnosticReport, linked to its ImagingStudy (R4)."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

from adapters.dicom import conversions, report
from adapters.dicom.conversions import Circumstances
from adapters.dicom.dataset import Attributes, text
from hub.fhir.ids import resource_id
from hub.services.imaging_index import Row

CONCLUSIONS = frozenset(("121073", "121077", "121111", "19005-8", "18834-2"))
"""Codes of DCM and LOINC for impression, conclusion and summary (PS3.16 CID 7001, TID 2000)."""
CATEGORY = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}]}

Resource = dict[str, Any]


def reports(imaging_study: Resource, rows: Iterable[Row], circumstances: Circumstances) -> Iterator[Resource]:
    """One DiagnosticReport for each document of the study that has something to say."""
    for row in rows:
        if report.is_report(row) and (written := report.structured(row["attributes"])):
            yield _report(imaging_study, row, written, circumstances)
        elif report.is_pdf(row):
            yield _document(imaging_study, row, circumstances)


def _report(imaging_study: Resource, row: Row, written: report.Report, circumstances: Circumstances) -> Resource:
    attributes = row["attributes"]
    built = _shared(imaging_study, row, circumstances, "0040A043", written.title)
    partial = text(attributes, "0040A491") == "PARTIAL"
    built["status"] = "partial" if partial else written.status
    conclusion = "\n".join(_conclusions(attributes, 0))
    if conclusion:
        built["conclusion"] = conclusion
    if written.by:
        built["resultsInterpreter"] = [{"display": written.by}]
    lines = (f"{'  ' * line.depth}{line.name}: {line.value}".rstrip(": ") for line in written.lines)
    content = base64.b64encode("\n".join(lines).encode()).decode("ascii")
    built["presentedForm"] = [{"contentType": "text/plain; charset=utf-8", "data": content, "title": written.title}]
    return built


def _document(imaging_study: Resource, row: Row, circumstances: Circumstances) -> Resource:
    attributes = row["attributes"]
    built = _shared(imaging_study, row, circumstances, "0040A043", text(attributes, "00420010") or "PDF")
    place = "/".join(
        ("studies", text(attributes, "0020000D"), "series", text(attributes, "0020000E"), "instances", row["uid"])
    )
    built["status"] = "final" if text(attributes, "0040A493") == "VERIFIED" else "unknown"
    built["presentedForm"] = [{"contentType": "application/pdf", "url": f"/dicom-web/{place}/rendered"}]
    return built


def _shared(imaging_study: Resource, row: Row, circumstances: Circumstances, concept: str, title: str) -> Resource:
    """What both have: identity, subject, order, study, time, code."""
    uid = f"urn:oid:{row['uid']}"
    codes = conversions.code_sequence(row["attributes"], concept, circumstances)
    built: Resource = {
        "resourceType": "DiagnosticReport",
        "id": resource_id("DiagnosticReport", "urn:dicom:uid", uid),
        "identifier": [{"system": "urn:dicom:uid", "value": uid}],
        "category": [CATEGORY],
        "code": codes[0] if codes else {"text": title},
        "subject": imaging_study["subject"],
        "imagingStudy": [{"reference": f"ImagingStudy/{imaging_study['id']}"}],
    }
    if "basedOn" in imaging_study:
        built["basedOn"] = imaging_study["basedOn"]
    moment = conversions.moment(row["attributes"], "00080023", "00080033", circumstances)
    if moment:
        built["effectiveDateTime"] = moment
    return built


def _conclusions(attributes: Attributes, depth: int) -> Iterator[str]:
    """The texts and codes of the conclusions in a content tree."""
    for item in report.items(attributes, "0040A730"):
        concept = (report.items(item, "0040A043") or [{}])[0] or {}
        value = report.value(item)
        if text(concept, "00080100") in CONCLUSIONS and value:
            yield value
        if depth < report.MAX_DEPTH:
            yield from _conclusions(item, depth + 1)

"""Reports as paragraphs of text: DiagnosticReport, Structured Report content trees (PS3.3 C.17.3), encapsulated PDF."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from adapters.dicom import dataset
from adapters.dicom.dataset import Attributes, text
from hub.errors import HubError
from hub.services.imaging_index import Row

Resource = dict[str, Any]
STRUCTURED = "1.2.840.10008.5.1.4.1.1.88."
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
MAX_LINES = 2000
MAX_DEPTH = 16


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a report: how deep it stands, what it names, and what it says."""

    depth: int
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Report:
    """A report as it is shown. ``status`` is a code of R4 DiagnosticReport.status."""

    title: str
    time: str
    status: str
    by: str
    lines: tuple[Line, ...]


def is_report(row: Row) -> bool:
    """Whether an instance is a Structured Report document."""
    return str(row["sopClass"]).startswith(STRUCTURED) and "0040A730" in row["attributes"]


def is_pdf(row: Row) -> bool:
    """Whether an instance is an Encapsulated PDF."""
    return str(row["sopClass"]) == PDF


def pdf(row: Row, file: bytes) -> bytes:
    """The document (PS3.3 C.24.2). HubError("not-found") when there is none that begins as a PDF does."""
    element = row["attributes"].get("00420011", {})
    data = file[row["header"] :]
    if row["transferSyntax"] == dataset.DEFLATED:
        data = dataset.inflate(data)
    if "InlineBinary" in element:
        content = base64.b64decode(element["InlineBinary"])
    else:
        offset, _, length = element.get("BulkDataURI", "").rpartition("/")[2].partition("-")
        content = data[int(offset) : int(offset) + int(length)] if length.isdecimal() else b""
    if not is_pdf(row) or not content.startswith(b"%PDF-"):
        raise HubError("not-found", "the instance has no PDF document")
    return content


# --- Structured Report ------------------------------------------------------------------------------------------------


def structured(attributes: Attributes) -> Report | None:
    """A content tree as lines; the title is its concept name (PS3.3 C.17.3.2)."""
    lines: list[Line] = []
    for item in items(attributes, "0040A730"):
        _content(item, 0, lines)
    if not lines:
        return None
    day, time = text(attributes, "00080023") or text(attributes, "00080020"), text(attributes, "00080033")
    when = f"{day[:4]}-{day[4:6]}-{day[6:8]}" if len(day) == 8 else day
    when += f" {time[:2]}:{time[2:4]}" if len(time) >= 4 else ""
    final = text(attributes, "0040A493") == "VERIFIED" or text(attributes, "0040A496") == "FINAL"
    observers = [text(item, "0040A075") for item in items(attributes, "0040A073")]
    return Report(
        _meaning(attributes, "0040A043"), when, "final" if final else "preliminary",
        ", ".join(_name(one) for one in observers if one), tuple(lines),
    )  # fmt: skip


def _content(item: Attributes, depth: int, lines: list[Line]) -> None:
    if depth > MAX_DEPTH or len(lines) >= MAX_LINES:
        return
    name, said = _meaning(item, "0040A043"), value(item)
    if name or said:
        lines.append(Line(depth, name, said))
    for below in items(item, "0040A730"):
        _content(below, depth + 1, lines)


def value(item: Attributes) -> str:
    """The value of a content item by its Value Type (PS3.3 table C.17.3-7)."""
    kind = text(item, "0040A040")
    if kind == "TEXT":
        return text(item, "0040A160")
    if kind == "CODE":
        return _meaning(item, "0040A168")
    if kind == "NUM":
        measured = (items(item, "0040A300") or [{}])[0]
        unit = (items(measured, "004008EA") or [{}])[0]
        short = text(unit, "00080100")
        return f"{text(measured, '0040A30A')} {short if short != '1' else ''}".strip()
    tags = {"PNAME": "0040A123", "DATE": "0040A121", "TIME": "0040A122", "DATETIME": "0040A120", "UIDREF": "0040A124"}
    found = text(item, tags.get(kind, ""))
    return _name(found) if kind == "PNAME" else found


def items(attributes: Attributes, tag: str) -> list[Attributes]:
    """The items of a sequence."""
    return [item or {} for item in attributes.get(tag, {}).get("Value") or []]


def _meaning(attributes: Attributes, tag: str) -> str:
    """Code Meaning of the first item of a code sequence."""
    return text((items(attributes, tag) or [{}])[0], "00080104")


def _name(value: str) -> str:
    """A person name as one reads it: the ideographic group, else the alphabetic one."""
    groups = value.split("=")
    if len(groups) > 1 and groups[1].strip("^ "):
        return groups[1].replace("^", "").strip()
    return groups[0].replace("^", " ").strip()


# --- DiagnosticReport -------------------------------------------------------------------------------------------------


def shown(resource: Resource) -> Report | None:
    """A DiagnosticReport with its results in ``contained``; None when it has no text."""
    lines = []
    for result in resource.get("contained", ()):
        if observed := _observed(result):
            lines.append(Line(0, _concept(result.get("code", {})), observed))
    if resource.get("conclusion"):
        lines.append(Line(0, "conclusion", str(resource["conclusion"])))
    for form in resource.get("presentedForm", ()):
        written = _text_form(form)
        if written:
            lines.append(Line(0, str(form.get("title", "")), written))
    if not lines:
        return None
    performers = [one["display"] for one in resource.get("performer", ()) if one.get("display")]
    when = str(resource.get("effectiveDateTime") or resource.get("issued") or "")[:16].replace("T", " ")
    title = _concept(resource.get("code", {}))
    return Report(title, when, str(resource.get("status", "")), ", ".join(performers), tuple(lines))


def _observed(result: Resource) -> str:
    quantity = result.get("valueQuantity")
    if quantity:
        return f"{quantity.get('value', '')} {quantity.get('unit', '')}".strip()
    return str(result.get("valueString") or _concept(result.get("valueCodeableConcept", {})))


def _concept(concept: Resource) -> str:
    coding = (concept.get("coding") or [{}])[0]
    return str(concept.get("text") or coding.get("display") or coding.get("code") or "")


def _text_form(form: Resource) -> str:
    """An attachment of plain text; others are not shown."""
    if not str(form.get("contentType", "")).startswith("text/plain"):
        return ""
    try:
        return base64.b64decode(form.get("data", "")).decode("utf-8", "replace")
    except binascii.Error:
        return ""

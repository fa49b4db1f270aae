"""What the text of a field becomes: primitive values, references, codes, and the few composites that are code.

A *build* takes the run, the text as sent and the level at which it stands, and gives an element, or None when the text
is no such value.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from adapters.mapping import conversions
from adapters.mapping.tables import CodeMap

if TYPE_CHECKING:
    from adapters.mapping.run import Run

NULL = '""'
NOTHING = object()
"""A code table's word for: known, and without an equivalent. The element is left out without complaint."""
MAX_REMEMBERED = 200
"""Longer texts are not kept."""
Build = Callable[["Run", str, int], Any]
"""A data type: (run, text as sent, level 0 = components, 1 = subcomponents) -> element or None."""


def primitive(convert: conversions.Convert) -> Build:
    def build(run: Run, text: str, level: int) -> Any:
        delimiters = run.delimiters
        if level == 0 and delimiters.component in text:
            text = text.split(delimiters.component, 1)[0]
        if level <= 1 and delimiters.subcomponent and delimiters.subcomponent in text:
            text = text.split(delimiters.subcomponent, 1)[0]
        if delimiters.escape and delimiters.escape in text:
            text = delimiters.unescape(text, run.codec)
        return convert(text, run.circumstances)

    return build


def elsewhere(position: str, build: Build) -> Build:
    """``OBX-3:CWE[CodeableConcept]``: a field, or component, of the segment under way or of another in view."""
    match = re.match(r"([A-Z][A-Z0-9]{2})-(\d+)(?:\.(\d+))?$", position)
    if match is None:
        raise ValueError(f"{position!r} is not a field")
    name, field, component = match[1], int(match[2]), int(match[3] or 0)

    def read(run: Run, text: str, level: int) -> Any:
        segment = run.segment if run.segment.name == name else run.latest.get(name)
        fields = segment.fields if segment is not None else ()
        piece = fields[field] if field < len(fields) else ""
        if run.delimiters.repetition:
            piece = piece.split(run.delimiters.repetition, 1)[0]
        if component:
            parts = piece.split(run.delimiters.component)
            piece = parts[component - 1] if component <= len(parts) else ""
        return build(run, piece, 1 if component else 0) if piece and piece != NULL else NOTHING

    return read


def remembering(build: Build) -> Build:
    """A build whose results are kept: the same text of the same sender is the same element."""

    def remembered(run: Run, text: str, level: int) -> Any:
        if len(text) > MAX_REMEMBERED:
            return build(run, text, level)
        key = (build, text)
        value = run.memory.get(key, run)
        if value is run:
            value = run.memory[key] = build(run, text, level)
        return copied(value) if isinstance(value, dict) else value

    return remembered


def copied(element: dict[str, Any]) -> dict[str, Any]:
    """A copy of an element that shares nothing that can change."""
    copy = element.copy()
    for name, value in element.items():
        if isinstance(value, dict):
            copy[name] = copied(value)
        elif isinstance(value, list):
            copy[name] = [copied(one) if isinstance(one, dict) else one for one in value]
    return copy


def referring(build: Build, type: str, pure: bool) -> Build:
    """A reference to the resource that a field describes; the same text is the same resource, looked at once."""
    described = remembering(build) if pure else build

    def refer(run: Run, text: str, level: int) -> Any:
        known = run.referred.get((build, text))
        if known is None:
            content = described(run, text, level)
            reference = None if content is None else run.refer(type, content)
            known = run.referred[build, text] = reference or {}
        return dict(known) if known else None

    return refer


def translating(build: Build, table: CodeMap, type: str) -> Build:
    """Codes by table. For ``code`` and ``Coding`` the target; for CodeableConcept the target beside the original."""

    def translate(run: Run, text: str, level: int) -> Any:
        value = build(run, text, level)
        if value is None or value is NOTHING:
            return value
        if isinstance(value, str):
            found = table.codes.get(value) or table.codes.get("*")
            if not found:
                return None
            return value if found[0].code == "=" else found[0].code or NOTHING
        codings = value.get("coding", [value]) if type == "CodeableConcept" else [value]
        found = None
        for coding in codings:
            found = table.codes.get(coding.get("code", "")) or found
            if "system" not in coding and "code" in coding and table.system:
                coding["system"] = table.system
        found = found or table.codes.get("*")
        if type == "CodeableConcept":
            present = {(coding.get("system"), coding.get("code")) for coding in codings}
            added = [_coding(code) for code in found or () if (code.system, code.code) not in present]
            return {**value, "coding": added + codings}
        if type == "Coding":
            return _coding(found[0]) if found else value
        return found[0].code or NOTHING if found else None

    return translate


def _coding(code: Any) -> dict[str, str]:
    names = (("system", code.system), ("code", code.code), ("display", code.display))
    return {name: value for name, value in names if value}


def _authority(*places: int) -> Build:
    """An assigning authority as Identifier.system: its namespace, universal id and type at these components."""

    def build(run: Run, text: str, level: int) -> Any:
        delimiters = run.delimiters
        delimiter = delimiters.component if level == 0 else delimiters.subcomponent if level == 1 else ""
        parts = text.split(delimiter) if delimiter else [text]
        names = [delimiters.unescape(parts[place - 1], run.codec) if place <= len(parts) else "" for place in places]
        return conversions.authority(names[0], names[1], names[2], run.circumstances)

    return build


def _facility(run: Run, text: str, level: int) -> Any:
    """The system of identifiers whose sender names no authority."""
    return conversions.authority("", "", "", run.circumstances)


def _words(run: Run, text: str, level: int) -> Any:
    """Any field as one text, its components joined by blanks."""
    delimiters = run.delimiters
    for delimiter in (delimiters.component, delimiters.subcomponent):
        if delimiter and delimiter in text:
            text = " ".join(part for part in text.split(delimiter) if part)
    return conversions.string(delimiters.unescape(text, run.codec), run.circumstances)


def _number(run: Run, text: str, level: int) -> Any:
    """XTN: ``+country area local Xextension`` of those that are there."""
    parts = [*text.split(run.delimiters.component), *[""] * 8]
    country, area, local, extension = (run.delimiters.unescape(part, run.codec).strip() for part in parts[4:8])
    words = (f"+{country.lstrip('+')}" if country else "", area, local, f"X{extension}" if extension else "")
    return conversions.string(" ".join(word for word in words if word), run.circumstances)


_COMPARED = re.compile(r"(<=|>=|<|>)?\s*(.+)$")


def _measured(run: Run, text: str, level: int) -> Any:
    """NM as a Quantity; ``<5``, which many laboratories send though it is an SN, with its comparator."""
    match = _COMPARED.match(run.delimiters.unescape(text, run.codec).strip())
    number = conversions.decimal(match[2], run.circumstances) if match else None
    if match is None or number is None:
        return NOTHING
    return {"comparator": match[1], "value": number} if match[1] else {"value": number}


def _unmeasured(run: Run, text: str, level: int) -> Any:
    """NM that holds no number, as a text: a result is not lost for its type."""
    return _words(run, text, level) if _measured(run, text, level) is NOTHING else NOTHING


def _media_type(main: int, sub: int) -> Build:
    """MIME type of ED and RP: type of data and its subtype (tables HL70191, HL70291)."""

    def build(run: Run, text: str, level: int) -> Any:
        parts = [*text.split(run.delimiters.component), *[""] * 5]
        kind, subtype = parts[main - 1].strip().lower(), parts[sub - 1].strip().lower()
        if "/" in subtype:
            return conversions.code(subtype, run.circumstances)
        if kind in ("", "ap", "multipart") or kind not in MEDIA:
            kind = "application"
        return f"{kind}/{subtype}" if subtype and re.match(r"[\w.+-]+$", subtype) else None

    return build


MEDIA = {"application", "audio", "image", "text", "video", "model", "message", "multipart"}


def _data(run: Run, text: str, level: int) -> Any:
    """ED.5: base64 as it is, anything else packed; hexadecimal (ED.4 ``Hex``) is read first."""
    encoding = run.parts[3].strip().lower() if len(run.parts) > 3 else ""
    plain = run.delimiters.unescape(text, run.codec)
    if encoding == "base64":
        return conversions.base64(plain, run.circumstances)
    try:
        content = bytes.fromhex(plain) if encoding == "hex" else plain.encode("utf-8", "replace")
    except ValueError:
        return None
    return base64.b64encode(content).decode("ascii")


def _packed_text(run: Run, text: str, level: int) -> Any:
    """A text as base64 of its UTF-8."""
    plain = run.delimiters.unescape(text, run.codec)
    return base64.b64encode(plain.encode("utf-8", "replace")).decode("ascii") or None


def _rate(run: Run, text: str, level: int) -> Any:
    """CD as a text; its sampling frequency (CD.5.1, hertz) is kept for the waveform that follows."""
    parts = [*text.split(run.delimiters.component), *[""] * 5]
    frequency = parts[4].split(run.delimiters.subcomponent, 1)[0] if run.delimiters.subcomponent else parts[4]
    run.sampling = conversions.decimal(frequency, run.circumstances) or run.sampling
    return _words(run, text, level)


def _sampled(run: Run, text: str, level: int) -> Any:
    """NA and MA (HL7 v2.5.1 7.14.1.3, 7.14.1.2) as SampledData, when a rate is known and every value is a number."""
    rows, columns = _waveform(run)
    if not rows or not run.sampling:
        return NOTHING
    origin: dict[str, Any] = {"value": 0}
    unit = run.segment.fields[6].split(run.delimiters.component, 1)[0] if len(run.segment.fields) > 6 else ""
    if unit:
        origin["unit"] = run.delimiters.unescape(unit, run.codec)
    period = conversions.decimal(f"{1000 / float(run.sampling):.6f}".rstrip("0").rstrip("."), run.circumstances)
    multiplexed = run.segment.fields[2] == "MA"
    return {"origin": origin, "period": period, "dimensions": columns if multiplexed else 1, "data": " ".join(rows)}


def _unsampled(run: Run, text: str, level: int) -> Any:
    """NA and MA as a text, when they are no SampledData."""
    rows, _ = _waveform(run)
    if rows and run.sampling:
        return NOTHING
    return _words(run, run.segment.fields[5], level)


def _waveform(run: Run) -> tuple[list[str], int]:
    """The numbers of OBX-5 and how many a row has; none when one is no number. Read once a segment."""
    if run.waveform is None or run.waveform[0] is not run.segment:
        delimiters, field = run.delimiters, run.segment.fields[5]
        lines = field.split(delimiters.repetition) if delimiters.repetition else [field]
        cells = [line.split(delimiters.component) for line in lines]
        values = [cell.strip() or "E" for line in cells for cell in line]
        good = all(value == "E" or _SAMPLE.fullmatch(value) for value in values)
        run.waveform = (run.segment, values if good else [], len(cells[0]))
    return run.waveform[1], run.waveform[2]


_SAMPLE = re.compile(r"[+-]?\d+(\.\d+)?")


def _canonical(type: str) -> Build:
    """The canonical URL (ours) of a definition that its sender knows by a code."""

    def build(run: Run, text: str, level: int) -> Any:
        code = run.delimiters.unescape(text.split(run.delimiters.component, 1)[0], run.codec).strip()
        if not code:
            return None
        return f"{conversions.OURS}/{type}/" + "/".join(
            quote(part, safe="") for part in (run.circumstances.facility, code)
        )

    return build


def _money(place: int, convert: conversions.Convert) -> Build:
    """A subcomponent of MO: amount or currency."""

    def build(run: Run, text: str, level: int) -> Any:
        parts = text.split(run.delimiters.subcomponent) if run.delimiters.subcomponent else [text]
        return convert(parts[place - 1], run.circumstances) if place <= len(parts) and parts[place - 1] else None

    return build


BUILT_IN: dict[str, Build] = {
    "HD[uri]": _authority(1, 2, 3), "EI[authority]": _authority(2, 3, 4), "CNN[authority]": _authority(9, 10, 11),
    "facility[uri]": _facility, "any[string]": _words, "XTN[number]": _number,
    "ED[mime]": _media_type(2, 3), "RP[mime]": _media_type(3, 4), "ED[base64]": _data,
    "TX[base64]": _packed_text, "MO[amount]": _money(1, conversions.decimal),
    "MO[currency]": _money(2, conversions.code), "ID[code]": primitive(conversions.code),
    "NM[Quantity]": _measured, "NM[string]": _unmeasured, "CD[string]": _rate,
    "NA[SampledData]": _sampled, "NA[string]": _unsampled, "CWE[url]": _canonical("ChargeItemDefinition"),
}  # fmt: skip
"""Maps that are no tables."""
IMPURE = frozenset({"CD[string]", "NA[SampledData]", "NA[string]"})
"""Those that look at more than the text."""

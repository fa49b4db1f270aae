"""International Patient Summary (HL7 IPS 2.0.0): a document Bundle of what is stored about a person.

Sections are the rows of ``summary.csv``. A required section without entries says so with ``emptyReason``; narratives
are in the language asked for (en, zh). What other hospitals have about the same person is referred to the one Patient.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from hub.fhir import reference, temporal

Resource = dict[str, Any]

PROFILES = "http://hl7.org/fhir/uv/ips/StructureDefinition/"
LOINC = "http://loinc.org"
EMPTY = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/list-empty-reason", "code": "unavailable"}]
}  # fmt: skip
TITLE = {"en": "Patient Summary", "zh": "患者摘要"}
HEADINGS = {"en": ("Date", "What", "Value"), "zh": ("日期", "内容", "结果")}
_DATES = (
    "effectiveDateTime", "onsetDateTime", "occurrenceDateTime", "performedDateTime", "authoredOn", "recordedDate",
    "dateAsserted", "recordedOn", "issued", "date",
)  # fmt: skip
_PERIODS = ("effectivePeriod", "onsetPeriod", "performedPeriod")
_CONCEPTS = ("code", "vaccineCode", "medicationCodeableConcept", "type")


@dataclass(frozen=True, slots=True)
class Section:
    """One row of the table; ``titles`` and ``empty`` by language."""

    code: str
    required: bool
    titles: dict[str, str]
    types: frozenset[str]
    path: str
    codes: frozenset[str]
    empty: dict[str, str]

    def takes(self, resource: Resource) -> bool:
        """Whether the resource belongs here."""
        if resource["resourceType"] not in self.types:
            return False
        return not self.codes or not self.codes.isdisjoint(_codes(resource.get(self.path)))


def _load() -> tuple[Section, ...]:
    lines = files("hub.services").joinpath("summary.csv").read_text(encoding="utf-8").splitlines()
    return tuple(
        Section(
            row["code"], row["need"] == "required", {"en": row["en"], "zh": row["zh"]}, frozenset(row["types"].split()),
            row["path"], frozenset(row["codes"].split()), {"en": row["empty_en"], "zh": row["empty_zh"]},
        )
        for row in csv.DictReader(line for line in lines if not line.startswith("#"))
    )  # fmt: skip


SECTIONS = _load()
TYPES = tuple(sorted({type for section in SECTIONS for type in section.types}))


def document(
    patient: Resource, others: Sequence[str], members: Sequence[Resource], referenced: Sequence[Resource],
    *, root: str, region: str, language: str, ids: Sequence[str], now: int,
) -> Resource:  # fmt: skip
    """The summary of ``patient``; ``others`` are references of Patients that are the same person.

    ``members`` are the resources of their compartments, ``referenced`` what those refer to; ``ids`` three fresh UUIDs,
    of the document, its Composition and its author; ``now`` in microseconds since 1970 UTC.
    """
    me = f"Patient/{patient['id']}"
    shown = [reference.rewrite(one, dict.fromkeys(others, me)) for one in members]
    sections = [made for section in SECTIONS if (made := _section(section, shown, language))]
    kept = {entry["reference"] for section in sections for entry in section.get("entry", ())}
    author = {"resourceType": "Organization", "id": ids[2], "name": region, "active": True}
    composition = {
        "resourceType": "Composition",
        "id": ids[1],
        "meta": {"profile": [PROFILES + "Composition-uv-ips"]},
        "language": "zh-CN" if language == "zh" else "en",
        "status": "final",
        "type": {"coding": [{"system": LOINC, "code": "60591-5", "display": "Patient summary Document"}]},
        "subject": {"reference": me},
        "date": temporal.instant(now),
        "author": [{"reference": f"Organization/{ids[2]}"}],
        "title": TITLE[language],
        "confidentiality": "N",
        "section": sections,
    }
    entries = [composition, patient, author, *(one for one in shown if _place(one) in kept), *referenced]
    return {
        "resourceType": "Bundle",
        "meta": {"profile": [PROFILES + "Bundle-uv-ips"]},
        "identifier": {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{ids[0]}"},
        "type": "document",
        "timestamp": temporal.instant(now),
        "entry": [{"fullUrl": f"{root}/{_place(one)}", "resource": one} for one in entries],
    }


def _place(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _section(section: Section, members: Sequence[Resource], language: str) -> Resource | None:
    own = sorted((one for one in members if section.takes(one)), key=_date, reverse=True)
    if not own and not section.required:
        return None
    title = section.titles[language]
    made: Resource = {
        "title": title,
        "code": {"coding": [{"system": LOINC, "code": section.code, "display": section.titles["en"]}]},
        "text": {"status": "generated", "div": _narrative(own, section.empty[language], language)},
    }
    if own:
        made["entry"] = [{"reference": _place(one)} for one in own]
    else:
        made["emptyReason"] = EMPTY
    return made


def _narrative(rows: Sequence[Resource], empty: str, language: str) -> str:
    """XHTML of a section: a table of date, what and value."""
    opening = '<div xmlns="http://www.w3.org/1999/xhtml">'
    if not rows:
        return f"{opening}<p>{escape(empty)}</p></div>"
    head = "".join(f"<th>{text}</th>" for text in HEADINGS[language])
    lines = "".join(
        f"<tr><td>{escape(_date(one)[:10])}</td><td>{escape(_what(one))}</td><td>{escape(_value(one))}</td></tr>"
        for one in rows
    )
    return f"{opening}<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"


def _date(resource: Resource) -> str:
    found = next((resource[name] for name in _DATES if isinstance(resource.get(name), str)), "")
    return found or next((resource[name].get("start", "") for name in _PERIODS if name in resource), "")


def _what(resource: Resource) -> str:
    found: Resource = next((resource[name] for name in _CONCEPTS if name in resource), {})
    if not found and "medicationReference" in resource:
        return str(resource["medicationReference"].get("display", ""))
    return _concept(found)


def _concept(concept: Resource) -> str:
    if concept.get("text"):
        return str(concept["text"])
    return next((str(one.get("display") or one.get("code", "")) for one in concept.get("coding", ())), "")


def _value(resource: Resource) -> str:
    quantity = resource.get("valueQuantity")
    if quantity:
        return f"{quantity.get('value', '')} {quantity.get('unit') or quantity.get('code', '')}".strip()
    if "valueCodeableConcept" in resource:
        return _concept(resource["valueCodeableConcept"])
    return str(resource.get("valueString") or resource.get("conclusion", ""))


def _codes(concepts: Any) -> set[str]:
    return {
        coding.get("code", "")
        for concept in (concepts if isinstance(concepts, list) else [])
        for coding in concept.get("coding", ())
    }

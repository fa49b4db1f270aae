"""DICOM JSON attributes -> FHIR R4 data types: the conversions that tables/ImagingStudy.csv may name.

Each takes the attributes of its level, the tag, and the circumstances; None means that there is nothing to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from adapters.dicom.dataset import Attributes, text
from hub.services.imaging_index import texts

DCM = "http://dicom.nema.org/resources/ontology/DCM"
OURS = "https://region-hub.example/fhir"
SCHEMES = {"DCM": DCM, "SCT": "http://snomed.info/sct", "LN": "http://loinc.org", "UCUM": "http://unitsofmeasure.org"}
"""Coding Scheme Designator (0008,0102) -> FHIR code system (PS3.16 table 8-1)."""
SIDES = {"L": ("7771000", "Left"), "R": ("24028007", "Right"), "B": ("51440002", "Right and left")}
REPRESENTATION = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
TIME_OF = {"00080020": "00080030", "00080021": "00080031"}
"""Date -> time of the same moment."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a conversion may depend on beside the attributes: the time zone of the region, the facility's name."""

    zone: ZoneInfo
    facility: str


Convert = Callable[[Attributes, str, Circumstances], Any]


def string(attributes: Attributes, tag: str, _: Circumstances) -> str | None:
    """string or id."""
    return text(attributes, tag).strip() or None


def unsigned(attributes: Attributes, tag: str, _: Circumstances) -> int | None:
    """unsignedInt; a negative or fractional number is left out."""
    value = text(attributes, tag)
    return int(value) if re.fullmatch(r"\d{1,9}", value) else None


def date_time(attributes: Attributes, tag: str, circumstances: Circumstances) -> str | None:
    """dateTime of a date and the time that belongs to it."""
    return moment(attributes, tag, TIME_OF[tag], circumstances)


def moment(attributes: Attributes, date_tag: str, time_tag: str, circumstances: Circumstances) -> str | None:
    """dateTime of DA and TM in Timezone Offset From UTC (0008,0201), else in the region's zone (PS3.3 C.12.1.1.8)."""
    day = re.fullmatch(r"(\d{4})[.]?(\d\d)[.]?(\d\d)", text(attributes, date_tag))
    if not day:
        return None
    date = "-".join(day.groups())
    time = re.fullmatch(r"(\d\d):?(\d\d)(?::?(\d\d)(?:\.(\d{1,6}))?)?", text(attributes, time_tag))
    try:
        found = datetime.fromisoformat(f"{date}T{time[1]}:{time[2]}:{time[3] or '00'}" if time else date)
    except ValueError:
        return None
    if not time:
        return date
    offset = re.fullmatch(r"([+-])(\d\d)(\d\d)", text(attributes, "00080201"))
    zone: timezone | ZoneInfo = circumstances.zone
    if offset:
        minutes = int(offset[2]) * 60 + int(offset[3])
        zone = timezone(timedelta(minutes=minutes if offset[1] == "+" else -minutes))
    return found.replace(tzinfo=zone).isoformat()


def study_identifier(attributes: Attributes, tag: str, _: Circumstances) -> list[dict[str, Any]] | None:
    """Study Instance UID as R4 ImagingStudy.identifier has it."""
    uid = text(attributes, tag)
    return [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}] if uid else None


def accession_identifier(attributes: Attributes, tag: str, circumstances: Circumstances) -> list[dict[str, Any]] | None:
    """Accession number; its system is its issuer's (0008,0051), else ours for the facility."""
    value = text(attributes, tag).strip()
    if not value:
        return None
    issuer = (attributes.get("00080051", {}).get("Value") or [{}])[0]
    universal, kind = text(issuer, "00400032"), text(issuer, "00400033")
    if universal and kind == "ISO":
        system = f"urn:oid:{universal}"
    else:
        system = f"{OURS}/authority/{text(issuer, '00400031') or circumstances.facility}/accession"
    kind_of = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}
    return [{"type": kind_of, "system": system, "value": value}]


def modality(attributes: Attributes, tag: str, _: Circumstances) -> dict[str, Any] | None:
    """Modality as a Coding of DCM; OT (other) when the series does not say (series.modality is 1..1)."""
    return {"system": DCM, "code": text(attributes, tag).strip().upper() or "OT"}


def modalities(attributes: Attributes, tag: str, _: Circumstances) -> list[dict[str, Any]] | None:
    """All modalities of the study."""
    return [{"system": DCM, "code": code} for code in texts(attributes.get(tag, {}))] or None


def human_names(attributes: Attributes, tag: str) -> list[dict[str, Any]]:
    """Person Name as HumanName, one for each component group (PS3.5 6.2.1), marked with its representation."""
    names = []
    for value in attributes.get(tag, {}).get("Value", ())[:1]:
        for group, code in (("Ideographic", "IDE"), ("Alphabetic", "ABC"), ("Phonetic", "SYL")):
            whole = str((value or {}).get(group, ""))
            family, given, middle, prefix, suffix = (part.strip() for part in (whole + "^^^^").split("^")[:5])
            name: dict[str, Any] = {"text": " ".join(part for part in (prefix, family, given, middle, suffix) if part)}
            if not any(letter.isalnum() for letter in name["text"]):
                continue
            parts = {
                "family": family,
                "given": [part for part in (given, middle) if part],
                "prefix": [prefix],
                "suffix": [suffix],
            }
            name |= {element: part for element, part in parts.items() if part and part != [""]}
            if group == "Ideographic":
                name["text"] = family + given + middle
            if len(value) > 1 or group != "Alphabetic":
                name["extension"] = [{"url": REPRESENTATION, "valueCode": code}]
            names.append(name)
    return names


def person_reference(attributes: Attributes, tag: str, _: Circumstances) -> dict[str, Any] | None:
    """A person known by name only."""
    names = human_names(attributes, tag)
    return {"display": names[0]["text"]} if names else None


def person_references(attributes: Attributes, tag: str, circumstances: Circumstances) -> list[dict[str, Any]] | None:
    """The same where the element repeats."""
    reference = person_reference(attributes, tag, circumstances)
    return [reference] if reference else None


def performer(attributes: Attributes, tag: str, circumstances: Circumstances) -> list[dict[str, Any]] | None:
    """Who made the series."""
    reference = person_reference(attributes, tag, circumstances)
    return [{"actor": reference}] if reference else None


def code_sequence(attributes: Attributes, tag: str, circumstances: Circumstances) -> list[dict[str, Any]] | None:
    """Code Sequence Macro items as CodeableConcepts (PS3.3 8.8)."""
    concepts = []
    for item in attributes.get(tag, {}).get("Value", ()):
        code = text(item, "00080100") or text(item, "00080119") or text(item, "00080120")
        scheme = text(item, "00080102")
        coding = {
            "system": SCHEMES.get(scheme) or f"{OURS}/CodeSystem/{circumstances.facility}/{scheme}" if scheme else None,
            "code": code, "display": text(item, "00080104"),
        }  # fmt: skip
        coding = {name: value for name, value in coding.items() if value}
        if coding:
            concepts.append({"coding": [coding]})
    return concepts or None


def concept_text(attributes: Attributes, tag: str, _: Circumstances) -> list[dict[str, Any]] | None:
    """A CodeableConcept that is text only."""
    value = text(attributes, tag).strip()
    return [{"text": value}] if value else None


def body_part(attributes: Attributes, tag: str, _: Circumstances) -> dict[str, Any] | None:
    """Body Part Examined: a defined term of PS3.16 Annex L, in a code system name of ours."""
    value = text(attributes, tag).strip().upper()
    return {"system": f"{OURS}/CodeSystem/body-part-examined", "code": value, "display": value} if value else None


def laterality(attributes: Attributes, tag: str, _: Circumstances) -> dict[str, Any] | None:
    """Laterality as SNOMED CT (PS3.16 CID 244)."""
    found = SIDES.get(text(attributes, tag).strip().upper())
    return {"system": "http://snomed.info/sct", "code": found[0], "display": found[1]} if found else None


def sop_class(attributes: Attributes, tag: str, _: Circumstances) -> dict[str, Any] | None:
    """SOP class as a Coding."""
    uid = text(attributes, tag)
    return {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{uid}"} if uid else None


CONVERSIONS: dict[str, Convert] = {
    convert.__name__: convert
    for convert in (
        string, unsigned, date_time, study_identifier, accession_identifier, modality, modalities, person_reference,
        person_references, performer, code_sequence, concept_text, body_part, laterality, sop_class,
    )
}  # fmt: skip

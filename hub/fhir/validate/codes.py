"""Codes in their systems and value sets (R4 4.1.4, 4.1.5), beyond the required codes that the structure checks.

What the definitions cannot say is asked of a :class:`Codes`; without one, only the form is checked.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

from hub.fhir.validate import parts
from hub.fhir.validate.report import Place, Report, Visit

UCUM = "http://unitsofmeasure.org"
MIME_TYPES = "http://hl7.org/fhir/ValueSet/mimetypes"
_FORMATS = ("xml", "json", "ttl")  # short for MIME types in CapabilityStatement.format (R4 3.1.0.1.11)
_HL7 = ("http://terminology.hl7.org/CodeSystem/", "http://hl7.org/fhir/")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_MAXIMUM = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet"


class Codes(Protocol):
    """What the validator asks of a terminology."""

    def validate_code(self, value_set: str, system: str, code: str) -> bool | None:
        """Whether the code is in the value set; ``system`` "" means any; None when that cannot be said here."""

    def displays(self, system: str, code: str) -> tuple[str, ...] | None:
        """The names of a code; () for one that a completely known system does not have; None for an unknown system."""


def coding(visit: Visit, report: Report, codes: Codes | None, strict: bool) -> None:
    """A Coding: its system, that the system has the code, and its name.

    ``strict`` makes a wrong name an error in HL7's own systems, whose names are all known here.
    """
    value, place = visit.value, visit.place
    system, code, display = value.get("system"), value.get("code"), value.get("display")
    if not isinstance(system, str):
        return
    if not _ABSOLUTE.fullmatch(system):
        report.add("system-relative", (place, "system"), value=system[:80])
        return
    if "/ValueSet/" in system and system.startswith(("http://hl7.org/", "http://terminology.hl7.org/")):
        report.add("system-valueset", (place, "system"), value=system)
        return
    if codes is None or not isinstance(code, str):
        return
    names = codes.displays(system, code)
    if names == ():
        report.add("code-unknown", (place, "code"), value=code, system=system)
    elif names and isinstance(display, str) and not _named(display, names):
        facts: dict[str, Any] = {"value": display, "system": system, "code": code, "expected": " / ".join(names[:5])}
        severity = "error" if strict and system.startswith(_HL7) else ""
        report.add("display-wrong", (place, "display"), severity=severity, **facts)


def _named(display: str, names: tuple[str, ...]) -> bool:
    plain = " ".join(display.lower().split())
    return any(plain == " ".join(name.lower().split()) for name in names)


def quantity(visit: Visit, report: Report, codes: Codes | None) -> None:
    """A Quantity with a UCUM code."""
    value = visit.value
    if codes is None or value.get("system") != UCUM or not isinstance(value.get("code"), str):
        return
    if codes.displays(UCUM, value["code"]) == ():
        report.add("unit-unknown", (visit.place, "code"), value=value["code"])


def binding(row: dict[str, Any], value: Any, model: str, place: Place, report: Report, codes: Codes | None) -> None:
    """An ElementDefinition.binding that the structure does not check: by a terminology, by strength.

    ``value`` is a code, Coding, CodeableConcept or Quantity.
    """
    pairs = pairs_of(value, model)
    if model == "CodeableConcept" and not pairs and row.get("strength") == "required":
        report.add("binding-missing", place, valueset=parts.string(row, "valueSet"))
    if codes is None or not pairs:
        return
    extensions = parts.objects(row, "extension")
    most = [parts.string(item, "valueCanonical") for item in extensions if item.get("url") == _MAXIMUM]
    strength, value_set = parts.string(row, "strength"), parts.string(row, "valueSet")
    if most and strength != "required":
        strength, value_set = "required", most[0]
    if strength not in ("required", "extensible") or not value_set:
        return
    if value_set.partition("|")[0] == MIME_TYPES and value in _FORMATS:
        return
    answers = [codes.validate_code(value_set, system, code) for system, code in pairs]
    if any(answers) or None in answers:
        return
    shown = ", ".join(f"{system}|{code}" if system else code for system, code in pairs)
    report.add(f"binding-{strength}", place, value=shown, valueset=value_set, expected=value_set)


def pairs_of(value: Any, model: str) -> list[tuple[str, str]]:
    """System and code of a code, Coding, CodeableConcept or Quantity."""
    if isinstance(value, str):
        return [("", value)]
    if not isinstance(value, dict):
        return []
    items = parts.objects(value, "coding") if model == "CodeableConcept" else [value]
    return [(parts.string(item, "system"), item["code"]) for item in items if isinstance(item.get("code"), str)]

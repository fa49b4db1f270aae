"""CodeSystems and ValueSets: what their invariants do not say (R4 4.8, 4.9)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hub.fhir.validate import parts
from hub.fhir.validate.codes import Codes
from hub.fhir.validate.report import Place, Report, Visit

Json = dict[str, Any]
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_HL7 = ("http://hl7.org/", "http://terminology.hl7.org/")
# Properties of concepts that every code system has, or that R4 defines for all (concept-properties).
_COMMON = frozenset({"inactive", "deprecated", "deprecationDate", "notSelectable", "parent", "child", "status"})
_MAX_DEPTH = 32


def code_system(visit: Visit, report: Report) -> None:
    """A CodeSystem: how many concepts it says it has, what it supplements, the properties of its concepts."""
    system, place = visit.value, visit.place
    content = parts.string(system, "content")
    if content == "supplement" and not parts.string(system, "supplements"):
        report.add("supplement-unnamed", place)
    concepts = list(_concepts(system, place, 0))
    count = system.get("count")
    if isinstance(count, int) and concepts:
        wrong = count != len(concepts) if content == "complete" else count < len(concepts)
        if wrong and content in ("complete", "fragment", "example"):
            report.add("concept-count", (place, "count"), value=count, found=len(concepts))
    declared = {parts.string(one, "code"): parts.string(one, "type") for one in parts.objects(system, "property")}
    for here, concept in concepts:
        for index, one in parts.numbered(concept, "property"):
            _property(one, declared, ((here, "property"), index), report)


def _concepts(owner: Json, place: Place, depth: int) -> Iterator[tuple[Place, Json]]:
    for index, concept in parts.numbered(owner, "concept"):
        here = ((place, "concept"), index)
        yield here, concept
        if depth < _MAX_DEPTH:
            yield from _concepts(concept, here, depth + 1)


def _property(one: Json, declared: dict[str, str], place: Place, report: Report) -> None:
    code = parts.string(one, "code")
    if code not in declared:
        if code not in _COMMON:
            report.add("property-unknown", (place, "code"), value=code)
        return
    kind = declared[code]
    member = next((name for name in one if name.startswith("value")), "")
    if member and kind and member != "value" + kind[0].upper() + kind[1:]:
        report.add("property-type", place, value=code, expected=kind, found=member.removeprefix("value"))


def value_set(visit: Visit, report: Report, codes: Codes | None) -> None:
    """A ValueSet: the systems that it draws from are code systems, and have the codes that it names."""
    compose, place = parts.object(visit.value, "compose"), (visit.place, "compose")
    for name in ("include", "exclude"):
        for index, row in parts.numbered(compose, name):
            _drawn(row, ((place, name), index), report, codes)


def _drawn(row: Json, place: Place, report: Report, codes: Codes | None) -> None:
    system = parts.string(row, "system")
    if not system:
        return
    if not _ABSOLUTE.fullmatch(system):
        report.add("system-relative", (place, "system"), value=system[:80])
    elif "/ValueSet/" in system and system.startswith(_HL7):
        report.add("system-valueset", (place, "system"), value=system)
    elif codes is not None:
        for index, concept in parts.numbered(row, "concept"):
            code = parts.string(concept, "code")
            if code and codes.displays(system, code) == ():
                here = (((place, "concept"), index), "code")
                report.add("code-unknown", here, severity="warning", value=code, system=system)

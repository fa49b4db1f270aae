"""StructureDefinitions: does a profile name what exists, and only narrow it (R4 5.1.0.4)?"""

from __future__ import annotations

import re
from typing import Any

from hub.errors import HubError
from hub.fhir import definitions, paths
from hub.fhir.elements import SYSTEM, Element, json_members, members, supertypes
from hub.fhir.validate import parts
from hub.fhir.validate.profiles import Library
from hub.fhir.validate.report import Place, Report, Visit

Json = dict[str, Any]
_BINDABLE = frozenset(
    {"code", "Coding", "CodeableConcept", "Quantity", "string", "uri", "Duration", "Age", "CodeableReference"}
)


def check(visit: Visit, report: Report, library: Library) -> None:
    """A StructureDefinition that constrains a type."""
    profile = visit.value
    kind, base_url = parts.string(profile, "type"), parts.string(profile, "baseDefinition")
    if profile.get("derivation") != "constraint" or kind not in definitions.load().types:
        return
    base = library.structure(base_url) if base_url else None
    if base is None:
        report.add("base-unknown", (visit.place, "baseDefinition"), url=base_url)
    elif base.get("type") != kind:
        report.add("base-type", (visit.place, "type"), found=kind, expected=base.get("type"))
    differential = parts.object(profile, "differential")
    above: Place = ((visit.place, "differential"), "element")
    for index, row in parts.numbered(differential, "element"):
        _element(row, kind, (above, index), report)


def search_parameter(visit: Visit, report: Report) -> None:
    """A SearchParameter: its expression is FHIRPath."""
    _expression(visit.value, visit.place, report)


def element(visit: Visit, report: Report) -> None:
    """An ElementDefinition: its constraints are FHIRPath, its constants of a type that it allows."""
    row, place = visit.value, visit.place
    for index, constraint in parts.numbered(row, "constraint"):
        _expression(constraint, ((place, "constraint"), index), report)
    types = {parts.string(one, "code") for one in parts.objects(row, "type")}
    if types:
        _constants(row, types, place, report)


def _expression(owner: Json, place: Place, report: Report) -> None:
    text = parts.string(owner, "expression")
    if not text:
        return
    try:
        paths.compile(text)
    except HubError as error:
        report.add("expression", (place, "expression"), value=text[:80], reason=error.diagnostics)


_CONSTANT = re.compile(r"(fixed|pattern|minValue|maxValue|defaultValue)([A-Z]\w*)")


def _constants(row: Json, types: set[str], place: Place, report: Report) -> None:
    """fixed[x], pattern[x], minValue[x], maxValue[x], defaultValue[x] have a type of the element."""
    if any(one.startswith(SYSTEM) for one in types):
        return
    names = {one.lower() for one in types}
    for member in row:
        found = _CONSTANT.fullmatch(member)
        if found is None or found[2].lower() in names:
            continue
        if not names & {one.lower() for one in supertypes(found[2])}:
            report.add("constant-type", (place, member), found=found[2], expected=", ".join(sorted(types)))


def _element(row: Json, kind: str, place: Place, report: Report) -> None:
    path = parts.string(row, "path")
    names = path.split(".")
    if names[0] != kind:
        report.add("path-unknown", (place, "path"), path=path, type=kind)
        return
    if len(names) == 1:
        return
    found = _find(names[1:], {kind})
    if found == []:
        report.add("path-unknown", (place, "path"), path=path, type=kind)
    for element in found or ():
        if "sliceName" not in row:
            _cardinality(row, element, place, report)
        base = {one["code"] for one in element.definition.get("type", ())}
        types = {parts.string(one, "code") for one in parts.objects(row, "type")} or base
        _narrowed(types, base, path, place, report)
        if "type" not in row:
            _constants(row, types, place, report)
        if "binding" in row and types and not types & _BINDABLE and "Extension" not in types:
            report.add("binding-type", (place, "binding"), path=path)


def _find(names: list[str], models: set[str]) -> list[Element] | None:
    """The elements a path may mean; None when the way goes through something open."""
    name, *rest = names
    found: list[Element] = []
    to: set[str] = set()
    for model in models:
        known = members(model)
        if not known or model == "Resource":
            return None
        plain = name.removesuffix("[x]")
        if plain in known:
            found.append(known[plain])
            to.update(known[plain].models.values())
        elif plain in json_members(model):
            element, chosen = json_members(model)[plain]
            found.append(element)
            to.add(chosen)
    if not found or not rest:
        return found
    return _find(rest, to)


def _narrowed(types: set[str], base: set[str], path: str, place: Place, report: Report) -> None:
    """Each type is one that the base has, or a kind of it."""
    known = definitions.load().types
    if any(one.startswith(SYSTEM) for one in base):
        return
    for one in sorted(types):
        if base and one in known and not base & {*supertypes(one), "Resource", "*"}:
            report.add("type-widened", (place, "type"), path=path, found=one, expected=", ".join(sorted(base)))


def _cardinality(row: Json, element: Element, place: Place, report: Report) -> None:
    least, most = row.get("min"), row.get("max")
    base_least, base_most = element.definition["min"], element.definition["max"]
    facts: Json = {"path": row.get("path"), "expected": f"{base_least}..{base_most}"}
    if isinstance(least, int) and least < base_least:
        report.add("cardinality-widened", (place, "min"), found=f"min {least}", **facts)
    if isinstance(most, str) and base_most != "*" and (most == "*" or (most.isdigit() and int(most) > int(base_most))):
        report.add("cardinality-widened", (place, "max"), found=f"max {most}", **facts)

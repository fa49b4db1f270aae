"""Structure by the base definitions, compiled to closures: elements, cardinality, formats, required codes.

One closure a model walks an object's members once. Whatever needs more than the object itself (invariants, references,
profiles) is left to the passes after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hub.fhir.definitions import Definitions
from hub.fhir.elements import Element, is_primitive, members, type_of
from hub.fhir.validate import parts, primitives
from hub.fhir.validate.report import Frame, Place, Report, Visit

Json = dict[str, Any]
# (value, place, report)
Item = Callable[[Any, Place, Report], None]
# (value of the member, place of the member, report, object it is a member of)
Member = Callable[[Any, Place, Report, Json], None]


class Structure:
    """The structural checks of one set of definitions; models are compiled when first met."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._models: dict[str, Callable[[Json, Place, Report], None]] = {}
        self._primitives = {
            name: primitives.check(name) for name, kind in definitions.types.items() if kind == "primitive-type"
        }

    def resource(self, value: Any, place: Place, report: Report) -> None:
        """A resource of any type."""
        if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str):
            report.add("resource-expected", place)
        elif value["resourceType"] not in self._definitions.resource_types:
            report.add("resource-type", place, value=value["resourceType"])
        else:
            outer = report.frame
            report.frame = Frame(value, place, outer, _role(outer, place))
            self.model(value["resourceType"])(value, place, report)
            if report.visits is not None:
                report.visits.append(Visit({}, value["resourceType"], value, place, report.frame))
            report.frame = outer

    def model(self, model: str) -> Callable[[Json, Place, Report], None]:
        found = self._models.get(model)
        if found is None:
            found = self._models[model] = self._compile(model)
        return found

    def _compile(self, model: str) -> Callable[[Json, Place, Report], None]:
        table, required = self._tables(model)
        if self._definitions.types.get(model) == "resource":
            table["resourceType"] = (_nothing, "")
        shown = model if "." in model else type_of(model)

        def check(value: Json, place: Place, report: Report) -> None:
            chosen: set[str] | None = None
            for name, item in value.items():
                entry = table.get(name)
                if entry is None:
                    report.add("element-unknown", (place, name), model=shown, name=name)
                    continue
                member, choice = entry
                member(item, (place, name), report, value)
                if choice:
                    chosen = chosen if chosen is not None else set()
                    if choice in chosen:
                        report.add("choice-twice", (place, name), name=choice)
                    chosen.add(choice)
            for name, keys, least in required:
                if keys[0] not in value and not any(key in value for key in keys):
                    report.add("element-required", place, name=name, min=least)

        return check

    def _tables(self, model: str) -> tuple[dict[str, tuple[Member, str]], list[tuple[str, tuple[str, ...], int]]]:
        """JSON member name -> check and choice it belongs to; the required elements with their member names and min."""
        table: dict[str, tuple[Member, str]] = {}
        required: list[tuple[str, tuple[str, ...], int]] = []
        for element in members(model).values():
            choice = element.name if len(element.models) > 1 else ""
            for key, to in element.models.items():
                table[key] = (self._member(element, key, to), choice)
                if is_primitive(to):
                    table["_" + key] = (_companion(self, key, element.many), "")
            if element.definition["min"] > 0:
                keys = tuple(found for key in element.models for found in (key, "_" + key))
                required.append((element.name, keys, element.definition["min"]))
        return table, required

    # --- members ------------------------------------------------------------------------------------------------------

    def _member(self, element: Element, key: str, model: str) -> Member:
        item = self._item(element, model)
        return _many(item, key, is_primitive(model)) if element.many else _single(item, key)

    def _item(self, element: Element, model: str) -> Item:
        """The check of one value."""
        if model == "Resource":
            return self.resource
        if is_primitive(model):
            plain = self._bound_code(element, self._primitive(element, model), model)
            return (
                _visited(plain, element.definition, model)
                if _watched(element, model, self._definitions.codes)
                else plain
            )
        coded = self._bound_coding(element, model)
        type_name = type_of(model)
        models, compile_, definition = self._models, self.model, element.definition

        def check(value: Any, place: Place, report: Report) -> None:
            if type(value) is not dict:
                report.add("null" if value is None else "object-expected", place, type=type_name)
            elif not value or (len(value) == 1 and "id" in value):
                report.add("object-empty", place)
            else:
                (models.get(model) or compile_(model))(value, place, report)
                if coded is not None:
                    coded(value, place, report)
                if report.visits is not None and report.frame is not None:
                    report.visits.append(Visit(definition, model, value, place, report.frame))

        return check

    def _primitive(self, element: Element, model: str) -> Item:
        """The check of a primitive; the types of ids are not said by the definitions (R4 2.24.0.3, 2.26.3.1)."""
        base = element.definition.get("base", {}).get("path", element.path)
        return _IDS.get(base) or self._primitives[model]

    def _bound_coding(self, element: Element, model: str) -> Item | None:
        """The required binding of a Coding or CodeableConcept: one coding is in the value set (R4 4.1.5)."""
        binding = element.definition.get("binding", {})
        if binding.get("strength") != "required" or model not in ("Coding", "CodeableConcept"):
            return None
        systems = self._definitions.codes(binding["valueSet"])
        if systems is None:
            return None
        name = binding["valueSet"].partition("|")[0]

        def check(value: Json, place: Place, report: Report) -> None:
            codings = parts.objects(value, "coding") if model == "CodeableConcept" else [value]
            pairs = [(parts.string(one, "system"), parts.string(one, "code")) for one in codings]
            if any(code in systems.get(system, ()) for system, code in pairs):
                return
            if any(code for _, code in pairs):
                shown = ", ".join(f"{system}|{code}" for system, code in pairs)
                report.add("binding-required", place, value=shown, valueset=name, expected=_shown(systems))
            elif model == "CodeableConcept":
                report.add("binding-missing", place, valueset=name)

        return check

    def _bound_code(self, element: Element, plain: Item, model: str) -> Item:
        binding = element.definition.get("binding", {})
        if binding.get("strength") != "required" or model not in ("code", "string", "uri"):
            return plain
        systems = self._definitions.codes(binding["valueSet"])
        if systems is None:
            return plain
        codes = frozenset().union(*systems.values())
        name = binding["valueSet"].partition("|")[0]
        shown = _shown(systems)

        def check(value: Any, place: Place, report: Report) -> None:
            if type(value) is str and value in codes:
                return
            before = len(report.findings)
            plain(value, place, report)
            if len(report.findings) == before:
                report.add("binding-required", place, value=value, valueset=name, expected=shown)

        return check


def _shown(systems: dict[str, frozenset[str]]) -> str:
    codes = sorted(code for codes in systems.values() for code in codes)
    return ", ".join(codes[:20]) + (", ..." if len(codes) > 20 else "")


_IDS = {"Resource.id": primitives.check("id"), "Element.id": primitives.check("Element.id")}
MAXIMUM = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet"
# Primitives that later passes look at.
_WATCHED = frozenset({"xhtml", "canonical", "url", "uri", "oid", "uuid", "date", "dateTime", "instant"})


def _watched(element: Element, model: str, codes: Callable[[str], Any]) -> bool:
    keys = {constraint["key"] for constraint in element.definition.get("constraint", ())}
    binding = element.definition.get("binding", {})
    open_set = model == "code" and binding.get("strength") == "required" and not codes(binding["valueSet"])
    return model in _WATCHED or bool(keys - {"ele-1"}) or open_set or _has_maximum(binding)


def _has_maximum(binding: Json) -> bool:
    return any(item["url"] == MAXIMUM for item in binding.get("extension", ()))


def _visited(item: Item, definition: Json, model: str) -> Item:
    def check(value: Any, place: Place, report: Report) -> None:
        item(value, place, report)
        if report.visits is not None and report.frame is not None and type(value) is str:
            report.visits.append(Visit(definition, model, value, place, report.frame))

    return check


def _nothing(value: Any, place: Place, report: Report, owner: Json) -> None:
    """resourceType has been looked at before its members are."""


def _role(outer: Frame | None, place: Place) -> str:
    """How a resource stands in the outer one: by the member it is in."""
    if outer is None:
        return ""
    above = place[0]
    if isinstance(place[1], int) and above is not None and above[1] == "contained":
        return "contained"
    return "entry" if outer.type == "Bundle" else "parameter"


def _single(item: Item, key: str) -> Member:
    def check(value: Any, place: Place, report: Report, owner: Json) -> None:
        if type(value) is list:
            report.add("array-unexpected", place, name=key)
        else:
            item(value, place, report)

    return check


def _many(item: Item, key: str, primitive: bool) -> Member:
    def check(value: Any, place: Place, report: Report, owner: Json) -> None:
        if type(value) is not list:
            report.add("array-expected", place, name=key)
            return
        if not value:
            report.add("array-empty", place, name=key)
        for index, one in enumerate(value):
            if one is not None or not primitive or not _extended(owner.get("_" + key), index):
                item(one, (place, index), report)

    return check


def _extended(companions: Any, index: int) -> bool:
    """Whether the primitive without value at ``index`` has an extension."""
    return type(companions) is list and index < len(companions) and type(companions[index]) is dict


def _aligned(companions: list[Any], values: Any) -> bool:
    return type(values) is list and len(companions) <= len(values)


def _companion(structure: Structure, key: str, many: bool) -> Member:
    """The check of ``_name``: extensions and id of a primitive, one for each value."""
    element = structure.model

    def one(value: Any, place: Place, report: Report) -> None:
        if type(value) is not dict:
            report.add("companion", place, name=key)
        elif not value or (len(value) == 1 and "id" in value and place[1] != "_" + key):
            report.add("object-empty", place)
        else:
            element("Element")(value, place, report)

    def check(value: Any, place: Place, report: Report, owner: Json) -> None:
        if not many:
            one(value, place, report)
        elif type(value) is not list or not any(value) or not _aligned(value, owner.get(key, value)):
            report.add("companion", place, name=key)
        else:
            for index, item in enumerate(value):
                if item is not None:
                    one(item, (place, index), report)

    return check

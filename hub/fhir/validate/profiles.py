"""Profiles as trees of constraints (R4 5.1).

A *shape* holds only what a profile says beyond the base definition: the merged ElementDefinition of one element, the
shapes of the children it constrains, and its slices. It is made from a snapshot, or from the shape of the base profile
and a differential; so a profile without a snapshot needs no other treatment.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hub.errors import HubError
from hub.fhir import definitions
from hub.fhir.definitions import CANONICAL, Definitions
from hub.fhir.elements import json_members, members
from hub.fhir.validate import parts
from hub.fhir.validate.invariants import Constraint, compiled

Json = dict[str, Any]
MAX_BASES = 32
MAX_FOUND = 500  # definitions found elsewhere that are kept
# JSON shapes of the members that are read; a member of another shape is left out.
_SHAPES = {
    "min": int, "max": str, "maxLength": int, "type": list, "constraint": list, "binding": dict, "slicing": dict,
}  # fmt: skip


@dataclass(slots=True)
class Shape:
    """The constraints of one element: ``rules`` as an ElementDefinition, by child name, and by slice name."""

    name: str
    model: str = ""
    rules: Json = field(default_factory=dict)
    constraints: tuple[Constraint, ...] = ()
    children: dict[str, Shape] = field(default_factory=dict)
    slices: dict[str, Shape] = field(default_factory=dict)
    marks: dict[str, Json] = field(default_factory=dict)  # of a slice: the rules at a discriminator's path

    def child(self, name: str) -> Shape:
        """The shape of a child element, made when it is not constrained yet; ``valueQuantity`` is a slice of value."""
        element = members(self.model).get(name)
        if element is None and self.model:
            choice, model = json_members(self.model).get(name, (None, ""))
            if choice is not None:
                return self.child(choice.name).slice(name, {"type": [{"code": model}]})
        if name not in self.children:
            model = next(iter(element.models.values())) if element is not None and len(element.models) == 1 else ""
            self.children[name] = Shape(name, model)
        return self.children[name]

    def slice(self, name: str, rules: Json | None = None) -> Shape:
        """A slice, made when it is not there yet."""
        if name not in self.slices:
            self.slices[name] = Shape(self.name, self.model, dict(rules or {}))
            self.slices[name].narrow()
        return self.slices[name]

    def narrow(self) -> None:
        """Sets the model when the rules leave one type."""
        types = self.rules.get("type", ())
        if len(types) == 1 and (not self.model or "." not in self.model):
            self.model = _model(str(types[0].get("code", "")), self.model)

    def merge(self, element: Json) -> None:
        """Lays an ElementDefinition over the rules."""
        kept: Json = {key: value for key, value in element.items() if isinstance(value, _SHAPES.get(key, object))}
        for name in ("type", "constraint"):
            if name in kept:
                kept[name] = parts.objects(kept, name)
        if "constraint" in kept:
            known = {parts.string(row, "key") for row in self.rules.get("constraint", ())}
            more = [row for row in kept["constraint"] if parts.string(row, "key") not in known]
            kept["constraint"] = [*self.rules.get("constraint", ()), *more]
        self.rules.update(kept)
        self.narrow()


def _model(code: str, before: str) -> str:
    if code in ("BackboneElement", "Element") and before:
        return before
    if code.startswith("http://hl7.org/fhirpath/System."):
        return "string"
    return code


class Library:
    """StructureDefinitions by canonical url: those of R4, and those that are loaded; and loaded Questionnaires.

    ``find`` is asked for what is neither, by type and canonical; its answers are kept until ``forget``.
    """

    def __init__(self, base: Definitions, find: Callable[[str, str], Json | None] | None = None) -> None:
        self._base = base
        self._find = find
        self._found: dict[tuple[str, str], Json | None] = {}
        self._loaded: dict[str, Json] = {}
        self._shapes: dict[str, Shape] = {}
        self._questionnaires: dict[str, Json] = {}

    def add(self, structure: Json) -> None:
        """Loads a StructureDefinition or Questionnaire. Raises HubError ``value`` when it has no url or type."""
        if structure.get("resourceType") == "Questionnaire":
            self._questionnaires[str(structure.get("url"))] = structure
            return
        url = structure.get("url")
        if not isinstance(url, str) or not isinstance(structure.get("type"), str):
            raise HubError("value", "A StructureDefinition needs url and type.", "StructureDefinition")
        self._loaded[url] = structure
        if isinstance(structure.get("version"), str):
            self._loaded[f"{url}|{structure['version']}"] = structure
        self._shapes.clear()

    def structure(self, canonical: str) -> Json | None:
        """A StructureDefinition by canonical url; a version that is not loaded finds the url's own."""
        url = canonical.partition("|")[0]
        found = self._loaded.get(canonical) or self._loaded.get(url) or self._base.structure(url)
        return found or self._asked("StructureDefinition", canonical)

    def questionnaire(self, canonical: str) -> Json | None:
        """A loaded Questionnaire by canonical url."""
        return self._questionnaires.get(canonical.partition("|")[0]) or self._asked("Questionnaire", canonical)

    def forget(self) -> None:
        """Forgets what was found: it may have changed."""
        self._found.clear()
        self._shapes.clear()

    def _asked(self, type: str, canonical: str) -> Json | None:
        if self._find is None:
            return None
        key = type, canonical
        if key not in self._found:
            if len(self._found) >= MAX_FOUND:
                self.forget()
            self._found[key] = self._find(type, canonical)
        return self._found[key]

    def shape(self, canonical: str) -> Shape | None:
        """The shape of a profile; None when it is not known, or is a base type, which constrains nothing further."""
        if canonical not in self._shapes:
            structure = self.structure(canonical)
            if structure is None or _is_base(structure):
                return None
            self._shapes[canonical] = prune(self._build(structure, 0))
        return self._shapes[canonical]

    def _build(self, structure: Json, depth: int) -> Shape:
        if depth > MAX_BASES:
            raise HubError("value", f"The base definitions of {structure['url']} run in a circle.")
        kind = str(structure["type"]).rpartition("/")[2]
        elements = parts.objects(parts.object(structure, "snapshot"), "element")
        if elements:
            return apply(Shape(kind, kind), elements)
        base = self.structure(str(structure.get("baseDefinition", "")))
        shape = Shape(kind, kind)
        if base is not None and not _is_base(base):
            shape = copy.deepcopy(self._build(base, depth + 1))
        return apply(shape, parts.objects(parts.object(structure, "differential"), "element"))


_CHECKED = ("min", "max", "type", "binding", "slicing", "constraint", "maxLength")
_VALUED = ("fixed", "pattern", "minValue", "maxValue")


def prune(shape: Shape, base: Json | None = None, sliced: bool = False) -> Shape:
    """Takes out what the base definition says already, so that a check only looks at what the profile adds."""
    kept = {key: value for key, value in shape.rules.items() if key in _CHECKED or key.startswith(_VALUED)}
    rows = [
        row
        for row in kept.pop("constraint", ())
        if (parts.string(row, "key"), parts.string(row, "expression")) not in _known()
    ]
    shape.constraints = compiled(rows)
    if base is not None and not sliced:
        kept = {key: value for key, value in kept.items() if base.get(key) != value or key.startswith(_VALUED)}
    shape.rules = kept
    for name, child in list(shape.children.items()):
        element = members(shape.model).get(name)
        prune(child, element.definition if element is not None else None)
        if not (child.rules or child.constraints or child.children or child.slices):
            del shape.children[name]
    for one in shape.slices.values():
        prune(one, base, sliced=True)
    return shape


def _is_base(structure: Json) -> bool:
    return structure.get("derivation") != "constraint" or structure["url"] == CANONICAL + str(structure["type"])


def apply(shape: Shape, elements: list[Json]) -> Shape:
    """Lays ElementDefinitions, in the order of a snapshot or differential, over a shape."""
    current: dict[str, str] = {}  # path -> slice that the elements below belong to, for elements without id
    for element in elements:
        target = shape
        for name, sliced in _steps(element, current):
            target = target.child(name)
            if sliced:
                target = target.slice(sliced)
        target.merge(element)
    return shape


def _steps(element: Json, current: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(child name, slice name or "") from below the root to the element."""
    path = str(element.get("path", "")).split(".")
    named = str(element.get("id") or "").split(".")
    if len(named) == len(path):
        for name, step in zip(path[1:], named[1:], strict=True):
            yield name.removesuffix("[x]"), step.partition(":")[2]
        return
    here = ".".join(path)
    for known in [known for known in current if known == here or known.startswith(here + ".")]:
        del current[known]
    if element.get("sliceName"):
        current[here] = str(element["sliceName"])
    for index in range(1, len(path)):
        yield path[index].removesuffix("[x]"), current.get(".".join(path[: index + 1]), "")


@cache
def _known() -> frozenset[tuple[str, str]]:
    """Key and expression of every constraint of the base definitions; they are checked with the base."""
    found: set[tuple[str, str]] = set()
    loaded = definitions.load()
    for name in loaded.types:
        structure = loaded.structure(name)
        for element in structure["snapshot"]["element"] if structure else ():
            found.update((row["key"], row.get("expression", "")) for row in element.get("constraint", ()))
    return frozenset(found)

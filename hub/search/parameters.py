"""The search parameters of each resource type: official R4, ours, and those left out with a reason.

Official definitions are used unedited. ``local.csv`` adds our own or mends a row of the official table that cannot
work as printed, each with its reason; ``unsupported.csv`` names what the hub does not answer, so that a search for it
and the CapabilityStatement say the same. What is in :meth:`Registry.of` is indexed, searched and declared.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from hub.errors import HubError
from hub.fhir import elements
from hub.fhir.definitions import Definitions

ParameterType = Literal["number", "date", "string", "token", "reference", "composite", "quantity", "uri", "special"]

OURS = "https://region-hub.example/fhir/SearchParameter/"
_OFFICIAL = "http://hl7.org/fhir/SearchParameter/"
_EXAMPLES = frozenset({_OFFICIAL + name for name in ("example", "example-reference", "example-extension")})
_RESOLVED = re.compile(r"resolve\(\) is (\w+)\)$")
_LEADING = re.compile(r"\(*([A-Z]\w*)")


@dataclass(frozen=True, slots=True)
class Component:
    """One part of a composite parameter: the parameter whose rules it follows, and its path from the shared element."""

    code: str
    type: ParameterType
    expression: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """A search parameter as it applies to one resource type (R4 3.1.1.4.2).

    ``base`` is the type that declares it; ``expression`` the FHIRPath reduced to the type it applies to; ``targets``
    the resource types a reference may have; ``elements`` the FHIR types of the elements it finds (empty when not known
    beforehand, as for extensions); ``systems`` the code systems that elements of type code imply; ``union`` the codes
    of the parameters that together say the same, so that it needs no entries of its own (``combo-code``).
    """

    code: str
    type: ParameterType
    url: str
    base: str
    expression: str
    targets: tuple[str, ...] = ()
    components: tuple[Component, ...] = ()
    elements: frozenset[str] = frozenset()
    systems: frozenset[str] = frozenset()
    union: tuple[str, ...] = ()


class Registry:
    """All search parameters, by resource type and code.

    ``types`` are the concrete resource types. ``unsupported`` maps (base, code) to the reason. Raises
    HubError("configuration") when a row of our tables names a parameter or type that does not exist.
    """

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self.types = definitions.resource_types
        self._by_url = {item["url"]: item for item in definitions.search_parameters}
        self._declared: dict[str, dict[str, dict[str, Any]]] = {}
        for item in definitions.search_parameters:
            for base in item.get("base", ()) if item["url"] not in _EXAMPLES else ():
                self._declared.setdefault(base, {})[item["code"]] = item
        self._apply_local()
        self.unsupported = {(row["base"], row["code"]): row["reason"] for row in _rows("unsupported.csv")}
        for base, code in self.unsupported:
            if code not in self._declared.get(base, {}):
                raise HubError("configuration", f"unsupported.csv: {base} has no parameter {code}", f"{base}.{code}")
        self._of: dict[str, dict[str, Parameter]] = {}

    def of(self, type: str) -> dict[str, Parameter]:
        """The supported parameters of a resource type by code, its own and the inherited ones."""
        found = self._of.get(type)
        if found is None:
            if type not in self.types and type not in ("Resource", "DomainResource"):
                raise HubError("type-unknown", f"{type!r} is not an R4 resource type")
            found = {}
            for base in reversed(elements.supertypes(type)):
                for code, item in self._declared.get(base, {}).items():
                    if (base, code) not in self.unsupported:
                        found[code] = self._parameter(type, base, item)
            found = {code: replace(one, union=_union(one, found)) for code, one in found.items()}
            self._of[type] = found
        return found

    def common(self, types: tuple[str, ...]) -> dict[str, Parameter]:
        """The parameters that all these types share with one meaning (R4 3.1.1.4.24); no types: those of Resource."""
        if len(types) == 1:
            return self.of(types[0])
        merged = dict(self.of(types[0] if types else "Resource"))
        for type in types[1:]:
            other = self.of(type)
            merged = {
                code: replace(
                    one,
                    targets=tuple(dict.fromkeys((*one.targets, *other[code].targets))),
                    elements=one.elements | other[code].elements,
                    systems=one.systems | other[code].systems if one.systems and other[code].systems else frozenset(),
                )
                for code, one in merged.items()
                if code in other and other[code].type == one.type and other[code].components == one.components
            }
        return merged

    def reason(self, types: tuple[str, ...], code: str) -> str | None:
        """Why a declared parameter is not supported for these types; None when it is or is not declared."""
        for type in types or ("Resource",):
            for base in elements.supertypes(type):
                if (base, code) in self.unsupported:
                    return self.unsupported[base, code]
        return None

    def _apply_local(self) -> None:
        for row in _rows("local.csv"):
            declared = self._declared.setdefault(row["base"], {})
            given: dict[str, Any] = {name: row[name] for name in ("type", "expression") if row[name]}
            if row["component"]:
                pairs = [part.split("=", 1) for part in row["component"].split(";")]
                given["component"] = [{"definition": _OFFICIAL + name, "expression": path} for name, path in pairs]
            if row["target"]:
                given["target"] = row["target"].split()
            official = declared.get(row["code"], {"url": f"{OURS}{row['base']}-{row['code']}", "code": row["code"]})
            declared[row["code"]] = {**official, **given}

    def _parameter(self, type: str, base: str, item: dict[str, Any]) -> Parameter:
        expression = _reduced(item.get("expression", ""), type)
        found = _found(expression, type)
        return Parameter(
            code=item["code"],
            type=item["type"],
            url=item["url"],
            base=base,
            expression=expression,
            targets=_targets(item, expression, self.types),
            components=tuple(self._component(part) for part in item.get("component", ())),
            elements=frozenset(kind for kind, _ in found),
            systems=_systems(found, self._definitions) if item["type"] == "token" else frozenset(),
        )

    def _component(self, part: dict[str, str]) -> Component:
        definition = self._by_url.get(part["definition"])
        if definition is None:
            raise HubError("configuration", f"local.csv: there is no SearchParameter {part['definition']}")
        return Component(definition["code"], definition["type"], part["expression"])


def _rows(name: str) -> list[dict[str, str]]:
    lines = files("hub.search").joinpath(name).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def _targets(item: dict[str, Any], expression: str, types: frozenset[str]) -> tuple[str, ...]:
    if item["type"] != "reference":
        return ()
    if resolved := _RESOLVED.search(expression):
        return (resolved[1],)
    named = [name for name in item.get("target", ()) if name in types]
    return tuple(named or sorted(types))


def alternatives(expression: str) -> list[str]:
    """The parts of a union ``a | b`` of the search parameter table (which has no | inside parentheses)."""
    return [part.strip() for part in expression.split("|")]


def _reduced(expression: str, type: str) -> str:
    """Only the alternatives of an expression shared by many types that start at this one."""
    line = elements.supertypes(type)
    parts = [
        part
        for part in alternatives(expression)
        if (found := _LEADING.match(part)) is None or found[1] in line or found[1] == "Resource"
    ]
    return " | ".join(parts)


def _union(parameter: Parameter, others: dict[str, Parameter]) -> tuple[str, ...]:
    """The parameters that together say the same: combo-code is code and component-code, phonetic is name."""
    if parameter.code == "phonetic":
        return ("name",)
    if not parameter.code.startswith("combo-"):
        return ()
    pair = (parameter.code.removeprefix("combo-"), parameter.code.replace("combo-", "component-", 1))
    if any(code not in others for code in pair):
        return ()
    together = {part for code in pair for part in alternatives(others[code].expression)}
    return pair if together == set(alternatives(parameter.expression)) else ()


# --- the types of the elements a path finds ---------------------------------------------------------------------------

_FILTERS = re.compile(r"\.where\((?:[^()]|\([^()]*\))*\)|\[\d+\]")
_CAST = re.compile(r"(?:^\((.+) as (\w+)\)|^(.+)\.(?:as|ofType)\((\w+)\))((?:\.\w+)*)$")


@cache
def _found(expression: str, type: str) -> tuple[tuple[str, str], ...]:
    """(FHIR type, bound value set or "") of what the expression can find; () through an extension or a computation."""
    found: dict[tuple[str, str], None] = {}
    for part in filter(None, alternatives(expression)):
        path = _FILTERS.sub("", part)
        cast = _CAST.match(path)
        ends = {type: ""}
        if cast:
            ends, path = {cast[2] or cast[4]: ""}, cast[5].removeprefix(".")
        else:
            path = path.removeprefix("Resource.").removeprefix("DomainResource.").removeprefix(type + ".")
        for name in filter(None, path.split(".")) if path != type else ():
            known = [element for model in ends if (element := elements.members(model).get(name))]
            ends = {
                model: element.definition.get("binding", {}).get("valueSet", "")
                for element in known
                for model in element.models.values()
            }
        found.update(dict.fromkeys(ends.items()))
    return tuple(found)


def _systems(found: tuple[tuple[str, str], ...], definitions: Definitions) -> frozenset[str]:
    """The code systems that elements of type code imply by their bindings; empty unless all of them are known."""
    lists = [definitions.codes(value_set) if kind == "code" and value_set else None for kind, value_set in found]
    return frozenset() if None in lists else frozenset(system for codes in lists for system in codes or ())

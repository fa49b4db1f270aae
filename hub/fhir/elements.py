"""The elements of FHIR types, as tables for whoever walks a resource: FHIRPath, validator, XML.

A *model* names a set of members: a type (``HumanName``, ``Patient``) or, for an element defined in place, its path
(``Patient.contact``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hub.fhir import definitions

FHIR_TYPE = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type"
INLINE = frozenset({"Element", "BackboneElement"})
SYSTEM = "http://hl7.org/fhirpath/System."


@dataclass(frozen=True, slots=True)
class Element:
    """One element: ``models`` gives JSON member name -> model; more than one for a choice (``value[x]``)."""

    name: str
    path: str
    models: dict[str, str]
    many: bool
    definition: dict[str, Any]


@lru_cache(maxsize=8192)
def members(model: str) -> dict[str, Element]:
    """Element name (choices without ``[x]``) -> element, in the order of the definition; {} for an unknown model."""
    found: dict[str, Element] = {}
    for element in _children(model):
        name = element["path"].rpartition(".")[2].removesuffix("[x]")
        models = _models(name, element)
        found[name] = Element(name, element["path"], models, element["max"] not in ("0", "1"), element)
    return found


@lru_cache(maxsize=8192)
def json_members(model: str) -> dict[str, tuple[Element, str]]:
    """JSON member name -> its element and model."""
    return {key: (element, to) for element in members(model).values() for key, to in element.models.items()}


@lru_cache(maxsize=8192)
def options(model: str, name: str) -> tuple[tuple[str, str, bool], ...] | None:
    """The JSON members that hold element ``name``: (member, model, many); None when there is no such element."""
    element = members(model).get(name)
    return None if element is None else tuple((key, to, element.many) for key, to in element.models.items())


@lru_cache(maxsize=8192)
def supertypes(name: str) -> tuple[str, ...]:
    """The type and every type it specialises: Patient, DomainResource, Resource."""
    line = [name]
    while (structure := definitions.load().structure(line[-1])) and (base := structure.get("baseDefinition")):
        line.append(base.rpartition("/")[2])
    return tuple(line)


def type_of(model: str) -> str:
    """The type name of a model: BackboneElement or Element for one that is defined in place."""
    if "." not in model:
        return model
    element = _paths(model.partition(".")[0]).get(model)
    return model if element is None else str(element["type"][0]["code"])


def resource_model(value: Any) -> str:
    """The model of a resource: its type when that is one of R4, else ""."""
    name = value.get("resourceType") if isinstance(value, dict) else None
    return name if isinstance(name, str) and name in definitions.load().resource_types else ""


def is_primitive(model: str) -> bool:
    """Whether the model is a primitive type (R4 2.24.0.1)."""
    return definitions.load().types.get(model) == "primitive-type"


@lru_cache(maxsize=8192)
def _paths(type_name: str) -> dict[str, dict[str, Any]]:
    structure = definitions.load().structure(type_name)
    if structure is None or structure["type"] != type_name or type_name not in definitions.load().types:
        return {}
    return {element["path"]: element for element in structure["snapshot"]["element"]}


def _children(model: str) -> list[dict[str, Any]]:
    depth = model.count(".") + 1
    paths = _paths(model.partition(".")[0])
    return [item for path, item in paths.items() if path.startswith(model + ".") and path.count(".") == depth]


def _models(name: str, element: dict[str, Any]) -> dict[str, str]:
    if "contentReference" in element:
        return {name: element["contentReference"].partition("#")[2]}
    choice = element["path"].endswith("[x]")
    models: dict[str, str] = {}
    for kind in element["type"]:
        code = _code(kind)
        key = name + code[0].upper() + code[1:] if choice else name
        models[key] = element["path"] if code in INLINE and not choice else code
    return models


def _code(kind: dict[str, Any]) -> str:
    code = str(kind["code"])
    if not code.startswith(SYSTEM):
        return code
    named = [item["valueUrl"] for item in kind.get("extension", ()) if item["url"] == FHIR_TYPE]
    return str(named[0]) if named else code.removeprefix(SYSTEM).lower()

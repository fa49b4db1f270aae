"""Builds and reads FHIR Parameters."""

from __future__ import annotations

from typing import Any

from terminology.errors import TerminologyError
from terminology.system import Resource


def build(*parts: Resource | None) -> Resource:
    """A Parameters resource of the parts that are not None."""
    return {"resourceType": "Parameters", "parameter": [part for part in parts if part is not None]}


def part(name: str, kind: str, value: object) -> Resource | None:
    """One parameter, ``kind`` as in value[x]: ``part("result", "Boolean", True)``. None if the value is None or ""."""
    return None if value is None or value == "" else {"name": name, f"value{kind}": value}


def group(name: str, *parts: Resource | None) -> Resource:
    """A parameter with parts."""
    return {"name": name, "part": [item for item in parts if item is not None]}


def value(item: Resource) -> Any:
    """The value[x], resource or parts of one parameter."""
    for key, content in item.items():
        if key.startswith("value") or key == "resource":
            return content
    return item.get("part", [])


def read(parameters: Resource) -> dict[str, list[Any]]:
    """Name -> values, in order. TerminologyError("invalid") if it is no Parameters resource."""
    items = parameters.get("parameter", [])
    if parameters.get("resourceType") != "Parameters" or not isinstance(items, list):
        raise TerminologyError("invalid", "a Parameters resource is needed")
    found: dict[str, list[Any]] = {}
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise TerminologyError("invalid", "a parameter has no name")
        found.setdefault(item["name"], []).append(value(item))
    return found

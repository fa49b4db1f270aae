"""Ids inside a resource: element ids and ids of contained resources are unique (R4 2.24.0.3, 2.3.2)."""

from __future__ import annotations

from typing import Any

from hub.fhir.validate import parts
from hub.fhir.validate.report import Place, Report, Visit


def check(visit: Visit, report: Report) -> None:
    """A resource. What is contained, or an entry of a Bundle, has ids of its own.

    ElementDefinition.id names an element of the profile, in snapshot and differential alike, and is left out.
    """
    seen: set[str] = set()
    members = [item for item in visit.value.items() if item[0] not in ("snapshot", "differential")]
    stack: list[tuple[Any, Place]] = [(value, (visit.place, name)) for name, value in members]
    while stack:
        value, place = stack.pop()
        if isinstance(value, list):
            stack.extend((item, (place, index)) for index, item in enumerate(value) if isinstance(item, (dict, list)))
        elif isinstance(value, dict) and "resourceType" not in value:
            found = value.get("id")
            if isinstance(found, str):
                if found in seen:
                    report.add("id-duplicate", (place, "id"), value=found)
                seen.add(found)
            stack.extend((item, (place, name)) for name, item in value.items() if isinstance(item, (dict, list)))
    _contained(visit, report)


def _contained(visit: Visit, report: Report) -> None:
    seen: set[str] = set()
    for index, item in parts.numbered(visit.value, "contained"):
        found = parts.string(item, "id")
        if found and found in seen:
            report.add("contained-id", (((visit.place, "contained"), index), "id"), value=found)
        seen.add(found)

"""One line of a person's record from one resource: when it was, what it is, in words. Pure; the table is record.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

MAX_TITLE = 200
CLASSES = {
    "AMB": "门诊 ambulatory",
    "EMER": "急诊 emergency",
    "IMP": "住院 inpatient",
    "HH": "家庭 home",
    "VR": "互联网 virtual",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A row of record.csv: simple paths to the time, the title and the value of a resource type."""

    time: tuple[str, ...]
    title: tuple[str, ...]
    value: tuple[str, ...]


@cache
def lines() -> dict[str, Line]:
    """Resource type -> how its line is made; types that are not here do not belong to a record."""
    text = files("hub.services").joinpath("record.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {
        row["type"]: Line(tuple(row["time"].split()), tuple(row["title"].split()), tuple(row["value"].split()))
        for row in rows
    }


def when(resource: dict[str, Any]) -> str:
    """The time of a resource as written (FHIR dateTime), "" when it has none."""
    value = _first(resource, lines()[resource["resourceType"]].time)
    return value if isinstance(value, str) else ""


def title(resource: dict[str, Any]) -> str:
    """What a resource is and says, in one short text."""
    line = lines()[resource["resourceType"]]
    parts = [
        _class(resource) or words(_first(resource, line.title)),
        words(_first(resource, line.value)),
        _flag(resource),
    ]
    return " ".join(part for part in parts if part)[:MAX_TITLE]


def words(value: Any) -> str:
    """A FHIR value for a reader: text or display before code; several joined."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "、".join(text for one in value if (text := words(one)))
    if not isinstance(value, dict):
        return str(value)
    if "component" in value or ("code" in value and isinstance(value["code"], dict)):
        return f"{words(value['code'])} {words(_quantity(value))}".strip()
    if "coding" in value or "text" in value:
        return value.get("text") or next((text for one in value["coding"] if (text := words(one))), "")
    if "value" in value:
        return f"{value['value']} {value.get('unit') or value.get('code', '')}".strip()
    return str(value.get("display") or value.get("code") or "")


def _class(resource: dict[str, Any]) -> str:
    """What kind of visit an Encounter is, in both languages (v3-ActCode)."""
    if resource["resourceType"] != "Encounter":
        return ""
    return CLASSES.get(resource.get("class", {}).get("code", ""), "")


def _quantity(component: dict[str, Any]) -> Any:
    return next((component[name] for name in component if name.startswith("value")), None)


def _flag(resource: dict[str, Any]) -> str:
    """The abnormal flag of a result, without N for normal."""
    codes = [
        coding.get("code", "") for concept in resource.get("interpretation", ()) for coding in concept.get("coding", ())
    ]
    return next(({"H": "↑", "L": "↓"}.get(code, code) for code in codes if code and code != "N"), "")


def _first(resource: dict[str, Any], paths: tuple[str, ...]) -> Any:
    for path in paths:
        value: Any = resource
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if value:
            return value
    return None

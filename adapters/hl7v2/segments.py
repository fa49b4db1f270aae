"""FHIR resources as HL7 v2 segments, by the rows of ``segments.csv``: what answers to queries and our own feeds send.

Values are quoted for the delimiters they go out with (HL7 v2.5.1 2.7). An identifier system becomes an assigning
authority (HD) that reads back as the same system: an OID as ISO, a UUID as UUID, anything else as URI.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from adapters.hl7v2.delimiters import Delimiters
from adapters.mapping.conversions import CODING_SYSTEMS

Resource = dict[str, Any]
_OURS = re.compile(r"https://region-hub\.example/fhir/authority/(?:[^/]+/)?([^/]+)$")
_V2_TABLE = re.compile(r"http://terminology\.hl7\.org/CodeSystem/v2-(\d{4})$")
_ZONE = re.compile(r"(?:Z|[+-]\d\d:\d\d)$")
_USES: dict[str | None, str] = {
    "official": "L",
    "usual": "D",
    "nickname": "N",
    "maiden": "M",
    "anonymous": "S",
    "temp": "TEMP",
    "old": "BAD",
}
_TYPES = {"phone": "PH", "fax": "FX", "pager": "BP", "email": "Internet", "url": "X.400", "sms": "CP"}
_SYSTEMS = {system: name for name, system in reversed(CODING_SYSTEMS.items())}


class Row(NamedTuple):
    """One row of ``segments.csv``."""

    field: int
    element: tuple[str, ...]
    chosen: str
    form: str
    codes: str


@cache
def rows() -> dict[str, list[Row]]:
    """Segment -> its rows."""
    found: dict[str, list[Row]] = {}
    for row in _lines("segments.csv"):
        element, _, chosen = row["element"].partition("[")
        made = Row(int(row["field"]), tuple(element.split(".")), chosen.rstrip("]"), row["form"], row["codes"])
        found.setdefault(row["segment"], []).append(made)
    return found


@cache
def backwards(table: str) -> dict[str, str]:
    """Target code -> the first HL7 code that ``tables/codes/<table>.csv`` maps to it."""
    found: dict[str, str] = {}
    for row in _lines("tables", "codes", f"{table}.csv"):
        if row["code"] != "*":
            found.setdefault(row["target"], row["code"])
    return found


@cache
def forwards(table: str) -> dict[str, str]:
    """HL7 code -> target code of ``tables/codes/<table>.csv``."""
    return {row["code"]: row["target"] for row in _lines("tables", "codes", f"{table}.csv")}


def _lines(*names: str) -> list[dict[str, str]]:
    text = files("adapters.hl7v2").joinpath(*names).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def segment(name: str, resource: Resource, delimiters: Delimiters, fixed: dict[int, str] | None = None) -> str:
    """The segment of a resource; ``fixed`` are fields as they are to be sent, such as the set id."""
    fields: dict[int, str] = dict(fixed or {})
    for row in rows()[name]:
        if row.field not in fields:
            values = _values(resource, row)
            made = [text for value in values if (text := _FORMS[row.form](value, row, resource, delimiters))]
            fields[row.field] = delimiters.repetition.join(dict.fromkeys(made))
    last = max((number for number, text in fields.items() if text), default=0)
    return delimiters.field.join([name, *(fields.get(number, "") for number in range(1, last + 1))])


def _values(resource: Resource, row: Row) -> list[Any]:
    value: Any = resource
    for name in row.element:
        value = value.get(name) if isinstance(value, dict) else None
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not row.chosen:
        return values
    if row.form == "XTN":
        return [one for one in values if (one.get("use") == "work") == (row.chosen == "work")]
    return [one for one in values if row.chosen in _codes(one.get("type", ()))]


def _codes(concepts: Iterable[Resource]) -> set[str]:
    return {coding.get("code", "") for concept in concepts for coding in concept.get("coding", ())}


# --- data types ------------------------------------------------------------------------------------------------------


def authority(system: str, delimiters: Delimiters) -> str:
    """An assigning authority (HD) as a component: namespace, universal id, its type.

    >>> authority("urn:oid:1.2.3", Delimiters())
    '&1.2.3&ISO'
    """
    if not system:
        return ""
    ours = _OURS.match(system)
    namespace = ours[1] if ours else ""
    if system.startswith("urn:oid:"):
        parts = [namespace, system.removeprefix("urn:oid:"), "ISO"]
    elif system.startswith("urn:uuid:"):
        parts = [namespace, system.removeprefix("urn:uuid:"), "UUID"]
    else:
        parts = [namespace, system, "URI"]
    return delimiters.subcomponent.join(delimiters.quote(part) for part in parts)


def identifier(one: Resource, delimiters: Delimiters) -> str:
    """CX of an Identifier (HL7 v2.5.1 2.A.14)."""
    kind = next((coding.get("code", "") for coding in one.get("type", {}).get("coding", ())), "")
    return _joined(
        [delimiters.quote(one.get("value", "")), "", "", authority(one.get("system", ""), delimiters), kind], delimiters
    )


def person_name(name: Resource, delimiters: Delimiters) -> str:
    """XPN of a HumanName (2.A.88); a name in one piece goes into the family name."""
    given = [str(part) for part in name.get("given", ())]
    family = str(name.get("family") or ("" if given else name.get("text", "")))
    parts = [family, given[0] if given else "", " ".join(given[1:])]
    if not any(parts):
        return ""
    parts += [" ".join(name.get("suffix", ())), " ".join(name.get("prefix", ())), "", _USES.get(name.get("use"), "L")]
    return _joined([delimiters.quote(part) for part in parts], delimiters)


def _address(one: Resource, _: Row, __: Resource, delimiters: Delimiters) -> str:
    street = ", ".join(one.get("line", ())) or one.get("text", "")
    parts = [street, one.get("district", ""), one.get("city", ""), one.get("state", ""), one.get("postalCode", "")]
    return _joined([delimiters.quote(part) for part in [*parts, one.get("country", "")]], delimiters)


def _telecom(one: Resource, _: Row, __: Resource, delimiters: Delimiters) -> str:
    value, kind = delimiters.quote(one.get("value", "")), one.get("system", "phone")
    use = "WPN" if one.get("use") == "work" else "NET" if kind == "email" else "PRN"
    equipment = "CP" if one.get("use") == "mobile" else _TYPES.get(kind, "")
    if kind == "email":
        return _joined(["", use, equipment, value], delimiters)
    return _joined([value, use, equipment], delimiters) if value else ""


def _concept(one: Resource, _: Row, __: Resource, delimiters: Delimiters) -> str:
    coding: Resource = next(iter(one.get("coding", ())), {})
    system = coding.get("system", "")
    table = _V2_TABLE.match(system)
    name = f"HL7{table[1]}" if table else str(_SYSTEMS.get(system, system))
    text = str(coding.get("display") or one.get("text", ""))
    return _joined([delimiters.quote(part) for part in (coding.get("code", ""), text, name)], delimiters)


def _clinician(one: Resource, _: Row, resource: Resource, delimiters: Delimiters) -> str:
    """XCN of the Practitioner that a participant names, or of its display."""
    who = one.get("individual", {})
    found = resource.get("resolved", {}).get(who.get("reference"), {})
    number: Resource = next(iter(found.get("identifier", ())), {})
    name: Resource = next(iter(found.get("name", ())), {"text": who.get("display", "")})
    parts = person_name(name, delimiters).split(delimiters.component)
    blanks = [""] * (6 - len(parts[:6]))
    shown = [delimiters.quote(number.get("value", "")), *parts[:6], *blanks, ""]
    return _joined([*shown[:8], authority(number.get("system", ""), delimiters)], delimiters)


def _place(one: Resource, _: Row, resource: Resource, delimiters: Delimiters) -> str:
    where = one.get("location", {})
    found = resource.get("resolved", {}).get(where.get("reference"), {})
    return delimiters.quote(found.get("name") or where.get("display", ""))


def _moment(value: Any, _row: Row, _resource: Resource, _delimiters: Delimiters) -> str:
    """DTM of a date or dateTime, to the precision it has."""
    day, _, time = str(value).partition("T")
    zone = _ZONE.search(time)
    clock = time[: zone.start()] if zone else time
    offset = "" if zone is None else "+0000" if zone[0] == "Z" else zone[0].replace(":", "")
    return day.replace("-", "") + clock.partition(".")[0].replace(":", "") + offset


def _code(value: Any, row: Row, _: Resource, delimiters: Delimiters) -> str:
    text = value.get("code", "") if isinstance(value, dict) else str(value)
    return delimiters.quote(backwards(row.codes).get(text, text))


def _joined(parts: list[str], delimiters: Delimiters) -> str:
    while parts and not parts[-1]:
        parts = parts[:-1]
    return delimiters.component.join(parts)


Form = Callable[[Any, Row, Resource, Delimiters], str]
_FORMS: dict[str, Form] = {
    "CX": lambda value, _row, _resource, delimiters: identifier(value, delimiters),
    "XPN": lambda value, _row, _resource, delimiters: person_name(value, delimiters),
    "XAD": _address,
    "XTN": _telecom,
    "CWE": _concept,
    "XCN": _clinician,
    "PL": _place,
    "DTM": _moment,
    "code": _code,
}

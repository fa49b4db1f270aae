"""The formats of primitive types (R4 2.24.0.1)."""

from __future__ import annotations

import base64
import binascii
import re
from calendar import monthrange
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hub.fhir.validate.report import Place, Report

Check = Callable[[Any, Place, Report], None]

MAX_STRING = 1_048_576
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
_ZONE = r"(Z|[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
_YEAR = r"(?!0000)[0-9]{4}"
_DAY = r"(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"

FORMATS = {
    "base64Binary": r"(\s*[0-9a-zA-Z+/=]\s*)+",
    "canonical": r"\S+",
    "code": r"[^\s]+( [^\s]+)*",
    "date": rf"{_YEAR}(-(0[1-9]|1[0-2]|{_DAY}))?",
    "Element.id": r"\S+",
    "dateTime": rf"{_YEAR}(-(0[1-9]|1[0-2]|{_DAY}(T{_TIME}{_ZONE})?))?",
    "id": r"[A-Za-z0-9\-.]{1,64}",
    "instant": rf"{_YEAR}-{_DAY}T{_TIME}{_ZONE}",
    "markdown": r"(?s:.*\S.*)",
    "oid": r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+",
    "string": r"(?s:.*\S.*)",
    "time": _TIME,
    "uri": r"\S+",
    "url": r"\S+",
    "uuid": r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "xhtml": r"(?s:.+)",
}
# Control characters but tab, line feed and carriage return are no text.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_FREE = frozenset({"string", "markdown"})
_RANGES = {"integer": (-2147483648, 2147483647), "positiveInt": (1, 2147483647), "unsignedInt": (0, 2147483647)}


def check(type_name: str) -> Check:
    """The check of a primitive type on one JSON value that is not null."""
    if type_name == "boolean":
        return _boolean
    if type_name in _RANGES:
        return _integer(type_name, *_RANGES[type_name])
    if type_name == "decimal":
        return _decimal
    if type_name in _FREE:
        return _free(type_name)
    return _formatted(type_name, FORMATS.get(type_name, FORMATS["string"]))


def _boolean(value: Any, place: Place, report: Report) -> None:
    if value is not True and value is not False:
        _wrong_json("boolean", "true or false", value, place, report)


def _integer(type_name: str, least: int, most: int) -> Check:
    def check(value: Any, place: Place, report: Report) -> None:
        if type(value) is not int:
            _wrong_json(type_name, "integer", value, place, report)
        elif not least <= value <= most:
            report.add("primitive-format", place, value=str(value)[:40], type=type_name)

    return check


def _decimal(value: Any, place: Place, report: Report) -> None:
    if type(value) is not int and not isinstance(value, (Decimal, float)):
        _wrong_json("decimal", "number", value, place, report)


def _free(type_name: str) -> Check:
    """string and markdown: any text but the empty one; cheap for the usual short one."""

    def check(value: Any, place: Place, report: Report) -> None:
        if type(value) is not str:
            _wrong_json(type_name, "string", value, place, report)
        elif not value.isprintable() or not value or value[0] == " " or value[-1] == " " or len(value) > MAX_STRING:
            _text(type_name, value, place, report)

    return check


def _text(type_name: str, value: str, place: Place, report: Report) -> None:
    if not value.strip() or _CONTROL.search(value):
        report.add("primitive-format", place, value=value[:40], type=type_name)
    elif len(value) > MAX_STRING:
        report.add("primitive-length", place, length=len(value), max=MAX_STRING)
    elif type_name == "string" and value != value.strip():
        report.add("primitive-space", place)


def _formatted(type_name: str, pattern: str) -> Check:
    match = re.compile(pattern, re.ASCII).fullmatch  # \s is that of XML Schema
    dated = type_name in ("date", "dateTime", "instant")

    def check(value: Any, place: Place, report: Report) -> None:
        if type(value) is not str:
            _wrong_json(type_name, "string", value, place, report)
        elif type_name == "base64Binary":
            _base64(value, place, report)
        elif match(value) is None or (dated and not _day(value)):
            report.add("primitive-format", place, value=value[:40], type=type_name)

    return check


def _day(value: str) -> bool:
    """Whether the day exists in the month."""
    return len(value) < 10 or value[8:10] <= "28" or int(value[8:10]) <= monthrange(int(value[:4]), int(value[5:7]))[1]


def _base64(value: str, place: Place, report: Report) -> None:
    try:
        sound = bool(value) and (base64.b64decode("".join(value.split()), validate=True) or True)
    except (binascii.Error, ValueError):
        sound = False
    if not sound:
        report.add("primitive-format", place, value=value[:40], type="base64Binary")


def _wrong_json(type_name: str, expected: str, value: Any, place: Place, report: Report) -> None:
    if value is None:
        report.add("null", place)
    else:
        report.add("primitive-json", place, type=type_name, expected=expected, found=_kind(value))


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    return "string" if isinstance(value, str) else "number"

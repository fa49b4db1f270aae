"""String and conversion functions (FHIRPath 2.0, 5.5 and 5.6)."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hub.fhir.paths.functions import table
from hub.fhir.paths.scope import Items, Scope, integer, one, system, text, wrong
from hub.fhir.paths.values import CALENDAR_UNITS, Quantity, Temporal, number, plain

MAX_TEXT = 1_000_000  # characters of a result

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_INTEGER = re.compile(r"[+-]?\d+")
_QUANTITY = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*(?:'([^']+)'|([a-z]+))?")
_TRUE = frozenset({"true", "t", "yes", "y", "1", "1.0"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "0.0"})
# A repetition of a group that itself repeats can take exponential time; FHIR's own patterns do not need it.
_NESTED = re.compile(r"\((?:[^()\\]|\\.)*(?<!\\)[*+](?:[^()\\]|\\.)*\)(?:[*+]|\{\d+,\d*\})")


def on_text(compute: Callable[..., Any]) -> Callable[..., Items]:
    """A function of one string and arguments already read; empty when any of them is empty."""

    def run(scope: Scope, items: Items, *arguments: Items) -> Items:
        subject = text(items, "input")
        given = [one(argument, "argument") for argument in arguments]
        if subject is None or any(item is None for item in given):
            return []
        if not all(isinstance(item, str) for item in given):
            raise wrong("a string is expected as argument")
        result = compute(subject, *given)
        if isinstance(result, str) and len(result) > MAX_TEXT:
            raise wrong(f"the text is longer than {MAX_TEXT} characters")
        return [] if result is None else result if isinstance(result, list) else [result]

    return run


def pattern(source: Any, subject: str) -> re.Pattern[str]:
    """A compiled regular expression; one that could run away is refused."""
    if not isinstance(source, str):
        raise wrong("a regular expression is expected")
    if len(source) > 1000 or len(subject) > 100_000 or _NESTED.search(source):
        raise wrong("this regular expression could take too long")
    try:
        return re.compile(source, re.DOTALL)
    except re.error as error:
        raise wrong(f"the regular expression is wrong: {error}") from error


def substring(scope: Scope, items: Items, start: Items, length: Items | None = None) -> Items:
    """``substring(start [, length])``."""
    subject, begin = text(items, "input"), integer(start, "start")
    if subject is None or begin is None or not 0 <= begin < len(subject):
        return []
    count = integer(length, "length") if length else None
    return [subject[begin:] if count is None else subject[begin : begin + max(0, count)]]


def join(scope: Scope, items: Items, separator: Items | None = None) -> Items:
    """``join([separator])``."""
    parts = [system(item) for item in items]
    if not all(isinstance(part, str) for part in parts):
        raise wrong("join() needs strings")
    joint = text(separator or [], "separator") or ""
    return [joint.join(parts)]


def replace(subject: str, old: str, new: str) -> str:
    """``replace(pattern, substitution)``."""
    return subject.replace(old, new)


def replace_matches(subject: str, source: str, substitution: str) -> str:
    """``replaceMatches(regex, substitution)``; ``$1`` and ``${name}`` name groups."""
    if not source:
        return subject
    template = re.sub(r"\$\{?(\w+)\}?", r"\\g<\1>", substitution.replace("\\", "\\\\"))
    return pattern(source, subject).sub(template, subject)


def encode(subject: str, form: str) -> str | None:
    """``encode(format)``: hex, base64, urlbase64."""
    data = subject.encode()
    if form == "hex":
        return data.hex()
    if form in ("base64", "urlbase64"):
        return (base64.b64encode if form == "base64" else base64.urlsafe_b64encode)(data).decode()
    return None


def decode(subject: str, form: str) -> str | None:
    """``decode(format)``."""
    try:
        if form == "hex":
            return bytes.fromhex(subject).decode()
        if form in ("base64", "urlbase64"):
            return (base64.b64decode if form == "base64" else base64.urlsafe_b64decode)(subject).decode()
    except (ValueError, binascii.Error):
        return None
    return None


def escape(subject: str, form: str) -> str | None:
    """``escape(target)``: html, json."""
    if form == "html":
        return html.escape(subject)
    return json.dumps(subject, ensure_ascii=False)[1:-1] if form == "json" else None


def unescape(subject: str, form: str) -> str | None:
    """``unescape(target)``."""
    if form == "html":
        return html.unescape(subject)
    if form == "json":
        try:
            return str(json.loads(f'"{subject}"'))
        except ValueError:
            return None
    return None


# --- conversion -------------------------------------------------------------------------------------------------------


def to_boolean(value: Any) -> bool | None:
    """``toBoolean()``."""
    if isinstance(value, bool):
        return value
    if number(value):
        return {0: False, 1: True}.get(value)
    if isinstance(value, str):
        return True if value.lower() in _TRUE else False if value.lower() in _FALSE else None
    return None


def to_integer(value: Any) -> int | None:
    """``toInteger()``."""
    if isinstance(value, int):
        return int(value)
    return int(value) if isinstance(value, str) and len(value) < 20 and _INTEGER.fullmatch(value) else None


def to_decimal(value: Any) -> Decimal | None:
    """``toDecimal()``."""
    if isinstance(value, (int, Decimal)):
        return Decimal(value)
    return Decimal(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def to_string(value: Any) -> str | None:
    """``toString()``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return plain(value)
    return str(value) if isinstance(value, (str, int, Temporal, Quantity)) else None


def to_quantity(value: Any) -> Quantity | None:
    """``toQuantity()``."""
    if isinstance(value, Quantity):
        return value
    if isinstance(value, (int, Decimal)):
        return Quantity(Decimal(value))
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or (match.group(3) and match.group(3) not in CALENDAR_UNITS):
        return None
    return Quantity(Decimal(match.group(1)), match.group(2) or CALENDAR_UNITS.get(match.group(3) or "", "1"))


def _to_moment(kind: str) -> Callable[[Any], Temporal | None]:
    def convert(value: Any) -> Temporal | None:
        if isinstance(value, Temporal):
            if (value.kind == "time") != (kind == "time"):
                return None
            source = value.text.partition("T")[0] if kind == "date" else value.text
            return Temporal.parse(source, kind)
        return Temporal.parse(value, kind)

    return convert


CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "Boolean": to_boolean,
    "Integer": to_integer,
    "Decimal": to_decimal,
    "String": to_string,
    "Quantity": to_quantity,
    "Date": _to_moment("date"),
    "DateTime": _to_moment("dateTime"),
    "Time": _to_moment("time"),
}


def _conversion(convert: Callable[[Any], Any]) -> Callable[..., Items]:
    def run(scope: Scope, items: Items, unit: Items | None = None) -> Items:
        value = one(items, "input")
        result = None if value is None else convert(value)
        if isinstance(result, Quantity) and unit and text(unit) != result.unit:
            return []
        return [] if result is None else [result]

    return run


def _convertible(convert: Callable[[Any], Any]) -> Callable[..., Items]:
    def run(scope: Scope, items: Items, unit: Items | None = None) -> Items:
        value = one(items, "input")
        return [] if value is None else [convert(value) is not None]

    return run


EAGER = table(
    ("indexOf", on_text(lambda subject, part: subject.find(part)), 1, 1),
    ("lastIndexOf", on_text(lambda subject, part: subject.rfind(part)), 1, 1),
    ("substring", substring, 1, 2),
    ("startsWith", on_text(lambda subject, part: subject.startswith(part)), 1, 1),
    ("endsWith", on_text(lambda subject, part: subject.endswith(part)), 1, 1),
    ("contains", on_text(lambda subject, part: part in subject), 1, 1),
    ("upper", on_text(str.upper), 0, 0),
    ("lower", on_text(str.lower), 0, 0),
    ("replace", on_text(replace), 2, 2),
    ("matches", on_text(lambda subject, source: bool(pattern(source, subject).search(subject))), 1, 2),
    ("matchesFull", on_text(lambda subject, source: bool(pattern(source, subject).fullmatch(subject))), 1, 2),
    ("replaceMatches", on_text(replace_matches), 2, 3),
    ("length", on_text(len), 0, 0),
    ("toChars", on_text(list), 0, 0),
    ("trim", on_text(str.strip), 0, 0),
    ("split", on_text(lambda subject, separator: subject.split(separator) if separator else [subject]), 1, 1),
    ("join", join, 0, 1),
    ("encode", on_text(encode), 1, 1),
    ("decode", on_text(decode), 1, 1),
    ("escape", on_text(escape), 1, 1),
    ("unescape", on_text(unescape), 1, 1),
    *((f"to{name}", _conversion(convert), 0, 1) for name, convert in CONVERSIONS.items()),
    *((f"convertsTo{name}", _convertible(convert), 0, 1) for name, convert in CONVERSIONS.items()),
)

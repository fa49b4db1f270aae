"""What a query asks for, read from its fields by the rows of ``criteria.csv`` (HL7 v2.5.1 2.A.65 QIP, 2.A.14 CX)."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from adapters.hl7v2.message import Message, Segment
from adapters.hl7v2.segments import forwards
from adapters.mapping import conversions
from adapters.mapping.conversions import Circumstances
from hub.errors import HubError
from hub.services.demographics import Criterion

MAX_CRITERIA = 50
_SPECIAL = re.compile(r"([,|$\\])")
Named = Callable[[str], str | None]
"""The identifier system that a bare namespace means in the region, None when it means nothing."""


class Row(NamedTuple):
    """One row of ``criteria.csv``."""

    field: str
    of: str
    param: str
    part: str


@cache
def table() -> dict[str, Row]:
    """Field -> its row."""
    text = files("adapters.hl7v2").joinpath("criteria.csv").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {row["field"]: Row(**row) for row in csv.DictReader(lines)}


@dataclass(frozen=True, slots=True)
class Number:
    """An identifier of a query: value and system; ``at`` its position."""

    value: str
    system: str
    at: str


class Reading:
    """Reads one query message. ``named`` knows what bare namespaces mean."""

    def __init__(self, message: Message, circumstances: Circumstances, named: Named) -> None:
        self._message = message
        self._circumstances = circumstances
        self._named = named

    def number(self, segment: Segment, field: int, repetition: int = 1) -> Number:
        """A CX: value and assigning authority. HubError("required") when it has none."""
        value, *authority = (self._value(segment, field, repetition, *part) for part in ((1,), (4, 1), (4, 2), (4, 3)))
        at = f"{segment.name}[1]-{field}[{repetition}]"
        if not any(authority):
            raise HubError("required", "the identifier needs its assigning authority", f"{at}.4")
        return Number(value, self._system(*authority), at)

    def domains(self, segment: Segment, field: int) -> list[str]:
        """The identifier systems of a repeating CX of which only the assigning authority is valued."""
        count = len(segment.repetitions(field)) if field else 0
        if count > MAX_CRITERIA:
            raise HubError("too-long", f"at most {MAX_CRITERIA} domains are taken", f"{segment.name}[1]-{field}")
        return [self.number(segment, field, repetition).system for repetition in range(1, count + 1)]

    def _value(self, segment: Segment, field: int, repetition: int, component: int, subcomponent: int = 0) -> str:
        return self._message.value(segment, field, repetition, component, subcomponent).strip()

    def _system(self, namespace: str, universal: str, kind: str) -> str:
        if namespace and not universal and (known := self._named(namespace)):
            return known
        return conversions.authority(namespace, universal, kind, self._circumstances)

    def criteria(self, segment: Segment, field: int) -> dict[str, list[Criterion]]:
        """Resource type -> criteria of a repeating QIP. HubError located at the repetition that cannot be used."""
        found: dict[str, list[Criterion]] = {}
        numbers: dict[tuple[str, str], dict[str, str]] = {}
        repetitions = segment.repetitions(field)
        if len(repetitions) > MAX_CRITERIA:
            raise HubError("too-long", f"at most {MAX_CRITERIA} criteria are taken", f"{segment.name}[1]-{field}")
        for place in range(1, len(repetitions) + 1):
            at = f"{segment.name}[1]-{field}[{place}]"
            name = self._value(segment, field, place, 1).lstrip("@").upper()
            value = self._value(segment, field, place, 2)
            row = table().get(name)
            if row is None:
                raise HubError("parameter-unknown", f"{name[:40]!r} is no field that can be asked for", f"{at}.1")
            if not value or value == "*":
                continue
            if row.part in ("value", "namespace", "universal", "kind"):
                numbers.setdefault((row.of, row.param), {})[row.part] = value
            else:
                found.setdefault(row.of, []).append(self._criterion(row, value, f"{at}.2"))
        for (of, param), parts in numbers.items():
            found.setdefault(of, []).append(Criterion(param, self._token(parts)))
        return found

    def _criterion(self, row: Row, value: str, at: str) -> Criterion:
        if row.part == "name":
            return Criterion(row.param, value.rstrip("*"), value.endswith("*"))
        if row.part == "date":
            day = conversions.date(value, self._circumstances)
            if day is None:
                raise HubError("parameter-value", f"{value[:40]!r} is no date YYYYMMDD", at)
            return Criterion(row.param, day)
        if row.part == "text":
            return Criterion(row.param, _escaped(value.rstrip("*")))
        code = forwards(row.part).get(value)
        if code is None:
            raise HubError("code-invalid", f"{value[:40]!r} is not in the table of {row.field}", at)
        return Criterion(row.param, code)

    def _token(self, parts: dict[str, str]) -> str:
        authority = [parts.get(name, "") for name in ("namespace", "universal", "kind")]
        return self.token(parts.get("value", ""), *authority)

    def token(self, value: str, namespace: str, universal: str, kind: str) -> str:
        """An identifier as a FHIR search writes it: with its system, when it has an assigning authority."""
        if not (namespace or universal):
            return _escaped(value)
        return f"{_escaped(self._system(namespace, universal, kind))}|{_escaped(value)}"


def _escaped(text: str) -> str:
    """A value as a FHIR search writes it (R4 3.1.1.4.4)."""
    return _SPECIAL.sub(r"\\\1", text)

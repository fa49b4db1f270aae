"""The items of FHIRPath collections: FHIR nodes and System values (FHIRPath 2.0, 4.1 and 6).

System.String, Boolean, Integer and Decimal are ``str``, ``bool``, ``int`` and ``decimal.Decimal``; Date, DateTime and
Time are :class:`Temporal`; Quantity is :class:`Quantity`. Whatever stands in a resource is a :class:`Node`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from hub.fhir.paths.units import canonical

CALENDAR_UNITS = {
    name: singular
    for singular in ("year", "month", "week", "day", "hour", "minute", "second", "millisecond")
    for name in (singular, singular + "s")
}


class Node:
    """An element of a resource: JSON value, model (``hub.fhir.elements``), the ``_name`` companion of a primitive.

    ``owner`` and ``key`` say where it stands (object and member name, or list and index), for patching.
    """

    __slots__ = ("extra", "key", "model", "owner", "value")

    def __init__(self, value: Any, model: str, extra: Any = None, owner: Any = None, key: str | int = "") -> None:
        self.value = value
        self.model = model
        self.extra = extra
        self.owner = owner
        self.key = key


@dataclass(frozen=True, slots=True)
class TypeInfo:
    """What ``type()`` gives: namespace and name (FHIRPath 2.0, 10.2)."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value with a UCUM unit, or with a calendar duration unit in the singular (``year``)."""

    value: Decimal
    unit: str = "1"

    def __str__(self) -> str:
        return f"{plain(self.value)} {self.unit if self.unit in CALENDAR_UNITS else repr(self.unit)}"

    def compare(self, other: Quantity) -> int | None:
        """-1, 0, 1; None when the units measure different things (or a calendar year is put beside a UCUM one)."""
        mine, theirs = canonical(self.unit), canonical(other.unit)
        if mine is None or theirs is None:
            return _sign(self.value - other.value) if self.unit == other.unit else None
        if mine[1] != theirs[1]:
            return None
        return _sign(self.value * mine[0] - other.value * theirs[0])


_MOMENT = re.compile(
    r"(?:(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?)?"
    r"(T(?:(\d{2})(?::(\d{2})(?::(\d{2}(?:\.\d+)?))?)?)?)?(Z|[+-]\d{2}:\d{2})?"
)
_LOW = (1, 1, 1, 0, 0, Decimal(0))
_HIGH = (9999, 12, 31, 23, 59, Decimal("59.999"))


@dataclass(frozen=True, slots=True)
class Temporal:
    """A date, dateTime or time: ``parts`` holds year..second (of a time hour..second) as far as the precision goes."""

    kind: str
    parts: tuple[Any, ...]
    offset: int | None = None
    text: str = ""

    @classmethod
    def literal(cls, text: str) -> Temporal | None:
        """A FHIRPath literal without ``@``: ``2015-02``, ``2015T``, ``2015-02-04T14:34:28Z``, ``T14:34``."""
        match = _MOMENT.fullmatch(text)
        if match is None or not text:
            return None
        groups = match.groups()
        calendar = tuple(int(item) for item in groups[:3] if item is not None)
        clock: tuple[Any, ...] = tuple(int(item) for item in groups[4:6] if item is not None)
        if groups[6] is not None:
            clock += (Decimal(groups[6]),)
        zone = groups[7]
        if not calendar:
            valid = bool(clock) and zone is None and _clock(clock)
            return cls("time", clock, None, text.removeprefix("T")) if valid else None
        if not _calendar(calendar) or not _clock(clock) or (zone and not clock) or (clock and len(calendar) < 3):
            return None
        kind = "date" if groups[3] is None else "dateTime"
        return cls(kind, calendar + clock, _offset(zone), text)

    @classmethod
    def parse(cls, text: Any, kind: str) -> Temporal | None:
        """The FHIR form of a ``date``, ``dateTime`` or ``time``."""
        if not isinstance(text, str):
            return None
        if kind == "time":
            return cls.literal("T" + text.removeprefix("T"))
        found = cls.literal(text)
        if found is None or found.kind == "time" or (kind == "date" and found.kind != "date"):
            return None
        return cls(kind, found.parts, found.offset, text.removesuffix("T"))

    def __str__(self) -> str:
        return self.text

    def compare(self, other: Temporal) -> int | None:
        """-1, 0, 1; None when the precision (or a missing zone) leaves it open."""
        if (self.kind == "time") != (other.kind == "time"):
            return None
        first = 0 if self.kind == "time" else 3
        timed = len(self.parts) > first and len(other.parts) > first and self.kind != "time"
        if timed and (self.offset is None) != (other.offset is None):
            return None
        mine, theirs = (self._utc(), other._utc()) if timed and self.offset is not None else (self.parts, other.parts)
        for one, two in zip(mine, theirs, strict=False):
            if one != two:
                return -1 if one < two else 1
        return 0 if len(mine) == len(theirs) else None

    def _utc(self) -> tuple[Any, ...]:
        if not self.offset or len(self.parts) < 5:
            return self.parts
        return self._moved(timedelta(minutes=-self.offset))

    def _moved(self, by: timedelta) -> tuple[Any, ...]:
        """The parts a duration later, at the same precision; OverflowError outside the years 1 to 9999."""
        calendar, clock = ((), self.parts) if self.kind == "time" else (self.parts[:3], self.parts[3:])
        full: list[Any] = [*clock, *(0, 0, Decimal(0))[len(clock) :]]
        hour, minute, second = full
        moment = timedelta(hours=hour, minutes=minute, microseconds=int(second * 1_000_000)) + by
        seconds = Decimal(moment.seconds % 60) + (Decimal(moment.microseconds) / 1_000_000).quantize(Decimal("0.001"))
        if moment.microseconds == 0 and Decimal(second) == int(second) and len(str(second)) <= 2:
            seconds = Decimal(moment.seconds % 60)
        found: tuple[Any, ...] = (moment.seconds // 3600, moment.seconds // 60 % 60, seconds)
        turned = found[: len(clock)]
        if not calendar:
            return turned
        day = date(*_ymd(calendar)) + timedelta(days=moment.days)
        moved: tuple[Any, ...] = (day.year, day.month, day.day)[: len(calendar)]
        return moved + turned

    def plus(self, quantity: Quantity, sign: int = 1) -> Temporal | None:
        """Date arithmetic (FHIRPath 2.0, 6.6.7): None outside the years 1 to 9999."""
        unit = _DURATIONS.get(quantity.unit, quantity.unit)
        amount = quantity.value * sign
        try:
            if unit in ("year", "month"):
                parts = self._months(int(amount) * (12 if unit == "year" else 1))
            else:
                parts = self._seconds(unit, amount, quantity.unit in _EXACT)
        except (OverflowError, ValueError):
            return None
        return None if parts is None else Temporal(self.kind, parts, self.offset, self._format(parts))

    def _months(self, months: int) -> tuple[Any, ...] | None:
        if self.kind == "time":
            return None
        if len(self.parts) == 1:
            months = int(months / 12) * 12
        year, month = divmod(self.parts[0] * 12 + (self.parts[1] - 1 if len(self.parts) > 1 else 0) + months, 12)
        if not 1 <= year <= 9999:
            return None
        moved = (year, month + 1, *self.parts[2:])
        if len(self.parts) > 2:
            moved = (year, month + 1, min(self.parts[2], days_in_month(year, month + 1)), *self.parts[3:])
        return moved[: len(self.parts)]

    def _seconds(self, unit: str, amount: Decimal, exact: bool) -> tuple[Any, ...] | None:
        if unit not in _SECONDS:
            return None
        seconds = (amount if exact else Decimal(int(amount))) * _SECONDS[unit]
        if self.kind != "time" and len(self.parts) < 3:
            days = int(seconds / 86400)
            return self._months(int(days / 30) if len(self.parts) == 2 else int(days / 365) * 12)
        step = _SECONDS[_PRECISION[len(self.parts) + (3 if self.kind == "time" else 0)]]
        if len(self.parts) + (3 if self.kind == "time" else 0) < 6:
            seconds = Decimal(int(seconds / step)) * step
        return self._moved(timedelta(microseconds=int(seconds * 1_000_000)))

    def _format(self, parts: tuple[Any, ...]) -> str:
        calendar, clock = ((), parts) if self.kind == "time" else (parts[:3], parts[3:])
        day = "-".join(f"{item:04d}" if place == 0 else f"{item:02d}" for place, item in enumerate(calendar))
        time = ":".join(_seconds_text(item) if place == 2 else f"{item:02d}" for place, item in enumerate(clock))
        zone = "" if self.offset is None or not clock else _zone(self.offset)
        return day + ("T" if day and time else "") + time + zone

    def boundary(self, digits: int | None, high: bool) -> Temporal | None:
        """``lowBoundary``/``highBoundary``: the first or last moment meant, to ``digits`` (4, 6, 8, ... 17)."""
        fill = (_HIGH if high else _LOW)[3 if self.kind == "time" else 0 :]
        sizes = {"time": (0, 2, 4, 9), "date": (0, 4, 6, 8), "dateTime": (0, 4, 6, 8, 10, 12, 17)}[self.kind]
        full = digits if digits is not None else sizes[-1]
        if full not in sizes or not full:
            return None
        count = sizes.index(full)
        parts = (*self.parts, *fill[len(self.parts) :])
        if self.kind != "time" and high and len(self.parts) < 3:
            parts = (*parts[:2], days_in_month(parts[0], parts[1]), *parts[3:])
        second = len(parts) - 1
        if self.kind != "date" and len(self.parts) == len(fill) and high and parts[second] == int(parts[second]):
            parts = (*parts[:-1], parts[second] + (Decimal("0.999") if "." not in self.text else 0))
        if self.kind != "date" and count == len(fill):
            parts = (*parts[:-1], Decimal(parts[-1]).quantize(Decimal("0.001")))
        offset = self.offset
        if self.kind == "dateTime" and offset is None and count > 3:
            offset = -12 * 60 if high else 14 * 60
        made = Temporal(self.kind, parts[:count], offset if count > 3 else None)
        return Temporal(made.kind, made.parts, made.offset, made._format(made.parts))


_SECONDS = {
    "week": Decimal(604800),
    "day": Decimal(86400),
    "hour": Decimal(3600),
    "minute": Decimal(60),
    "second": Decimal(1),
    "millisecond": Decimal("0.001"),
}
# Only these count parts of a unit (6.6.7: decimals of the others are ignored).
_EXACT = frozenset({"second", "millisecond", "ms"})
_PRECISION = {3: "day", 4: "hour", 5: "minute", 6: "millisecond"}
_DURATIONS = {"wk": "week", "d": "day", "h": "hour", "min": "minute", "s": "second", "ms": "millisecond"}


def _seconds_text(value: Any) -> str:
    """Two digits, and the fraction when the precision has one."""
    exponent = Decimal(value).as_tuple().exponent
    places = -exponent if isinstance(exponent, int) and exponent < 0 else 0
    return f"{value:0{places + 3}.{places}f}" if places else f"{int(value):02d}"


def _zone(minutes: int) -> str:
    if minutes == 0:
        return "Z"
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"


def _offset(zone: str | None) -> int | None:
    if zone is None:
        return None
    if zone == "Z":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    return -minutes if zone[0] == "-" else minutes


def _ymd(parts: tuple[Any, ...]) -> tuple[int, int, int]:
    year, month, day = (*parts, 1, 1)[:3]
    return year, month, day


def _calendar(parts: tuple[int, ...]) -> bool:
    year, month, day = _ymd(parts)
    return year > 0 and 1 <= month <= 12 and 1 <= day <= days_in_month(year, month)


def _clock(parts: tuple[Any, ...]) -> bool:
    hour, minute, second = (*parts, 0, 0, 0)[:3]
    return bool(hour < 24 and minute < 60 and second < 61)


def days_in_month(year: int, month: int) -> int:
    """28 to 31."""
    return (date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)).day if (year, month) != (9999, 12) else 31


def plain(value: Decimal) -> str:
    """Decimal notation without exponent."""
    return format(value, "f")


def _sign(value: Decimal) -> int:
    return (value > 0) - (value < 0)


def number(value: Any) -> bool:
    """Whether a System value is an Integer or Decimal."""
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def quantities(left: Any, right: Any) -> tuple[Quantity | None, Quantity | None]:
    """Both as quantities: a number beside a quantity has the unit 1."""

    def quantity(value: Any) -> Quantity | None:
        if isinstance(value, Quantity):
            return value
        return Quantity(Decimal(value)) if number(value) else None

    return quantity(left), quantity(right)

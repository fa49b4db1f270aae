"""Mathematics, boundaries, precision, and the clock (FHIRPath 2.0, 5.7 and 5.9; R4 2.9.1)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal, InvalidOperation, Overflow, localcontext
from typing import Any

from hub.fhir.paths.functions import table
from hub.fhir.paths.scope import Items, Scope, integer, one, wrong
from hub.fhir.paths.units import canonical
from hub.fhir.paths.values import Quantity, Temporal, number

_DIGITS = 28
_MAX_PLACES = 28


def on_number(compute: Callable[..., Any], keeps_unit: bool = False) -> Callable[..., Items]:
    """A function of one number and number arguments; empty when one is empty or the result does not exist."""

    def run(scope: Scope, items: Items, *arguments: Items) -> Items:
        subject = one(items, "input")
        given = [one(argument, "argument") for argument in arguments]
        if subject is None or any(item is None for item in given):
            return []
        unit = subject.unit if isinstance(subject, Quantity) and keeps_unit else None
        value = subject.value if isinstance(subject, Quantity) and keeps_unit else subject
        if not number(value) or not all(number(item) for item in given):
            raise wrong("a number is expected")
        try:
            with localcontext() as context:
                context.prec = _DIGITS
                result = compute(value, *given)
        except (InvalidOperation, Overflow, ZeroDivisionError):
            return []
        if result is None:
            return []
        return [result if unit is None else Quantity(Decimal(result), unit)]

    return run


def rounded(value: Any, places: int = 0) -> Decimal:
    """``round([precision])``: half away from zero."""
    if places < 0 or places > _MAX_PLACES:
        raise wrong("round() needs a precision of 0 to 28")
    return Decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def power(value: Any, exponent: Any) -> Any:
    """``power(exponent)``."""
    if abs(exponent) > 10_000 or (value < 0 and exponent != int(exponent)):
        return None
    result = Decimal(value) ** Decimal(exponent)
    whole = isinstance(value, int) and isinstance(exponent, int) and exponent >= 0
    return int(result) if whole and result.adjusted() < _DIGITS else result


def root(value: Any) -> Decimal | None:
    """``sqrt()``."""
    return None if value < 0 else Decimal(value).sqrt()


def logarithm(value: Any, base: Any) -> Decimal | None:
    """``log(base)``."""
    return None if value <= 0 or base <= 0 or base == 1 else _neat(Decimal(value).ln() / Decimal(base).ln())


def _neat(value: Decimal) -> Decimal:
    """Without the last digits, where a quotient of logarithms is inexact."""
    return value.quantize(Decimal(1).scaleb(-16)).normalize() + 0


def precision(scope: Scope, items: Items) -> Items:
    """``precision()``: decimal places, or digits of a date or time."""
    value = one(items, "input")
    if isinstance(value, Temporal):
        digits = sum(character.isdigit() for character in value.text.partition("+")[0].removesuffix("Z"))
        zone = value.offset is not None and "T" in value.text and not value.text.endswith("Z")
        return [digits - (4 if zone and "+" not in value.text else 0)]
    if number(value):
        exponent = Decimal(value).as_tuple().exponent
        return [max(0, -exponent) if isinstance(exponent, int) else 0]
    return []


def boundary(high: bool) -> Callable[..., Items]:
    """``lowBoundary([precision])`` or ``highBoundary([precision])``."""

    def run(scope: Scope, items: Items, digits: Items | None = None) -> Items:
        value = one(items, "input")
        wanted = integer(digits, "precision") if digits else None
        if value is None:
            return []
        if isinstance(value, Temporal):
            result: Any = value.boundary(wanted, high)
        elif isinstance(value, Quantity):
            edge = _edge(value.value, wanted, high)
            result = None if edge is None else Quantity(edge, value.unit)
        elif number(value):
            result = _edge(Decimal(value), wanted, high)
        else:
            raise wrong("a number, date or time is expected")
        return [] if result is None else [result]

    return run


def _edge(value: Decimal, digits: int | None, high: bool) -> Decimal | None:
    """The end of the interval that a decimal of this precision stands for, at ``digits`` places (default 8)."""
    places = 8 if digits is None else digits
    if not 0 <= places <= _MAX_PLACES:
        return None
    exponent = value.as_tuple().exponent
    own = max(0, -exponent) if isinstance(exponent, int) else 0
    half = Decimal(5).scaleb(-own - 1)
    if high:
        return (value + half).quantize(Decimal(1).scaleb(-places), ROUND_CEILING)
    return (value - half).quantize(Decimal(1).scaleb(-places), ROUND_FLOOR)


def comparable(scope: Scope, items: Items, other: Items) -> Items:
    """``comparable(quantity)``: whether the units measure the same thing."""
    left, right = one(items), one(other)
    if not isinstance(left, Quantity) or not isinstance(right, Quantity):
        return []
    mine, theirs = canonical(left.unit), canonical(right.unit)
    return [left.unit == right.unit or (mine is not None and theirs is not None and mine[1] == theirs[1])]


def _clock(kind: str, cut: slice) -> Callable[[Scope, Items], Items]:
    def read(scope: Scope, items: Items) -> Items:
        moment = scope.env.now
        if moment is None:
            raise wrong("there is no clock here")
        found = Temporal.parse(moment.text[cut], kind)
        return [] if found is None else [found]

    return read


EAGER = table(
    ("abs", on_number(abs, keeps_unit=True), 0, 0),
    ("ceiling", on_number(lambda value: int(Decimal(value).to_integral_value(ROUND_CEILING))), 0, 0),
    ("floor", on_number(lambda value: int(Decimal(value).to_integral_value(ROUND_FLOOR))), 0, 0),
    ("truncate", on_number(int), 0, 0),
    ("round", on_number(rounded, keeps_unit=True), 0, 1),
    ("exp", on_number(lambda value: None if value > 10_000 else Decimal(value).exp()), 0, 0),
    ("ln", on_number(lambda value: None if value <= 0 else Decimal(value).ln()), 0, 0),
    ("log", on_number(logarithm), 1, 1),
    ("power", on_number(power), 1, 1),
    ("sqrt", on_number(root), 0, 0),
    ("precision", precision, 0, 0),
    ("lowBoundary", boundary(False), 0, 1),
    ("highBoundary", boundary(True), 0, 1),
    ("comparable", comparable, 1, 1),
    ("now", _clock("dateTime", slice(None)), 0, 0),
    ("today", _clock("date", slice(10)), 0, 0),
    ("timeOfDay", _clock("time", slice(11, 23)), 0, 0),
)

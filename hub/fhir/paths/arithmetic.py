"""The arithmetic of FHIRPath (FHIRPath 2.0, 6.6): numbers, quantities, dates and durations."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext
from typing import Any

from hub.fhir.paths.scope import Items, one, wrong
from hub.fhir.paths.units import canonical, product, quotient
from hub.fhir.paths.values import CALENDAR_UNITS, Quantity, Temporal, number, quantities

Operator = Callable[[Items, Items], Items]


def arithmetic(compute: Callable[[Any, Any], Any]) -> Operator:
    """An arithmetic operator; empty when a side is empty or the result does not exist."""

    def calculate(left: Items, right: Items) -> Items:
        first, second = one(left), one(right)
        if first is None or second is None:
            return []
        try:
            with localcontext() as context:
                context.prec = 40
                result = compute(first, second)
        except (DivisionByZero, InvalidOperation, Overflow):
            return []
        return [] if result is None else [result]

    return calculate


def add(left: Any, right: Any) -> Any:
    """``+``."""
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    if isinstance(left, Temporal) and isinstance(right, Quantity):
        return _moved(left, right, 1)
    return _numeric(left, right, "+")


def subtract(left: Any, right: Any) -> Any:
    """``-``."""
    if isinstance(left, Temporal) and isinstance(right, Quantity):
        return _moved(left, right, -1)
    return _numeric(left, right, "-")


def _moved(moment: Temporal, quantity: Quantity, sign: int) -> Temporal | None:
    if quantity.unit in ("a", "mo") or (quantity.unit not in CALENDAR_UNITS and quantity.unit not in _DURATIONS):
        raise wrong(f"a calendar duration is expected beside a date, not {quantity.unit}")
    return moment.plus(quantity, sign)


_DURATIONS = frozenset({"wk", "d", "h", "min", "s", "ms"})


def _numeric(left: Any, right: Any, operator: str) -> Any:
    sign = 1 if operator == "+" else -1
    if isinstance(left, Quantity) and isinstance(right, Quantity):
        mine, theirs = canonical(left.unit), canonical(right.unit)
        if left.unit == right.unit:
            return Quantity(left.value + sign * right.value, left.unit)
        if mine is None or theirs is None or mine[1] != theirs[1]:
            return None
        smaller = min((mine, left.unit), (theirs, right.unit))
        total = left.value * mine[0] + sign * right.value * theirs[0]
        return Quantity(total / smaller[0][0], smaller[1])
    if number(left) and number(right):
        return left + right if sign > 0 else left - right
    raise wrong(f"{operator} does not join these types")


def multiply(left: Any, right: Any) -> Any:
    """``*``."""
    if number(left) and number(right):
        return left * right
    first, second = quantities(left, right)
    if first is None or second is None:
        raise wrong("* does not join these types")
    return _based(first, second, product, first.value * second.value)


def divide(left: Any, right: Any) -> Any:
    """``/``: always Decimal; empty for a zero divisor."""
    if number(left) and number(right):
        return None if right == 0 else Decimal(left) / Decimal(right)
    first, second = quantities(left, right)
    if first is None or second is None:
        raise wrong("/ does not join these types")
    return None if second.value == 0 else _based(first, second, quotient, first.value / second.value)


def _based(first: Quantity, second: Quantity, unit: Callable[[str, str], str], value: Decimal) -> Quantity:
    """A product or quotient; units of one kind are brought to the unit of the first."""
    mine, theirs = canonical(first.unit), canonical(second.unit)
    if mine and theirs and mine[1] == theirs[1] and first.unit != second.unit:
        factor = theirs[0] / mine[0]
        value = value * factor if unit is product else value / factor
        return Quantity(value, unit(first.unit, first.unit))
    return Quantity(value, unit(first.unit, second.unit))


def whole(left: Any, right: Any) -> Any:
    """``div``: truncated towards zero."""
    _both_numbers(left, right, "div")
    return None if right == 0 else int(Decimal(left) / Decimal(right))


def modulo(left: Any, right: Any) -> Any:
    """``mod``: the remainder of ``div``, with the sign of the dividend."""
    _both_numbers(left, right, "mod")
    if right == 0:
        return None
    if isinstance(left, int) and isinstance(right, int):
        return left - right * int(Decimal(left) / Decimal(right))
    return Decimal(left) % Decimal(right)


def _both_numbers(left: Any, right: Any, operator: str) -> None:
    if not (number(left) and number(right)):
        raise wrong(f"{operator} needs numbers")

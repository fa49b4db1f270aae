"""The prefixes of ordered parameters as a table of comparisons (R4 3.1.1.4.5).

A *date* target is the interval [low, high) of its precision, a Period or the outer limits of a Timing; the search
value is such an interval too. "The range above the search value" starts where the value's interval ends, so that
``gt2013`` means after the year. A *number* target is a point or a closed Range: by R4 3.1.1.4.6 the implicit precision
of the search value counts for eq and ne only, and the other prefixes take it as exact. The rows are alternatives of
comparisons that must hold on one entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal

from hub.search.expression import Compare, Expression, Match, Number, either

Edge = Literal["low", "high"]
Sign = Literal["<", "<=", ">", ">=", "="]
Row = tuple[tuple[tuple[Edge, Sign, str], ...], ...]

DATE: Final[Mapping[str, Row]] = {
    "eq": ((("low", ">=", "low"), ("high", "<=", "high")),),
    "ne": ((("low", "<", "low"),), (("high", ">", "high"),)),
    "gt": ((("high", ">", "high"),),),
    "lt": ((("low", "<", "low"),),),
    "ge": ((("low", ">=", "low"),), (("high", ">", "high"),)),
    "le": ((("low", "<", "low"),), (("high", "<=", "high"),)),
    "sa": ((("low", ">=", "high"),),),
    "eb": ((("high", "<=", "low"),),),
    "ap": ((("low", "<", "late"), ("high", ">", "early")),),
}

NUMBER: Final[Mapping[str, Row]] = {
    "eq": ((("low", ">=", "low"), ("high", "<", "high")),),
    "ne": ((("low", "<", "low"),), (("high", ">=", "high"),)),
    "gt": ((("high", ">", "exact"),),),
    "lt": ((("low", "<", "exact"),),),
    "ge": ((("high", ">=", "exact"),),),
    "le": ((("low", "<=", "exact"),),),
    "sa": ((("low", ">", "exact"),),),
    "eb": ((("high", "<", "exact"),),),
    "ap": ((("low", "<=", "late"), ("high", ">=", "early")),),
}


def split(value: str) -> tuple[str, str]:
    """The prefix (eq when there is none) and the rest."""
    return (value[:2], value[2:]) if value[:2] in DATE else ("eq", value)


def compared(param: str, row: Row, bounds: Mapping[str, Number]) -> Expression:
    """Some entry of ``param`` passes one alternative of the row."""
    return either(
        Match(param, Compare(tuple((edge, sign, bounds[name]) for edge, sign, name in tests))) for tests in row
    )


def date_bounds(low: int, high: int, now: int) -> dict[str, Number]:
    """Bounds of a date value in microseconds; ``ap`` is within 10 % of the gap between it and now (R4 3.1.1.4.5)."""
    gap = 0 if low <= now < high else min(abs(now - low), abs(now - high))
    return {"low": low, "high": high, "early": low - gap // 10, "late": high + gap // 10}


def number_bounds(literal: str, factor: Decimal = Decimal(1)) -> dict[str, Number]:
    """Bounds of a number as it is written: half a unit of its last digit on both sides, times ``factor``.

    100 is [99.5, 100.5), 100.00 is [99.995, 100.005), 1e2 is [95, 105) (R4 3.1.1.4.6). Raises ValueError when the text
    is not a number.
    """
    value = Decimal(literal)
    digits = value.as_tuple()
    if not isinstance(digits.exponent, int) or abs(digits.exponent) > 400 or len(digits.digits) > 400:
        raise ValueError("not a finite number")
    exponent = digits.exponent
    # 1e2 has one significant digit and so half a unit of 10, not of 100: R4 gives [95, 105)
    half = Decimal(5).scaleb(exponent - (2 if "e" in literal.lower() and exponent > 0 else 1))
    tenth = abs(value) / 10
    exact = {
        "exact": value,
        "low": value - half,
        "high": value + half,
        "early": min(value - tenth, value - half),
        "late": max(value + tenth, value + half),
    }
    return {name: float(bound * factor) for name, bound in exact.items()}

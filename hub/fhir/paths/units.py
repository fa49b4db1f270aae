"""The UCUM units that quantities are compared in: a small closed table, no grammar.

Units outside it compare with themselves only; the terminology service knows the rest of UCUM.
"""

from __future__ import annotations

from decimal import Decimal

# unit: (factor to the base unit, base unit)
_UNITS = {
    "1": ("1", "1"), "%": ("0.01", "1"), "{score}": ("1", "1"),
    "kg": ("1000", "g"), "g": ("1", "g"), "mg": ("1e-3", "g"), "ug": ("1e-6", "g"), "ng": ("1e-9", "g"),
    "[lb_av]": ("453.59237", "g"), "[oz_av]": ("28.349523125", "g"), "t": ("1e6", "g"),
    "km": ("1000", "m"), "m": ("1", "m"), "dm": ("0.1", "m"), "cm": ("0.01", "m"), "mm": ("1e-3", "m"),
    "um": ("1e-6", "m"), "nm": ("1e-9", "m"), "[in_i]": ("0.0254", "m"), "[ft_i]": ("0.3048", "m"),
    "L": ("1", "L"), "l": ("1", "L"), "dL": ("0.1", "L"), "dl": ("0.1", "L"), "cL": ("0.01", "L"),
    "mL": ("1e-3", "L"), "ml": ("1e-3", "L"), "uL": ("1e-6", "L"),
    "mol": ("1", "mol"), "mmol": ("1e-3", "mol"), "umol": ("1e-6", "mol"), "nmol": ("1e-9", "mol"),
    "mol/L": ("1", "mol/L"), "mmol/L": ("1e-3", "mol/L"), "umol/L": ("1e-6", "mol/L"), "nmol/L": ("1e-9", "mol/L"),
    "g/L": ("1", "g/L"), "g/dL": ("10", "g/L"), "mg/dL": ("0.01", "g/L"), "mg/L": ("1e-3", "g/L"),
    "ug/L": ("1e-6", "g/L"), "ng/mL": ("1e-6", "g/L"), "kg/m2": ("1", "kg/m2"),
    "Pa": ("1", "Pa"), "kPa": ("1000", "Pa"), "mm[Hg]": ("133.322387415", "Pa"),
    "K": ("1", "K"), "Cel": ("1", "Cel"), "[degF]": ("1", "[degF]"),
    "/min": ("1", "/min"), "{beats}/min": ("1", "/min"), "{breaths}/min": ("1", "/min"), "/s": ("60", "/min"),
    "a": ("31557600", "s"), "mo": ("2629800", "s"), "wk": ("604800", "s"), "d": ("86400", "s"),
    "h": ("3600", "s"), "min": ("60", "s"), "s": ("1", "s"), "ms": ("1e-3", "s"),
    "week": ("604800", "s"), "day": ("86400", "s"), "hour": ("3600", "s"), "minute": ("60", "s"),
    "second": ("1", "s"), "millisecond": ("1e-3", "s"),
    "year": ("12", "month"), "month": ("1", "month"),
}  # fmt: skip
_TABLE = {unit: (Decimal(factor), base) for unit, (factor, base) in _UNITS.items()}


def canonical(unit: str) -> tuple[Decimal, str] | None:
    """Factor and base unit, so that equal base units compare; None for a unit outside the table."""
    return _TABLE.get(unit)


def product(one: str, two: str) -> str:
    """The unit of a product: ``cm`` and ``cm`` give ``cm2``."""
    if one == "1":
        return two
    if two == "1":
        return one
    return f"{one}2" if one == two else f"{one}.{two}"


def quotient(one: str, two: str) -> str:
    """The unit of a quotient: ``g`` and ``g`` give ``1``, ``g`` and ``m`` give ``g/m``."""
    if one == two:
        return "1"
    return one if two == "1" else f"{one}/{two}".removeprefix("1")

"""Location.near (R4 8.7, special parameter): positions within a distance, as a box of latitude and longitude.

The box is the smallest that holds the circle: a place just outside the circle at the box's corner is found too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from hub.search.expression import Compare, Expression, Match, both, either

KILOMETRES: Final = {"km": 1.0, "m": 0.001, "[mi_i]": 1.609344, "mi": 1.609344, "": 1.0}
DEGREE: Final = 111.195  # kilometres of one degree of latitude, mean Earth radius 6,371 km
DEFAULT_KILOMETRES: Final = 10.0
_NUMBER = re.compile(r"-?\d{1,9}(\.\d{1,20})?")


def near(param: str, parts: Sequence[str]) -> Expression:
    """``latitude|longitude|distance|units``; distance 10 km and units km when left out. Raises ValueError."""
    if not 2 <= len(parts) <= 4 or not all(_NUMBER.fullmatch(part) for part in parts[:3]):
        raise ValueError("expected latitude|longitude|distance|units")
    latitude, longitude = float(parts[0]), float(parts[1])
    unit = parts[3] if len(parts) == 4 else "km"
    if unit not in KILOMETRES:
        raise ValueError("the unit is one of km, m, [mi_i]")
    if abs(latitude) > 90 or abs(longitude) > 180:
        raise ValueError("latitude is -90 to 90, longitude -180 to 180 degrees")
    distance = float(parts[2]) * KILOMETRES[unit] if len(parts) > 2 else DEFAULT_KILOMETRES
    high = abs(distance) / DEGREE
    pole = abs(latitude) + high >= 90
    wide = (
        360.0
        if pole
        else math.degrees(math.asin(min(1.0, math.sin(math.radians(high)) / math.cos(math.radians(latitude)))))
    )
    return both(
        _within(f"{param}:latitude", latitude - high, latitude + high),
        either(
            _within(f"{param}:longitude", longitude - wide + turn, longitude + wide + turn)
            for turn in (-360.0, 0.0, 360.0)
            if longitude - wide + turn <= 180 and longitude + wide + turn >= -180
        ),
    )


def _within(param: str, low: float, high: float) -> Expression:
    return Match(param, Compare((("low", ">=", low), ("high", "<=", high))))

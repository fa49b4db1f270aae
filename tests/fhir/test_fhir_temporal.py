"""Dates as intervals."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from hub.errors import HubError
from hub.fhir import temporal

DAY = 86_400_000_000
INTERVALS = [
    ("1970", 0, 365 * DAY),
    ("1970-02", 31 * DAY, 59 * DAY),
    ("1970-01-02", DAY, 2 * DAY),
    ("1972-02-29", 789 * DAY, 790 * DAY),
    ("1970-01-01T00:00Z", 0, 60_000_000),
    ("1970-01-01T00:00:01Z", 1_000_000, 2_000_000),
    ("1970-01-01T08:00:00+08:00", 0, 1_000_000),
    ("1969-12-31T19:00:00.5-05:00", 500_000, 600_000),
    ("1970-01-01T00:00:00.123456789Z", 123_456, 123_457),
    ("9999", 253370764800000000, 253402300800000000),
]


@pytest.mark.parametrize(("text", "low", "high"), INTERVALS)
def test_a_moment_is_an_interval_of_its_precision(text: str, low: int, high: int) -> None:
    assert temporal.interval(text) == (low, high)


def test_without_a_zone_the_local_one_counts() -> None:
    zone = ZoneInfo("Asia/Shanghai")
    low, high = temporal.interval("2026-11-20", zone)
    assert (low, high) == (temporal.interval("2026-11-19T16:00:00Z")[0], temporal.interval("2026-11-20T16:00:00Z")[0])
    assert temporal.interval("2026-11-20T02:00:00", zone)[0] == temporal.interval("2026-11-19T18:00:00Z")[0]


@pytest.mark.parametrize(
    "text", ["", "20", "2026-13", "2026-02-30", "2026-11-20T24:00:00Z", "2026-11-20 10:00", "0000"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(HubError) as refusal:
        temporal.interval(text)
    assert refusal.value.name == "value"


def test_an_instant_has_milliseconds() -> None:
    assert temporal.instant(1_795_209_600_123_456) == "2026-11-20T21:20:00.123Z"

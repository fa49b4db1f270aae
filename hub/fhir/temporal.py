"""FHIR date, dateTime and instant as intervals of time (R4 2.24.0.1, 3.1.1.4.7)."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache

from hub.errors import HubError

SECOND = 1_000_000
DAY = 86_400 * SECOND
_EPOCH = date(1970, 1, 1).toordinal()

_FORM = re.compile(
    r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:T(\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9})\d*)?)?(Z|[+-]\d{2}:\d{2})?)?)?)?"
)


def interval(text: str, zone: tzinfo = UTC) -> tuple[int, int]:
    """[low, high) in microseconds since 1970 UTC of a date, dateTime or instant of any precision.

    ``zone`` is that of a text without one (R4 3.1.1.4.7: the server's local zone). Raises HubError ``value``.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise HubError("value", f"{text[:40]!r} is not a date, dateTime or instant.")
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        if hour is None:
            return _calendar(text, zone)
        midnight = (date(int(year), int(month), int(day)).toordinal() - _EPOCH) * DAY
    except (ValueError, OverflowError) as error:
        raise HubError("value", f"{text!r} is not a day of the calendar.") from error
    seconds = int(second or 0)
    if int(hour) > 23 or int(minute) > 59 or seconds > 60:
        raise HubError("value", f"{text!r} is not a time of the day.")
    low = midnight + (int(hour) * 3600 + int(minute) * 60 + seconds) * SECOND
    low -= _offset(offset) if offset else _local(text[:10], zone)
    if second is None:
        return low, low + 60 * SECOND
    if fraction is None:
        return low, low + SECOND
    low += int(fraction.ljust(6, "0")[:6])
    return low, low + 10 ** max(0, 6 - len(fraction))


def instant(microseconds: int) -> str:
    """The FHIR instant of a moment, in UTC with milliseconds: 2026-11-20T21:00:00.000Z."""
    second, fraction = divmod(microseconds, SECOND)
    return f"{_second(second)}.{fraction // 1000:03d}Z"


@lru_cache(maxsize=1024)
def _second(second: int) -> str:
    """A second since 1970 UTC as text; cached, because what is written together has the same."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=65536)
def _calendar(text: str, zone: tzinfo) -> tuple[int, int]:
    """The interval of a year, month or day."""
    numbers = [int(part) for part in text.split("-")]
    first = date(*(*numbers, 1, 1)[:3])
    if len(numbers) == 3:
        after = first.toordinal() + 1
    elif len(numbers) == 1 or first.month == 12:
        after = date(first.year, 12, 31).toordinal() + 1
    else:
        after = date(first.year, first.month + 1, 1).toordinal()
    low, high = (first.toordinal() - _EPOCH) * DAY, (after - _EPOCH) * DAY
    if zone is UTC:
        return low, high
    last = date.fromordinal(min(after, date.max.toordinal()))
    return low - _local(first.isoformat(), zone), high - _local(last.isoformat(), zone)


@lru_cache(maxsize=65536)
def _local(day: str, zone: tzinfo) -> int:
    """How far the zone is ahead of UTC at the start of a day, in microseconds."""
    moment = datetime.fromisoformat(day).replace(tzinfo=zone)
    try:
        ahead = moment.utcoffset()
    except OverflowError:
        return 0
    return 0 if ahead is None else int(ahead.total_seconds()) * SECOND


def _offset(text: str) -> int:
    if text == "Z":
        return 0
    ahead = (int(text[1:3]) * 60 + int(text[4:6])) * 60 * SECOND
    return -ahead if text[0] == "-" else ahead

"""Time in the region: when people come (hour, weekday, holiday, surge), and the virtual clock that paces what is
sent."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from simulators.record import LOCAL
from simulators.streams import Stream

FIRST_DAY = datetime.datetime(2026, 11, 2, tzinfo=LOCAL)
"""A Monday."""
HOURS = (
    (0, 1), (2, 1), (5, 1), (7, 7), (8, 20), (9, 24), (10, 18), (11, 8), (12, 3), (13, 4), (14, 14), (15, 12), (16, 7),
    (17, 3), (19, 3), (20, 2), (22, 2),
)  # fmt: skip
"""Hour of day and weight of arrivals (ours; two peaks as Chinese outpatient clinics have them, 16 to 19 % in the
busiest hour)."""
NIGHT = ((0, 4), (2, 3), (5, 3), (8, 6), (11, 6), (14, 6), (17, 8), (19, 9), (21, 8), (23, 5))
"""The same for emergencies."""
WEEKDAYS = (1.2, 1.12, 1.05, 1.02, 1.0, 0.72, 0.55)
"""Factor of arrivals, Monday first (ours)."""
HOLIDAYS = {
    (1, 1): 0.4,
    (5, 1): 0.4,
    (10, 1): 0.35,
    (10, 2): 0.4,
    (10, 3): 0.45,
    (2, 17): 0.2,
    (2, 18): 0.25,
    (2, 19): 0.35,
}
"""Month and day -> factor; Spring Festival as in 2026."""


def demand(day: datetime.date, surge: float = 1.0) -> float:
    """How many come on a day, as a factor of the mean day."""
    return HOLIDAYS.get((day.month, day.day), WEEKDAYS[day.weekday()]) * surge


def arrival(stream: Stream, day: datetime.datetime, emergency: bool = False) -> datetime.datetime:
    """When somebody comes on a day."""
    table = NIGHT if emergency else HOURS
    hour = stream.weighted([hour for hour, _ in table], [float(weight) for _, weight in table])
    return day + datetime.timedelta(hours=hour, seconds=stream.below(3600))


@dataclass(slots=True)
class Clock:
    """A virtual clock: ``factor`` virtual seconds pass in a second; 0 is as fast as possible, without waiting.

    It may be paused, resumed, and given another factor while it runs.
    """

    factor: float
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _began: float = 0.0
    _virtual: datetime.datetime | None = None
    paused: bool = field(default=False)

    def wait(self, until: datetime.datetime) -> None:
        """Return when the virtual time has come."""
        while self.paused:
            self.sleep(0.05)
            self._began = self.now()
        if self._virtual is None or not self.factor:
            self._virtual, self._began = until, self.now()
            return
        pause = (until - self._virtual).total_seconds() / self.factor - (self.now() - self._began)
        if pause > 0:
            self.sleep(pause)

    def speed(self, factor: float) -> None:
        """Go on with another factor from here."""
        if self._virtual is not None and self.factor:
            passed = (self.now() - self._began) * self.factor
            self._virtual += datetime.timedelta(seconds=passed)
        self.factor, self._began = factor, self.now()

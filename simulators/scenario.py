"""A scenario: who goes where when, and everything that this makes the region send, in the order of its time.

The log depends on (scenario, seed, VERSION) only, byte for byte, on any machine and with any number of workers: a
block of
households is planned without knowing the others.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from heapq import merge
from multiprocessing import get_context

from simulators import faults, masterfiles, region
from simulators.clock import FIRST_DAY, arrival, demand
from simulators.episode import Episode, fits, places
from simulators.journey import journeys
from simulators.population import Resident, household
from simulators.record import Sending
from simulators.region import Institution
from simulators.streams import Stream

VERSION = "2"
EPISODES = 6.8 / 365 + 0.214 / 365 + 2.0 / 365
"""Episodes per inhabitant and day: visits and admissions (national bulletin 2023), public health (ours)."""
PER_HOUSEHOLD = 2.58
"""Members of a household in the mean of census.csv."""
BLOCK = 400
"""Households a worker plans at a time."""
EVERYWHERE = 5
"""In the demo, every fifth household visits all hospitals."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated: ``name`` demo or day; ``scale`` of the region; ``households`` 0 means as the scale has them.

    ``only`` names the institutions that are simulated (all when empty); ``faulty`` lets everything go wrong that
    faults.csv has; ``masters`` has places, beds, staff and devices told too.
    """

    name: str
    seed: int
    scale: float = 0.01
    households: int = 0
    days: int = 1
    surge: float = 1.0
    faulty: bool = False
    only: tuple[str, ...] = ()
    masters: bool = True

    @property
    def sites(self) -> dict[str, Institution]:
        """The institutions by key."""
        found = region.demo() if self.name == "demo" else region.institutions(self.scale)
        return {key: site for key, site in found.items() if not self.only or key in self.only}

    @property
    def homes(self) -> int:
        """How many households there are."""
        return self.households or round(region.inhabitants(self.scale) / PER_HOUSEHOLD)


def log(scenario: Scenario, workers: int = 1) -> list[Sending]:
    """Everything that is sent, in the order of time; the same with any number of ``workers``."""
    blocks = [(scenario, first, min(first + BLOCK, scenario.homes)) for first in range(0, scenario.homes, BLOCK)]
    if workers > 1 and len(blocks) > 1:
        with ProcessPoolExecutor(min(workers, len(blocks)), mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(_block, blocks))
    else:
        parts = [_block(block) for block in blocks]
    start = sorted(
        masterfiles.sendings(scenario.sites.values(), FIRST_DAY, whole=scenario.masters and scenario.name != "demo"),
        key=_order,
    )
    return [*start, *merge(*parts, key=_order)]


def _order(sending: Sending) -> tuple[datetime.datetime, str, str, str]:
    return sending.order


def _block(work: tuple[Scenario, int, int]) -> list[Sending]:
    scenario, first, last = work
    found: list[Sending] = []
    for number in range(first, last):
        for episode in episodes(scenario, number):
            sent = [one for one in episode.sendings() if not scenario.only or one.hospital in scenario.only]
            found += faults.apply(scenario.seed, sent) if scenario.faulty else sent
    return sorted(found, key=_order)


def episodes(scenario: Scenario, number: int) -> Iterator[Episode]:
    """The episodes of a household."""
    members = household(scenario.seed, number)
    if scenario.name == "demo":
        yield from _demo(scenario, number, members)
        return
    sites = region.institutions(scenario.scale)
    for day in range(scenario.days):
        begin = FIRST_DAY + datetime.timedelta(days=day)
        chance = EPISODES * demand(begin.date(), scenario.surge)
        for resident in members:
            stream = Stream(scenario.seed, "day", day, resident.index)
            if stream.chance(chance) and (episode := _episode(scenario.seed, stream, resident, sites, begin)):
                yield episode


def _episode(
    seed: int, stream: Stream, resident: Resident, sites: dict[str, Institution], day: datetime.datetime, kind: str = ""
) -> Episode | None:
    """The resident's journey of a day, drawn from those that fit; ``kind`` limits where it begins."""
    table = [one for one in journeys().values() if not kind or kind in one.places["here"]]
    for _ in range(20):
        journey = stream.weighted(table, [one.share for one in table])
        if fits(journey, resident, seed, day.date()) and (where := places(journey, resident, sites)):
            return Episode(seed, resident, journey, arrival(stream, day, journey.patient_class == "E"), where)
    return None


def _demo(scenario: Scenario, number: int, members: Sequence[Resident]) -> Iterator[Episode]:
    """Some days of three hospitals; somebody is admitted, visits all three, and has a registration merged."""
    resident, sites, table = members[0], scenario.sites, journeys()
    if number == 0:
        stays = (
            ("people", "inpatient", 8.2),
            ("county", "outpatient", 33.2),
            ("cloud", "primary", 57.2),
            ("people", "unknown", 230.0),
        )
        for letter, (key, name, hours) in zip("abcd", stays, strict=True):
            if key in sites:
                at = FIRST_DAY + datetime.timedelta(hours=hours)
                journey = table[name]
                if name == "unknown":
                    steps = journey.steps | {
                        "results": replace(journey.steps["results"], ways=journey.steps["results"].ways[:1])
                    }
                    journey = replace(journey, steps=steps)
                yield Episode(scenario.seed, replace(resident), journey, at, {"here": sites[key]}, letter)
        return
    for letter, (key, site) in zip("abc", sites.items(), strict=False):
        stream = Stream(scenario.seed, "demo", number, key)
        if number % EVERYWHERE and not stream.chance(0.5):
            continue
        day = FIRST_DAY + datetime.timedelta(days=stream.below(3))
        episode = _episode(scenario.seed, stream, resident, {key: site}, day, site.kind)
        if episode is not None:
            yield replace(episode, letter=letter)

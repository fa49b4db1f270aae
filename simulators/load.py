"""Traffic for a load: what a fault-free day of the region sends over MLLP and HTTP, as much of it as wanted.

Residents follow each other household by household; their messages keep their order. Images are left out: the bench of
DICOM measures those.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from simulators import masterfiles, scenario
from simulators.clock import FIRST_DAY
from simulators.record import Sending
from simulators.scenario import BLOCK, Scenario

SCALE = 0.02
"""The institutions are those of a region of 62,000 inhabitants: 22."""
AT_A_TIME = 16
Item = tuple[int, str, bytes]
"""(lane, ``mllp`` or ``http``, body): what has one lane must be sent in order."""


def messages(count: int, first: int = 0, seed: int = 1, workers: int = 2) -> tuple[list[Item], int]:
    """At least ``count`` messages of the households from block ``first`` on, and the block after them.

    With a ``count`` of 0 what the institutions introduce themselves with, which a hub needs first.
    """
    plan = Scenario("day", seed, SCALE, masters=False)
    if not count:
        first_of_all = _items(masterfiles.sendings(plan.sites.values(), FIRST_DAY, whole=False))
        return [(0, link, body) for _, link, body in first_of_all], first
    found: list[Item] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        while len(found) < count:
            for part in pool.map(block, [plan] * AT_A_TIME, range(first, first + AT_A_TIME)):
                found += part
            first += AT_A_TIME
    return found, first


def block(plan: Scenario, number: int) -> list[Item]:
    """What the households of one block send."""
    sent = [
        one
        for household in range(number * BLOCK, (number + 1) * BLOCK)
        for episode in scenario.episodes(plan, household)
        for one in episode.sendings()
    ]
    return _items(sorted(sent, key=lambda one: one.order))


def _items(log: Iterable[Sending]) -> list[Item]:
    return [
        (zlib.crc32(f"{one.hospital} {one.resident}".encode()), one.link, one.body)
        for one in log
        if one.link in ("mllp", "http")
    ]

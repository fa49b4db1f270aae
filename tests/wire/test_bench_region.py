"""``hub bench region``: real messages of the simulated region at a pace, every one acknowledged, and the city it is."""

from __future__ import annotations

import asyncio

import pytest

from hub.bench import region
from hub.bench.meter import Meter
from simulators import load
from simulators.scenario import Scenario
from tests.running import Process


def test_a_pace_is_held_with_every_message_acknowledged(running: Process) -> None:
    plan = Scenario("day", 1, load.SCALE, masters=False)
    items = load.block(plan, 0)
    assert {link for _, link, _ in items} == {"mllp", "http"}
    assert load.block(plan, 0) == items != load.block(plan, 1)
    meter = Meter(running.popen.pid)
    introductions, _ = load.messages(0)
    known = asyncio.run(region.paced(running.mllp, running.addresses["http"], introductions, 50, meter))
    assert known["refused"] == 0
    measured = asyncio.run(region.paced(running.mllp, running.addresses["http"], items[:120], 40, meter))
    assert measured["refused"] == 0
    assert 10 < measured["per_s"] <= 41  # a pace, not as fast as possible
    found = region.stage(40, measured)
    assert found["cpu_share"] > 0
    assert found["p50_ms"] <= found["p99_ms"]


@pytest.mark.parametrize(("rate", "burst"), [(88, 3_100_000), (283, 10_000_000)])
def test_the_city_is_that_of_the_model(rate: float, burst: int) -> None:
    fine = {"per_s": rate, "refused": 0, "p50_ms": 3.0, "p99_ms": 9.0, "cpu_us": 1000.0}
    slow = fine | {"per_s": rate * 2, "p99_ms": 3000.0}
    stages = [region.stage(rate, fine), region.stage(rate * 2, slow)]
    assert [one["held"] for one in stages] == [True, False]
    assert region.figures(stages)["inhabitants_burst"] == burst
    assert region.figures(stages[1:])["inhabitants_burst"] is None

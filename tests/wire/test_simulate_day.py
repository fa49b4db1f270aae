"""A day of the region with everything going wrong, against a hub of its own on either store: the truth, exactly."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from simulators import faults, scenario, traffic, truth, verify
from simulators.population import table
from simulators.scenario import Scenario
from tests.conftest import BACK_ENDS
from tests.running import Process


def exact(plan: Scenario, process: Process, workers: int = 1) -> dict[str, int]:
    """Send the day and compare; how often each fault occurred."""
    log = scenario.log(plan, workers)
    expected = truth.of(log)
    account = traffic.send(log, traffic.Targets(process.mllp, process.dicom, process.base), lanes=4)
    assert account.refusals == []
    studies = sum(kind == "ImagingStudy" for kind, _ in expected.resources)
    end = time.monotonic() + 120
    while total(process) < studies and time.monotonic() < end:
        time.sleep(0.5)
    time.sleep(3)  # a study that grows is described again when it was quiet
    findings = verify.verify(process.base, expected, plan.sites.values())
    assert findings.sound, json.dumps(findings.summary(), ensure_ascii=False, indent=1)
    assert findings.summary()["identity"]["precision"] == 1
    return dict(account.faults)


def total(process: Process) -> int:
    answer = httpx.get(f"{process.base}/fhir/ImagingStudy?_summary=count", timeout=120)
    return int(answer.json()["total"])


def address(store: str, request: pytest.FixtureRequest) -> str:
    return "sqlite" if store == "sqlite" else str(request.getfixturevalue("mongo_url"))


@pytest.mark.parametrize("store", BACK_ENDS)
def test_a_small_day_with_faults_is_exact(
    store: str, start: Callable[..., Process], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few households and many faults."""
    often = {
        layer: {name: min(0.3, rate * 4) for name, rate in rates.items()} for layer, rates in faults.rates().items()
    }
    monkeypatch.setattr(faults, "rates", lambda: often)
    plan = Scenario("day", 2, scale=0.0004, surge=0.8, faulty=True, masters=False)
    found = exact(plan, start(store=address(store, request)))
    assert len(found) > 12


@pytest.mark.soak
@pytest.mark.parametrize("store", BACK_ENDS)
def test_a_day_at_a_fiftieth_with_faults_is_exact(
    store: str, tmp_path: Path, start: Callable[..., Process], request: pytest.FixtureRequest
) -> None:
    plan = Scenario("day", 1, scale=0.02, faulty=True)
    found = exact(plan, start(store=address(store, request)), workers=2)
    assert set(found) - {""} == {row["name"] for row in table("faults")}

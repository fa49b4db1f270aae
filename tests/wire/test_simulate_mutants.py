"""Bugs planted in a test build of the hub: the comparison with the truth finds each of them."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import httpx
import pytest

from simulators import region, scenario, traffic, truth, verify
from simulators.clock import FIRST_DAY
from simulators.episode import Episode, fits, places
from simulators.journey import journeys
from simulators.population import people
from simulators.record import Sending
from simulators.truth import Truth
from simulators.verify import Findings
from tests.running import Process, serve

SITES = {key: site for key, site in region.institutions(0.001).items() if key in ("people", "county")}
WANTED = {
    "cancelled": lambda kinds: "ADT^A11" in kinds,
    "changed later": lambda kinds: kinds[-1:] == ["ADT^A08"],
    "misplaced": lambda kinds: "ADT^A37:repair" in kinds,
    "imaged": lambda kinds: kinds.count("CT") + kinds.count("MR") >= 3,
    "in laboratory": lambda kinds: "ORU^R01:lab-C" in kinds,
}


@pytest.fixture(scope="module")
def log() -> list[Sending]:
    """One episode of each kind that a mutant breaks."""
    found: dict[str, list[Sending]] = {}
    names = ("outpatient", "misplaced", "emergency")
    for place, resident in enumerate(people(4, 400)):
        for name in names:
            journey = journeys()[name]
            if len(found) < len(WANTED) and fits(journey, resident, 4, FIRST_DAY.date()):
                at = FIRST_DAY + datetime.timedelta(hours=8, minutes=place)
                sent = Episode(4, resident, journey, at, places(journey, resident, SITES)).sendings()
                kinds = [one.kind for one in sent]
                for wanted, condition in WANTED.items():
                    if wanted not in found and condition(kinds):
                        found[wanted] = sent
                        break
    assert set(found) == set(WANTED)
    return sorted((one for sent in found.values() for one in sent), key=lambda one: one.order)


FINDINGS = {
    "drop_a08": ("wrong", "phone is"),
    "ignore_a11": ("wrong", "not 'cancelled'"),
    "double_oru": ("doubled", "Observation"),
    "skip_unmerge": ("wrong", "active is False"),
    "lose_instance": ("wrong", "instances is"),
}
"""Mutant -> where the comparison tells of it, and in which words."""


def compare(log: list[Sending], mutants: str, data: Path) -> Findings:
    """What the comparison says of a hub with these bugs after the log."""
    process = serve(data, module=("tests.mutants", mutants), HUB_MLLP__READERS="0")
    try:
        account = traffic.send(log, traffic.Targets(process.mllp, process.dicom, process.base))
        assert account.refusals == []
        expected = truth.of(log)
        wait(process, expected)
        return verify.verify(process.base, expected, SITES.values())
    finally:
        process.stop()


def test_all_bugs_at_once_are_told_apart(log: list[Sending], tmp_path: Path) -> None:
    findings = compare(log, ",".join(FINDINGS), tmp_path / "data")
    for mutant, (kind, words) in FINDINGS.items():
        assert any(words in text for text in getattr(findings, kind)), (mutant, findings.summary())


@pytest.mark.soak
@pytest.mark.parametrize("mutant", FINDINGS)
def test_one_bug_is_found(log: list[Sending], mutant: str, tmp_path: Path) -> None:
    findings = compare(log, mutant, tmp_path / "data")
    for other, (kind, words) in FINDINGS.items():
        found = any(words in text for text in getattr(findings, kind))
        assert found == (other == mutant), (other, findings.summary())


def wait(process: Process, expected: Truth) -> None:
    """Until the studies are described, or should have been."""
    studies = sum(kind == "ImagingStudy" for kind, _ in expected.resources)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        total = httpx.get(f"{process.base}/fhir/ImagingStudy?_summary=count", timeout=30).json()["total"]
        if total >= studies:
            return
        time.sleep(0.2)


def test_the_log_has_all_that_the_mutants_break(log: list[Sending]) -> None:
    assert scenario.VERSION
    assert {"ADT^A08", "ADT^A11", "ADT^A37:repair", "ORU^R01:lab-F"} <= {one.kind for one in log}

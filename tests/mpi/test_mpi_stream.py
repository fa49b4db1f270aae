"""The Chinese stream with known truth, on a real store: no false link, few missed, few questions."""

from __future__ import annotations

import itertools
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

from hub.databases.database import Databases
from hub.fhir import definitions
from hub.mpi import golden, rules
from hub.mpi.blocks import MemoryBlocks
from hub.mpi.link import Linker
from hub.search.expression import ALL, Query
from hub.search.parameters import Registry
from hub.store.sqlite import SqliteStore
from simulators.registrations import Rates, registrations

BATCH = 100


@pytest.mark.parametrize(
    ("seed", "residents", "factor", "wrong", "recall", "reviews"),
    [
        (7, 600, 1.0, 0.0, 0.97, 0.015),
        (8, 400, 2.0, 0.0, 0.90, 0.05),
        pytest.param(7, 20_000, 1.0, 0.0, 0.98, 0.012, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
        pytest.param(2026, 20_000, 1.0, 0.0, 0.98, 0.012, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
        pytest.param(9, 20_000, 2.0, 0.0001, 0.932, 0.03, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_stream(
    tmp_path: Path, seed: int, residents: int, factor: float, wrong: float, recall: float, reviews: float
) -> None:
    stream = registrations(seed, residents, Rates().times(factor))
    truth = {f"Patient/{one.patient['id']}": one.resident for one in stream}
    clock = itertools.count(1_700_000_000_000_000).__next__
    store = SqliteStore(tmp_path / "hub.sqlite3", clock=clock, snapshot_seconds=900)
    databases = Databases(Registry(definitions.load()), clock)
    text = files("hub.mpi").joinpath("rules.toml").read_text(encoding="utf-8")
    linker = Linker(
        databases, rules.parse(text.replace("residents = 1_000_000", f"residents = {residents}")), MemoryBlocks
    )
    for start in range(0, len(stream), BATCH):

        def work(tx: object, part: slice = slice(start, start + BATCH)) -> None:
            for one in stream[part]:
                databases.put(tx, one.patient, method="PUT", now=clock())
                linker.link(tx, one.patient, now=clock())

        store.write(work)
    clusters = [
        Counter(truth[link] for link in golden.links(person))
        for row in store.find(Query(("Person",), ALL, limit=10**6))
        if (person := databases.decode(row.version))["active"]
    ]
    tasks = [databases.decode(row.version) for row in store.find(Query(("Task",), ALL, limit=10**6))]
    store.close()
    assert sum(cluster.total() for cluster in clusters) == len(stream)
    found = sum(pairs(cluster.total()) for cluster in clusters)
    right = sum(pairs(count) for cluster in clusters for count in cluster.values())
    assert (found - right) / found <= wrong, f"{found - right} pairs of different people were linked"
    assert right / sum(map(pairs, Counter(truth.values()).values())) >= recall
    assert sum(task["status"] == "requested" for task in tasks) / len(stream) <= reviews


def pairs(count: int) -> int:
    """How many pairs there are among ``count``."""
    return count * (count - 1) // 2

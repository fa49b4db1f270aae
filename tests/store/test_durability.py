"""kill -9 in the middle of writing: every acknowledged write is there, whole, and nothing is there by half."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hub.search.expression import Equals, Match, Query
from hub.store.protocol import Store
from hub.store.sqlite import SqliteStore

PAIR = 2  # resources in one transaction
CHILD = """
import itertools, sys, threading, time
from pathlib import Path
from hub.search.expression import Entries, Term
from hub.store.protocol import Item, Put
kind, address, worker = sys.argv[1:]
clock = lambda: time.time_ns() // 1000
if kind == "sqlite":
    from hub.store.sqlite import SqliteStore
    store = SqliteStore(Path(address), clock=clock)
else:
    from hub.store.mongo import MongoStore
    store = MongoStore(address, clock=clock, prefix="durable_")

def write(thread):
    for number in itertools.count():
        name = f"{worker}-{thread}-{number}"
        def work(tx):
            for half in "ab":
                tx.put(Put("emr", "Basic", name + half, 1, "PUT", 1, b"{}" * 300, Entries((Term("pair", name),))))
            tx.enqueue(Item("inbox", name, name, "", "received", {}, b"MSH" * 50, 1))
        store.write(work)
        sys.stdout.write(name + "\\n")
        sys.stdout.flush()

for thread in range(4):
    threading.Thread(target=write, args=(thread,), daemon=True).start()
time.sleep(600)
"""


def interrupted(kind: str, address: str, worker: str, seconds: float) -> list[str]:
    """What a child process acknowledged before it was killed."""
    command = [sys.executable, "-c", CHILD, kind, address, worker]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        acknowledged = [child.stdout.readline().strip()]
        time.sleep(seconds)
        child.kill()
        lines = child.stdout.read().split("\n")
        return acknowledged + lines[:-1]  # the last line may be cut


def verify(store: Store, acknowledged: list[str]) -> None:
    """All that was acknowledged is there, and every pair is whole."""
    for name in acknowledged:
        assert store.item("inbox", name) is not None
        found = store.find(Query(("Basic",), Match("pair", Equals(name))))
        assert sorted(row.version.id for row in found) == [name + "a", name + "b"]
        assert all(row.version.text == b"{}" * 300 for row in found)
    versions = store.changes(0, 1_000_000)
    assert len(versions) == PAIR * len({version.id[:-1] for version in versions})
    assert sum(store.item_counts("inbox").values()) * PAIR == len(versions)
    assert store.check() == []


def run_rounds(tmp_path: Path, number_of: int) -> None:
    acknowledged: list[str] = []
    for turn in range(number_of):
        acknowledged += interrupted("sqlite", str(tmp_path / "hub.sqlite3"), str(turn), random.uniform(0, 0.3))
        store = SqliteStore(tmp_path / "hub.sqlite3", clock=lambda: 0)
        verify(store, acknowledged[-2000:])
        store.close()
    assert len(acknowledged) > number_of


def test_killed_writers_lose_nothing(tmp_path: Path) -> None:
    run_rounds(tmp_path, 3)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_writers_lose_nothing_for_long(tmp_path: Path) -> None:
    run_rounds(tmp_path, 100)


@pytest.mark.mongo
def test_several_writing_processes_and_one_killed(mongod: str) -> None:
    from hub.store.mongo import MongoStore

    command = [sys.executable, "-c", CHILD, "mongo", mongod, "other"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline().startswith("other")
        acknowledged = interrupted("mongo", mongod, "killed", 0.5)
        assert other.poll() is None
        other.kill()
        acknowledged += other.stdout.read().split("\n")[:-1]
    store = MongoStore(mongod, clock=lambda: 0, prefix="durable_")
    verify(store, acknowledged)
    assert {name.split("-")[0] for name in acknowledged} == {"other", "killed"}
    store.close()

"""Fixtures that every part uses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import settings

from hub.store.mongo import MongoStore
from hub.store.protocol import Store
from hub.store.sqlite import SqliteStore

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))  # make soak sets random

pytest_plugins = ["tests.mongod", "tests.running"]

BACK_ENDS = ["sqlite", pytest.param("mongo", marks=pytest.mark.mongo)]


class Clock:
    """Microseconds since 1970 UTC that pass only when told: one with each look, or ``advance``."""

    def __init__(self) -> None:
        self.now = 1_795_000_000_000_000

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * 1_000_000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=BACK_ENDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Callable[[], int]) -> Iterator[Store]:
    """An empty store, of each kind in turn."""
    if request.param == "sqlite":
        opened: Store = SqliteStore(tmp_path / "hub.sqlite3", clock=clock)
        yield opened
        opened.close()
        return
    address = request.getfixturevalue("mongo_url")
    opened = MongoStore(address, clock=clock, prefix=urlsplit(address).path.strip("/") + "_")
    yield opened
    opened.close()

"""The region on every kind of store, with its keys in the store and, where one process writes, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hub.mpi.blocks import MemoryBlocks, StoredBlocks
from hub.store.sqlite import SqliteStore
from tests.mpi.region import Region

KINDS = ["memory", "stored", pytest.param("mongo", marks=pytest.mark.mongo)]


@pytest.fixture(params=KINDS)
def region(request: pytest.FixtureRequest, tmp_path: Path, clock: Callable[[], int]) -> Iterator[Region]:
    if request.param == "mongo":
        from urllib.parse import urlsplit

        from hub.store.mongo import MongoStore

        address = request.getfixturevalue("mongo_url")
        mongo = MongoStore(address, clock=clock, prefix=urlsplit(address).path.strip("/") + "_")
        yield Region(mongo, clock)
        mongo.close()
        return
    store = SqliteStore(tmp_path / "hub.sqlite3", clock=clock)
    yield Region(store, clock, MemoryBlocks if request.param == "memory" else StoredBlocks)
    store.close()

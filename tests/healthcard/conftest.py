"""Fixtures: the card service, on SQLite or on each store in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.store.protocol import Store
from hub.store.sqlite import SqliteStore
from tests.healthcard.service import Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    store = SqliteStore(tmp_path / "hub.sqlite3", clock=lambda: 0)
    made = Service(store)
    yield made
    made.audit.close()
    store.close()


@pytest.fixture
def any_service(store: Store) -> Iterator[Service]:
    made = Service(store)
    yield made
    made.audit.close()

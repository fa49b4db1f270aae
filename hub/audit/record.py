"""AuditEvent for every door: who did what to which resources, when, through which edge (R4 AuditEvent, IHE BALP).

The event of a write is part of the same commit as the write. The event of a read is queued and committed within
``FLUSH_SECONDS`` by a thread of its own, so that a read does not wait for the disk; what is queued is written on close.
An event names identifiers and query parameters only, never results (IHE BALP, minimal patterns).
"""

from __future__ import annotations

import csv
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, Protocol

from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir import temporal
from hub.store.protocol import Store, Transaction

FLUSH_SECONDS = 0.5
MAX_ENTITIES = 100
"""References named in one event; the number of all is always given."""
QUEUE_LENGTH = 100_000

log = logging.getLogger("hub.audit")


class Circumstances(Protocol):
    """What an event says of its request: the fields of ``hub.services.context.Context``."""

    @property
    def door(self) -> str: ...
    @property
    def actor(self) -> str: ...
    @property
    def peer(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def request(self) -> str: ...


def _coding(text: str) -> dict[str, str]:
    system, _, code = text.rpartition("|")
    return {"system": system, "code": code}


def _load() -> dict[str, dict[str, Any]]:
    lines = files("hub.audit").joinpath("events.csv").read_text(encoding="utf-8").splitlines()
    return {
        row["event"]: {"type": _coding(row["type"]), "subtype": [_coding(row["subtype"])], "action": row["action"]}
        for row in csv.DictReader(line for line in lines if not line.startswith("#"))
    }


EVENTS = _load()
PURPOSE = "http://terminology.hl7.org/CodeSystem/v3-ActReason"


class Audit:
    """Writes the audit trail."""

    def __init__(
        self, store: Store, databases: Databases, clock: Callable[[], int], new_id: Callable[[], str], reads: bool
    ) -> None:
        self._store = store
        self._databases = databases
        self._clock = clock
        self._new_id = new_id
        self._reads = reads
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(QUEUE_LENGTH)
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def write(self, tx: Transaction, context: Circumstances, event: str, references: Sequence[str], now: int) -> None:
        """Put the event of a write into its own transaction."""
        self._databases.put(tx, self.event(context, event, references, now), method="POST", now=now)

    def read(self, context: Circumstances, event: str, references: Sequence[str] = (), query: str = "") -> None:
        """Queue the event of a read; waits when the disk is far behind (nothing is dropped)."""
        if self._reads:
            self._queue.put(self.event(context, event, references, self._clock(), query))

    def event(
        self, context: Circumstances, event: str, references: Sequence[str], now: int, query: str = ""
    ) -> dict[str, Any]:
        """The AuditEvent resource."""
        entities: list[dict[str, Any]] = [{"what": {"reference": one}} for one in references[:MAX_ENTITIES]]
        if query:
            entities.append(
                {"type": _coding("http://terminology.hl7.org/CodeSystem/audit-entity-type|2"), "description": query}
            )
        if len(references) > MAX_ENTITIES:
            entities.append({"description": f"{len(references)} resources, the first {MAX_ENTITIES} named"})
        agent: dict[str, Any] = {"who": {"display": context.actor or "anonymous"}, "requestor": True}
        if context.peer:
            agent["network"] = {"address": context.peer, "type": "2"}
        resource = {
            "resourceType": "AuditEvent",
            "id": self._new_id(),
            **EVENTS[event],
            "recorded": temporal.instant(now),
            "outcome": "0",
            "purposeOfEvent": [{"coding": [{"system": PURPOSE, "code": context.purpose}]}],
            "agent": [agent],
            "source": {"site": context.door, "observer": {"display": "region-hub"}},
        }
        if entities:
            resource["entity"] = entities
        return resource

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            events = [first] if first is not None else []
            stop = first is None
            while not stop and len(events) < 500:
                try:
                    event = self._queue.get(timeout=FLUSH_SECONDS)
                except queue.Empty:
                    break
                stop = event is None
                if event is not None:
                    events.append(event)
            self._flush(events)
            if stop:
                return

    def _flush(self, events: list[dict[str, Any]]) -> None:
        prepared = [(event, self._databases.prepare(event)) for event in events]

        def work(tx: Transaction) -> None:
            now = self._clock()
            for event, ready in prepared:
                self._databases.put(tx, event, method="POST", now=now, prepared=ready)

        try:
            self._store.write(work)
        except HubError:
            log.exception("%d audit events could not be written", len(events))

    def close(self) -> None:
        """Write what is queued and end."""
        self._queue.put(None)
        self._thread.join()

"""The trail of every door: who did what to which resources, when, through which edge (R4 AuditEvent, IHE BALP).

What happened is noted compactly: the note of a write is one row in the write's own commit; notes of reads are gathered
and committed together within ``FLUSH_SECONDS`` by a thread of their own, so that a read does not wait for the disk
(what is gathered is written on close). Notes become AuditEvent resources when somebody asks for the trail, or when
the hub is idle; so it costs a read a few microseconds and is searchable all the same. The Provenance of an inbound
message waits in the same row for the same moment.
An event names identifiers and query parameters only, never results (IHE BALP, minimal patterns).
"""

from __future__ import annotations

import csv
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any, Protocol

import msgspec

from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir import temporal
from hub.store.protocol import Item, Store, Transaction

FLUSH_SECONDS = 0.5
MAX_ENTITIES = 100
"""References named in one event; the number of all is always given."""
GATHER_LENGTH = 10_000
IDLE_SECONDS = 5.0
IDLE_EVENTS = 1000
QUIET_EVENTS = 25
"""So many notes in ``FLUSH_SECONDS`` leave time to make resources of others, as many as there were fewer."""
ROW_NOTES = 50
LEASE = 60_000_000
QUEUE, NOTED, EXPANDED = "audit", "noted", "expanded"
TRAIL = ("AuditEvent", "Provenance")
"""The types of resources that wait as notes; ``expand`` before they are looked for."""

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
    @property
    def reason(self) -> str: ...


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
QUERY = _coding("http://terminology.hl7.org/CodeSystem/audit-entity-type|2")
PURPOSE = "http://terminology.hl7.org/CodeSystem/v3-ActReason"


Note = tuple[int, str, str, str, str, str, str, Sequence[str], str]
"""time, event, door, actor, peer, purpose (or purpose|reason), request, references, query."""


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
        self._gathered: deque[Note] = deque()
        self._busy = time.monotonic()
        self._noted = 0
        self._closing = threading.Event()
        self._expanding = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def write(
        self,
        tx: Transaction,
        context: Circumstances,
        event: str,
        references: Sequence[str],
        now: int,
        provenance: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Note a write, in its own transaction, with Provenance resources that have their ids."""
        self._busy = time.monotonic()
        self._noted += 1
        self._enqueue(tx, [_note(context, event, references, now, "")], now, provenance)

    def read(self, context: Circumstances, event: str, references: Sequence[str] = (), query: str = "") -> None:
        """Note a read."""
        if self._reads:
            self._busy = time.monotonic()
            self._noted += 1
            self._gathered.append(_note(context, event, references, self._clock(), query))
            if len(self._gathered) > GATHER_LENGTH:
                self._flush()

    def expand(self, limit: int | None = None) -> int:
        """Make resources of the notes that are none yet, for whoever looks at the trail; how many notes."""
        self._flush()
        made = 0
        with self._expanding:
            while limit is None or (made < limit and not self._closing.is_set()):
                rows = 50 if limit is None else 1
                items = self._store.claim(QUEUE, (NOTED,), self._clock(), LEASE, rows)
                if not items:
                    break
                made += self._expand(items)
        return made

    def _expand(self, items: Sequence[Item]) -> int:
        waiting = [(note, provenance) for item in items for note, provenance in _waiting(item)]
        made = [("POST", event(self._new_id(), note), "") for note, _ in waiting]
        made += [("PUT", one, note[6]) for note, provenance in waiting for one in provenance]
        prepared = [(method, resource, origin, self._databases.prepare(resource)) for method, resource, origin in made]

        def work(tx: Transaction) -> int:
            now = self._clock()
            for method, resource, origin, ready in prepared:
                self._databases.put(tx, resource, method=method, origin=origin, now=now, prepared=ready)
            for item in items:
                tx.settle(QUEUE, item.id, EXPANDED, {})
            return len(waiting)

        return self._store.write(work)

    def _enqueue(self, tx: Transaction, notes: list[Note], now: int, provenance: Sequence[dict[str, Any]] = ()) -> None:
        id = self._new_id()
        raw = msgspec.json.encode((notes, provenance))
        tx.enqueue(Item(QUEUE, id, id, "", NOTED, {"notes": len(notes)}, raw, now))

    def _flush(self) -> None:
        notes = []
        with suppress(IndexError):
            while True:
                notes.append(self._gathered.popleft())
        now = self._clock()

        def work(tx: Transaction) -> None:
            for start in range(0, len(notes), ROW_NOTES):
                self._enqueue(tx, notes[start : start + ROW_NOTES], now)

        if notes:
            self._store.write(work)

    def _run(self) -> None:
        while not self._closing.wait(FLUSH_SECONDS):
            try:
                self._flush()
                noted, self._noted = self._noted, 0
                idle = time.monotonic() - self._busy > IDLE_SECONDS
                if idle or noted < QUIET_EVENTS:
                    self.expand(IDLE_EVENTS if idle else QUIET_EVENTS - noted)
            except HubError:
                log.exception("the audit trail could not be written")

    def close(self) -> None:
        """Write what is gathered and end."""
        self._closing.set()
        self._thread.join()
        self._flush()


def _waiting(item: Item) -> list[tuple[Note, list[dict[str, Any]]]]:
    """The notes of a row; the Provenance goes with the first."""
    notes, provenance = msgspec.json.decode(item.raw)
    return [(note, provenance if place == 0 else []) for place, note in enumerate(notes)]


def _note(context: Circumstances, event: str, references: Sequence[str], now: int, query: str) -> Note:
    named = references[:MAX_ENTITIES]
    if len(references) > MAX_ENTITIES:
        query = f"{query} ({len(references)} resources, the first {MAX_ENTITIES} named)".strip()
    purpose = f"{context.purpose}|{context.reason}" if context.reason else context.purpose
    return (now, event, context.door, context.actor, context.peer, purpose, context.request, named, query)


def _purpose(text: str) -> dict[str, Any]:
    """The purpose of use, with the reason given for it."""
    code, _, reason = text.partition("|")
    concept: dict[str, Any] = {"coding": [{"system": PURPOSE, "code": code}]}
    return {**concept, "text": reason} if reason else concept


def event(id: str, note: Note) -> dict[str, Any]:
    """The AuditEvent resource of a note."""
    at, name, door, actor, peer, purpose, request, references, query = note
    entities: list[dict[str, Any]] = [{"what": {"reference": one}} for one in references]
    if query:
        entities.append({"type": QUERY, "description": query})
    agent: dict[str, Any] = {"who": {"display": actor or "anonymous"}, "requestor": True}
    if peer:
        agent["network"] = {"address": peer, "type": "2"}
    resource = {
        "resourceType": "AuditEvent",
        "id": id,
        **EVENTS[name],
        "recorded": temporal.instant(at),
        "outcome": "0",
        "purposeOfEvent": [_purpose(purpose)],
        "agent": [agent],
        "source": {"site": door, "observer": {"display": "region-hub"}},
    }
    if request:
        entities.append({"description": f"request {request}"})
    if entities:
        resource["entity"] = entities
    return resource

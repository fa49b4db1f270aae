"""Unified Procedure Step workitems (PS3.4 CC): rows of the imaging database, type ``DicomWorkitem``.

A row is ``uid``, ``attributes`` in the DICOM JSON Model, ``transaction`` (the lock of the one who claimed it, or "")
and ``subscribers`` (AE title -> whether the final state is held back for it).
"""

from __future__ import annotations

from collections.abc import Callable

from hub.search.expression import Entries, Exists, Match, Query, Term
from hub.services.context import Context
from hub.services.imaging_index import Row, decode, encode, row_id
from hub.services.imaging_rows import DATABASE
from hub.store.protocol import Item, Put, Reader, Store, Transaction

TYPE = "DicomWorkitem"
EVENTS = "dicom-workitem-events"
MAX_WORKITEMS = 10_000


class Workitems:
    """The rows; the adapter holds the rules of their states."""

    def __init__(self, store: Store, clock: Callable[[], int], new_id: Callable[[], str]) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id

    def workitem(self, reader: Reader, uid: str) -> Row | None:
        """The workitem with this SOP Instance UID."""
        version = reader.read(TYPE, row_id(uid))
        return None if version is None or version.deleted else decode(version)

    def workitems(self) -> list[Row]:
        """All of them, oldest first."""
        query = Query((TYPE,), Match("SOPInstanceUID", Exists()), databases=(DATABASE,), limit=MAX_WORKITEMS)
        return [decode(found.version) for found in self._store.find(query)]

    def put(self, tx: Transaction, row: Row, context: Context) -> None:
        """Write a workitem, the first version or the next one."""
        id = row_id(row["uid"])
        known = tx.read(TYPE, id)
        version, method = (1, "POST") if known is None else (known.version + 1, "PUT")
        entries = Entries((Term("SOPInstanceUID", row["uid"]),))
        text = encode(row | {"id": id, "from": context.actor})
        tx.put(Put(DATABASE, TYPE, id, version, method, self._clock(), text, entries, context.origin))

    def report(self, tx: Transaction, subscriber: str, event: dict[str, object]) -> None:
        """Keep an event report until its subscriber asks for it."""
        id = self._new_id()
        tx.enqueue(Item(EVENTS, id, id, "", subscriber, {"event": event}, b"", self._clock()))

    def events(self, subscriber: str, limit: int = 200) -> list[dict[str, object]]:
        """The event reports that wait for a subscriber, oldest first; they are given once."""
        items = self._store.claim(EVENTS, (subscriber,), self._clock(), 60_000_000, limit)

        def work(tx: Transaction) -> None:
            for item in items:
                tx.settle(EVENTS, item.id, "delivered", {})

        if items:
            self._store.write(work)
        return [item.data["event"] for item in items]

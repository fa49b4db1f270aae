"""Messages are kept as long as their class of data says."""

from __future__ import annotations

from pathlib import Path

from hub.services import inbox, outbound, transport
from hub.services.retention import DAY, Forgetting
from hub.settings import Retention
from hub.store.protocol import Item, Transaction
from hub.store.sqlite import SqliteStore
from tests.conftest import Clock


def test_each_class_has_its_time(tmp_path: Path) -> None:
    clock = Clock()
    store = SqliteStore(tmp_path / "hub.sqlite3", clock=clock)
    rows = [
        (inbox.QUEUE, inbox.STORED),
        (inbox.QUEUE, inbox.REJECTED),
        (inbox.QUEUE, inbox.RECEIVED),
        (transport.QUEUE, transport.STATE),
        (outbound.CONTROL, outbound.ACTIVE),
        (outbound.queue_of("peer"), outbound.SENT),
        (outbound.queue_of("peer"), outbound.QUEUED),
    ]

    def fill(tx: Transaction) -> None:
        for number, (queue, state) in enumerate(rows):
            id = "peer" if queue == outbound.CONTROL else str(number)
            tx.enqueue(Item(queue, id, id, "", state, {}, b"", clock.now))

    store.write(fill)
    settings = Retention(stored_days=10, refused_days=20, outbound_days=10, transport_days=0)
    forgetting = Forgetting(store, clock, settings)
    assert forgetting.run() == 0
    clock.now += 11 * DAY
    assert forgetting.run() == 2
    assert store.item_counts(inbox.QUEUE) == {inbox.REJECTED: 1, inbox.RECEIVED: 1}
    assert store.item_counts(outbound.queue_of("peer")) == {outbound.QUEUED: 1}
    clock.now += 11 * DAY
    assert forgetting.run() == 1
    assert store.item_counts(transport.QUEUE) == {transport.STATE: 1}
    store.close()

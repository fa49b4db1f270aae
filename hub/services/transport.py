"""What went wrong on a wire before there was a message: counted by channel, rule, peer and hour, durably.

A peer that does everything wrong a thousand times a second costs one write a second: its findings are counted in
memory in between.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from hub.store.protocol import Item, Store, Transaction

QUEUE, STATE = "transport", "told"
HOUR, PAUSE = 3_600_000_000, 1_000_000
MAX_KNOWN = 10_000
SAMPLE = 200
"""Bytes of what was received that are kept with a finding."""

Key = tuple[str, str, str, int]


class Transport:
    """Notes transport findings and lists them."""

    def __init__(self, store: Store, clock: Callable[[], int], new_id: Callable[[], str]) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._lock = threading.Lock()
        self._pending: Counter[Key] = Counter()
        self._written: dict[Key, int] = {}

    def note(self, channel: str, rule: str, peer: str, content: bytes = b"") -> None:
        """Count a finding of a peer (``address:port``, and its name if known); ``content`` is what was received."""
        now = self._clock()
        host, _, port = peer.rpartition(":")
        key = (channel, rule, " ".join([host, *port.split()[1:]]), now // HOUR)
        with self._lock:
            self._pending[key] += 1
            if now - self._written.get(key, 0) < PAUSE:
                return
            if len(self._written) >= MAX_KNOWN:
                self._written.clear()
            self._written[key] = now
            count = self._pending.pop(key)
        self._write(key, count, content[:SAMPLE])

    def close(self) -> None:
        """Write what is counted."""
        with self._lock:
            pending, self._pending = self._pending, Counter()
        for key, count in pending.items():
            self._write(key, count, b"")

    def list(self, *, before: int | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """Findings, newest first: channel, rule, peer, number, first and last time (microseconds), a sample."""
        items = self._store.items(QUEUE, before=before, limit=limit)
        return [
            {"seq": item.seq, "first": item.created, **item.data, "sample": item.raw.decode("latin-1")}
            for item in items
        ]

    def _write(self, key: Key, count: int, sample: bytes) -> None:
        now = self._clock()
        channel, rule, peer, _ = key
        text = "\x1f".join(map(str, key))
        data = {"channel": channel, "rule": rule, "peer": peer, "count": count, "last": now}
        item = Item(QUEUE, self._new_id(), text, "", STATE, data, sample, now)

        def work(tx: Transaction) -> None:
            known = tx.enqueue(item)
            if known.id != item.id:
                tx.settle(QUEUE, known.id, STATE, {"count": known.data["count"] + count, "last": now})

        self._store.submit(work)

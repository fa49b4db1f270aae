"""How long messages are kept, by class of data; what became of them (resources, audit) is not touched.

A message that was forgotten and comes again is a new one: keep them longer than senders repeat.
"""

from __future__ import annotations

from collections.abc import Callable

from hub.services import inbox, outbound, transport
from hub.settings import Retention
from hub.store.protocol import Store

DAY = 86_400_000_000
MOST = 1000
"""Rows of one commit."""


class Forgetting:
    """Forgets what is past its time."""

    def __init__(self, store: Store, clock: Callable[[], int], settings: Retention) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings

    def run(self) -> int:
        """Forget now; how many rows."""
        settings = self._settings
        kept = [
            (inbox.QUEUE, (inbox.STORED,), settings.stored_days),
            (inbox.QUEUE, (inbox.REJECTED, inbox.QUARANTINED), settings.refused_days),
            (transport.QUEUE, (transport.STATE,), settings.transport_days),
        ]
        for row in self._store.items(outbound.CONTROL, limit=1000):
            kept.append((outbound.queue_of(row.id), (outbound.SENT, outbound.REFUSED), settings.outbound_days))
        return sum(self._forget(queue, states, days) for queue, states, days in kept if days)

    def _forget(self, queue: str, states: tuple[str, ...], days: int) -> int:
        before = self._clock() - days * DAY
        count = 0
        while found := self._store.write(lambda tx: tx.prune(queue, states, before, MOST)):
            count += found
            if found < MOST:
                break
        return count

"""Instances that are on disk and not yet in the index: the thread that puts them there, many with one commit.

A pack record is what makes an instance received; its row follows within moments. Whoever reads the index waits for the
rows of all that was received before (``caught_up``), so that nobody notices.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hub.errors import HubError
from hub.services.imaging_index import Row
from hub.store.packs import Place

MAX_WAITING = 4096
"""Instances that may wait; a sender waits when there are more."""
MAX_BATCH = 200
GATHER_SECONDS = 0.02
"""How long rows gather for one commit when nobody waits for them."""
MAX_LAG_SECONDS = 10.0
"""How long a reader waits at most: while the index cannot be written, it is read as it is."""
RETRY_SECONDS = 1.0

log = logging.getLogger("hub.imaging")


@dataclass(frozen=True, slots=True)
class Arrival:
    """An instance on disk: its row (``Imaging``), and where its file is."""

    row: Row
    place: Place


class Arrivals:
    """A queue in front of ``index(arrivals)``, which writes rows as one unit; ``indexed`` is told what is done."""

    def __init__(self, index: Callable[[Sequence[Arrival]], None], indexed: Callable[[Place], None]) -> None:
        self._index = index
        self._indexed = indexed
        self._waiting: deque[Arrival] = deque()
        self._claimed: set[str] = set()
        self._accepted = self._done = self._readers = 0
        self._changed = threading.Condition()
        self._wanted = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def claim(self, uid: str) -> None:
        """Be the only instance of this UID on its way into the index; wait for one that is. HubError("timeout")."""
        with self._changed:
            if uid in self._claimed:
                self._hurry(lambda: uid not in self._claimed)
            if uid in self._claimed:
                raise HubError("timeout", "another instance of this SOP Instance UID waits for the index; send again")
            self._claimed.add(uid)

    def forget(self, uid: str) -> None:
        """The claimed instance does not come."""
        with self._changed:
            self._claimed.discard(uid)
            self._changed.notify_all()

    def _hurry(self, what: Callable[[], bool]) -> bool:
        self._wanted.set()
        self._readers += 1
        done = self._changed.wait_for(what, MAX_LAG_SECONDS)
        self._readers -= 1
        return done

    def accept(self, arrival: Arrival) -> None:
        """Have it indexed."""
        with self._changed:
            while len(self._waiting) >= MAX_WAITING and not self._closing:
                self._changed.wait()
            self._waiting.append(arrival)
            self._accepted += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="imaging-index", daemon=True)
                self._thread.start()
            if len(self._waiting) == 1:
                self._changed.notify_all()

    def caught_up(self) -> None:
        """Return when everything that was accepted before is in the index."""
        if self._done == self._accepted:
            return
        with self._changed:
            until = self._accepted
            if not self._hurry(lambda: self._done >= until):
                log.warning("the imaging index lags behind by %d instances", self._accepted - self._done)

    def close(self) -> None:
        """Index what waits, and end."""
        with self._changed:
            self._closing = True
            self._wanted.set()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
            if not self._readers and not self._closing and len(self._waiting) < MAX_BATCH:
                self._wanted.wait(GATHER_SECONDS)
                self._wanted.clear()
            batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
            self._write(batch)
            with self._changed:
                self._done += len(batch)
                self._claimed.difference_update(arrival.row["uid"] for arrival in batch)
                self._changed.notify_all()

    def _write(self, batch: Sequence[Arrival]) -> None:
        """Index a batch; what fails as a whole is tried one by one, so that one cannot keep back the others."""
        try:
            self._index(batch)
        except Exception as error:
            if len(batch) > 1:
                for arrival in batch:
                    self._write([arrival])
            elif isinstance(error, HubError) and error.row.retry == "transient" and not self._closing:
                log.warning("instance %s waits for the index: %s", batch[0].row["uid"], error)
                threading.Event().wait(RETRY_SECONDS)
                self._write(batch)
            else:  # it stays in its open pack: the next start finds it
                log.exception("instance %s cannot be indexed", batch[0].row["uid"])
        else:
            for arrival in batch:
                self._indexed(arrival.place)

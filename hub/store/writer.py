"""Group commit: one thread takes all the work that waits and makes it durable together.

A commit costs a wait for the disk (or for a majority of a replica set), whatever it holds. While one is under way the
next work gathers, so that the cost is shared by exactly as many writers as there are at the time.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

from hub.errors import HubError

T = TypeVar("T")
MAX_WAITING = 10_000
MAX_BATCH = 256
BATCH_SECONDS = 0.05
IDLE_SECONDS = 1.0


class Attempt:
    """A context that keeps what is raised in it, for somebody else to be told."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def __enter__(self) -> None:
        self.error = None

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> bool:
        self.error = error
        return True


class Job(Attempt, Generic[T]):
    """Work that waits to be durable; run it as ``with job: job.value = job.work(transaction)``.

    Another thread waits for it; a bare lock costs a tenth of a Future.
    """

    def __init__(self, work: Callable[[Any], T]) -> None:
        super().__init__()
        self.work = work
        self.value: Any = None
        self._pending = threading.Lock()
        self._pending.acquire()

    def resolve(self, failure: BaseException | None = None) -> None:
        """Let the caller go on: with ``failure`` of the commit, else what the work raised, else its value."""
        self.error = failure or self.error
        self._pending.release()

    def exception(self) -> BaseException | None:
        """Wait until it is durable or has failed; what it failed with."""
        with self._pending:
            return self.error

    def result(self) -> T:
        """Wait until it is durable; its value, or its error is raised."""
        if (error := self.exception()) is not None:
            raise error
        value: T = self.value
        return value


class GroupWriter:
    """The one writing thread of a store.

    ``commit(jobs)`` runs the jobs it is handed and makes them durable as one; it raises when nothing of them is
    stored. ``jobs`` keeps yielding what arrives meanwhile, up to a limit of number and time. ``idle()`` is called when
    nothing waits, for upkeep.
    """

    def __init__(self, commit: Callable[[Iterator[Job[Any]]], None], idle: Callable[[], None], name: str) -> None:
        self._commit = commit
        self._idle = idle
        self._waiting: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._closing = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Any], T]) -> Job[T]:
        """Queue the work. HubError("throttled") when too much waits, HubError("exception") after close."""
        job = Job(work)
        with self._lock:
            if self._closing:
                raise HubError("exception", "the store is closed; nothing can be written any more")
            if self._waiting.qsize() >= MAX_WAITING:
                raise HubError("throttled", f"{MAX_WAITING} writes wait for the disk; send again later")
            self._waiting.put(job)
        return job

    def write(self, work: Callable[[Any], T]) -> T:
        """Queue the work and wait until it is durable."""
        if threading.get_ident() == self._thread.ident:
            raise RuntimeError("a write inside a write would wait for itself; use the transaction at hand")
        return self.submit(work).result()

    def close(self) -> None:
        """Finish what waits and end the thread."""
        with self._lock:
            if not self._closing:
                self._closing = True
                self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                first = self._waiting.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with Attempt():  # upkeep that fails is tried again
                    self._idle()
                continue
            if first is None:
                return
            self._batch(first)

    def _batch(self, first: Job[Any]) -> None:
        taken: list[Job[Any]] = []
        whole = Attempt()
        with whole:
            self._commit(self._gather(first, taken))
        for job in taken:
            job.resolve(whole.error)

    def _gather(self, first: Job[Any], taken: list[Job[Any]]) -> Iterator[Job[Any]]:
        """``first`` and what waits behind it, each noted in ``taken`` before it is handed out."""
        until = time.monotonic() + BATCH_SECONDS
        job: Job[Any] | None = first
        while job is not None:
            taken.append(job)
            yield job
            if len(taken) >= MAX_BATCH or time.monotonic() > until:
                return
            try:
                job = self._waiting.get_nowait()
            except queue.Empty:
                return
        self._waiting.put(None)  # the end was reached while gathering: leave it for the loop

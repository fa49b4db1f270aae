"""Long work that a client asks for and comes back for: bulk export and import (FHIR asynchronous request pattern).

A job is a row of a queue and a directory of files. One background thread does them, with a lease, so that one that a
crash interrupted is done again from its start. Finished ones are kept for ``KEPT_HOURS``.
"""

from __future__ import annotations

import logging
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub.audit.record import Audit
from hub.errors import HubError
from hub.services.context import Context
from hub.store.protocol import Item, Store

ACCEPTED, COMPLETE, FAILED, CANCELLED = "accepted", "complete", "failed", "cancelled"
KEPT_HOURS = 24
LEASE = 60_000_000
"""Microseconds after which another process may take over a job whose process died."""

log = logging.getLogger("hub.jobs")


class Jobs(ABC):
    """The jobs of one kind; ``queue`` names it, ``perform`` does it."""

    queue: str

    def __init__(
        self, store: Store, audit: Audit, clock: Callable[[], int], new_id: Callable[[], str], directory: Path
    ) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._new_id = new_id
        self._directory = directory
        self._wake = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None
        self.resume()

    def resume(self) -> None:
        """Go on with what a restart interrupted."""
        if self._store.item_counts(self.queue).get(ACCEPTED):
            self._start()

    @abstractmethod
    def perform(self, item: Item, folder: Path) -> list[dict[str, Any]]:
        """Do the job; its files in ``folder``, each as a row with its ``name``. HubError or OSError: it failed."""

    def accept(self, context: Context, data: dict[str, Any]) -> str:
        """Write a job down and have it begun; its id."""
        now, id = self._clock(), self._new_id()
        party = {name: getattr(context, name) for name in ("actor", "role", "purpose", "reason")}
        given = {**party, **data}
        item = Item(self.queue, id, id, "", ACCEPTED, given, b"", now)

        def work(tx: Any) -> None:
            tx.enqueue(item)
            self._audit.write(tx, context, "operation", (), now)

        self._store.write(work)
        self._start()
        return id

    @staticmethod
    def context(item: Item) -> Context:
        """Who asked for the job, as the access decision and the trail take it."""
        data = item.data
        return Context(
            "fhir", data["actor"], purpose=data["purpose"], role=data.get("role", ""), reason=data.get("reason", "")
        )

    def status(self, id: str) -> Item:
        """The job's row; ``data`` has ``files`` when it is complete, ``error`` when it failed.

        HubError("not-found") when there is none, or it was cancelled, or is too old.
        """
        item = self._store.item(self.queue, id)
        too_old = self._clock() - KEPT_HOURS * 3_600_000_000
        if item is None or item.state == CANCELLED or item.created < too_old:
            raise HubError("not-found", f"there is no {self.queue} {id[:80]!r}, or no longer")
        return item

    def cancel(self, id: str) -> None:
        """Stop it if it is under way, and remove its files."""
        self.status(id)
        self._store.write(lambda tx: tx.settle(self.queue, id, CANCELLED, {}))
        shutil.rmtree(self._directory / id, ignore_errors=True)

    def file(self, id: str, name: str) -> Path:
        """One of the files of a complete job. HubError("not-found")."""
        item = self.status(id)
        if name not in {row.get("name") for row in item.data.get("files", ())}:
            raise HubError("not-found", f"{self.queue} {id} has no file {name[:80]!r}")
        return self._directory / id / name

    def close(self) -> None:
        """Stop soon; what is not finished is done again at the next start."""
        self._ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def stopped(self, id: str) -> bool:
        """Whether the work on this job is to end: it was cancelled, or the hub stops."""
        if self._ending:
            return True
        item = self._store.item(self.queue, id)
        return item is None or item.state == CANCELLED

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self.queue, daemon=True)
            self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        while not self._ending:
            self._wake.clear()
            for item in self._store.claim(self.queue, (ACCEPTED,), self._clock(), LEASE):
                self._settle(item)
                self._wake.set()
            self._sweep()
            self._wake.wait(LEASE / 1_000_000)

    def _settle(self, item: Item) -> None:
        folder = self._directory / item.id
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        state, facts = FAILED, dict[str, Any]()
        try:
            files = self.perform(item, folder)
        except (HubError, OSError) as error:
            log.warning("%s %s failed: %s", self.queue, item.id, error)
            facts["error"] = str(error)
        else:
            state, facts = COMPLETE, {"files": files}
        if self._ending:
            return
        if not self.stopped(item.id):
            self._store.write(lambda tx: tx.settle(self.queue, item.id, state, facts))
        else:
            shutil.rmtree(folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove the files of jobs that are too old or cancelled."""
        if not self._directory.is_dir():
            return
        for folder in self._directory.iterdir():
            item = self._store.item(self.queue, folder.name)
            if item is None or self._clock() - item.created > KEPT_HOURS * 3_600_000_000:
                shutil.rmtree(folder, ignore_errors=True)

"""Bulk export (HL7 Bulk Data Access 2.0): a snapshot of the system, of patients or of a group as NDJSON files.

An export is a row of the queue ``export`` and a directory of files. It is done by one background thread, with a lease,
so that one that a crash interrupted is done again from its start; it shows the state after the change number at which
it was asked for. Finished ones are kept for ``KEPT_HOURS``.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.audit.record import Audit
from hub.errors import HubError
from hub.fhir import temporal
from hub.search.expression import ALL, NONE, Expression, Query, both, either
from hub.search.parse import Parser
from hub.services.compartment import NOT_RECORD, Compartments
from hub.services.context import Context
from hub.store.protocol import Item, Store, Version

QUEUE = "export"
ACCEPTED, COMPLETE, FAILED, CANCELLED = "accepted", "complete", "failed", "cancelled"
KEPT_HOURS = 24
LEASE = 60_000_000
"""Microseconds after which another process may take over an export whose process died."""
PAGE = 1000
OWNERS = 500
"""Owners of compartments asked for at once."""

log = logging.getLogger("hub.export")


@dataclass(frozen=True, slots=True)
class Scope:
    """What is asked for: ``level`` is system, patient or group; ``owners`` the Patients' ids (() with patient: all).

    ``types`` () is all; ``since`` a FHIR instant or ""; ``filters`` are (type, criteria) of _typeFilter; ``databases``
    the scope of the base.
    """

    level: str
    owners: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    since: str = ""
    filters: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    databases: tuple[str, ...] = ()


class Exports:
    """The door for bulk exports."""

    def __init__(
        self,
        store: Store,
        parser: Parser,
        compartments: Compartments,
        decide: Callable[[Context, Sequence[str]], Expression],
        audit: Audit,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        directory: Path,
    ) -> None:
        self._store = store
        self._parser = parser
        self._compartments = compartments
        self._decide = decide
        self._audit = audit
        self._clock = clock
        self._new_id = new_id
        self._directory = directory
        self._wake = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None
        if store.item_counts(QUEUE).get(ACCEPTED):
            self._start()

    # --- the door -----------------------------------------------------------------------------------------------------

    def begin(self, context: Context, scope: Scope, url: str) -> str:
        """Accept an export asked for by ``url``; its id. HubError("parameter-...") for what cannot be exported."""
        for type, criteria in scope.filters:
            self._parser.parse((type,), criteria, strict=True)
        if scope.since:
            self._parser.parse((), [("_lastUpdated", f"ge{scope.since}")], strict=True)
        now, id = self._clock(), self._new_id()
        data = {
            "url": url, "at": self._store.last_seq(), "actor": context.actor, "purpose": context.purpose,
            "level": scope.level, "owners": scope.owners, "types": scope.types, "since": scope.since,
            "filters": scope.filters, "databases": scope.databases,
        }  # fmt: skip
        item = Item(QUEUE, id, id, "", ACCEPTED, data, b"", now)

        def work(tx: Any) -> None:
            tx.enqueue(item)
            self._audit.write(tx, context, "operation", (), now)

        self._store.write(work)
        self._start()
        return id

    def status(self, id: str) -> Item:
        """The export's row; ``data`` has ``files`` (type, name, count) when it is complete.

        HubError("not-found") when there is none, or it was cancelled, or is too old.
        """
        item = self._store.item(QUEUE, id)
        too_old = self._clock() - KEPT_HOURS * 3_600_000_000
        if item is None or item.state == CANCELLED or item.created < too_old:
            raise HubError("not-found", f"there is no export {id[:80]!r}, or no longer")
        return item

    def cancel(self, id: str) -> None:
        """Stop it if it is under way, and remove its files."""
        self.status(id)
        self._store.write(lambda tx: tx.settle(QUEUE, id, CANCELLED, {}))
        shutil.rmtree(self._directory / id, ignore_errors=True)

    def file(self, id: str, name: str) -> Path:
        """One of the files of a complete export. HubError("not-found")."""
        item = self.status(id)
        if name not in {row["name"] for row in item.data.get("files", ())}:
            raise HubError("not-found", f"export {id} has no file {name[:80]!r}")
        return self._directory / id / name

    def close(self) -> None:
        """Stop after the page under way; what is not finished is done again at the next start."""
        self._ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    # --- the work -----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="export", daemon=True)
            self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        while not self._ending:
            self._wake.clear()
            for item in self._store.claim(QUEUE, (ACCEPTED,), self._clock(), LEASE):
                self._export(item)
                self._wake.set()
            self._sweep()
            self._wake.wait(LEASE / 1_000_000)

    def _export(self, item: Item) -> None:
        folder = self._directory / item.id
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        state, facts = FAILED, dict[str, Any]()
        try:
            files = [made for type in self._types(item) if (made := self._write(item, folder, type))]
        except (HubError, OSError) as error:
            log.warning("export %s failed: %s", item.id, error)
            facts["error"] = str(error)
        else:
            state, facts = COMPLETE, {"files": files}
        if self._ending:
            return
        if self._state(item.id) != CANCELLED:
            self._store.write(lambda tx: tx.settle(QUEUE, item.id, state, facts))
        else:
            shutil.rmtree(folder, ignore_errors=True)

    def _state(self, id: str) -> str:
        item = self._store.item(QUEUE, id)
        return CANCELLED if item is None else item.state

    def _types(self, item: Item) -> list[str]:
        data = item.data
        if data["level"] == "system":
            present = {type for types in self._store.statistics().values() for type in types}
            known = sorted(present - NOT_RECORD)
        else:
            known = list(self._compartments.types("Patient"))
        if not data["types"]:
            return known
        members = set(known) | NOT_RECORD
        return [type for type in data["types"] if data["level"] == "system" or type in members]

    def _write(self, item: Item, folder: Path, type: str) -> dict[str, Any] | None:
        """Write one type's file; None when there is nothing of it."""
        name, count, seen = f"{type}.ndjson", 0, set[str]()
        with (folder / name).open("wb") as out:
            for version in self._versions(item, type):
                if version.id not in seen:
                    seen.add(version.id)
                    count += 1
                    out.write(version.text + b"\n")
        if count:
            return {"type": type, "name": name, "count": count}
        (folder / name).unlink()
        return None

    def _versions(self, item: Item, type: str) -> Iterator[Version]:
        """The resources of a type in ascending order of change; one may come again in another batch of owners."""
        data = item.data
        context = Context("fhir", data["actor"], purpose=data["purpose"])
        where = both(self._narrowed(data, type), self._decide(context, (type,)))
        for part in self._parts(data, type):
            query = Query((type,), both(where, part), databases=tuple(data["databases"]), at=data["at"], limit=PAGE)
            after = None
            while not self._ending and self._state(item.id) != CANCELLED:
                found = self._store.find(Query(query.types, query.where, (), query.databases, query.at, after, PAGE))
                yield from (row.version for row in found)
                if len(found) < PAGE:
                    break
                after = found[-1].key

    def _narrowed(self, data: dict[str, Any], type: str) -> Expression:
        since = self._since(data["since"], type)
        own = [pairs for name, pairs in data["filters"] if name == type]
        filters = either(
            self._parser.parse((type,), [(name, value) for name, value in pairs]).query.where for pairs in own
        )
        return both(since, filters if own else ALL)

    def _since(self, since: str, type: str) -> Expression:
        return self._parser.expression((type,), "_lastUpdated", f"ge{since}") if since else ALL

    def _parts(self, data: dict[str, Any], type: str) -> Iterator[Expression]:
        """The compartments' conditions, a batch of owners at a time."""
        owners = data["owners"]
        if data["level"] == "system":
            yield ALL
        elif not owners:
            yield NONE if data["level"] == "group" else self._compartments.within_any("Patient", None, type)
        for start in range(0, len(owners), OWNERS):
            yield self._compartments.within_any("Patient", owners[start : start + OWNERS], type)

    def _sweep(self) -> None:
        """Remove the files of exports that are too old or cancelled."""
        if not self._directory.is_dir():
            return
        for folder in self._directory.iterdir():
            item = self._store.item(QUEUE, folder.name)
            if item is None or self._clock() - item.created > KEPT_HOURS * 3_600_000_000:
                shutil.rmtree(folder, ignore_errors=True)


def transaction_time(item: Item) -> str:
    """The instant whose state the export shows (Bulk Data 2.0, transactionTime)."""
    return temporal.instant(item.created)

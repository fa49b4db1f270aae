"""Bulk export (HL7 Bulk Data Access 2.0): a snapshot of the system, of patients or of a group as NDJSON files.

It shows the state after the change number at which it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.audit.record import Audit
from hub.fhir import temporal
from hub.search.expression import ALL, NONE, Expression, Query, both, either, guarded
from hub.search.parse import Parser
from hub.services.compartment import NOT_RECORD, Compartments
from hub.services.context import Context
from hub.services.jobs import Jobs
from hub.store.protocol import Item, Store, Version

PAGE = 1000
OWNERS = 500
"""Owners of compartments asked for at once."""


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


class Exports(Jobs):
    """The door for bulk exports."""

    queue = "export"

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
        self._parser = parser
        self._compartments = compartments
        self._decide = decide
        super().__init__(store, audit, clock, new_id, directory)

    # --- the door -----------------------------------------------------------------------------------------------------

    def begin(self, context: Context, scope: Scope, url: str) -> str:
        """Accept an export asked for by ``url``; its id. HubError("parameter-...") for what cannot be exported."""
        for type, criteria in scope.filters:
            self._parser.parse((type,), criteria, strict=True)
        if scope.since:
            self._parser.parse((), [("_lastUpdated", f"ge{scope.since}")], strict=True)
        self._audit.expand()
        data = {
            "url": url, "at": self._store.last_seq(), "level": scope.level, "owners": scope.owners,
            "types": scope.types, "since": scope.since, "filters": scope.filters, "databases": scope.databases,
        }  # fmt: skip
        return self.accept(context, data)

    # --- the work -----------------------------------------------------------------------------------------------------

    def perform(self, item: Item, folder: Path) -> list[dict[str, Any]]:
        """The files, one a type."""
        return [made for type in self._types(item) if (made := self._write(item, folder, type))]

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
        context = self.context(item)
        narrowed = guarded(self._narrowed(data, type), lambda type: self._decide(context, (type,)))
        where = both(narrowed, self._decide(context, (type,)))
        for part in self._parts(data, type):
            query = Query((type,), both(where, part), databases=tuple(data["databases"]), at=data["at"], limit=PAGE)
            after = None
            while not self.stopped(item.id):
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


def transaction_time(item: Item) -> str:
    """The instant whose state the export shows (Bulk Data 2.0, transactionTime)."""
    return temporal.instant(item.created)

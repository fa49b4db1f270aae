"""Every reading interaction: read, vread, search, history (R4 3.1.0.2, 3.1.0.3, 3.1.0.9, 3.1.0.12).

The access decision is an expression and part of the query, so that totals, pages and includes are right and nothing
leaks. A search is a snapshot: its pages are exact while others write, because each names the change number ``at``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hub.databases import plan
from hub.databases.database import Databases
from hub.errors import HubError
from hub.search.expression import ALL, Expression, Ids, Number, Query, both
from hub.search.parse import Parser, Search
from hub.services.context import Context
from hub.store.protocol import Found, Store, Version

Pairs = Sequence[tuple[str, str]]
Decide = Callable[[Context, Sequence[str]], Expression]

_SNAPSHOT_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next page of a search begins: the query, its snapshot ``at``, and the last row's key.

    ``total`` is the count of the first page (the snapshot's, so that of every page); ``made`` the first page's time in
    microseconds since 1970 UTC.
    """

    pairs: tuple[tuple[str, str], ...]
    at: int
    after: tuple[str | Number | None, ...]
    total: int | None
    made: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search: matches in order, resources included for them, the total, and how it goes on."""

    search: Search
    matches: tuple[Version, ...]
    included: tuple[Version, ...]
    total: int | None
    next: Cursor | None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Versions, newest first; ``before`` is the change number below which the next page begins, None at the end."""

    versions: tuple[Version, ...]
    total: int
    before: int | None


class Record(Protocol):
    """What a reading door tells the audit: the interaction and the references it showed."""

    def __call__(self, context: Context, event: str, references: Sequence[str]) -> None: ...


class QueryService:
    """The door for reads. ``databases`` of a call is the scope of a base such as ``/emr``; () is all four."""

    def __init__(
        self,
        store: Store,
        databases: Databases,
        parser: Parser,
        decide: Decide,
        record: Record,
        clock: Callable[[], int],
        page_seconds: int = 900,
    ) -> None:
        self._store = store
        self._databases = databases
        self._parser = parser
        self._decide = decide
        self._record = record
        self._clock = clock
        self._page_life = page_seconds * 1_000_000

    def read(self, context: Context, type: str, id: str, databases: Sequence[str] = ()) -> Version:
        """read: the current version. HubError("not-found"), or HubError("deleted") with the deletion's version."""
        version = self._store.read(type, id)
        if version is None or not self._visible(context, version, databases):
            raise HubError("not-found", f"{type}/{id} does not exist", f"{type}/{id}")
        if version.deleted:
            raise HubError("deleted", f"{type}/{id} was deleted; its last version is {version.version}", f"{type}/{id}")
        self._record(context, "read", (f"{type}/{id}",))
        return version

    def vread(self, context: Context, type: str, id: str, number: int, databases: Sequence[str] = ()) -> Version:
        """vread: one version. HubError("not-found"), or HubError("deleted") when that version is a deletion."""
        place = f"{type}/{id}/_history/{number}"
        version = self._store.vread(type, id, number)
        if version is None or not self._visible(context, version, databases):
            raise HubError("not-found", f"{place} does not exist", place)
        if version.deleted:
            raise HubError("deleted", f"version {number} of {type}/{id} is its deletion", place)
        self._record(context, "vread", (place,))
        return version

    def parse(self, types: Sequence[str], pairs: Pairs, *, strict: bool) -> Search:
        """Search parameters read, not run (for ``search`` and for the self link). Raises HubError("parameter-...")."""
        return self._parser.parse(tuple(types), list(pairs), strict=strict)

    def search(
        self,
        context: Context,
        types: Sequence[str],
        pairs: Pairs,
        databases: Sequence[str] = (),
        *,
        strict: bool = False,
        within: Expression = ALL,
        cursor: Cursor | None = None,
    ) -> Page:
        """search, on one type or several (() = all), or the page of it at which ``cursor`` points.

        ``within`` narrows the search further (a compartment). Raises HubError("parameter-...") for what cannot be
        searched, "expired" for a cursor older than the setting ``search.page_seconds``.
        """
        if cursor is not None and self._clock() - cursor.made > self._page_life:
            raise HubError("expired", "this page link is too old; run the search again")
        search = self._parser.parse(tuple(types), list(cursor.pairs if cursor else pairs), strict=strict)
        size = search.count
        query = replace(
            search.query,
            where=both(search.query.where, within, self._decide(context, types)),
            databases=tuple(databases),
            at=cursor.at if cursor else None,
            after=cursor.after if cursor else None,
            limit=size + 1,
        )
        if search.summary == "count" or size == 0:
            return Page(search, (), (), self._store.count(query), None)
        found, at = self._snapshot(query)
        total = cursor.total if cursor else self._total(search, query, len(found), at)
        matches = tuple(row.version for row in found[:size])
        following = None
        if len(found) > size:
            made = cursor.made if cursor else self._clock()
            following = Cursor(search.used_pairs, at, found[size - 1].key, total, made)
        included = self._included(context, search, matches, databases, query.at if following is None else at)
        self._record(context, "search", tuple(f"{row.type}/{row.id}" for row in matches + included))
        return Page(search, matches, included, total, following)

    def _snapshot(self, query: Query) -> tuple[list[Found], int]:
        """The rows, and the change number that they are the state of.

        Asking for the present is cheaper than asking for a snapshot, and exact when nothing was written meanwhile.
        """
        if query.at is not None:
            return self._store.find(query), query.at
        before = self._store.last_seq()
        found = self._store.find(query)
        after = self._store.last_seq()
        if before == after or len(found) < query.limit:
            return found, after
        return self._store.find(replace(query, at=after)), after

    def _total(self, search: Search, query: Query, rows: int, at: int) -> int | None:
        if rows < query.limit:
            return rows
        return None if search.total == "none" else self._store.count(replace(query, at=at))

    def _included(
        self, context: Context, search: Search, matches: tuple[Version, ...], databases: Sequence[str], at: int | None
    ) -> tuple[Version, ...]:
        if not matches or not (search.includes or search.revincludes):
            return ()
        rows = plan.include(self._store, search, list(matches), at)
        return tuple(row for row in rows if self._visible(context, row, databases))

    def history(
        self,
        context: Context,
        types: Sequence[str] = (),
        id: str | None = None,
        databases: Sequence[str] = (),
        *,
        since: int = 0,
        until: int | None = None,
        before: int | None = None,
        count: int = 100,
    ) -> HistoryPage:
        """history of one resource (``types`` one, ``id``), of types, or of the system; newest first.

        ``since`` and ``until`` are microseconds since 1970 UTC; ``before`` the change number of the page before.
        Raises HubError("not-found") for an id that never was.
        """
        window = {"databases": tuple(databases), "since": since, "until": until}
        if id is not None:
            newest = self._store.read(types[0], id)
            if newest is None or not self._visible(context, newest, databases):
                raise HubError("not-found", f"{types[0]}/{id} does not exist", f"{types[0]}/{id}")
        rows = self._store.history(types, id, before=before, limit=count + 1, **window)
        total = self._store.history_count(types, id, **window)
        versions = tuple(row for row in rows[:count] if self._visible(context, row, databases))
        self._record(context, "history", tuple(f"{row.type}/{row.id}" for row in versions))
        return HistoryPage(versions, total, rows[count - 1].seq if len(rows) > count > 0 else None)

    def _visible(self, context: Context, version: Version, databases: Sequence[str]) -> bool:
        """Whether the base and the access decision let this context see the resource."""
        if databases and version.database not in databases:
            return False
        where = self._decide(context, (version.type,))
        return where == ALL or self._store.count(Query((version.type,), both(where, Ids((version.id,))))) > 0

"""Every reading interaction: read, vread, search, history (R4 3.1.0.2, 3.1.0.3, 3.1.0.9, 3.1.0.12).

The access decision is an expression and part of the query, so that totals, pages and includes are right and nothing
leaks. A search is a snapshot: its pages are exact while others write, because each names the change number ``at``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from hub.audit.record import TRAIL, Audit
from hub.databases import plan
from hub.databases.router import DATABASES
from hub.errors import HubError
from hub.fhir import json
from hub.search.expression import ALL, Expression, Ids, Query, both, guarded
from hub.search.parse import Parser, Search
from hub.services.compartment import NOT_RECORD, Compartments
from hub.services.context import Context
from hub.services.cursor import Signer
from hub.services.page import Cursor, HistoryPage, Members, Page
from hub.settings import Search as Limits
from hub.store.protocol import Found, Store, Version

MAX_LASTN = 10_000
MAX_RECORD = 5000

_REFERENCE = re.compile(rb'"reference":"([A-Z][A-Za-z]{1,60})/([A-Za-z0-9\-.]{1,64})[/"]')
"""A literal reference in stored text, which is compact JSON."""

Pairs = Sequence[tuple[str, str]]
Decide = Callable[[Context, Sequence[str]], Expression]


class QueryService:
    """The door for reads. ``databases`` of a call is the scope of a base such as ``/emr``; () is all four."""

    def __init__(
        self,
        store: Store,
        parser: Parser,
        compartments: Compartments,
        decide: Decide,
        audit: Audit,
        clock: Callable[[], int],
        key: bytes,
        limits: Limits,
    ) -> None:
        self._store = store
        self._parser = parser
        self.compartments = compartments
        self._decide = decide
        self._audit = audit
        self._clock = clock
        self._signer = Signer(key)
        self._limits = limits

    def read(self, context: Context, type: str, id: str, databases: Sequence[str] = ()) -> Version:
        """read: the current version. HubError("not-found"), or HubError("deleted") when it was deleted."""
        place = f"{type}/{id}"
        self._catch_up((type,))
        version = self._store.read(type, id)
        if version is None or not self._visible(context, version, databases):
            raise HubError("not-found", f"{place} does not exist", place)
        if version.deleted:
            raise HubError("deleted", f"{place} was deleted; its last version is {version.version}", place)
        self._audit.read(context, "read", (place,))
        return version

    def vread(self, context: Context, type: str, id: str, number: int, databases: Sequence[str] = ()) -> Version:
        """vread: one version. HubError("not-found"), or HubError("deleted") when that version is a deletion."""
        place = f"{type}/{id}/_history/{number}"
        self._catch_up((type,))
        version = self._store.vread(type, id, number)
        if version is None or not self._visible(context, version, databases):
            raise HubError("not-found", f"{place} does not exist", place)
        if version.deleted:
            raise HubError("deleted", f"version {number} of {type}/{id} is its deletion", place)
        self._audit.read(context, "vread", (place,))
        return version

    def search(
        self,
        context: Context,
        types: Sequence[str],
        pairs: Pairs,
        databases: Sequence[str] = (),
        *,
        strict: bool = False,
        within: Expression = ALL,
        place: str = "",
        cursor: str | None = None,
    ) -> Page:
        """search, on one type or several (() = all), or the page of it at which ``cursor`` points.

        ``within`` narrows the search further (a compartment); ``place`` is what a cursor belongs to (base and path).
        Raises HubError("parameter-...") for what cannot be searched or a cursor that is not ours, "expired" for one
        older than the setting ``search.page_seconds``.
        """
        going_on = self._opened(place, cursor) if cursor is not None else None
        if going_on is not None:
            pairs = going_on.pairs
        search = self._parser.parse(types, pairs, strict=strict)
        if going_on is None:
            self._catch_up(search.query.types, pairs)
        query = replace(
            search.query,
            where=both(self._allowed(context, search.query.types, search.query.where), within),
            databases=tuple(databases),
            at=going_on.at if going_on else None,
            after=going_on.after if going_on else None,
            limit=search.count + 1,
        )
        if search.summary == "count" or search.count == 0:
            return Page(search, (), (), self._store.count(query), None, False)
        found, at = self._snapshot(query)
        total = going_on.total if going_on else self._total(search, query, len(found), at)
        matches = tuple(row.version for row in found[: search.count])
        following = None
        if len(found) > search.count:
            made = going_on.made if going_on else self._clock()
            last = found[search.count - 1].key
            content = ["search", search.used_pairs, at, last, total, made]
            following = self._signer.seal(place, content)
        included = self._included(context, search, matches, databases, query.at)
        shown = tuple(f"{row.type}/{row.id}" for row in matches + included)
        self._audit.read(context, "search", shown, _text(types, pairs))
        return Page(search, matches, included, total, following, going_on is not None)

    def _opened(self, place: str, text: str) -> Cursor:
        kind, *content = self._signer.open(place, text)
        if kind != "search":
            raise HubError("parameter-value", "this is not the page link of a search")
        pairs, at, after, total, made = content
        self._check_age(made)
        return Cursor(tuple((name, value) for name, value in pairs), at, tuple(after), total, made)

    def _check_age(self, made: int) -> None:
        if self._clock() - made > self._limits.page_seconds * 1_000_000:
            raise HubError("expired", "this page link is too old; run the search again")

    def _snapshot(self, query: Query) -> tuple[list[Found], int]:
        """The rows, and the change number that they are the state of.

        Asking for the present is cheaper than asking for a snapshot, and exact when nothing was written meanwhile.
        """
        if query.at is not None:
            return self._store.find(query), query.at
        before = self._store.last_seq()
        found = self._store.find(query)
        if len(found) < query.limit:
            return found, before
        after = self._store.last_seq()
        return (found, after) if before == after else (self._store.find(replace(query, at=after)), after)

    def _total(self, search: Search, query: Query, rows: int, at: int) -> int | None:
        if rows < query.limit:
            return rows
        return None if search.total == "none" else self._store.count(replace(query, at=at))

    def _included(
        self, context: Context, search: Search, matches: tuple[Version, ...], databases: Sequence[str], at: int | None
    ) -> tuple[Version, ...]:
        if not matches or not (search.includes or search.revincludes):
            return ()
        rows = plan.include(
            self._store, search, matches, at,
            access=lambda type: self._decide(context, (type,)), limit=self._limits.max_includes,
        )  # fmt: skip
        return tuple(row for row in rows if not databases or row.database in databases)

    # --- compartments (R4 3.1.0.9.2, Patient $everything) -------------------------------------------------------------

    def compartment(
        self,
        context: Context,
        owner: str,
        id: str,
        pairs: Pairs = (),
        databases: Sequence[str] = (),
        *,
        types: Sequence[str] = (),
        common: bool = False,
        count: int = 1000,
        place: str = "",
        cursor: str | None = None,
    ) -> Members:
        """The resources in the compartment of ``owner/id``, type after type (``types`` () is all), ``count`` a page.

        ``pairs`` are further criteria; a type that does not know a parameter is not narrowed by it, unless ``common``
        demands that all types do. All pages are of one snapshot. Raises HubError as ``search`` does.
        """
        if common:
            self._parser.parse((), pairs, strict=True)
        start, after, total = "", None, None
        if cursor is None:
            self._catch_up(types or self.compartments.types(owner), pairs)
        at, made = self._store.last_seq(), self._clock()
        if cursor is not None:
            kind, *content = self._signer.open(place, cursor)
            if kind != "compartment":
                raise HubError("parameter-value", "this is not the page link of a compartment")
            types, pairs, at, start, key, total, made = content
            after = tuple(key)
            self._check_age(made)
        wanted = sorted(types) if types else self.compartments.types(owner)
        queries = {
            type: replace(self._member_query(context, owner, id, type, pairs, databases), at=at) for type in wanted
        }
        found: list[Found] = []
        for type in wanted[wanted.index(start) if start else 0 :]:
            query = replace(queries[type], after=after if type == start else None, limit=count + 1 - len(found))
            found += self._store.find(query)
            if len(found) > count:
                break
        following = None
        if total is None:
            whole = len(found) <= count
            total = len(found) if whole else sum(self._store.count(query) for query in queries.values())
        if len(found) > count:
            last = found[count - 1]
            content = [tuple(types), tuple(pairs), at, last.version.type, last.key, total, made]
            following = self._signer.seal(place, ["compartment", *content])
        members = tuple(row.version for row in found[:count])
        self._audit.read(context, "search", tuple(f"{row.type}/{row.id}" for row in members), _text((owner,), pairs))
        return Members(members, self._referenced(context, owner, members, databases, at), total, following)

    def _member_query(
        self, context: Context, owner: str, id: str, type: str, pairs: Pairs, databases: Sequence[str]
    ) -> Query:
        narrowed = self._parser.parse((type,), pairs).query.where
        where = both(self.compartments.within(owner, id, type), self._allowed(context, (type,), narrowed))
        return Query((type,), where, databases=tuple(databases))

    def _referenced(
        self, context: Context, owner: str, members: tuple[Version, ...], databases: Sequence[str], at: int
    ) -> tuple[Version, ...]:
        """What members refer to of types that no compartment of this kind has: practitioners, organisations, devices...

        Never of a type that has members, so that nobody else's record comes along.
        """
        own = frozenset(self.compartments.types(owner)) | NOT_RECORD
        known: set[tuple[str, str]] = set()
        fresh: Sequence[Version] = members
        added: list[Version] = []
        while fresh:
            wanted: dict[str, set[str]] = {}
            for version in fresh:
                for type, id in _REFERENCE.findall(version.text):
                    key = (type.decode(), id.decode())
                    if key[0] not in own and key not in known:
                        known.add(key)
                        wanted.setdefault(key[0], set()).add(key[1])
            rows: list[Version] = []
            for name, ids in wanted.items():
                where = both(Ids(tuple(sorted(ids))), self._decide(context, (name,)))
                query = Query((name,), where, databases=tuple(databases), at=at, limit=len(ids))
                rows += [row.version for row in self._store.find(query)]
            added += rows
            fresh = rows
        return tuple(added)

    def records(
        self, context: Context, patients: Sequence[str], types: Sequence[str], databases: Sequence[str] = ()
    ) -> tuple[tuple[Version, ...], tuple[Version, ...]]:
        """The resources of ``types`` in the compartments of these Patients (ids), and what they refer to outside.

        HubError("too-costly") when there are more than MAX_RECORD of a type.
        """
        at, found = self._store.last_seq(), list[Version]()
        for type in types:
            where = both(self.compartments.within_any("Patient", patients, type), self._decide(context, (type,)))
            rows = self._store.find(Query((type,), where, databases=tuple(databases), limit=MAX_RECORD + 1))
            if len(rows) > MAX_RECORD:
                raise HubError("too-costly", f"there are more than {MAX_RECORD} {type}")
            found += (row.version for row in rows)
        members = tuple(found)
        self._audit.read(context, "search", tuple(f"{row.type}/{row.id}" for row in members))
        return members, self._referenced(context, "Patient", members, databases, at)

    def lastn(self, context: Context, pairs: Pairs, limit: int, databases: Sequence[str] = ()) -> tuple[Version, ...]:
        """Of each code of the Observations that meet ``pairs``, the ``limit`` newest (R4 Observation-lastn).

        Observations are of one code when they share the first coding, or else the text. HubError("too-costly") when
        more than MAX_LASTN would have to be looked at.
        """
        search = self._parser.parse(("Observation",), [*pairs, ("_sort", "-date")], strict=True)
        where = self._allowed(context, ("Observation",), search.query.where)
        query = replace(search.query, where=where, databases=tuple(databases), limit=MAX_LASTN + 1)
        found = self._store.find(query)
        if len(found) > MAX_LASTN:
            raise HubError(
                "too-costly", f"more than {MAX_LASTN} Observations would be looked at; narrow it by category"
            )
        seen: dict[tuple[str, ...], int] = {}
        newest = []
        for row in found:
            code = _code(json.stored(row.version.text))
            seen[code] = seen.get(code, 0) + 1
            if seen[code] <= limit:
                newest.append(row.version)
        self._audit.read(
            context, "search", tuple(f"{row.type}/{row.id}" for row in newest), _text(("Observation",), pairs)
        )
        return tuple(newest)

    def document(self, context: Context, id: str, databases: Sequence[str] = ()) -> tuple[Version, ...]:
        """A Composition, what it refers to, and what that refers to outside the Patient compartment.

        HubError("not-found") or "deleted" for the Composition; a reference that leads nowhere here stays one.
        """
        composition = self.read(context, "Composition", id, databases)
        direct: dict[tuple[str, str], Version] = {}
        for type, name in _REFERENCE.findall(composition.text):
            version = self._store.read(type.decode(), name.decode())
            if version is not None and not version.deleted and self._visible(context, version, databases):
                direct[version.type, version.id] = version
        direct.pop(("Composition", id), None)
        members = (composition, *direct.values())
        others = self._referenced(context, "Patient", members, databases, self._store.last_seq())
        return (*members, *(row for row in others if (row.type, row.id) not in direct))

    # --- history ------------------------------------------------------------------------------------------------------

    def history(
        self,
        context: Context,
        types: Sequence[str] = (),
        id: str | None = None,
        databases: Sequence[str] = (),
        *,
        since: int = 0,
        period: tuple[int, int] | None = None,
        count: int = 100,
        place: str = "",
        cursor: str | None = None,
    ) -> HistoryPage:
        """history of one resource (one type and ``id``), of types, or of the system (() = all); newest first.

        ``since`` is in microseconds since 1970 UTC; ``period`` [low, high) leaves what was current at some time in it;
        ``count`` is the length of a page. Raises HubError("not-found") for an id that never was, "parameter-value" for
        a cursor that is not ours.
        """
        self._catch_up(types or TRAIL)
        before = total = until = None
        lasting = 0
        if period is not None:
            until = period[1] - 1
            already = self._store.history(until=period[0], limit=1)
            lasting = already[0].seq if already else 0
        if cursor is not None:
            kind, *content = self._signer.open(place, cursor)
            if kind != "history":
                raise HubError("parameter-value", "this is not the page link of a history")
            since, until, lasting, count, before, total = content
        if id is not None:
            newest = self._store.read(types[0], id)
            if newest is None or not self._visible(context, newest, databases):
                raise HubError("not-found", f"{types[0]}/{id} does not exist", f"{types[0]}/{id}")
        scope = tuple(databases) or DATABASES  # the rows of the imaging index belong to none of them
        restricted = any(self._decide(context, (type,)) != ALL for type in types) or self._decide(context, types) != ALL
        if total is None and not restricted:  # a count of what is hidden would tell of it
            total = self._store.history_count(types, id, databases=scope, since=since, until=until, lasting=lasting)
        rows = self._store.history(
            types, id, databases=scope, since=since, until=until, before=before, lasting=lasting, limit=count + 1
        )
        versions = tuple(row for row in rows[:count] if self._visible(context, row, databases))
        following = None
        if len(rows) > count > 0:
            following = self._signer.seal(place, ["history", since, until, lasting, count, rows[count - 1].seq, total])
        self._audit.read(context, "history", tuple(f"{row.type}/{row.id}" for row in versions))
        return HistoryPage(versions, total, following)

    def _catch_up(self, types: Sequence[str], pairs: Pairs = ()) -> None:
        """Make resources of what waits as notes, if these types or criteria could meet them."""
        named = [text for pair in pairs for text in pair]
        if any(one in types for one in TRAIL) or any(one in text for text in named for one in (*TRAIL, "*")):
            self._audit.expand()

    def _allowed(self, context: Context, types: Sequence[str], where: Expression) -> Expression:
        """The criteria with the access decision, also for whatever they look at on the way."""
        through = guarded(where, lambda type: self._decide(context, (type,)))
        return both(through, self._decide(context, types))

    def _visible(self, context: Context, version: Version, databases: Sequence[str]) -> bool:
        """Whether the base and the access decision let this context see the resource."""
        if databases and version.database not in databases:
            return False
        where = self._decide(context, (version.type,))
        return where == ALL or self._store.count(Query((version.type,), both(where, Ids((version.id,))))) > 0


def _code(observation: dict[str, Any]) -> tuple[str, ...]:
    """What makes Observations be of one code: the first coding, else the text."""
    code = observation.get("code", {})
    for coding in code.get("coding", ()):
        if "code" in coding:
            return (coding.get("system", ""), coding["code"])
    return (code.get("text", ""),)


def _text(types: Sequence[str], pairs: Pairs) -> str:
    """A search as its audit event names it."""
    asked: list[Any] = [f"{name}={value}" for name, value in pairs]
    return f"{','.join(types)}?{'&'.join(asked)}"

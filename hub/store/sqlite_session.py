"""Reader and Transaction on one SQLite connection, for the schema of ``schema.sql``."""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from hub.errors import HubError
from hub.search.expression import Query
from hub.store.codec import KEY_STEP, Codec
from hub.store.protocol import Found, Item, Put, Version
from hub.store.sqlite_clauses import Catalog, number, one_of
from hub.store.sqlite_query import Compiler, ordering
from hub.store.vault import Vault

PROGRESS_STEPS = 20_000
KEPT = 5_000
KEPT_BYTES = 16_384
"""The writer keeps so many current versions of at most so many bytes."""
TOO_COMPLEX = ("too many", "too large", "too complex", "stack overflow", "at most 64 tables")
VERSION = "v.database, v.type, v.id, v.version, v.method, v.updated, v.codec, v.text, v.origin, v.seq"
ITEM = "queue, id, key, digest, state, data, codec, raw, created, attempts, leased_until, seq"


def refusal(error: sqlite3.Error) -> HubError:
    """What a caller is told about a failure of SQLite."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_INTERRUPT:
        return HubError("timeout", "the search took longer than allowed; narrow it down")
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY):
        return HubError("no-store", f"the disk does not take the data ({error}); nothing of it is stored, send again")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return HubError("configuration", f"the database file is damaged ({error}); run hub doctor, restore a backup")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return HubError("timeout", f"the database file is busy ({error}); send again")
    if any(words in str(error) for words in TOO_COMPLEX):
        return HubError("too-costly", f"the search has too many parts ({error}); ask in smaller steps")
    return HubError("exception", f"SQLite: {error}")


class Known:
    """What the threads of a store know of the file: the catalog as the writer left it, and the keys."""

    def __init__(self, vault: Vault) -> None:
        self.catalog = Catalog(())
        self.vault = vault


class Reading:
    """Reader on one connection; one for each thread."""

    def __init__(self, connection: sqlite3.Connection, seconds: float, known: Known) -> None:
        self.connection = connection
        self._seconds = seconds
        self._deadline = float("inf")
        self._known = known
        self.codec = Codec(dict(connection.execute("SELECT number, content FROM dictionary")), known.vault)
        connection.set_progress_handler(lambda: time.monotonic() > self._deadline, PROGRESS_STEPS)

    # --- versions -----------------------------------------------------------------------------------------------------

    def read(self, type: str, id: str) -> Version | None:
        return self._one("v.type = ? AND v.id = ? AND v.ended IS NULL", (type, id))

    def vread(self, type: str, id: str, version: int) -> Version | None:
        return self._one("v.type = ? AND v.id = ? AND v.version = ?", (type, id, version))

    def _one(self, where: str, values: tuple[Any, ...]) -> Version | None:
        try:
            row = self.connection.execute(f"SELECT {VERSION} FROM version v WHERE {where}", values).fetchone()
        except sqlite3.Error as error:
            raise refusal(error) from error
        return None if row is None else self._version(row)

    def versions(self, sql: str, values: Sequence[Any]) -> list[Version]:
        """The rows of a SELECT of ``VERSION``."""
        return [self._version(row) for row in self.rows(sql, values)]

    def _version(self, row: Sequence[Any]) -> Version:
        database, type, id, version, method, updated, codec, text, origin, seq = row
        text = b"" if text is None else self.codec.unpack(codec, text)
        return Version(database, type, id, version, method, updated, text, origin, seq)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows, within the time limit."""
        self._deadline = time.monotonic() + self._seconds
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise refusal(error) from error
        finally:
            self._deadline = float("inf")

    # --- queries ------------------------------------------------------------------------------------------------------

    def find(self, query: Query) -> list[Found]:
        page = self._compiler(query).page(query)
        keys = "".join(f", p.k{place}" for place in range(len(query.order)))
        rows = f"({page.text}) p CROSS JOIN version v ON v.seq = p.seq"
        sql = f"SELECT {VERSION}{keys} FROM {rows} ORDER BY {ordering(query, 'p.')}p.seq"
        found = [Found(self._version(row[:10]), (*row[10:], row[9])) for row in self.rows(sql, page.values)]
        self._check_age(query)
        return found

    def count(self, query: Query) -> int:
        compiled = self._compiler(query).count(query)
        counted = self._number(compiled.text, compiled.values)
        self._check_age(query)
        return counted

    def explain(self, query: Query) -> list[str]:
        """The query plan's lines."""
        page = self._compiler(query).page(query)
        return [str(row[3]) for row in self.rows(f"EXPLAIN QUERY PLAN {page.text}", page.values)]

    def _compiler(self, query: Query) -> Compiler:
        return Compiler(self._catalog(), query.at, self._number)

    def _catalog(self) -> Catalog:
        return self._known.catalog

    def learn(self) -> None:
        """Know the parameters as they are on disk; after a rollback, without those that came with it."""
        newest = self.connection.execute("SELECT max(key) FROM parameter").fetchone()[0]
        if newest != self._known.catalog.newest:
            self._known.catalog = Catalog(self.rows("SELECT key, database, type, code FROM parameter"))

    def _number(self, sql: str, values: tuple[Any, ...] = ()) -> int:
        return int(self.rows(sql, values)[0][0])

    def _check_age(self, query: Query) -> None:
        """After the answer was read: had entries of its moment been swept before?"""
        if query.at is not None and query.at < self._number("SELECT horizon FROM state"):
            raise HubError("expired", "the search is too old to be continued; start it again")

    # --- queues -------------------------------------------------------------------------------------------------------

    def item(self, queue: str, id: str) -> Item | None:
        return next(iter(self.items("queue = ? AND id = ?", (queue, id))), None)

    def item_by_key(self, queue: str, key: str) -> Item | None:
        return next(iter(self.items("queue = ? AND key = ?", (queue, key))), None)

    def facts(self, stored: str | bytes) -> dict[str, Any]:
        """The data of an item."""
        found: dict[str, Any] = msgspec.json.decode(self.codec.unpack_facts(stored))
        return found

    def items(self, where: str, values: tuple[Any, ...]) -> list[Item]:
        """The rows of ``item`` for a condition."""
        return [
            Item(queue, id, key, digest, state, self.facts(data), self.codec.unpack(codec, raw), *rest)
            for queue, id, key, digest, state, data, codec, raw, *rest in self.rows(
                f"SELECT {ITEM} FROM item WHERE {where}", values
            )
        ]


class Outside(Reading):
    """Reader in a process that does not write: it looks each time whether the writer numbered new parameters."""

    def _catalog(self) -> Catalog:
        self.learn()
        return super()._catalog()


class Writing(Reading):
    """Transaction on the one writing connection.

    Nobody else writes the file, so what is current can be kept in memory: a resource that many messages name is read
    once.
    """

    def __init__(self, connection: sqlite3.Connection, seconds: float, known: Known, clock: Callable[[], int]) -> None:
        super().__init__(connection, seconds, known)
        self._clock = clock
        self._newest: OrderedDict[tuple[str, str], Version | None] = OrderedDict()
        self.changed: dict[str, int] = {}
        """Type -> seq of the newest version that was put."""
        self.learn()
        self._last_key = known.catalog.newest or 0

    def learn(self) -> None:
        super().learn()
        self._newest.clear()
        self.changed.clear()

    def read(self, type: str, id: str) -> Version | None:
        key = type, id
        if key in self._newest:
            self._newest.move_to_end(key)
            return self._newest[key]
        found = super().read(type, id)
        self._keep(key, found)
        return found

    def _keep(self, key: tuple[str, str], version: Version | None) -> None:
        if version is not None and len(version.text) > KEPT_BYTES:
            self._newest.pop(key, None)
            return
        self._newest[key] = version
        if len(self._newest) > KEPT:
            self._newest.popitem(last=False)

    def guard(self, key: str) -> None:
        """Nothing to do: there is one writer."""

    def put(self, put: Put) -> None:
        before = self._current(put) if put.version != 1 else None
        seq: int | None = None
        if before is not None:
            seq = self.connection.execute("SELECT max(seq) + 1 FROM version").fetchone()[0]
            self.connection.execute("UPDATE version SET ended = ? WHERE seq = ?", (seq, before.seq))
            if not before.deleted:
                self.connection.execute("INSERT INTO superseded VALUES (?, ?, ?)", (before.seq, seq, self._clock()))
        codec, text = self.codec.pack(put.text) if put.text else (0, None)
        content = (put.database, put.type, put.id, put.version, put.method, put.updated, put.origin, codec, text)
        try:
            cursor = self.connection.execute(
                "INSERT INTO version VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?, ?, ?)", (seq, *content)
            )
        except sqlite3.IntegrityError:  # a first version of an id that has one: the unique indexes know
            raise self._conflict(put) from None
        seq = cursor.lastrowid or 0
        self._index(put, seq)
        self._keep((put.type, put.id), put.stored(seq))
        self.changed[put.type] = seq

    def _current(self, put: Put) -> Version:
        """The version before. HubError("conflict") if another is the newest."""
        current = self.read(put.type, put.id)
        if current is None or current.version != put.version - 1:
            raise self._conflict(put)
        return current

    def _conflict(self, put: Put) -> HubError:
        newest = self.read(put.type, put.id)
        at = newest.version if newest else 0
        return HubError("conflict", f"{put.type}/{put.id} is at version {at}, not {put.version - 1}; read it again")

    def _index(self, put: Put, seq: int) -> None:
        if not put.text:
            return
        kind = (put.database, put.type)
        codes = self._known.catalog.codes(*kind) or self._new_key(*kind, "")
        for param in {term.param for term in put.entries.terms} | {each.param for each in put.entries.ranges}:
            if param not in codes:
                codes = self._new_key(*kind, param)
        terms = [(codes[term.param], term.value, seq, term.system) for term in put.entries.terms]
        ranges = [(codes[each.param], number(each.low), number(each.high), seq) for each in put.entries.ranges]
        self.connection.executemany("INSERT OR IGNORE INTO term VALUES (?, ?, ?, ?)", terms)
        self.connection.executemany("INSERT OR IGNORE INTO range VALUES (?, ?, ?, ?)", ranges)

    def _new_key(self, database: str, type: str, code: str) -> dict[str, int]:
        """Number a parameter. A number is never given again, not even after a rollback: readers may know it."""
        self._last_key += 1
        row = (self._last_key, database, type, code)
        self.connection.execute("INSERT INTO parameter VALUES (?, ?, ?, ?)", row)
        self._known.catalog = self._known.catalog.extended(row)
        return self._known.catalog.codes(database, type)

    def enqueue(self, item: Item) -> Item:
        present = self.item_by_key(item.queue, item.key)
        if present is not None:
            return present
        codec, raw = self.codec.pack(item.raw, resource=False)
        content = (
            item.queue,
            item.id,
            item.key,
            item.digest,
            item.state,
            self.codec.pack_facts(msgspec.json.encode(item.data)),
            codec,
            raw,
        )
        progress = (item.created, item.attempts, item.leased_until)
        try:
            cursor = self.connection.execute(
                f"INSERT INTO item ({ITEM}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)", content + progress
            )
        except sqlite3.IntegrityError:
            raise HubError("duplicate", f"{item.queue} already has the id {item.id}") from None
        return replace(item, seq=cursor.lastrowid or 0)

    def settle(self, queue: str, id: str, state: str, data: dict[str, Any]) -> None:
        row = self.connection.execute("SELECT seq, data FROM item WHERE queue = ? AND id = ?", (queue, id)).fetchone()
        if row is None:
            raise HubError("not-found", f"{queue} has no item {id}")
        self.connection.execute(
            "UPDATE item SET state = ?, data = ?, leased_until = 0 WHERE seq = ?",
            (state, self.codec.pack_facts(msgspec.json.encode(self.facts(row[1]) | data)), row[0]),
        )

    def discard(self, queue: str, ids: Sequence[str]) -> None:
        self.connection.executemany("DELETE FROM item WHERE queue = ? AND id = ?", [(queue, id) for id in ids])

    def prune(self, queue: str, states: Sequence[str], before: int, most: int) -> int:
        among = one_of("state", list(states))
        return self.connection.execute(
            "DELETE FROM item WHERE seq IN (SELECT seq FROM item WHERE"
            f" queue = ? AND {among.text} AND created < ? ORDER BY seq LIMIT ?)",
            (queue, *among.values, before, most),
        ).rowcount

    def claim(self, queue: str, states: Sequence[str], now: int, lease: int, limit: int) -> list[Item]:
        """See Store.claim."""
        among = one_of("state", list(states))
        items = self.items(
            f"queue = ? AND {among.text} AND leased_until <= ? ORDER BY seq LIMIT ?", (queue, *among.values, now, limit)
        )
        for item in items:
            self.connection.execute(
                "UPDATE item SET attempts = attempts + 1, leased_until = ? WHERE seq = ?", (now + lease, item.seq)
            )
        return [self.item(queue, item.id) or item for item in items]

    def reseal(self, after: int, limit: int) -> int | None:
        """See Store.reseal; versions and items are gone through together, by seq."""
        newest = self.codec.newest_key
        last: list[int] = []
        for table, content in (("version", "text"), ("item", "raw")):
            more = "" if table == "version" else ", data"
            rows = self.rows(
                f"SELECT seq, codec, {content}{more} FROM {table} WHERE seq > ? AND codec / {KEY_STEP} <> {newest}"
                f" AND {content} IS NOT NULL ORDER BY seq LIMIT ?",
                (after, limit),
            )
            for seq, code, data, *facts in rows:
                sealed = self.codec.reseal(code, data)
                fresh = [self.codec.pack_facts(msgspec.json.encode(self.facts(one))) for one in facts]
                places = f"codec = ?, {content} = ?" + ("" if not fresh else ", data = ?")
                self.connection.execute(f"UPDATE {table} SET {places} WHERE seq = ?", (*sealed, *fresh, seq))
            if len(rows) == limit:
                last.append(rows[-1][0])
        return min(last, default=None)

    def sweep(self, before: int, most: int) -> int:
        """Forget index entries of versions superseded before that time, the oldest first; how many versions."""
        rows = self.connection.execute(
            "SELECT seq, ended, time FROM superseded ORDER BY ended LIMIT ?", (most,)
        ).fetchall()
        due = [(seq, ended) for seq, ended, time in rows if time < before]
        for seq, _ in due:
            for table in ("term", "range", "superseded"):
                self.connection.execute(f"DELETE FROM {table} WHERE seq = ?", (seq,))
        if due:
            self.connection.execute("UPDATE state SET horizon = ?", (due[-1][1],))
        return len(due)

"""The embedded store: one SQLite file, one writing thread, any number of readers.

Every version is a row that stays; index entries lie in two tables beside it (``schema.sql``), queries are compiled in
``sqlite_query``. A write returns after its transaction is on disk (WAL, synchronous=FULL). A second process that would
write the same file is refused; processes that only read (``read_only``) are welcome.

A snapshot (``Query.at``) needs the entries of versions that were current then: those of superseded versions stay for
``snapshot_seconds`` and are then swept, a few with every commit. Asking for an older one is HubError("expired").
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from hub.errors import HubError
from hub.search.expression import Query
from hub.store.codec import Codec, dictionaries
from hub.store.protocol import Found, Item, Put, Transaction, Version
from hub.store.sqlite_query import Catalog, Compiler, Sql, number, one_of, ordering
from hub.store.writer import GroupWriter, Job

T = TypeVar("T")
FORMAT = 1
PROGRESS_STEPS = 20_000
SWEEP = 500
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


class _Known:
    """What the threads of a store know of the file: the catalog as the writer left it."""

    def __init__(self) -> None:
        self.catalog = Catalog(())


class _Reading:
    """Reader on one connection; one for each thread."""

    def __init__(self, connection: sqlite3.Connection, seconds: float, known: _Known) -> None:
        self.connection = connection
        self._seconds = seconds
        self._deadline = float("inf")
        self._known = known
        self.codec = Codec(dict(connection.execute("SELECT number, content FROM dictionary")))
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

    def items(self, where: str, values: tuple[Any, ...]) -> list[Item]:
        """The rows of ``item`` for a condition."""
        return [
            Item(queue, id, key, digest, state, json.loads(data), self.codec.unpack(codec, raw), *rest)
            for queue, id, key, digest, state, data, codec, raw, *rest in self.rows(
                f"SELECT {ITEM} FROM item WHERE {where}", values
            )
        ]


class _Outside(_Reading):
    """Reader in a process that does not write: it looks each time whether the writer numbered new parameters."""

    def _catalog(self) -> Catalog:
        self.learn()
        return super()._catalog()


class _Writing(_Reading):
    """Transaction on the one writing connection."""

    def __init__(self, connection: sqlite3.Connection, seconds: float, known: _Known, clock: Callable[[], int]) -> None:
        super().__init__(connection, seconds, known)
        self._clock = clock
        self.learn()
        self._last_key = known.catalog.newest or 0

    def guard(self, key: str) -> None:
        """Nothing to do: there is one writer."""

    def put(self, put: Put) -> None:
        execute = self.connection.execute
        row = execute(
            "SELECT seq, version, text IS NOT NULL FROM version WHERE type = ? AND id = ? AND ended IS NULL",
            (put.type, put.id),
        ).fetchone()
        newest = row[1] if row else 0
        if put.version != newest + 1:
            raise HubError(
                "conflict", f"{put.type}/{put.id} is at version {newest}, not {put.version - 1}; read it again"
            )
        seq = execute("SELECT coalesce(max(seq), 0) + 1 FROM version").fetchone()[0]
        if row:
            execute("UPDATE version SET ended = ? WHERE seq = ?", (seq, row[0]))
            if row[2]:
                execute("INSERT INTO superseded VALUES (?, ?, ?)", (row[0], seq, self._clock()))
        codec, text = self.codec.pack(put.text) if put.text else (0, None)
        execute(
            "INSERT INTO version VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?, ?, ?)",
            (seq, put.database, put.type, put.id, put.version, put.method, put.updated, put.origin, codec, text),
        )
        self._index(put, seq)

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
        content = (item.queue, item.id, item.key, item.digest, item.state, _json(item.data), codec, raw)
        progress = (item.created, item.attempts, item.leased_until)
        try:
            self.connection.execute(
                f"INSERT INTO item ({ITEM}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)", content + progress
            )
        except sqlite3.IntegrityError:
            raise HubError("duplicate", f"{item.queue} already has the id {item.id}") from None
        return self.item(item.queue, item.id) or item

    def settle(self, queue: str, id: str, state: str, data: dict[str, Any]) -> None:
        item = self.item(queue, id)
        if item is None:
            raise HubError("not-found", f"{queue} has no item {id}")
        self.connection.execute(
            "UPDATE item SET state = ?, data = ?, leased_until = 0 WHERE queue = ? AND id = ?",
            (state, _json(item.data | data), queue, id),
        )

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


class SqliteStore:
    """Store in one file. ``query_seconds`` limits each search; ``clock`` gives microseconds since 1970 UTC.

    Raises HubError("configuration") when another process writes the file, or it is damaged, or of another format.
    """

    name = "sqlite"
    local = True

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], int],
        snapshot_seconds: float = 900,
        query_seconds: float = 30,
        read_only: bool = False,
    ) -> None:
        self.path = path
        self._clock = clock
        self._retention = int(snapshot_seconds * 1_000_000)
        self._query_seconds = query_seconds
        self._read_only = read_only
        self._known = _Known()
        self._readers = threading.local()
        self._open: weakref.WeakSet[_Reading] = weakref.WeakSet()
        if read_only:
            self._reader()
            return
        self._lock = self._locked()
        try:
            self._transaction = _Writing(self._prepared(), query_seconds, self._known, clock)
        except sqlite3.Error as error:
            self._lock.close()
            raise refusal(error) from error
        self._writer = GroupWriter(self._commit, self._idle, name="sqlite-writer")

    # --- connections --------------------------------------------------------------------------------------------------

    def _locked(self) -> sqlite3.Connection:
        """A lock that ends with the process: SQLite's own, on a file of no content."""
        path = self.path.with_name(self.path.name + ".lock")
        try:
            lock = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY:
                raise HubError(
                    "configuration", f"another process writes {self.path}; stop it, or use another data directory"
                ) from error
            raise HubError("configuration", f"{self.path} cannot be opened: {error}") from error
        return lock

    def _connect(self, cache_kib: int) -> sqlite3.Connection:
        mode = "ro" if self._read_only else "rwc"
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=10,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
        )
        for pragma in (f"cache_size = -{cache_kib}", "mmap_size = 1073741824", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _prepared(self) -> sqlite3.Connection:
        """The writing connection, the schema made or checked."""
        connection = self._connect(65_536)
        connection.execute("PRAGMA journal_mode = WAL")
        for pragma in ("synchronous = FULL", "wal_autocheckpoint = 4000", "journal_size_limit = 67108864"):
            connection.execute(f"PRAGMA {pragma}")
        if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            schema = files("hub.store").joinpath("schema.sql").read_text(encoding="utf-8")
            connection.executescript(f"BEGIN IMMEDIATE; {schema}")
            connection.executemany("INSERT INTO dictionary VALUES (?, ?)", dictionaries().items())
            connection.execute("COMMIT")
        (found,) = connection.execute("SELECT format FROM state").fetchone()
        if found != FORMAT:
            connection.close()
            self._lock.close()
            raise HubError("configuration", f"{self.path} has format {found}; this version reads format {FORMAT}")
        return connection

    def _reader(self) -> _Reading:
        """This thread's Reader."""
        reader: _Reading | None = getattr(self._readers, "reader", None)
        if reader is None:
            try:
                kind = _Outside if self._read_only else _Reading
                reader = kind(self._connect(4096), self._query_seconds, self._known)
            except sqlite3.Error as error:
                raise refusal(error) from error
            self._readers.reader = reader
            self._open.add(reader)
        return reader

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, type: str, id: str) -> Version | None:
        return self._reader().read(type, id)

    def vread(self, type: str, id: str, version: int) -> Version | None:
        return self._reader().vread(type, id, version)

    def find(self, query: Query) -> list[Found]:
        return self._reader().find(query)

    def count(self, query: Query) -> int:
        return self._reader().count(query)

    def explain(self, query: Query) -> list[str]:
        """The query plan's lines."""
        return self._reader().explain(query)

    def item(self, queue: str, id: str) -> Item | None:
        return self._reader().item(queue, id)

    def item_by_key(self, queue: str, key: str) -> Item | None:
        return self._reader().item_by_key(queue, key)

    def history(
        self,
        types: Sequence[str] = (),
        id: str | None = None,
        *,
        databases: Sequence[str] = (),
        since: int = 0,
        until: int | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Version]:
        where = _history(types, id, databases, since, until, before)
        sql = f"SELECT {VERSION} FROM version v WHERE {where.text} ORDER BY v.seq DESC LIMIT ?"
        return self._reader().versions(sql, (*where.values, limit))

    def history_count(
        self,
        types: Sequence[str] = (),
        id: str | None = None,
        *,
        databases: Sequence[str] = (),
        since: int = 0,
        until: int | None = None,
        before: int | None = None,
    ) -> int:
        where = _history(types, id, databases, since, until, before)
        return int(self._reader().rows(f"SELECT count(*) FROM version v WHERE {where.text}", where.values)[0][0])

    def changes(self, after: int, limit: int = 1000) -> list[Version]:
        sql = f"SELECT {VERSION} FROM version v WHERE v.seq > ? ORDER BY v.seq LIMIT ?"
        return self._reader().versions(sql, (after, limit))

    def last_seq(self) -> int:
        return int(self._reader().rows("SELECT coalesce(max(seq), 0) FROM version")[0][0])

    def items(
        self, queue: str, *, states: Sequence[str] = (), before: int | None = None, limit: int = 50
    ) -> list[Item]:
        where = [Sql("queue = ?", (queue,))]
        if states:
            where.append(one_of("state", list(states)))
        if before is not None:
            where.append(Sql("seq < ?", (before,)))
        whole = _all(where)
        return self._reader().items(f"{whole.text} ORDER BY seq DESC LIMIT ?", (*whole.values, limit))

    def item_counts(self, queue: str) -> dict[str, int]:
        return dict(self._reader().rows("SELECT state, count(*) FROM item WHERE queue = ? GROUP BY state", (queue,)))

    def statistics(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for database, type, number_of in self._reader().rows(
            "SELECT database, type, count(*) FROM version WHERE ended IS NULL AND text IS NOT NULL"
            " GROUP BY database, type"
        ):
            counts.setdefault(database, {})[type] = number_of
        return counts

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, work: Callable[[Transaction], T]) -> T:
        self._writable()
        return self._writer.write(work)

    def submit(self, work: Callable[[Transaction], T]) -> Future[T]:
        self._writable()
        return self._writer.submit(work)

    def claim(self, queue: str, states: Sequence[str], now: int, lease: int, limit: int = 1) -> list[Item]:
        self._writable()
        return self._writer.write(lambda tx: tx.claim(queue, states, now, lease, limit))

    def _writable(self) -> None:
        if self._read_only:
            raise HubError("configuration", f"{self.path} is open for reading only")

    def _commit(self, jobs: Iterator[Job]) -> None:
        """Run each job in a savepoint, commit all as one. What goes wrong as a whole undoes the whole."""
        execute = self._transaction.connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._run(job)
            self._transaction.sweep(self._clock() - self._retention, SWEEP)
            execute("COMMIT")
        except (sqlite3.Error, HubError) as error:
            if self._transaction.connection.in_transaction:
                execute("ROLLBACK")
            self._transaction.learn()
            if isinstance(error, sqlite3.Error):
                raise refusal(error) from error
            raise

    def _run(self, job: Job) -> None:
        execute = self._transaction.connection.execute
        execute("SAVEPOINT work")
        with job:
            job.result = job.work(self._transaction)
        if isinstance(job.error, sqlite3.Error):
            job.error = refusal(job.error)
        if job.error is not None:
            if not self._transaction.connection.in_transaction:  # SQLite has undone everything: disk full, I/O error
                raise job.error
            execute("ROLLBACK TO work")
            self._transaction.learn()
        execute("RELEASE work")

    def _idle(self) -> None:
        """Sweep what is due, if nothing else is to be done."""
        self._commit(iter(()))

    # --- upkeep -------------------------------------------------------------------------------------------------------

    def check(self) -> list[str]:
        reader = self._reader()
        findings = [f"damaged: {row[0]}" for row in reader.rows("PRAGMA quick_check(20)") if row[0] != "ok"]
        if reader.rows("PRAGMA journal_mode")[0][0] != "wal":
            findings.append("journal_mode is not WAL: a crash may lose acknowledged data")
        if not self._read_only and self._transaction.connection.execute("PRAGMA synchronous").fetchone()[0] < 2:
            findings.append("synchronous is not FULL: a power failure may lose acknowledged data")
        return findings

    def backup(self, path: Path) -> None:
        """A consistent copy of the file while it is in use; ``path`` must not exist."""
        if path.exists():
            raise HubError("configuration", f"{path} exists; a backup never overwrites")
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        target = sqlite3.connect(part)
        try:
            self._reader().connection.backup(target)
        except sqlite3.Error as error:
            raise refusal(error) from error
        finally:
            target.close()
        part.rename(path)

    def close(self) -> None:
        if not self._read_only:
            self._writer.close()
        for reader in list(self._open):
            reader.connection.close()
        if not self._read_only:
            self._transaction.connection.close()  # the last connection empties the log
            self._lock.close()


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _all(conditions: Sequence[Sql]) -> Sql:
    return Sql(
        " AND ".join(each.text for each in conditions) or "1", tuple(v for each in conditions for v in each.values)
    )


def _history(
    types: Sequence[str], id: str | None, databases: Sequence[str], since: int, until: int | None, before: int | None
) -> Sql:
    where = []
    if types:
        where.append(one_of("v.type", list(types)))
    if id is not None:
        where.append(Sql("v.id = ?", (id,)))
    if databases:
        where.append(one_of("v.database", list(databases)))
    if since:
        where.append(Sql("v.updated >= ?", (since,)))
    if until is not None:
        where.append(Sql("v.updated <= ?", (until,)))
    if before is not None:
        where.append(Sql("v.seq < ?", (before,)))
    return _all(where)

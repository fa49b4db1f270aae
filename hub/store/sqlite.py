"""The embedded store: one SQLite file, one writing thread, any number of readers.

Every version is a row that stays; index entries lie in two tables beside it (``schema.sql``), queries are compiled in
``sqlite_query`` and run in ``sqlite_session``. A write returns after its transaction is on disk (WAL,
synchronous=FULL). A second process that would write the same file is refused; processes that only read
(``read_only``) are welcome.

A snapshot (``Query.at``) needs the entries of versions that were current then: those of superseded versions stay for
``snapshot_seconds`` and are then swept, a few with every commit. Asking for an older one is HubError("expired").
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from hub.errors import HubError
from hub.search.expression import Query
from hub.store.codec import KEY_STEP, dictionaries
from hub.store.protocol import Found, Item, Transaction, Version
from hub.store.sqlite_clauses import Scope, Sql, one_of
from hub.store.sqlite_session import VERSION, Known, Outside, Reading, Writing, refusal
from hub.store.vault import Vault
from hub.store.writer import GroupWriter, Job

T = TypeVar("T")
FORMAT = 1
SWEEP = 500


class SqliteStore:
    """Store in one file. ``query_seconds`` limits each search; ``clock`` gives microseconds since 1970 UTC.

    Content is sealed by ``vault``.

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
        vault: Vault | None = None,
    ) -> None:
        self.path = path
        self._clock = clock
        self._retention = int(snapshot_seconds * 1_000_000)
        self._query_seconds = query_seconds
        self._read_only = read_only
        self._known = Known(vault or Vault())
        self._last: dict[str, int] = {}
        self._readers = threading.local()
        self._open: weakref.WeakSet[Reading] = weakref.WeakSet()
        if read_only:
            self._reader()
            return
        self._lock = self._locked()
        try:
            self._transaction = Writing(self._prepared(), query_seconds, self._known, clock)
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

    def _reader(self) -> Reading:
        """This thread's Reader."""
        reader: Reading | None = getattr(self._readers, "reader", None)
        if reader is None:
            try:
                kind = Outside if self._read_only else Reading
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
        lasting: int = 0,
        limit: int = 100,
    ) -> list[Version]:
        where = _history(types, id, databases, since, until, before, lasting)
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
        lasting: int = 0,
    ) -> int:
        where = _history(types, id, databases, since, until, before, lasting)
        return int(self._reader().rows(f"SELECT count(*) FROM version v WHERE {where.text}", where.values)[0][0])

    def changes(self, after: int, limit: int = 1000) -> list[Version]:
        sql = f"SELECT {VERSION} FROM version v WHERE v.seq > ? ORDER BY v.seq LIMIT ?"
        return self._reader().versions(sql, (after, limit))

    def last_seq(self, types: Sequence[str] = ()) -> int:
        if not types:
            return int(self._reader().rows("SELECT coalesce(max(seq), 0) FROM version")[0][0])
        if self._read_only:
            return max(map(self._newest, types))
        for type in types:
            if type not in self._last:
                self._last.setdefault(type, self._newest(type))
        return max(self._last[type] for type in types)

    def _newest(self, type: str) -> int:
        """The newest change of a type."""
        newest = "SELECT max(seq) FROM version WHERE type = ? AND database = ?"
        if self._read_only:
            self._reader().learn()
        databases, _ = self._known.catalog.kinds(Scope((type,)))
        rows = [self._reader().rows(newest, (type, database))[0] for database in databases]
        return max((seq for (seq,) in rows if seq), default=0)

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

    def submit(self, work: Callable[[Transaction], T]) -> Job[T]:
        self._writable()
        return self._writer.submit(work)

    def claim(self, queue: str, states: Sequence[str], now: int, lease: int, limit: int = 1) -> list[Item]:
        self._writable()
        return self._writer.write(lambda tx: tx.claim(queue, states, now, lease, limit))

    def _writable(self) -> None:
        if self._read_only:
            raise HubError("configuration", f"{self.path} is open for reading only")

    def _commit(self, jobs: Iterator[Job[Any]]) -> None:
        """Run the jobs, commit all as one. What goes wrong as a whole undoes the whole."""
        execute = self._transaction.connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            self._perform(jobs)
            self._transaction.sweep(self._clock() - self._retention, SWEEP)
            execute("COMMIT")
            self._last |= self._transaction.changed
        except (sqlite3.Error, HubError) as error:
            if self._transaction.connection.in_transaction:
                execute("ROLLBACK")
            self._transaction.learn()
            if isinstance(error, sqlite3.Error):
                raise refusal(error) from error
            raise

    def _perform(self, jobs: Iterator[Job[Any]]) -> None:
        """Run each job; one that fails leaves nothing behind.

        A savepoint for each costs a tenth of an ingest, and jobs seldom fail after they have written. So the jobs run
        without; when one does, all are undone and run again, each in a savepoint.
        """
        done: list[Job[Any]] = []
        for job in jobs:
            done.append(job)
            changes = self._transaction.connection.total_changes
            self._attempt(job)
            if job.error is not None and self._transaction.connection.total_changes != changes:
                self._transaction.connection.execute("ROLLBACK")
                self._transaction.learn()
                self._transaction.connection.execute("BEGIN IMMEDIATE")
                for each in done:
                    self._alone(each)

    def _attempt(self, job: Job[Any]) -> None:
        with job:
            job.value = job.work(self._transaction)
        if isinstance(job.error, sqlite3.Error):
            job.error = refusal(job.error)
        if job.error is not None and not self._transaction.connection.in_transaction:
            raise job.error  # SQLite has undone everything: disk full, I/O error

    def _alone(self, job: Job[Any]) -> None:
        execute = self._transaction.connection.execute
        execute("SAVEPOINT work")
        self._attempt(job)
        if job.error is not None:
            execute("ROLLBACK TO work")
            self._transaction.learn()
        execute("RELEASE work")

    def _idle(self) -> None:
        """Sweep what is due, if nothing else is to be done."""
        self._commit(iter(()))

    # --- keys ---------------------------------------------------------------------------------------------------------

    def seals(self) -> dict[int, int]:
        counts: dict[int, int] = {}
        rows = self._reader().rows(
            f"SELECT codec / {KEY_STEP}, count(*) FROM version WHERE text IS NOT NULL GROUP BY 1"
            f" UNION ALL SELECT codec / {KEY_STEP}, count(*) FROM item GROUP BY 1"
        )
        for key, number_of in rows:
            counts[key] = counts.get(key, 0) + number_of
        return counts

    def reseal(self, after: int, limit: int = 200) -> int | None:
        following: int | None = self._writer.write(lambda tx: tx.reseal(after, limit))
        return following

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


def _all(conditions: Sequence[Sql]) -> Sql:
    return Sql(
        " AND ".join(each.text for each in conditions) or "1", tuple(v for each in conditions for v in each.values)
    )


def _history(
    types: Sequence[str],
    id: str | None,
    databases: Sequence[str],
    since: int,
    until: int | None,
    before: int | None,
    lasting: int,
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
    if lasting:
        where.append(Sql("(v.ended IS NULL OR v.ended > ?)", (lasting,)))
    return _all(where)

"""Store, Transaction, Queue and Blobs: what the core asks of a database, whichever it is.

Writes go through ``Store.write(work)``: ``work`` is called with a Transaction, and everything it put there becomes
durable as one atomic unit, or nothing does. Two writes never interleave where it would matter: on SQLite one writer
thread runs them one after another (and commits many at once: group commit); on MongoDB each is a multi-document
transaction and ``Transaction.guard`` makes those with the same key wait for one another. So "look, then write" inside
one ``work`` is free of races on either. ``work`` may be run again after a transient failure: it must not have effects
of its own. ``write`` returns after the commit is on disk; an exception raised by ``work`` undoes its part and is
raised to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol, TypeVar

from hub.search.expression import Entries, Number, Query

T = TypeVar("T")
D = TypeVar("D", covariant=True)


class Durable(Protocol[D]):
    """Work that was handed over and may not be durable yet."""

    def exception(self) -> BaseException | None:
        """Wait; what it failed with, None when it is durable."""

    def result(self) -> D:
        """Wait; its value once it is durable, or its error is raised."""


@dataclass(frozen=True, slots=True)
class Put:
    """A new version to be written. ``text`` is the resource's JSON, with id and meta, or b"" for a deletion.

    ``updated`` is meta.lastUpdated in microseconds since 1970 UTC; ``method`` the HTTP verb that history shows;
    ``origin`` says where the data came from (the inbox item's id, or ""). ``database`` is the owner.
    """

    database: str
    type: str
    id: str
    version: int
    method: str
    updated: int
    text: bytes
    entries: Entries = field(default_factory=Entries)
    origin: str = ""

    def stored(self, seq: int = 0) -> Version:
        """The version this becomes; its ``seq`` is 0 until it is known."""
        return Version(
            self.database, self.type, self.id, self.version, self.method, self.updated, self.text, self.origin, seq
        )


@dataclass(frozen=True, slots=True)
class Version:
    """One stored version. ``seq`` is the number of the change, ascending over the whole store; text b"" = deleted."""

    database: str
    type: str
    id: str
    version: int
    method: str
    updated: int
    text: bytes
    origin: str
    seq: int

    @property
    def deleted(self) -> bool:
        return not self.text


@dataclass(frozen=True, slots=True)
class Found:
    """A row of an answer: the version and its place in the order, for ``Query.after``."""

    version: Version
    key: tuple[str | Number | None, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A row of a durable queue.

    ``queue`` names it (``inbox``, ``outbox``...), ``id`` is unique within it, ``key`` is what makes the same thing the
    same thing (unique within the queue), ``digest`` its content's hash; ``raw`` the bytes as received; ``state`` one
    word of the service that owns the queue; ``data`` JSON-able facts; times are microseconds since 1970 UTC.
    ``seq`` ascends in order of arrival.
    """

    queue: str
    id: str
    key: str
    digest: str
    state: str
    data: dict[str, Any]
    raw: bytes
    created: int
    attempts: int = 0
    leased_until: int = 0
    seq: int = 0


class Reader(Protocol):
    """What can be asked outside and inside a transaction (inside, one's own puts are seen)."""

    def read(self, type: str, id: str) -> Version | None:
        """The newest version, which may be a deletion; None if there never was one."""

    def vread(self, type: str, id: str, version: int) -> Version | None:
        """One version by number."""

    def find(self, query: Query) -> list[Found]:
        """The matching current resources in order, at most ``query.limit``."""

    def count(self, query: Query) -> int:
        """How many match; order, after and limit are ignored."""

    def item(self, queue: str, id: str) -> Item | None:
        """A queue's row by id."""

    def item_by_key(self, queue: str, key: str) -> Item | None:
        """A queue's row by key."""


class Transaction(Reader, Protocol):
    """One atomic unit of work."""

    def guard(self, key: str) -> None:
        """Make concurrent transactions with the same key run one after the other (no-op with one writer)."""

    def put(self, put: Put) -> None:
        """Add a version. HubError("conflict") if ``put.version`` is not the newest version + 1 (1 for a new id)."""

    def enqueue(self, item: Item) -> Item:
        """Add a row; if the queue has one with this key, that one is returned unchanged instead."""

    def settle(self, queue: str, id: str, state: str, data: dict[str, Any]) -> None:
        """Set a row's state, merge ``data`` into its data, and end its lease."""

    def discard(self, queue: str, ids: Sequence[str]) -> None:
        """Remove old rows that nobody will ask for; one that is not there is none."""

    def prune(self, queue: str, states: Sequence[str], before: int, most: int) -> int:
        """Forget at most so many of the oldest rows in these states created before a time; how many."""


class Store(Reader, Protocol):
    """A database of versioned resources with neutral index entries, and durable queues."""

    name: str
    local: bool
    """Whether read and vread take microseconds, so that an event loop may call them itself."""

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` atomically; returns when durable (see the module's text)."""

    def submit(self, work: Callable[[Transaction], T]) -> Durable[T]:
        """As write, without waiting."""

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
        """Versions, newest first: of one id, of types (() = all), from time ``since`` to ``until`` (microseconds),
        with seq below ``before`` for the next page; only those that no change up to number ``lasting`` superseded."""

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
        """How many versions ``history`` would give without a limit."""

    def changes(self, after: int, limit: int = 1000) -> list[Version]:
        """Versions with seq above ``after``, ascending. Never skips one that commits later."""

    def last_seq(self, types: Sequence[str] = ()) -> int:
        """The newest change number, of resources of these types (() = all); 0 when there is none."""

    def claim(self, queue: str, states: Sequence[str], now: int, lease: int, limit: int = 1) -> list[Item]:
        """Lease rows in these states whose lease is over, oldest first, for ``lease`` microseconds; attempts + 1."""

    def items(
        self, queue: str, *, states: Sequence[str] = (), before: int | None = None, limit: int = 50
    ) -> list[Item]:
        """Rows, newest first."""

    def item_counts(self, queue: str) -> dict[str, int]:
        """State -> number of rows."""

    def seals(self) -> dict[int, int]:
        """Number of the key -> how many contents (versions and rows of queues) are sealed with it; 0 is none."""

    def reseal(self, after: int, limit: int = 200) -> int | None:
        """Seal with the newest key what stands behind number ``after`` and is not, up to ``limit`` contents.

        The number to go on from; None when all is done.
        """

    def statistics(self) -> dict[str, dict[str, int]]:
        """Database -> resource type -> number of current resources."""

    def check(self) -> list[str]:
        """Findings of a self-check (integrity, durability settings); [] when sound. For ``hub doctor``."""

    def close(self) -> None:
        """Finish the writes under way and close."""


class Blobs(Protocol):
    """Content-addressed, immutable bytes: DICOM Part 10 files, attachments, large raw messages."""

    def put(self, data: bytes | BinaryIO) -> str:
        """Store durably (data and directory entry on disk when it returns); the SHA-256 in hex."""

    def get(self, digest: str) -> bytes:
        """The bytes. HubError("not-found") if there are none."""

    def open(self, digest: str) -> BinaryIO:
        """A readable, seekable file. HubError("not-found") if there is none."""

    def size(self, digest: str) -> int | None:
        """Length in bytes, None if absent."""

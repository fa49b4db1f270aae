"""Where the keys of Patients, Persons and Tasks are kept: in memory where one process writes, else in the store.

Either only proposes: what it finds is read from the store before anything is decided, as the database is the truth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import msgspec

from hub.mpi import golden, keys, review
from hub.mpi.cache import Compiled, FeatureCache
from hub.mpi.features import Features
from hub.mpi.index import Index
from hub.mpi.rules import Rules
from hub.mpi.snapshot import Snapshot
from hub.search.expression import In, Match, Query, Term
from hub.store.protocol import Reader, Store, Version

BLOCK = "mpi:block"
"""Parameter of the index entries that hold keys; no search parameter of FHIR can have this name."""
MAX_BLOCK = 64
"""A key that so many Patients share says nothing and is left out."""
MAX_SHARED = 100
"""More Persons or Tasks than this are not read for one registration."""
PAGE = 1000
NAMES = ("Patient", "Person", "Task")
Resource = dict[str, Any]


class Blocks(Protocol):
    """What linking asks: proposals by key."""

    def open(self, store: Store, snapshot: Snapshot) -> None:
        """Learn what the store holds."""

    def close(self) -> None:
        """Keep what was learned."""

    def terms(self, resource: Resource) -> Iterable[Term]:
        """Index entries of a Patient, Person or Task that is about to be written."""

    def note(self, written: Compiled) -> None:
        """A version of a Patient was written."""

    def before(self, tx: Reader, id: str, version: int) -> Features | None:
        """What a Patient was before ``version``; None when that is not known."""

    def alike(self, tx: Reader, one: Compiled) -> list[Features]:
        """Other Patients that share a key with this one."""

    def find(self, tx: Reader, type: str, wanted: Iterable[int]) -> list[Version]:
        """Current Persons, Tasks or Patients that may have one of the keys."""

    def bearers(self, tx: Reader, name: str) -> tuple[int, int]:
        """How many registrations have a name, and how many there are."""


def keys_of(resource: Resource, rules: Rules) -> Iterable[int]:
    """The keys of a Person (identifiers, Patients) or Task (the registrations it is about)."""
    if resource["resourceType"] == "Person":
        yield from map(keys.key_block, rules.person_keys(resource))
        yield from map(keys.link_block, golden.links(resource))
    elif review.is_review(resource):
        yield from map(keys.link_block, review.pair(resource))


class StoredBlocks:
    """Keys as index entries of the store: for several processes on one database."""

    def __init__(self, cache: FeatureCache, rules: Rules) -> None:
        self._cache = cache
        self._rules = rules
        self._crowded: set[int] = set()

    def open(self, store: Store, snapshot: Snapshot) -> None:
        """Nothing to learn: the entries are in the store."""

    def close(self) -> None:
        """Nothing to keep."""

    def terms(self, resource: Resource) -> Iterable[Term]:
        if resource["resourceType"] == "Patient":
            found: Iterable[int] = self._cache.compile(resource).asked
        else:
            found = keys_of(resource, self._rules)
        return [Term(BLOCK, text) for text in sorted(map(_text, found))]

    def note(self, written: Compiled) -> None:
        """Nothing to do: the entries are in the store."""

    def before(self, tx: Reader, id: str, version: int) -> Features | None:
        found = tx.vread("Patient", id, version - 1) if version > 1 else None
        return None if found is None or found.deleted else self._cache.of(found)

    def alike(self, tx: Reader, one: Compiled) -> list[Features]:
        wanted = set(one.asked) - self._crowded
        while True:
            found = [self._cache.of(version) for version in self.find(tx, "Patient", wanted, 2 * MAX_BLOCK)]
            others = [other for other in found if other.reference != one.features.reference]
            sizes = Counter(key for other in others for key in wanted.intersection(keys.asked(other, self._rules)))
            crowded = {key for key, size in sizes.items() if size >= MAX_BLOCK}
            if not crowded:
                return others
            wanted -= crowded
            self._crowded = crowded if len(self._crowded) > 100_000 else self._crowded | crowded

    def find(self, tx: Reader, type: str, wanted: Iterable[int], limit: int = MAX_SHARED) -> list[Version]:
        where = Match(BLOCK, In(tuple(sorted(map(_text, wanted)))))
        return [row.version for row in tx.find(Query((type,), where, limit=limit))]

    def bearers(self, tx: Reader, name: str) -> tuple[int, int]:
        """The shares of the rules: counting costs too much here."""
        return 0, 0


def _text(key: int) -> str:
    return f"{key:016x}"


class MemoryBlocks:
    """Keys in the memory of the one process that writes; a snapshot and the changes after it make them at start.

    A Patient's record is its features (MessagePack). Its last two versions are kept, because the last may be undone
    with its transaction; the records of Persons and Tasks are their ids.
    """

    def __init__(self, cache: FeatureCache, rules: Rules) -> None:
        self._cache = cache
        self._rules = rules
        self.indexes = {name: Index() for name in NAMES}
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Features).decode
        self.registrations = 0
        self._seq = 0
        self._kept: tuple[Store, Snapshot] | None = None

    # --- start and end ------------------------------------------------------------------------------------------------

    def open(self, store: Store, snapshot: Snapshot) -> None:
        """Take the snapshot, if it is of these rules and this store, and what was written after it."""
        seq, mark, indexes = snapshot.load(self._rules.version, NAMES)
        if mark != _mark(store, seq):
            seq, indexes = 0, {name: Index() for name in NAMES}
        self.indexes, self._seq, self._kept = indexes, seq, (store, snapshot)
        self.registrations = len(indexes["Patient"].records)
        for version in _changes(store, seq) if seq else _all(store):
            if version.type in NAMES and not version.deleted:
                if version.type == "Patient":
                    features = self._cache.of(version)
                    self.note(Compiled(features, keys.asked(features, self._rules)))
                else:
                    self.terms(self._cache.decode(version))

    def close(self) -> None:
        """Write a snapshot, if there is anything new; nothing may be written to the store meanwhile."""
        if self._kept is not None and (seq := self._kept[0].last_seq()) != self._seq:
            store, snapshot = self._kept
            snapshot.save(self._rules.version, seq, _mark(store, seq), self.indexes)

    @property
    def patients(self) -> Index:
        """The features of Patients."""
        return self.indexes["Patient"]

    # --- writing ------------------------------------------------------------------------------------------------------

    def terms(self, resource: Resource) -> Iterable[Term]:
        if resource["resourceType"] == "Patient":
            self._cache.compile(resource)
        elif found := list(keys_of(resource, self._rules)):
            index, id = self.indexes[resource["resourceType"]], resource["id"].encode()
            own = keys.own_key(resource["id"])
            slot = next((slot for slot in index.find([own], MAX_BLOCK) if index.records[slot] == id), None)
            if slot is None:
                index.add(id, [own, *found])
            else:
                index.extend(slot, found)
        return ()

    def note(self, written: Compiled) -> None:
        features = written.features
        own = keys.own_key(features.reference)
        for slot, before in self._versions(features.reference, own):
            if not features.version - 1 <= before.version < features.version:
                self.patients.remove(slot)
                self.registrations -= 1
        self.registrations += 1
        self.patients.add(self._encode(features), [own, *written.asked, *keys.counted(features)])

    def _versions(self, reference: str, own: int) -> Iterator[tuple[int, Features]]:
        for slot in self.patients.find([own], MAX_BLOCK):
            if record := self.patients.records[slot]:
                features = self._decode(record)
                if features.reference == reference:
                    yield slot, features

    # --- reading ------------------------------------------------------------------------------------------------------

    def before(self, tx: Reader, id: str, version: int) -> Features | None:
        reference = f"Patient/{id}"
        found = self._versions(reference, keys.own_key(reference)) if version > 1 else ()
        return next((features for _, features in found if features.version == version - 1), None)

    def alike(self, tx: Reader, one: Compiled) -> list[Features]:
        newest: dict[str, Features] = {}
        records = self.patients.records
        for slot in self.patients.find(one.asked, MAX_BLOCK):
            if record := records[slot]:
                other = self._decode(record)
                known = newest.get(other.reference)
                if known is None or known.version < other.version:
                    newest[other.reference] = other
        newest.pop(one.features.reference, None)
        return list(newest.values())

    def find(self, tx: Reader, type: str, wanted: Iterable[int]) -> list[Version]:
        index = self.indexes[type]
        ids = sorted(index.records[slot].decode() for slot in index.find(list(wanted), MAX_SHARED))
        versions = (tx.read(type, id) for id in ids[:MAX_SHARED])
        return [version for version in versions if version is not None and not version.deleted]

    def bearers(self, tx: Reader, name: str) -> tuple[int, int]:
        return self.patients.size(keys.name_key(name)), self.registrations


def _all(store: Store) -> Iterator[Version]:
    """Current Patients, Persons and Tasks."""
    for type in NAMES:
        after: tuple[Any, ...] | None = None
        while page := store.find(Query((type,), after=after, limit=PAGE)):
            yield from (row.version for row in page)
            after = page[-1].key


def _changes(store: Store, seq: int) -> Iterator[Version]:
    while page := store.changes(seq, PAGE):
        yield from page
        seq = page[-1].seq


def _mark(store: Store, seq: int) -> str:
    """What makes change number ``seq`` that of this store and no other's."""
    found = store.changes(seq - 1, 1) if seq else []
    return f"{found[0].type}/{found[0].id}/{found[0].version} {found[0].updated}" if found else ""

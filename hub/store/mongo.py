"""The store to scale out on: MongoDB, a replica set, any number of writing processes.

Each master database is a database ``<prefix><name>`` with the collections ``resource`` (current versions) and
``history`` (superseded ones, moved there); ``<prefix>system`` holds the queues and the one document ``state``. It has
the newest change number, so that a transaction that takes its turn there before anything else conflicts with every
other one under way: changes are numbered in the order they commit, ``changes(after)`` never skips one, and "look, then
write" is safe in every process. What keeps it fast is group commit: each process puts all the work that waits in one
transaction.

Reads of several collections happen at one cluster time (a snapshot session). A snapshot (``Query.at``) also looks at
superseded versions, which keep their entries for ``snapshot_seconds``.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import pymongo
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import DocumentTooLarge, ExecutionTimeout, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.server_api import ServerApi
from pymongo.write_concern import WriteConcern

from hub.errors import HubError
from hub.search.expression import Chain, Query, Reverse
from hub.store.mongo_query import Filter, fields, flat, sorting, value_of
from hub.store.protocol import Found, Item, Put, Transaction, Version
from hub.store.writer import GroupWriter, Job

T = TypeVar("T")
Document = dict[str, Any]
MAX_CHAINED = 50_000
RETRY_SECONDS = 30.0
REACH_MS = 10_000
SWEEP = 500
SNAPSHOT_UNAVAILABLE = 246
MAX_TEXT = 15 * 1024 * 1024
WIRE_VERSION = 13  # MongoDB 5.0: snapshot reads outside transactions
ENTRIES = {"t": 0, "g": 0, "o": 0}
KEPT = {"partialFilterExpression": {"kept": True}}
INDEXES: dict[str, list[tuple[list[tuple[str, int]], Document]]] = {
    "resource": [
        ([("t", 1), ("seq", 1)], {}),
        ([("g.k", 1), ("g.lo", 1), ("g.hi", 1)], {}),
        ([("key", 1)], {}),
        ([("type", 1), ("seq", 1)], {}),
        ([("seq", 1)], {}),
    ],
    "history": [
        ([("t", 1), ("seq", 1)], KEPT),
        ([("g.k", 1), ("g.lo", 1), ("g.hi", 1)], KEPT),
        ([("ended", 1)], KEPT),
        ([("key", 1), ("seq", 1)], {}),
        ([("type", 1), ("seq", 1)], {}),
        ([("seq", 1)], {}),
    ],
    "item": [
        ([("queue", 1), ("id", 1)], {"unique": True}),
        ([("queue", 1), ("key", 1)], {"unique": True}),
        ([("queue", 1), ("state", 1), ("seq", 1)], {}),
        ([("queue", 1), ("seq", 1)], {}),
    ],
}


def refusal(error: PyMongoError) -> HubError:
    """What a caller is told about a failure of the driver or the server."""
    if isinstance(error, ExecutionTimeout):
        return HubError("timeout", "the search took longer than allowed; narrow it down")
    if isinstance(error, DocumentTooLarge):
        return HubError("too-long", "the resource is larger than a MongoDB document may be (16 MB)")
    return HubError("timeout", f"MongoDB did not do it ({error}); nothing of it is stored, send again")


def version_of(document: Mapping[str, Any]) -> Version:
    get = document.__getitem__
    return Version(
        get("database"), get("type"), get("id"), get("version"), get("method"), get("updated"), get("text"),
        get("origin"), get("seq"),
    )  # fmt: skip


def item_of(document: Mapping[str, Any]) -> Item:
    fields = {name: value for name, value in document.items() if name != "_id"}
    return Item(**fields | {"data": json.loads(document["data"])})


class _Reading:
    """Reader in one session: a transaction's, or a snapshot's."""

    def __init__(self, store: MongoStore, session: ClientSession | None) -> None:
        self._store = store
        self._session = session

    @cached_property
    def state(self) -> Document:
        """The document ``state``: newest change number, horizon of snapshots, places."""
        return self._store.system["state"].find_one({"_id": "state"}, session=self._session) or {}

    def places(self) -> Iterable[str]:
        """``database/type`` of every type a database has ever held."""
        return list(self.state["places"])

    def _collections(self, databases: Sequence[str], types: Sequence[str], name: str) -> list[Collection[Document]]:
        found = dict.fromkeys(
            database
            for database, type in (place.split("/") for place in self.places())
            if (not types or type in types) and (not databases or database in databases)
        )
        return [self._store.database(database)[name] for database in found]

    # --- versions -----------------------------------------------------------------------------------------------------

    def document(self, type: str, id: str, projection: Document | None = None) -> Document | None:
        """The newest version's document."""
        for collection in self._collections((), (type,), "resource"):
            found = collection.find_one({"_id": f"{type}/{id}"}, projection, session=self._session)
            if found is not None:
                return found
        return None

    def read(self, type: str, id: str) -> Version | None:
        found = self.document(type, id, ENTRIES)
        return None if found is None else version_of(found)

    def vread(self, type: str, id: str, version: int) -> Version | None:
        newest = self.document(type, id, ENTRIES)
        if newest is not None and newest["version"] == version:
            return version_of(newest)
        for collection in self._collections((), (type,), "history"):
            found = collection.find_one({"_id": f"{type}/{id}/{version}"}, ENTRIES, session=self._session)
            if found is not None:
                return version_of(found)
        return None

    def versions(
        self, databases: Sequence[str], types: Sequence[str], where: Document, direction: int, limit: int
    ) -> list[Version]:
        """Of all versions, those of the filter, by seq."""
        found = [
            version_of(document)
            for name in ("resource", "history")
            for collection in self._collections(databases, types, name)
            for document in collection.find(where, ENTRIES, session=self._session).sort("seq", direction).limit(limit)
        ]
        return sorted(found, key=lambda version: direction * version.seq)[:limit]

    def versions_count(self, databases: Sequence[str], types: Sequence[str], where: Document) -> int:
        """How many."""
        return sum(
            self._count(collection, where)
            for name in ("resource", "history")
            for collection in self._collections(databases, types, name)
        )

    def _count(self, collection: Collection[Document], where: Document) -> int:
        counted = collection.aggregate([{"$match": where}, {"$count": "n"}], session=self._session)
        return next((int(document["n"]) for document in counted), 0)

    # --- queries ------------------------------------------------------------------------------------------------------

    def find(self, query: Query) -> list[Found]:
        stages = sorting(query)
        documents = [document for each in self._matching(query) for document in self._run(*each, stages)]
        for place in reversed(range(len(query.order) + 1)):
            if place == len(query.order):
                documents.sort(key=lambda document: document["seq"])
                continue
            key = f"k{place}"
            present = [document for document in documents if document.get(key) is not None]
            absent = [document for document in documents if document.get(key) is None]
            present.sort(key=lambda document: document[key], reverse=query.order[place].descending)
            documents = present + absent
        keys = [f"k{place}" for place in range(len(query.order))]
        return [
            Found(version_of(document), (*(document.get(key) for key in keys), document["seq"]))
            for document in documents[: query.limit]
        ]

    def count(self, query: Query) -> int:
        stages = [{"$count": "n"}]
        return sum(document["n"] for each in self._matching(query) for document in self._run(*each, stages))

    def explain(self, query: Query) -> list[Document]:
        """The query plans."""
        return [
            collection.database.command(
                "explain",
                {"aggregate": collection.name, "pipeline": [{"$match": where}, *sorting(query)], "cursor": {}},
            )
            for collection, where in self._matching(query)
        ]

    def _run(self, collection: Collection[Document], where: Document, stages: list[Document]) -> Iterable[Document]:
        limit = int(self._store.query_seconds * 1000)
        return collection.aggregate([{"$match": where}, *stages], session=self._session, maxTimeMS=limit)

    def _matching(self, query: Query) -> list[tuple[Collection[Document], Document]]:
        """Collections to look in, each with its filter."""
        if query.at is not None and query.at < self.state["horizon"]:
            raise HubError("expired", "the search is too old to be continued; start it again")
        types = query.types or tuple(dict.fromkeys(place.split("/")[1] for place in self.places()))
        where = Filter(types, lambda each: self._chained(each, query.at), lambda each: self._referred(each, query.at))
        wanted: list[Document] = [{"type": {"$in": types}}, where(query.where)]
        scope = query.databases, query.types
        current: Document = {"$and": [{"live": True}, *wanted]}
        if query.at is None:
            return [(collection, current) for collection in self._collections(*scope, "resource")]
        current["$and"].append({"seq": {"$lte": query.at}})
        then: Document = {"$and": [{"kept": True, "seq": {"$lte": query.at}, "ended": {"$gt": query.at}}, *wanted]}
        return [(collection, current) for collection in self._collections(*scope, "resource")] + [
            (collection, then) for collection in self._collections(*scope, "history")
        ]

    def _chained(self, chain: Chain, at: int | None) -> list[str]:
        return [document["key"] for document in self._related(Query(chain.types, chain.where, at=at), {"key": 1})]

    def _referred(self, reverse: Reverse, at: int | None) -> list[str]:
        start = flat(reverse.type, reverse.param, "")
        related = self._related(Query((reverse.type,), reverse.where, at=at), {"t": 1})
        return list(
            dict.fromkeys(value_of(term) for document in related for term in document["t"] if term.startswith(start))
        )

    def _related(self, query: Query, projection: Document) -> list[Document]:
        stages: list[Document] = [{"$limit": MAX_CHAINED + 1}, {"$project": projection}]
        found = [document for each in self._matching(query) for document in self._run(*each, stages)]
        if len(found) > MAX_CHAINED:
            raise HubError("too-costly", f"the chain leads over more than {MAX_CHAINED} resources; narrow it down")
        return found

    # --- queues -------------------------------------------------------------------------------------------------------

    def item(self, queue: str, id: str) -> Item | None:
        return self._item({"queue": queue, "id": id})

    def item_by_key(self, queue: str, key: str) -> Item | None:
        return self._item({"queue": queue, "key": key})

    def _item(self, where: Document) -> Item | None:
        found = self._store.system["item"].find_one(where, session=self._session)
        return None if found is None else item_of(found)


class _Writing(_Reading):
    """Transaction: the one of a whole batch. What is written is held back until it is looked for or the batch ends.

    So most jobs that raise can be undone by forgetting what they wrote.
    """

    def __init__(self, store: MongoStore, session: ClientSession) -> None:
        super().__init__(store, session)
        self.state = (
            store.system["state"].find_one_and_update(
                {"_id": "state"}, {"$inc": {"turn": 1}}, return_document=True, session=session
            )
            or {}
        )
        self._seq: int = self.state["value"]
        self._places = dict.fromkeys(self.state["places"])
        self._known: dict[str, Document | None] = {}
        self._operations: list[tuple[Collection[Document], Any]] = []
        self._sent = 0
        self._mark: tuple[Any, ...] = ()

    def begin(self) -> None:
        """Remember where a job begins."""
        self._mark = (self._seq, dict(self._places), dict(self._known), len(self._operations), self._sent)

    def undo(self) -> bool:
        """Forget what the job did; False if some of it has been sent."""
        self._seq, self._places, self._known, length, sent = self._mark
        del self._operations[length:]
        return bool(sent == self._sent)

    def places(self) -> Iterable[str]:
        return self._places

    def document(self, type: str, id: str, projection: Document | None = None) -> Document | None:
        key = f"{type}/{id}"
        if key not in self._known:
            self._known[key] = super().document(type, id)
        return self._known[key]

    def vread(self, type: str, id: str, version: int) -> Version | None:
        self._send()
        return super().vread(type, id, version)

    def _matching(self, query: Query) -> list[tuple[Collection[Document], Document]]:
        self._send()
        return super()._matching(query)

    def _item(self, where: Document) -> Item | None:
        self._send()
        return super()._item(where)

    def guard(self, key: str) -> None:
        """Nothing to do: each transaction has taken its turn at ``state``."""

    def put(self, put: Put) -> None:
        current = self.document(put.type, put.id)
        newest = current["version"] if current else 0
        if put.version != newest + 1:
            raise HubError(
                "conflict", f"{put.type}/{put.id} is at version {newest}, not {put.version - 1}; read it again"
            )
        if len(put.text) > MAX_TEXT:
            raise HubError("too-long", f"a resource may have {MAX_TEXT} bytes on MongoDB; keep the content in a Binary")
        self._seq += 1
        key = f"{put.type}/{put.id}"
        document: Document = {
            "_id": key, "key": key, "database": put.database, "type": put.type, "id": put.id, "version": put.version,
            "method": put.method, "updated": put.updated, "text": put.text, "origin": put.origin, "seq": self._seq,
        }  # fmt: skip
        document |= {"live": True, **fields(put.type, put.entries)} if put.text else {"live": False}
        resource = self._store.database(put.database)["resource"]
        if current is None:
            self._operations.append((resource, pymongo.InsertOne(document)))
        else:
            self._supersede(current, put.database)
            self._operations.append((resource, pymongo.ReplaceOne({"_id": key}, document, upsert=True)))
        self._places[f"{put.database}/{put.type}"] = None
        self._known[key] = document

    def _supersede(self, current: Document, database: str) -> None:
        """Move the current version's document to the history."""
        old = current | {"_id": f"{current['key']}/{current['version']}", "ended": self._seq}
        if old.pop("live"):
            old |= {"kept": True, "retired": self._store.clock()}
        own = self._store.database(current["database"])
        self._operations.append((own["history"], pymongo.InsertOne(old)))
        if current["database"] != database:
            self._operations.append((own["resource"], pymongo.DeleteOne({"_id": current["_id"]})))

    def enqueue(self, item: Item) -> Item:
        present = self.item_by_key(item.queue, item.key)
        if present is not None:
            return present
        if self.item(item.queue, item.id) is not None:
            raise HubError("duplicate", f"{item.queue} already has the id {item.id}")
        self._seq += 1
        new = replace(item, seq=self._seq)
        document = {name: getattr(new, name) for name in Item.__slots__} | {"data": _json(item.data)}
        self._operations.append((self._store.system["item"], pymongo.InsertOne(document)))
        return new

    def settle(self, queue: str, id: str, state: str, data: dict[str, Any]) -> None:
        item = self.item(queue, id)
        if item is None:
            raise HubError("not-found", f"{queue} has no item {id}")
        change = {"$set": {"state": state, "leased_until": 0, "data": _json(item.data | data)}}
        self._operations.append((self._store.system["item"], pymongo.UpdateOne({"queue": queue, "id": id}, change)))

    def _send(self) -> None:
        """Hand over to the server what has been held back, each collection's operations in order."""
        if not self._operations:
            return
        self._sent += 1
        groups: dict[str, tuple[Collection[Document], list[Any]]] = {}
        for collection, operation in self._operations:
            groups.setdefault(collection.full_name, (collection, []))[1].append(operation)
        self._operations.clear()
        for collection, operations in groups.values():
            collection.bulk_write(operations, session=self._session)

    def finish(self) -> None:
        """Send the rest, and the number of the last change."""
        self._send()
        if self._seq == self.state["value"]:
            return
        new = {"value": self._seq, "places": list(self._places)}
        self._store.system["state"].update_one({"_id": "state"}, {"$set": new}, session=self._session)


def connected(url: str) -> pymongo.MongoClient[Document]:
    """A client of a server that can be used; else HubError("configuration")."""
    try:
        client: pymongo.MongoClient[Document] = pymongo.MongoClient(
            url,
            server_api=ServerApi("1", strict=True),
            w="majority",
            readConcernLevel="majority",
            serverSelectionTimeoutMS=REACH_MS,
            appname="region-hub",
        )
    except (PyMongoError, ValueError) as error:
        raise HubError("configuration", f"MongoDB cannot be used: {error}", "store") from error
    try:
        hello = client.admin.command("hello")
    except PyMongoError as error:
        client.close()
        raise HubError("configuration", f"MongoDB cannot be reached: {error}", "store") from error
    if "setName" in hello and hello["maxWireVersion"] >= WIRE_VERSION:
        return client
    client.close()
    if "setName" in hello:
        raise HubError("configuration", "MongoDB 5.0 or newer is needed", "store")
    raise HubError(
        "configuration",
        "MongoDB must be a replica set (one member is enough): start mongod with --replSet and run rs.initiate();"
        " a standalone server has no transactions",
        "store",
    )


class MongoStore:
    """Store on a MongoDB replica set.

    ``prefix`` begins the names of its databases (``hub_population``...). Raises HubError("configuration") when the
    server cannot be reached, is older than 5.0, or no replica set.
    """

    name = "mongodb"
    local = False

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], int],
        prefix: str = "hub_",
        snapshot_seconds: float = 900,
        query_seconds: float = 30,
    ) -> None:
        self.clock = clock
        self.query_seconds = query_seconds
        self._retention = int(snapshot_seconds * 1_000_000)
        self._client = connected(url)
        self._prefix = prefix
        self._databases: dict[str, Any] = {}
        self.system = self._client[f"{self._prefix}system"]
        self._index(self.system["item"])
        self.system["state"].update_one(
            {"_id": "state"}, {"$setOnInsert": {"value": 0, "turn": 0, "horizon": 0, "places": []}}, upsert=True
        )
        self._writer = GroupWriter(self._commit, self._sweep, name="mongo-writer")

    def database(self, name: str) -> Any:
        """A master database, its indexes made."""
        if name not in self._databases:
            database = self._client[f"{self._prefix}{name}"]
            for collection in ("resource", "history"):
                self._index(database[collection])
            self._databases[name] = database
        return self._databases[name]

    def _index(self, collection: Collection[Document]) -> None:
        collection.create_indexes([pymongo.IndexModel(keys, **more) for keys, more in INDEXES[collection.name]])

    # --- reading ------------------------------------------------------------------------------------------------------

    def _snapshot(self, ask: Callable[[_Reading], T]) -> T:
        """Ask at one cluster time."""
        until = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                with self._client.start_session(snapshot=True) as session:
                    return ask(_Reading(self, session))
            except PyMongoError as error:
                if getattr(error, "code", None) != SNAPSHOT_UNAVAILABLE or time.monotonic() > until:
                    raise refusal(error) from error
                time.sleep(0.005)  # a collection was made a moment ago

    def read(self, type: str, id: str) -> Version | None:
        return self._snapshot(lambda reading: reading.read(type, id))

    def vread(self, type: str, id: str, version: int) -> Version | None:
        return self._snapshot(lambda reading: reading.vread(type, id, version))

    def find(self, query: Query) -> list[Found]:
        return self._snapshot(lambda reading: reading.find(query))

    def count(self, query: Query) -> int:
        return self._snapshot(lambda reading: reading.count(query))

    def explain(self, query: Query) -> list[Document]:
        """The query plans."""
        return _Reading(self, None).explain(query)

    def item(self, queue: str, id: str) -> Item | None:
        return self._snapshot(lambda reading: reading.item(queue, id))

    def item_by_key(self, queue: str, key: str) -> Item | None:
        return self._snapshot(lambda reading: reading.item_by_key(queue, key))

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
        where = _history(types, id, since, until, before)
        return self._snapshot(lambda reading: reading.versions(databases, types, where, -1, limit))

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
        where = _history(types, id, since, until, before)
        return self._snapshot(lambda reading: reading.versions_count(databases, types, where))

    def changes(self, after: int, limit: int = 1000) -> list[Version]:
        return self._snapshot(lambda reading: reading.versions((), (), {"seq": {"$gt": after}}, 1, limit))

    def last_seq(self) -> int:
        return int(self._snapshot(lambda reading: reading.state)["value"])

    def items(
        self, queue: str, *, states: Sequence[str] = (), before: int | None = None, limit: int = 50
    ) -> list[Item]:
        where: Document = {"queue": queue}
        if states:
            where["state"] = {"$in": list(states)}
        if before is not None:
            where["seq"] = {"$lt": before}
        try:
            return [item_of(each) for each in self.system["item"].find(where).sort("seq", -1).limit(limit)]
        except PyMongoError as error:
            raise refusal(error) from error

    def item_counts(self, queue: str) -> dict[str, int]:
        return self._grouped(self.system["item"], {"queue": queue}, "$state")

    def statistics(self) -> dict[str, dict[str, int]]:
        places = self._snapshot(lambda reading: list(reading.places()))
        counts = {
            name: self._grouped(self.database(name)["resource"], {"live": True}, "$type")
            for name in dict.fromkeys(place.split("/")[0] for place in places)
        }
        return {name: types for name, types in counts.items() if types}

    def _grouped(self, collection: Collection[Document], where: Document, by: str) -> dict[str, int]:
        try:
            groups = collection.aggregate([{"$match": where}, {"$group": {"_id": by, "n": {"$sum": 1}}}])
            return {group["_id"]: group["n"] for group in groups}
        except PyMongoError as error:
            raise refusal(error) from error

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, work: Callable[[Transaction], T]) -> T:
        return self._writer.write(work)

    def submit(self, work: Callable[[Transaction], T]) -> Future[T]:
        return self._writer.submit(work)

    def claim(self, queue: str, states: Sequence[str], now: int, lease: int, limit: int = 1) -> list[Item]:
        where = {"queue": queue, "state": {"$in": list(states)}, "leased_until": {"$lte": now}}
        change = {"$inc": {"attempts": 1}, "$set": {"leased_until": now + lease}}
        claimed: list[Item] = []
        try:
            while len(claimed) < limit:
                found = self.system["item"].find_one_and_update(where, change, sort=[("seq", 1)], return_document=True)
                if found is None:
                    break
                claimed.append(item_of(found))
        except PyMongoError as error:
            raise refusal(error) from error
        return claimed

    def _commit(self, jobs: Iterator[Job]) -> None:
        """Run the jobs in one transaction; after a transient failure run it again."""
        until, pause = time.monotonic() + RETRY_SECONDS, 0.002
        taken: list[Job] = []
        fresh, failed = _noted(jobs, taken), set[Job]()
        while True:
            again = [job for job in taken if job not in failed]
            try:
                with self._client.start_session() as session:
                    self._attempt(session, itertools.chain(again, fresh), until)
                return
            except _RaisedLate as late:
                failed.add(late.job)
            except PyMongoError as error:
                if not error.has_error_label("TransientTransactionError") or time.monotonic() > until:
                    raise refusal(error) from error
                time.sleep(random.uniform(0, pause))
                pause = min(pause * 2, 0.1)

    def _attempt(self, session: ClientSession, jobs: Iterable[Job], until: float) -> None:
        with session.start_transaction(ReadConcern("snapshot"), WriteConcern("majority")):
            transaction = _Writing(self, session)
            for job in jobs:
                transaction.begin()
                with job:
                    job.result = job.work(transaction)
                if isinstance(job.error, PyMongoError):
                    raise job.error
                if job.error is not None and not transaction.undo():
                    raise _RaisedLate(job)
            transaction.finish()
            while True:
                try:
                    return session.commit_transaction()
                except PyMongoError as error:
                    if not error.has_error_label("UnknownTransactionCommitResult") or time.monotonic() > until:
                        raise

    def _sweep(self) -> None:
        """Forget the entries of versions superseded long ago. The horizon goes first: no snapshot may miss any."""
        before = self.clock() - self._retention
        places = self._snapshot(lambda reading: list(reading.places()))
        for name in dict.fromkeys(place.split("/")[0] for place in places):
            history = self.database(name)["history"]
            oldest = history.find({"kept": True}, {"ended": 1, "retired": 1}).sort("ended", 1).limit(SWEEP)
            due = [document for document in oldest if document["retired"] < before]
            if due:
                self.system["state"].update_one({"_id": "state"}, {"$max": {"horizon": due[-1]["ended"]}})
                ids = [document["_id"] for document in due]
                history.update_many(
                    {"_id": {"$in": ids}}, {"$unset": {"t": 1, "g": 1, "o": 1, "kept": 1, "retired": 1}}
                )

    # --- upkeep -------------------------------------------------------------------------------------------------------

    def check(self) -> list[str]:
        newest, state = self.changes(self.last_seq()), self.last_seq()
        findings = [f"change {each.seq} is beyond the counter {state}" for each in newest if each.seq > state]
        members = self._client.admin.command("hello").get("hosts", [])
        return findings if members else [*findings, "the replica set has no members"]

    def close(self) -> None:
        self._writer.close()
        self._client.close()


class _RaisedLate(Exception):
    """The job raised after some of its writes had been sent: the transaction must be run again without it."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job


def _json(data: Document) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _noted(jobs: Iterator[Job], taken: list[Job]) -> Iterator[Job]:
    for job in jobs:
        taken.append(job)
        yield job


def _history(types: Sequence[str], id: str | None, since: int, until: int | None, before: int | None) -> Document:
    where: Document = {}
    if id is not None and types:
        where["key"] = {"$in": [f"{type}/{id}" for type in types]}
    elif types:
        where["type"] = {"$in": list(types)}
    elif id is not None:
        where["id"] = id
    if since or until is not None:
        where["updated"] = {"$gte": since} | ({} if until is None else {"$lte": until})
    if before is not None:
        where["seq"] = {"$lt": before}
    return where

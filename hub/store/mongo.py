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
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import pymongo
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.server_api import ServerApi
from pymongo.write_concern import WriteConcern

from hub.errors import HubError
from hub.search.expression import Query
from hub.store.codec import KEY_STEP, PLAIN, Codec
from hub.store.mongo_session import Document, Reading, Writing, item_of, refusal
from hub.store.protocol import Found, Item, Transaction, Version
from hub.store.vault import Vault
from hub.store.writer import GroupWriter, Job

T = TypeVar("T")
RETRY_SECONDS = 30.0
REACH_MS = 10_000
SWEEP = 500
SNAPSHOT_UNAVAILABLE = 246
WIRE_VERSION = 13  # MongoDB 5.0: snapshot reads outside transactions
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
        vault: Vault | None = None,
    ) -> None:
        self._vault = vault or Vault()
        self._codecs = threading.local()
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

    @property
    def codec(self) -> Codec:
        """This thread's."""
        made: Codec | None = getattr(self._codecs, "codec", None)
        if made is None:
            made = self._codecs.codec = Codec({}, self._vault)
        return made

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

    def _snapshot(self, ask: Callable[[Reading], T]) -> T:
        """Ask at one cluster time."""
        until = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                with self._client.start_session(snapshot=True) as session:
                    return ask(Reading(self, session))
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
        return Reading(self, None).explain(query)

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
        lasting: int = 0,
        limit: int = 100,
    ) -> list[Version]:
        where = _history(types, id, since, until, before, lasting)
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
        lasting: int = 0,
    ) -> int:
        where = _history(types, id, since, until, before, lasting)
        return self._snapshot(lambda reading: reading.versions_count(databases, types, where))

    def changes(self, after: int, limit: int = 1000) -> list[Version]:
        return self._snapshot(lambda reading: reading.versions((), (), {"seq": {"$gt": after}}, 1, limit))

    def last_seq(self, types: Sequence[str] = ()) -> int:
        if types:
            return max((version.seq for version in self.history(types, limit=1)), default=0)
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
            return [item_of(each, self.codec) for each in self.system["item"].find(where).sort("seq", -1).limit(limit)]
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

    # --- keys ---------------------------------------------------------------------------------------------------------

    def _sealed(self) -> list[tuple[Collection[Document], str]]:
        """The collections with sealed contents, and the field that is sealed."""
        places = self._snapshot(lambda reading: list(reading.places()))
        names = dict.fromkeys(place.split("/")[0] for place in places)
        found = [(self.database(name)[kind], "text") for name in names for kind in ("resource", "history")]
        return [*found, (self.system["item"], "raw")]

    def seals(self) -> dict[int, int]:
        counts: dict[int, int] = {}
        key = {"$floor": {"$divide": [{"$ifNull": ["$codec", PLAIN]}, KEY_STEP]}}
        for collection, content in self._sealed():
            present = {} if content == "raw" else {content: {"$ne": b""}}
            stages: list[Document] = [{"$match": present}, {"$group": {"_id": key, "n": {"$sum": 1}}}]
            for group in collection.aggregate(stages):
                counts[int(group["_id"])] = counts.get(int(group["_id"]), 0) + group["n"]
        return counts

    def reseal(self, after: int, limit: int = 200) -> int | None:
        low = self.codec.newest_key * KEY_STEP
        others = [{"codec": {"$lt": low}}, {"codec": {"$gte": low + KEY_STEP}}, {"codec": {"$exists": False}}]
        last: list[int] = []
        try:
            for collection, content in self._sealed():
                present = {} if content == "raw" else {content: {"$ne": b""}}
                found = collection.find({"seq": {"$gt": after}, "$or": others, **present}).sort("seq", 1).limit(limit)
                documents = list(found)
                for document in documents:
                    self._reseal(collection, content, document)
                if len(documents) == limit:
                    last.append(documents[-1]["seq"])
        except PyMongoError as error:
            raise refusal(error) from error
        return min(last, default=None)

    def _reseal(self, collection: Collection[Document], content: str, document: Document) -> None:
        code, sealed = self.codec.reseal(document.get("codec", PLAIN), document[content])
        fresh: Document = {"codec": code, content: sealed}
        if "data" in document:
            facts = self.codec.unpack_facts(document["data"])
            fresh["data"] = self.codec.pack_facts(facts.encode() if isinstance(facts, str) else facts)
        unchanged = {"_id": document["_id"], "seq": document["seq"], content: document[content]}
        if "data" in document:
            unchanged["data"] = document["data"]
        collection.update_one(unchanged, {"$set": fresh})

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, work: Callable[[Transaction], T]) -> T:
        return self._writer.write(work)

    def submit(self, work: Callable[[Transaction], T]) -> Job[T]:
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
                claimed.append(item_of(found, self.codec))
        except PyMongoError as error:
            raise refusal(error) from error
        return claimed

    def _commit(self, jobs: Iterator[Job[Any]]) -> None:
        """Run the jobs in one transaction; after a transient failure run it again."""
        until, pause = time.monotonic() + RETRY_SECONDS, 0.002
        taken: list[Job[Any]] = []
        fresh, failed = _noted(jobs, taken), set[Job[Any]]()
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

    def _attempt(self, session: ClientSession, jobs: Iterable[Job[Any]], until: float) -> None:
        with session.start_transaction(ReadConcern("snapshot"), WriteConcern("majority")):
            transaction = Writing(self, session)
            for job in jobs:
                transaction.begin()
                with job:
                    job.value = job.work(transaction)
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

    def __init__(self, job: Job[Any]) -> None:
        super().__init__()
        self.job = job


def _noted(jobs: Iterator[Job[Any]], taken: list[Job[Any]]) -> Iterator[Job[Any]]:
    for job in jobs:
        taken.append(job)
        yield job


def _history(
    types: Sequence[str], id: str | None, since: int, until: int | None, before: int | None, lasting: int
) -> Document:
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
    if lasting:
        where["$or"] = [{"ended": {"$exists": False}}, {"ended": {"$gt": lasting}}]
    return where

"""Reader and Transaction in one session of MongoDB, over the collections that ``hub.store.mongo`` describes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

import pymongo
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import DocumentTooLarge, ExecutionTimeout, PyMongoError

from hub.errors import HubError
from hub.search.expression import Chain, Query, Reverse
from hub.store.codec import PLAIN, Codec
from hub.store.mongo_query import Filter, fields, flat, sorting, value_of
from hub.store.protocol import Found, Item, Put, Version

Document = dict[str, Any]
MAX_CHAINED = 50_000
MAX_TEXT = 12 * 1024 * 1024  # leaves room for the entries in a document of 16 MB
LONG = 256 * 1024  # beyond it text is compressed by us; below, the server does it block by block
ENTRIES = {"t": 0, "g": 0, "o": 0}


class Place(Protocol):
    """What a session needs of its store: the databases, the clock, the time limit of a search."""

    system: Any
    query_seconds: float

    @property
    def codec(self) -> Codec: ...

    def clock(self) -> int: ...

    def database(self, name: str) -> Any: ...


def refusal(error: PyMongoError) -> HubError:
    """What a caller is told about a failure of the driver or the server."""
    if isinstance(error, ExecutionTimeout):
        return HubError("timeout", "the search took longer than allowed; narrow it down")
    if isinstance(error, DocumentTooLarge):
        return HubError("too-long", "the resource is larger than a MongoDB document may be (16 MB)")
    return HubError("timeout", f"MongoDB did not do it ({error}); nothing of it is stored, send again")


def version_of(document: Mapping[str, Any], codec: Codec) -> Version:
    get, text = document.__getitem__, document["text"]
    text = codec.unpack(document["codec"], text) if text else text
    return Version(
        get("database"), get("type"), get("id"), get("version"), get("method"), get("updated"), text,
        get("origin"), get("seq"),
    )  # fmt: skip


def item_of(document: Mapping[str, Any], codec: Codec) -> Item:
    numbers = {"created", "attempts", "leased_until", "seq"}  # the driver reads 64-bit numbers as a type of its own
    fields: Document = {
        name: int(value) if name in numbers else value
        for name, value in document.items()
        if name not in ("_id", "codec")
    }
    raw = codec.unpack(document.get("codec", PLAIN), document["raw"])
    return Item(**fields | {"data": json.loads(codec.unpack_facts(document["data"])), "raw": raw})


class Reading:
    """Reader in one session: a transaction's, or a snapshot's."""

    def __init__(self, store: Place, session: ClientSession | None) -> None:
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
        return None if found is None else version_of(found, self._store.codec)

    def vread(self, type: str, id: str, version: int) -> Version | None:
        newest = self.document(type, id, ENTRIES)
        if newest is not None and newest["version"] == version:
            return version_of(newest, self._store.codec)
        for collection in self._collections((), (type,), "history"):
            found = collection.find_one({"_id": f"{type}/{id}/{version}"}, ENTRIES, session=self._session)
            if found is not None:
                return version_of(found, self._store.codec)
        return None

    def versions(
        self, databases: Sequence[str], types: Sequence[str], where: Document, direction: int, limit: int
    ) -> list[Version]:
        """Of all versions, those of the filter, by seq."""
        found = [
            version_of(document, self._store.codec)
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
            Found(version_of(document, self._store.codec), (*(document.get(key) for key in keys), document["seq"]))
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
        return None if found is None else item_of(found, self._store.codec)


class Writing(Reading):
    """Transaction: the one of a whole batch. What is written is held back until it is looked for or the batch ends.

    So most jobs that raise can be undone by forgetting what they wrote.
    """

    def __init__(self, store: Place, session: ClientSession) -> None:
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
        codec, text = self._store.codec.pack(put.text, short=LONG) if put.text else (PLAIN, put.text)
        if len(text) > MAX_TEXT:
            raise HubError("too-long", f"a resource may have {MAX_TEXT} bytes compressed on MongoDB; divide it")
        self._seq += 1
        key = f"{put.type}/{put.id}"
        document: Document = {
            "_id": key, "key": key, "database": put.database, "type": put.type, "id": put.id, "version": put.version,
            "method": put.method, "updated": put.updated, "codec": codec, "text": text, "origin": put.origin,
            "seq": self._seq,
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
        codec = self._store.codec
        code, raw = codec.pack(item.raw, short=LONG)
        document = {name: getattr(new, name) for name in Item.__slots__}
        document |= {"data": codec.pack_facts(_json(item.data)), "codec": code, "raw": raw}
        self._operations.append((self._store.system["item"], pymongo.InsertOne(document)))
        return new

    def settle(self, queue: str, id: str, state: str, data: dict[str, Any]) -> None:
        item = self.item(queue, id)
        if item is None:
            raise HubError("not-found", f"{queue} has no item {id}")
        change = {
            "$set": {"state": state, "leased_until": 0, "data": self._store.codec.pack_facts(_json(item.data | data))}
        }
        self._operations.append((self._store.system["item"], pymongo.UpdateOne({"queue": queue, "id": id}, change)))

    def discard(self, queue: str, ids: Sequence[str]) -> None:
        for id in ids:
            self._operations.append((self._store.system["item"], pymongo.DeleteOne({"queue": queue, "id": id})))

    def prune(self, queue: str, states: Sequence[str], before: int, most: int) -> int:
        self._send()
        items = self._store.system["item"]
        old = {"queue": queue, "state": {"$in": list(states)}, "created": {"$lt": before}}
        found = [row["_id"] for row in items.find(old, {"_id": 1}, session=self._session).sort("seq", 1).limit(most)]
        return items.delete_many({"_id": {"$in": found}}, session=self._session).deleted_count if found else 0

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


def _json(data: Document) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()

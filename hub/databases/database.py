"""The four master databases: who owns a resource, and how a version of it comes to be (R4 3.1.0.1.1, 3.1.0.4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, tzinfo
from decimal import Decimal
from typing import Any, Final

from hub.databases.router import DATABASES, Description, Router
from hub.errors import HubError
from hub.fhir import json, temporal
from hub.search.blind import Blind
from hub.search.entries import SEEING
from hub.search.expression import Entries, Expression, In, Match, Range, Term
from hub.search.index import Indexer
from hub.search.parameters import Registry
from hub.store.protocol import Put, Transaction, Version

__all__ = ["DATABASES", "Databases", "Prepared"]

Resource = dict[str, Any]

MILLISECOND: Final = 1000
_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What can be known of a write before its transaction: owner, index entries, and the JSON but type, id and meta."""

    database: str
    entries: Entries
    body: bytes


class Databases:
    """Reads and writes of resources through a store's transaction.

    ``clock`` gives microseconds since 1970 UTC; ``bases`` are this server's own addresses and ``zone`` its time zone,
    both for the index, where ``blind`` hides identity numbers.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Callable[[], int],
        *,
        bases: tuple[str, ...] = (),
        zone: tzinfo = UTC,
        blind: Blind = SEEING,
    ) -> None:
        self._router = Router(registry.types)
        self._clock = clock
        self.indexer = Indexer(registry, bases, zone, blind)
        self._blind = blind
        self._derived: dict[str, Callable[[Resource], Iterable[Term]]] = {}
        self.descriptions: dict[str, Description] = self._router.descriptions

    def owner(self, resource: Resource) -> str:
        """The database a new resource goes to. HubError("type-unknown") for a type that is not R4."""
        return self._router.owner(resource)

    def owners(self, type: str) -> tuple[str, ...]:
        """The databases in which resources of a type may be."""
        return self._router.owners(type)

    def decode(self, version: Version) -> Resource:
        """The resource of a version that is not a deletion."""
        return json.stored(version.text)

    def prepare(self, resource: Resource) -> Prepared:
        """The costly part of a write, without looking at what is stored: call it outside the transaction."""
        return self._prepared(resource, _body(resource))

    def _prepared(self, resource: Resource, body: bytes) -> Prepared:
        entries = self.indexer.entries(resource)
        if (derive := self._derived.get(resource["resourceType"])) is not None:
            entries = Entries((*entries.terms, *derive(resource)), entries.ranges)
        return Prepared(self.owner(resource), entries, body)

    def carrying(self, values: Iterable[str], system: str | None = None) -> Expression:
        """The resources that carry one of these as an Identifier's value, in any system or in one."""
        return self._blind.expression(Match("identifier", In(tuple(values), system)))

    def derive(self, type: str, terms: Callable[[Resource], Iterable[Term]]) -> None:
        """Index resources of a type by further terms, under parameters that no search can name (MPI blocking keys)."""
        self._derived[type] = terms

    def put(
        self,
        tx: Transaction,
        resource: Resource,
        *,
        method: str,
        expected: int | None = None,
        origin: str = "",
        prepared: Prepared | None = None,
        now: int | None = None,
    ) -> tuple[Version, bool]:
        """Store a new version of a resource with its id; (the version, whether there is a new one).

        Sets meta.versionId and meta.lastUpdated (milliseconds; never before the previous version's). Content equal to
        the current version makes no new one. A resource stays in the database it was created in. Raises
        HubError("precondition") when the current version is not ``expected``, "value" for a bad id. The version's seq
        is 0: it is known after the commit.
        """
        type, id = resource["resourceType"], check_id(resource)
        current = tx.read(type, id)
        _check_version(current, type, id, expected)
        body = prepared.body if prepared else _body(resource)
        if current is not None and not current.deleted and _same(current, resource, body):
            return current, False
        ready = prepared or self._prepared(resource, body)
        version = 1 if current is None else current.version + 1
        updated = self._moment(now, current)
        put = Put(
            ready.database if current is None else current.database,
            type,
            id,
            version,
            method,
            updated,
            _text(resource, version, updated, ready.body),
            Entries(
                ready.entries.terms, (*ready.entries.ranges, Range("_lastUpdated", updated, updated + MILLISECOND))
            ),
            origin,
        )
        tx.put(put)
        return put.stored(), True

    def delete(
        self,
        tx: Transaction,
        type: str,
        id: str,
        *,
        expected: int | None = None,
        origin: str = "",
        now: int | None = None,
    ) -> Version | None:
        """Delete the current version (R4 3.1.0.7); None when there is none. HubError("precondition") as ``put``."""
        current = tx.read(type, id)
        _check_version(current, type, id, expected)
        if current is None or current.deleted:
            return None
        put = Put(
            current.database,
            type,
            id,
            current.version + 1,
            "DELETE",
            self._moment(now, current),
            b"",
            origin=origin,
        )
        tx.put(put)
        return put.stored()

    def _moment(self, now: int | None, current: Version | None) -> int:
        moment = self._clock() if now is None else now
        return max(moment // MILLISECOND * MILLISECOND, current.updated if current else 0)


def _body(resource: Resource) -> bytes:
    """The members that are the sender's, as JSON text without the braces."""
    rest = {name: value for name, value in resource.items() if name not in ("resourceType", "id", "meta")}
    return json.encode(rest)[1:-1]


def check_id(resource: Resource) -> str:
    """The resource's id. HubError("value") unless it has the form of R4 2.24.0.1: 1 to 64 of A-Z a-z 0-9 - and dot."""
    id = resource.get("id")
    if not isinstance(id, str) or not _ID.fullmatch(id):
        shown = repr(id)[:80]
        raise HubError(
            "value", f"an id has 1 to 64 letters, digits, - or ., not {shown}", f"{resource['resourceType']}.id"
        )
    return id


def _check_version(current: Version | None, type: str, id: str, expected: int | None) -> None:
    if expected is None:
        return
    newest = 0 if current is None or current.deleted else current.version
    if newest != expected:
        has = f"is at version {newest}" if newest else "does not exist"
        raise HubError(
            "precondition", f"If-Match names version {expected}, but {type}/{id} {has}; read it again", f"{type}/{id}"
        )


def _text(resource: Resource, version: int, updated: int, body: bytes) -> bytes:
    meta = {**resource.get("meta", {}), "versionId": str(version), "lastUpdated": temporal.instant(updated)}
    head = json.encode({"resourceType": resource["resourceType"], "id": resource["id"], "meta": meta})
    return head[:-1] + b"," + body + b"}" if body else head


def _same(current: Version, resource: Resource, body: bytes) -> bool:
    """Whether the content is that of the current version; the order of members is no content."""
    text = _text(resource, current.version, current.updated, body)
    return text == current.text or (
        len(text) == len(current.text) and _equal(json.stored(text), json.stored(current.text))
    )


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return json.encode(one) == json.encode(other)
    return type(one) is type(other) and bool(one == other)

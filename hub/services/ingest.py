"""Every write into the four master databases: one resource, a transaction Bundle, or the Bundle an adapter made.

Whatever the door, a write is validated, identified (a Patient is linked to the regional Person), given to the database
that owns it, audited, and committed as one atomic unit. "Look, then write" happens inside the unit, so that a
conditional interaction stays single under concurrent callers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from hub.audit.record import Audit
from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir.ids import resource_id
from hub.fhir.validate.quick import refuse
from hub.mpi.link import Linker
from hub.search.expression import Query
from hub.search.parse import Parser
from hub.services.amend import Statement, stamped
from hub.services.amend import amend as amended
from hub.services.context import Context
from hub.services.merges import followers, inherited, refuse_cycle
from hub.store.protocol import Store, Transaction, Version

Resource = dict[str, Any]
Pairs = Sequence[tuple[str, str]]
MAX_LOOKED_BACK = 200
"""So many versions are looked through for an event that is cancelled."""


class Validator(Protocol):
    """What ingest asks of ``hub.fhir.validate``: OperationOutcome issues of a resource."""

    def __call__(self, resource: Resource) -> list[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of one write: ``status`` as in HTTP (200, 201, 204), ``version`` None when nothing existed."""

    status: int
    version: Version | None
    changed: bool = True


@dataclass(frozen=True, slots=True)
class Submitted:
    """The outcome of an adapter's Bundle: literal references ``Type/id`` of what is stored now."""

    references: tuple[str, ...]
    changed: int


class Ingest:
    """The door for writes."""

    def __init__(
        self,
        store: Store,
        databases: Databases,
        linker: Linker,
        audit: Audit,
        parser: Parser,
        validator: Validator,
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._databases = databases
        self._linker = linker
        self._audit = audit
        self._parser = parser
        self._validator = validator
        self._clock = clock
        self._new_id = new_id
        self.followers: list[Callable[[Transaction, Resource, int], None]] = []
        """Called in the unit that writes a Patient: what belongs to it may have to go elsewhere."""

    # --- an adapter's Bundle ------------------------------------------------------------------------------------------

    def submit(
        self,
        bundle: Resource,
        context: Context,
        *,
        amend: bool = True,
        valid: bool = False,
        statement: Statement | None = None,
        then: Callable[[Transaction, Submitted], None] | None = None,
    ) -> Submitted:
        """Store the resources of a Bundle whose ids and references are final (deterministic), as one unit.

        With ``amend`` an element that a resource does not have stays as stored, and ``statement`` says what may change:
        who is the authority for it, when it happened, what is deleted or restored (``hub.services.amend``). ``then``
        runs inside the same unit. Provenance waits as a note of the trail. HubError for the first invalid resource,
        unless the adapter has looked (``valid``).
        """
        resources = [entry["resource"] for entry in bundle.get("entry", ())]
        for resource in resources if not valid else ():
            self.validate(resource)
        provenance = [resource for resource in resources if resource["resourceType"] == "Provenance"]
        now = self._clock()

        def work(tx: Transaction) -> Submitted:
            changed = 0
            references: list[str] = []
            for resource in resources:
                references.append(f"{resource['resourceType']}/{resource['id']}")
                if resource["resourceType"] == "Provenance":
                    continue
                for whole in self._amended(tx, resource, statement or Statement()) if amend else (resource,):
                    changed += self._put(tx, whole, context, now, method="PUT")[1]
            submitted = Submitted(tuple(references), changed)
            self._audit.write(tx, context, "submit", submitted.references, now, provenance)
            if then is not None:
                then(tx, submitted)
            return submitted

        return self._store.write(work)

    def _amended(self, tx: Transaction, resource: Resource, statement: Statement) -> Sequence[Resource]:
        """What to store for a resource of a message: nothing if nothing of it is new, or it and its followers."""
        current = tx.read(resource["resourceType"], resource["id"])
        decode = self._databases.decode
        if "link" in resource:
            refuse_cycle(tx, decode, resource)
        if current is None or current.deleted:
            prior = statement.inherits.get(f"{resource['resourceType']}/{resource['id']}")
            return (stamped(inherited(tx, decode, resource, prior), statement),)
        stored = decode(current)
        whole = amended(stored, resource, statement, partial(self._before, tx, current))
        return () if whole is None else (whole, *followers(tx, decode, stored, whole))

    def _before(self, tx: Transaction, current: Version, events: Sequence[str]) -> Resource | None:
        """A resource as it was before the newest of these inbound events (``ADT^A03``) changed it."""
        for number in range(current.version, max(1, current.version - MAX_LOOKED_BACK), -1):
            version = tx.vread(current.type, current.id, number)
            item = tx.item("inbox", version.origin) if version is not None else None
            if item is not None and item.data.get("kind") in events:
                earlier = tx.vread(current.type, current.id, number - 1)
                return self._databases.decode(earlier) if earlier is not None and not earlier.deleted else None
        return None

    def validate(self, resource: Resource) -> None:
        """Refuse a resource that base R4 does not allow: HubError with every finding."""
        refuse(self._validator(resource))

    # --- single interactions (R4 3.1.0.8 create, 3.1.0.4 update, 3.1.0.7 delete) --------------------------------------

    def create(
        self, context: Context, resource: Resource, *, if_none_exist: Pairs | None = None, database: str | None = None
    ) -> Written:
        """create; with ``if_none_exist`` an existing match is the answer, several are HubError("multiple-matches")."""
        self.validate(resource)
        return self._unit(
            context,
            "create",
            lambda tx, now: self.create_in(tx, context, resource, now, if_none_exist=if_none_exist, database=database),
        )

    def update(
        self,
        context: Context,
        type: str,
        id: str,
        resource: Resource,
        *,
        if_match: int | None = None,
        database: str | None = None,
    ) -> Written:
        """update, or create with the client's id; ``if_match`` is If-Match's version (HubError("precondition"))."""
        check_identity(type, id, resource)
        self.validate(resource)
        return self._unit(
            context,
            "update",
            lambda tx, now: self.update_in(tx, context, resource, now, if_match=if_match, database=database),
        )

    def conditional_update(
        self,
        context: Context,
        type: str,
        criteria: Pairs,
        resource: Resource,
        *,
        if_match: int | None = None,
        database: str | None = None,
    ) -> Written:
        """conditional update (R4 3.1.0.4.3): no match creates, one updates, several: HubError("multiple-matches")."""
        self.validate(resource)

        def work(tx: Transaction, now: int) -> Written:
            whole = self.matched(tx, type, criteria, resource, database)
            return self.update_in(tx, context, whole, now, if_match=if_match, database=database)

        return self._unit(context, "update", work)

    def change(
        self,
        context: Context,
        type: str,
        id: str | None,
        change: Callable[[Resource], Resource],
        *,
        event: str = "patch",
        criteria: Pairs = (),
        if_match: int | None = None,
        database: str | None = None,
    ) -> Written:
        """What ``change`` makes of the current resource is its next version: patch (R4 3.1.0.5), $meta-add...

        The one resource is that with ``id``, or the one that meets ``criteria``. Nobody else's write comes between.
        HubError("not-found") or "deleted" when there is none.
        """

        def work(tx: Transaction, now: int) -> Written:
            changed = self.changed_in(tx, type, id, change, criteria=criteria, database=database)
            return self.update_in(tx, context, changed, now, if_match=if_match, database=database)

        return self._unit(context, event, work)

    def delete(
        self, context: Context, type: str, id: str, *, if_match: int | None = None, database: str | None = None
    ) -> Written:
        """delete; of what is already deleted or never was: 204 and no change."""
        return self._unit(
            context,
            "delete",
            lambda tx, now: self.delete_in(tx, context, type, id, now, if_match=if_match, database=database),
        )

    def conditional_delete(
        self, context: Context, type: str, criteria: Pairs, *, database: str | None = None
    ) -> Written:
        """conditional delete (R4 3.1.0.7.1), single: several matches are HubError("multiple-matches")."""

        def work(tx: Transaction, now: int) -> Written:
            match = self.one_match(tx, type, criteria, database)
            return Written(204, None, False) if match is None else self.delete_in(tx, context, type, match.id, now)

        return self._unit(context, "delete", work)

    def _unit(self, context: Context, event: str, act: Callable[[Transaction, int], Written]) -> Written:
        now = self._clock()

        def work(tx: Transaction) -> Written:
            written = act(tx, now)
            if written.version is not None:
                self._audit.write(tx, context, event, (f"{written.version.type}/{written.version.id}",), now)
            return written

        return self._store.write(work)

    # --- the same inside a unit: the pieces of a transaction ----------------------------------------------------------

    def create_in(
        self,
        tx: Transaction,
        context: Context,
        resource: Resource,
        now: int,
        *,
        id: str | None = None,
        if_none_exist: Pairs | None = None,
        database: str | None = None,
    ) -> Written:
        if if_none_exist is not None:
            match = self.one_match(tx, resource["resourceType"], if_none_exist, database)
            if match is not None:
                return Written(200, match, False)
            id = id or self.fresh_id(tx, resource["resourceType"], if_none_exist)
        self._check_database(resource, database)
        version, changed = self._put(tx, {**resource, "id": id or self._new_id()}, context, now, method="POST")
        return Written(201, version, changed)

    def update_in(
        self,
        tx: Transaction,
        context: Context,
        resource: Resource,
        now: int,
        *,
        if_match: int | None = None,
        database: str | None = None,
    ) -> Written:
        self._check_database(resource, database)
        current = tx.read(resource["resourceType"], resource["id"])
        if current is not None and database not in (None, current.database):
            said = f"{current.type}/{current.id} belongs to the database {current.database!r}, not {database!r}"
            raise HubError("business-rule", said, current.type)
        version, changed = self._put(tx, resource, context, now, method="PUT", expected=if_match)
        return Written(201 if current is None or current.deleted else 200, version, changed)

    def changed_in(
        self,
        tx: Transaction,
        type: str,
        id: str | None,
        change: Callable[[Resource], Resource],
        *,
        criteria: Pairs = (),
        database: str | None = None,
    ) -> Resource:
        """What ``change`` makes of the current resource, valid and with its identity; not written yet."""
        current = self.one_match(tx, type, criteria, database) if id is None else tx.read(type, id)
        if current is None:
            raise HubError("not-found", f"there is no {type} to change", f"{type}/{id}" if id else type)
        if current.deleted:
            raise HubError("deleted", f"{type}/{id} was deleted", f"{type}/{id}")
        changed = change(self._databases.decode(current))
        check_identity(type, current.id, changed)
        self.validate(changed)
        return changed

    def delete_in(
        self,
        tx: Transaction,
        context: Context,
        type: str,
        id: str,
        now: int,
        *,
        if_match: int | None = None,
        database: str | None = None,
    ) -> Written:
        if database is not None:
            current = tx.read(type, id)
            if current is not None and current.database != database:
                return Written(204, None, False)  # this base has no such resource
        version = self._databases.delete(tx, type, id, expected=if_match, origin=context.origin, now=now)
        if version is not None and type == "Patient":
            self._linker.unlink(tx, id, now=now, origin=context.origin)
        return Written(204, version, version is not None)

    def record(self, tx: Transaction, context: Context, event: str, written: Sequence[Written], now: int) -> None:
        """The audit event of a unit made of several writes."""
        versions = [one.version for one in written if one.version is not None]
        self._audit.write(tx, context, event, tuple(f"{version.type}/{version.id}" for version in versions), now)

    def one_match(self, tx: Transaction, type: str, criteria: Pairs, database: str | None = None) -> Version | None:
        """The one current resource that meets search criteria; holds off others who ask the same until the unit ends.

        ``database`` narrows it to that of a base such as ``/emr``.
        """
        search = self._parser.parse((type,), list(criteria), strict=True)
        if not criteria or not search.used_pairs:
            raise HubError(
                "precondition",
                f"the conditional {type} interaction has no search criteria; name at least one parameter",
            )
        tx.guard(f"{type}?" + "&".join(sorted(f"{name}={value}" for name, value in criteria)))
        databases = () if database is None else (database,)
        found = tx.find(Query((type,), search.query.where, databases=databases, limit=2))
        if len(found) > 1:
            raise HubError("multiple-matches", f"more than one {type} meets the criteria; make them more selective")
        return found[0].version if found else None

    def fresh_id(self, tx: Transaction, type: str, criteria: Pairs) -> str:
        """The id of what a conditional interaction creates, from the business identifier that is its criterion: so
        whichever protocol tells of the resource first, the others mean the same one.
        """
        if len(criteria) == 1 and criteria[0][0] == "identifier":
            system, bar, value = criteria[0][1].partition("|")
            if bar and system and value and "," not in value and "\\" not in value:
                id = resource_id(type, system, value)
                if tx.read(type, id) is None:
                    return id
        return self._new_id()

    def matched(
        self, tx: Transaction, type: str, criteria: Pairs, resource: Resource, database: str | None = None
    ) -> Resource:
        """The resource of a conditional update with the id it will have (R4 3.1.0.4.3)."""
        match = self.one_match(tx, type, criteria, database)
        if match is None:
            return {**resource, "id": resource.get("id") or self.fresh_id(tx, type, criteria)}
        if resource.get("id", match.id) != match.id:
            raise HubError(
                "parameter-value",
                f"the criteria match {type}/{match.id}, but the resource's id is {resource['id']!r}",
                f"{type}.id",
            )
        return {**resource, "id": match.id}

    def _check_database(self, resource: Resource, database: str | None) -> None:
        if database is not None and (owner := self._databases.owner(resource)) != database:
            type = resource["resourceType"]
            raise HubError(
                "business-rule",
                f"this {type} belongs to the database {owner!r}, not {database!r}; send it to /{owner} or /fhir",
                type,
            )

    def _put(
        self,
        tx: Transaction,
        resource: Resource,
        context: Context,
        now: int,
        *,
        method: str,
        expected: int | None = None,
    ) -> tuple[Version, bool]:
        version, changed = self._databases.put(
            tx, resource, method=method, expected=expected, origin=context.origin, now=now
        )
        if changed and version.type == "Patient":
            self._linker.link(tx, resource, now=now, origin=context.origin, version=version.version)
            for follow in self.followers:
                follow(tx, resource, now)
        return version, changed


def check_identity(type: str, id: str, resource: Resource) -> None:
    """The body of an update must have the type and id of its URL (R4 3.1.0.4)."""
    if resource.get("resourceType") != type:
        raise HubError(
            "parameter-value", f"the URL names {type}, the body is {resource.get('resourceType')!r}", "resourceType"
        )
    if resource.get("id") != id:
        raise HubError(
            "parameter-value",
            f"the URL names the id {id!r}, the body has {resource.get('id')!r}; both must be the same",
            f"{type}.id",
        )

"""The linker: every Patient that is written belongs to exactly one regional Person.

A Person (FHIR R4 8.3) is the region's view of one human being: links to the Patients of the hospitals, the regional
identifiers, and golden demographics that can be computed again from the Patients at any time. Its id never changes and
names nothing about the person. A Person that turned out to be another one stays, inactive, and links to the survivor,
so that old ids redirect.

Where the rules contradict each other nothing is guessed: the Patient keeps (or gets) a Person of its own, the disputed
identifier stays with its holder, and a Task asks a human.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from hub.mpi import golden, review
from hub.mpi.compare import names
from hub.mpi.rules import Key, Rules, load
from hub.search.expression import Equals, Match, Query
from hub.store.protocol import Reader, Transaction, Version

Resource = dict[str, Any]
PERSONS = uuid.UUID("5e0c7c3c-6b0e-5d0a-9a53-0f3f6f0b7a11")
"""Namespace of Person ids: uuid5 of the reference of the Patient that founded it."""
MAX_SHARED = 20
"""More holders of one identifier than this are not looked at: such a number identifies nobody."""
MAX_REDIRECTS = 16


class Databases(Protocol):
    """What the linker asks of the master databases."""

    def put(
        self, tx: Transaction, resource: Resource, *, method: str, origin: str = "", now: int
    ) -> tuple[Version, bool]: ...

    def decode(self, version: Version) -> Resource: ...


@dataclass(slots=True)
class Decision:
    """What links one Patient: the Persons it belongs to (first one survives), the rules that said so, and conflicts."""

    persons: list[Resource] = field(default_factory=list)
    assurance: str = "level1"
    conflicts: list[review.Conflict] = field(default_factory=list)


class Linker:
    """Keeps Persons in step with Patients, inside the transaction that writes the Patient."""

    def __init__(self, databases: Databases, rules: Rules | None = None) -> None:
        self._databases = databases
        self._rules = rules or load()

    # --- doors --------------------------------------------------------------------------------------------------------

    def link(self, tx: Transaction, patient: Resource, *, now: int, origin: str = "") -> list[Version]:
        """Find or found the Person of a Patient that was just written; the versions that were put.

        ``patient`` is the whole resource with its id. ``now`` is microseconds since 1970 UTC.
        """
        me = f"Patient/{patient['id']}"
        regional, local = self._rules.keys(patient)
        for key in sorted(key.guard for key in regional + local):
            tx.guard(key)
        current = self.person_of(tx, me)
        decision = self._decide(tx, patient, current, regional, local)
        versions = [self._put(tx, task, now, origin) for task in review.tasks(me, decision.conflicts)]
        if current is not None and current not in decision.persons:
            versions += self._leave(tx, current, me, now, origin)
        if not decision.persons:
            decision.persons.append(self._found(tx, me))
        survivor, *others = decision.persons
        taken = {(key.system, key.value) for conflict in decision.conflicts for key in conflict.keys}
        mine = [key for key in regional if (key.system, key.value) not in taken]
        survivor = golden.with_link(survivor, me, decision.assurance)
        for other in others:
            survivor = golden.with_links_of(survivor, other)
            mine += self._rules.keys(other)[0]
            versions.append(self._put(tx, golden.redirected(other, survivor["id"]), now, origin))
        patients = self._patients(tx, survivor, me, patient)
        versions.append(self._put(tx, golden.person(survivor, patients, mine, self._rules), now, origin))
        return versions

    def unlink(self, tx: Transaction, patient_id: str, *, now: int, origin: str = "") -> list[Version]:
        """A Patient was deleted: its Person loses the link; a Person without links becomes inactive."""
        me = f"Patient/{patient_id}"
        person = self.person_of(tx, me)
        return [] if person is None else self._leave(tx, person, me, now, origin)

    def person_of(self, tx: Reader, patient: str) -> Resource | None:
        """The Person that links to a Patient (reference ``Patient/id``)."""
        found = tx.find(Query(("Person",), Match("link", Equals(patient)), databases=("population",), limit=1))
        return self._databases.decode(found[0].version) if found else None

    def person(self, tx: Reader, id: str) -> Resource | None:
        """A Person by id, redirects followed to the survivor."""
        for _ in range(MAX_REDIRECTS):
            version = tx.read("Person", id)
            if version is None or version.deleted:
                return None
            person = self._databases.decode(version)
            successor = golden.successor(person)
            if successor is None:
                return person
            id = successor
        return None

    def holders(self, tx: Reader, key: Key) -> list[Resource]:
        """The active Persons that carry a regional identifier; more than one only while a conflict is open."""
        where = Match("identifier", Equals(key.value, key.system))
        found = tx.find(Query(("Person",), where, databases=("population",), limit=MAX_SHARED))
        return [person for row in found if golden.is_active(person := self._databases.decode(row.version))]

    def patients_numbered(self, tx: Reader, key: Key) -> list[Resource]:
        """The Patients that carry a number of one hospital."""
        where = Match("identifier", Equals(key.value, key.system))
        found = tx.find(Query(("Patient",), where, databases=("population",), limit=MAX_SHARED))
        return [self._databases.decode(row.version) for row in found]

    # --- the decision -------------------------------------------------------------------------------------------------

    def _decide(
        self,
        tx: Transaction,
        patient: Resource,
        current: Resource | None,
        regional: tuple[Key, ...],
        local: tuple[Key, ...],
    ) -> Decision:
        me = f"Patient/{patient['id']}"
        decision = Decision()
        if current is not None:
            others = self._patients(tx, current, me, None)
            clash = self._clash(regional, [key for other in others for key in self._rules.keys(other)[0]])
            if clash and others:
                decision.conflicts.append(review.Conflict("two-documents", current["id"], clash))
                current = None  # what it carries is now evidence like that of any other Person
            else:
                decision.persons.append(self._without_stale(current, others, regional))
                decision.assurance = golden.assurance(current, me)
        for person, key, assurance in self._candidates(tx, patient, current, regional, local):
            if any(person["id"] == known["id"] for known in decision.persons):
                decision.assurance = max(decision.assurance, assurance)
                continue
            conflict = self._conflict(patient, person, key, decision.persons, regional)
            if conflict is not None:
                decision.conflicts.append(conflict)
            else:
                decision.persons.append(person)
                decision.assurance = max(decision.assurance, assurance)
        decision.persons.sort(key=lambda person: (-len(person.get("link", ())), person["id"]))
        return decision

    def _candidates(
        self,
        tx: Transaction,
        patient: Resource,
        current: Resource | None,
        regional: tuple[Key, ...],
        local: tuple[Key, ...],
    ) -> Iterable[tuple[Resource, Key | None, str]]:
        """Persons that evidence points to: holders of the same identifier, of the same local number, merged records."""
        me = f"Patient/{patient['id']}"
        carried = {(key.system, key.value) for key in self._rules.keys(current)[0]} if current else set()
        for key in regional:
            if (key.system, key.value) not in carried and key.kind is not None:
                for person in self.holders(tx, key):
                    yield person, key, key.kind.assurance
        for key in local:
            for holder in self._same_number(tx, key, me):
                yield holder, key, self._rules.local_assurance
        related = golden.merged_with(patient) + (self._merged_into(tx, me) if current is None else [])
        for reference in related:
            if (holder_of := self.person_of(tx, reference)) is not None:
                yield holder_of, None, self._rules.local_assurance

    def _same_number(self, tx: Transaction, key: Key, me: str) -> Iterable[Resource]:
        """Persons to whom a number of one hospital is bound, or whose Patient carries it."""
        where = Match("identifier", Equals(key.value, key.system))
        for row in tx.find(Query(("Patient", "Person"), where, databases=("population",), limit=MAX_SHARED)):
            version = row.version
            if version.type == "Person":
                person = self._databases.decode(version)
                if golden.is_active(person):
                    yield person
            elif (reference := f"Patient/{version.id}") != me and (holder := self.person_of(tx, reference)):
                yield holder

    def _merged_into(self, tx: Transaction, me: str) -> list[str]:
        found = tx.find(Query(("Patient",), Match("link", Equals(me)), databases=("population",), limit=MAX_SHARED))
        rows = (row.version for row in found)
        return [f"Patient/{row.id}" for row in rows if me in golden.merged_with(self._databases.decode(row))]

    def _conflict(
        self, patient: Resource, person: Resource, key: Key | None, joined: list[Resource], regional: tuple[Key, ...]
    ) -> review.Conflict | None:
        """Why a candidate must not be linked, None when it may."""
        mine = [*regional, *(carried for known in joined for carried in self._rules.keys(known)[0])]
        clash = self._clash(mine, self._rules.keys(person)[0])
        if clash:
            return review.Conflict("two-documents", person["id"], (key,) if key is not None else clash)
        if key is not None and disagree(patient, person):
            return review.Conflict("shared-document", person["id"], (key,))
        return None

    def _clash(self, mine: Iterable[Key], theirs: Iterable[Key]) -> tuple[Key, ...]:
        """Keys of a single-valued kind in ``theirs`` where ``mine`` has another value of that kind."""
        values: dict[str, set[str]] = {}
        for key in mine:
            if key.kind is not None and key.kind.single:
                values.setdefault(key.system, set()).add(key.value)
        return tuple(key for key in theirs if key.system in values and values[key.system] != {key.value})

    # --- writing ------------------------------------------------------------------------------------------------------

    def _found(self, tx: Transaction, me: str) -> Resource:
        """A new Person; a Patient that was moved away from the Person it founded founds another one."""
        for count in range(1_000_000):
            id = str(uuid.uuid5(PERSONS, me if not count else f"{me}#{count}"))
            version = tx.read("Person", id)
            if version is None or version.deleted:
                break
            if not golden.is_active(old := self._databases.decode(version)) and golden.successor(old) is None:
                break
        return golden.new(id)

    def _without_stale(self, person: Resource, others: list[Resource], regional: tuple[Key, ...]) -> Resource:
        """The Person without identifiers that no Patient states any more (and that no card was issued for)."""
        stated = {(key.system, key.value) for other in others for key in self._rules.keys(other)[0]}
        stated |= {(key.system, key.value) for key in regional}
        return golden.keeping(person, stated)

    def _leave(self, tx: Transaction, person: Resource, me: str, now: int, origin: str) -> list[Version]:
        rest = golden.without_link(person, me)
        patients = self._patients(tx, rest, me, None)
        rest = self._without_stale(rest, patients, ())
        return [self._put(tx, golden.person(rest, patients, [], self._rules), now, origin)]

    def _patients(self, tx: Transaction, person: Resource, me: str, mine: Resource | None) -> list[Resource]:
        """The linked Patients as they are now, ``mine`` in place of the one called ``me`` (left out when None)."""
        patients: list[Resource] = []
        for reference in golden.links(person):
            if reference == me:
                patients += [] if mine is None else [mine]
            elif (version := tx.read("Patient", reference.partition("/")[2])) and not version.deleted:
                patients.append(self._databases.decode(version))
        return patients

    def _put(self, tx: Transaction, resource: Resource, now: int, origin: str) -> Version:
        return self._databases.put(tx, resource, method="PUT", origin=origin, now=now)[0]


def disagree(patient: Resource, person: Resource) -> bool:
    """Name and birth date are both known and both different: somebody else's document."""
    born, theirs = patient.get("birthDate"), person.get("birthDate")
    mine, other = names(patient), names(person)
    return bool(born and theirs and born != theirs and mine and other and not mine & other)

"""The linker: every Patient that is written belongs to exactly one regional Person.

A Person (FHIR R4 8.3) is the region's view of one human being: links to the Patients of the hospitals, the regional
identifiers, and golden demographics that can be computed again from the Patients at any time. Its id never changes and
names nothing about the person. A Person that turned out to be another one stays, inactive, and links to the survivor,
so that old ids redirect.

Evidence comes in this order: human decisions, identifiers that decide by themselves, the score of the fields. Where it
contradicts itself nothing is guessed: the Patient keeps (or gets) a Person of its own, the disputed identifier stays
with its holder, and a Task asks a human.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from hub.mpi import golden, review, score
from hub.mpi.case import MAX_SHARED, POPULATION, Case, Crowded
from hub.mpi.compare import names
from hub.mpi.features import FeatureCache, patient_terms, person_terms
from hub.mpi.review import Question
from hub.mpi.rules import Key, Rules, load
from hub.search.expression import Equals, Match, Query, Term
from hub.store.protocol import Reader, Transaction, Version

Resource = dict[str, Any]
PERSONS = uuid.UUID("5e0c7c3c-6b0e-5d0a-9a53-0f3f6f0b7a11")
"""Namespace of Person ids: uuid5 of the reference of the Patient that founded it."""
IDENTIFYING = ("identifier", "active", "name", "telecom", "gender", "birthDate", "address", "link")
"""Elements of Patient that linking and the golden record look at."""
MAX_REDIRECTS = 16
MAX_FOUNDED = 1000
MAX_ALIKE = 2
"""At most so many Persons are linked or asked about by score: more that look the same are not told apart by asking."""
SCORE_ASSURANCE = "level2"


class Databases(Protocol):
    """What the linker asks of the master databases."""

    def put(
        self, tx: Transaction, resource: Resource, *, method: str, origin: str = "", now: int | None = None
    ) -> tuple[Version, bool]: ...

    def decode(self, version: Version) -> Resource: ...

    def derive(self, type: str, terms: Callable[[Resource], Iterable[Term]]) -> None: ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """That the Patient is this Person: what says so, how sure; ``objection`` (a reason of review) forbids to link."""

    person: Resource
    said_by: str
    assurance: str
    other: str = ""
    key: Key | None = None
    objection: str = ""


@dataclass(slots=True)
class Decision:
    """What becomes of a Patient: the Persons it belongs to (they become one), why, and the questions left."""

    persons: list[Resource] = field(default_factory=list)
    assurance: str = "level1"
    said_by: list[str] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    def has(self, person: Resource) -> bool:
        """Whether the Person is among those already."""
        return any(person["id"] == known["id"] for known in self.persons)

    def accept(self, evidence: Evidence) -> None:
        """Link to the Person of the evidence."""
        if not self.has(evidence.person):
            self.persons.append(evidence.person)
        self.assurance = max(self.assurance, evidence.assurance)
        if evidence.said_by not in self.said_by:
            self.said_by.append(evidence.said_by)


class Linker:
    """Keeps Persons in step with Patients, inside the transaction that writes the Patient."""

    def __init__(self, databases: Databases, rules: Rules | None = None) -> None:
        self._databases = databases
        self._rules = rules or load()
        self._cache = FeatureCache(databases.decode, self._rules)
        self._crowded = Crowded()
        databases.derive("Patient", lambda patient: patient_terms(self._cache.written(patient)))
        databases.derive("Person", lambda person: person_terms(person, self._rules))

    # --- doors --------------------------------------------------------------------------------------------------------

    def link(self, tx: Transaction, patient: Resource, *, now: int, origin: str = "") -> list[Version]:
        """Find or found the Person of a Patient that was just written; the versions that were put.

        ``patient`` is the whole resource with its id. ``now`` is microseconds since 1970 UTC.
        """
        version = tx.read("Patient", patient["id"])
        first = version is None or version.version == 1
        if not first and version is not None and self._nothing_new(tx, version, patient):
            return []
        return self._link(tx, patient, now, origin, first)

    def relink(self, tx: Transaction, patient: Resource, *, now: int, origin: str = "") -> list[Version]:
        """As ``link``, also when the Patient itself did not change: the evidence around it did."""
        return self._link(tx, patient, now, origin, False)

    def _link(self, tx: Transaction, patient: Resource, now: int, origin: str, first: bool) -> list[Version]:
        case = self._case(tx, patient)
        for key in sorted(key.guard for key in case.features.regional + case.features.local):
            tx.guard(key)
        current = case.person_of(case.me)
        decision = self._decide(case, current, first)
        versions = [self._put(tx, task, now, origin) for task in self._new_tasks(tx, decision.questions)]
        if current is not None and not decision.has(current):
            versions.append(self._put(tx, self._left(case, current), now, origin))
        if not decision.persons:
            decision.persons.append(self._found(tx, case.me))
            decision.said_by.append("founded")
        return versions + self._join(tx, case, decision, now, origin)

    def unlink(self, tx: Transaction, patient_id: str, *, now: int, origin: str = "") -> list[Version]:
        """A Patient was deleted: its Person loses the link; a Person without links becomes inactive."""
        case = self._case(tx, {"resourceType": "Patient", "id": patient_id})
        person = case.person_of(case.me)
        return [] if person is None else [self._put(tx, self._left(case, person), now, origin)]

    def decide(
        self, tx: Transaction, one: str, other: str, *, same: bool, actor: str, note: str, now: int
    ) -> list[Version]:
        """A human's decision about two registrations (``Patient/id``); it holds whatever the demographics become.

        The Persons that it touches are made again from their Patients, so a wrong merge comes apart without a trace but
        its history, and the old Person ids come back.
        """
        question = Question("asked", one, other)
        version = tx.read("Task", question.task_id)
        task = self._databases.decode(version) if version and not version.deleted else question.task()
        versions = [self._put(tx, review.decided(task, same, actor, note), now, "")]
        touched = {person["id"]: person for one_of in (one, other) if (person := self.person_of(tx, one_of))}
        for person in touched.values():
            versions += self.replay(tx, person["id"], now=now)
        return versions

    def replay(self, tx: Transaction, person_id: str, *, now: int) -> list[Version]:
        """Make the Persons of a cluster again from its Patients, in the order in which they were linked."""
        person = self.person(tx, person_id)
        if person is None:
            return []
        references = golden.links(person)
        empty = golden.keeping({**person, "link": []}, set())
        versions = [self._put(tx, {**empty, "active": bool(empty.get("identifier"))}, now, "")]
        where = Match("link", Equals(f"Person/{person['id']}"))
        for row in tx.find(Query(("Person",), where, databases=POPULATION, limit=MAX_SHARED)):
            versions.append(self._put(tx, {**golden.new(row.version.id), "active": False}, now, ""))
        for reference in references:
            version = tx.read("Patient", reference.partition("/")[2])
            if version is not None and not version.deleted:
                versions += self.relink(tx, self._databases.decode(version), now=now)
        return versions

    def person_of(self, tx: Reader, patient: str) -> Resource | None:
        """The Person that links to a Patient (reference ``Patient/id``)."""
        found = tx.find(Query(("Person",), Match("link", Equals(patient)), databases=POPULATION, limit=1))
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
        """The active Persons that carry a regional identifier; more than one only while a question is open."""
        where = Match("identifier", Equals(key.value, key.system))
        found = tx.find(Query(("Person",), where, databases=POPULATION, limit=MAX_SHARED))
        return [person for row in found if golden.is_active(person := self._databases.decode(row.version))]

    def patients_numbered(self, tx: Reader, key: Key) -> list[Resource]:
        """The Patients that carry a number of one hospital."""
        where = Match("identifier", Equals(key.value, key.system))
        found = tx.find(Query(("Patient",), where, databases=POPULATION, limit=MAX_SHARED))
        return [self._databases.decode(row.version) for row in found]

    def _case(self, tx: Reader, patient: Resource) -> Case:
        return Case(tx, self._databases.decode, self._rules, self._cache, self._crowded, patient)

    def _nothing_new(self, tx: Reader, version: Version, patient: Resource) -> bool:
        """Whether the version before this one said the same of everything that identifies."""
        before = tx.vread("Patient", version.id, version.version - 1)
        if before is None or before.deleted:
            return False
        old = self._databases.decode(before)
        return all(old.get(element) == patient.get(element) for element in IDENTIFYING)

    # --- the decision -------------------------------------------------------------------------------------------------

    def _decide(self, case: Case, current: Resource | None, first: bool) -> Decision:
        decision = Decision()
        decided = [] if first else case.decisions((case.me,))
        verdicts = {review.pair(task): review.verdict(task) for task in decided}
        if current is not None:
            objection = self._no_longer(case, current, verdicts)
            if objection is not None:
                decision.questions.append(objection)
                current = None  # what it carries is now evidence like that of any other Person
            else:
                decision.persons.append(self._without_stale(case, current, case.features.regional))
                decision.assurance, said = golden.link_of(current, case.me)
                decision.said_by.append(said)
        for evidence in self._evidence(case, current, verdicts):
            if decision.has(evidence.person):
                if not evidence.objection:
                    decision.accept(evidence)
            elif (question := self._question(case, evidence, decision.persons)) is not None:
                decision.questions.append(question)
            elif not evidence.objection:
                decision.accept(evidence)
        decision.persons.sort(key=lambda person: (-len(person.get("link", ())), person["id"]))
        return decision

    def _no_longer(self, case: Case, current: Resource, verdicts: dict[frozenset[str], str]) -> Question | None:
        """Why the Patient cannot stay with its Person, None when it can."""
        others = case.others(current)
        clash = clashing(case.features.regional, [key for other in others for key in other.regional])
        if clash:
            return Question("two-documents", case.me, others[0].reference, clash)
        for other in golden.links(current):
            if verdicts.get(frozenset((case.me, other))) == review.DIFFERENT:
                return Question("decided-different", case.me, other)
        return None

    def _evidence(
        self, case: Case, current: Resource | None, verdicts: dict[frozenset[str], str]
    ) -> Iterator[Evidence]:
        """Everything that points to a Person, the surest first."""
        local = self._rules.local_assurance
        for pair, verdict in verdicts.items():
            other = next(iter(pair - {case.me}), "")
            if verdict == review.SAME and (person := case.person_of(other)) is not None:
                yield Evidence(person, "decided by a human", "level4", other)
        carried = set(self._rules.person_keys(current)) if current else set()
        for key in case.features.regional:
            if key.kind is not None and key not in carried:
                for person in case.holders(key):
                    yield Evidence(person, key.kind.name, key.kind.assurance, key=key)
        for key in case.features.local:
            for person in case.holders(key):
                yield Evidence(person, "patient-number", local, key=key)
        for one in case.alike:
            same = [key for key in one.local if key in case.features.local]
            if same and (person := case.person_of(one.reference)) is not None:
                yield Evidence(person, "patient-number", local, one.reference, same[0])
        merged = {*case.features.merged, *(one.reference for one in case.alike if case.me in one.merged)}
        for other in sorted(merged):
            if (person := case.person_of(other)) is not None:
                yield Evidence(person, "merged by the hospital", local, other)
        yield from self._scored(case)

    def _scored(self, case: Case) -> Iterator[Evidence]:
        """The Persons whose Patients are most alike, the best pair of each, with the objection of the guards."""
        mine, weights = case.features, self._rules.score
        scored = ((score.compare(mine, other, weights), other) for other in case.alike)
        pairs = [
            (-result.bits, other.reference, result, other) for result, other in scored if result.bits >= weights.review
        ]
        seen: set[str] = set()
        for _, reference, result, other in sorted(pairs, key=lambda row: row[:2]):
            person = case.person_of(reference)
            if person is None or person["id"] in seen:
                continue
            if len(seen) == MAX_ALIKE:
                return
            seen.add(person["id"])
            objection = score.guard(mine, other, result)
            if result.bits < weights.link:
                objection = "possible-match" if objection in ("", "possible-match") else "weak"
            if objection != "weak":
                said = f"score {result.evidence()} rules {self._rules.version}"
                yield Evidence(person, said, SCORE_ASSURANCE, reference, objection=objection)

    def _question(self, case: Case, evidence: Evidence, joined: list[Resource]) -> Question | None:
        """Why the evidence must not link, None when it may (or when nobody need be asked)."""
        person, key = evidence.person, evidence.key
        other = evidence.other or next(iter(golden.links(person)), f"Person/{person['id']}")
        carried = (key for known in joined for key in self._rules.person_keys(known))
        clash = clashing([*case.features.regional, *carried], self._rules.person_keys(person))
        if clash:
            if key is None and evidence.said_by.startswith("score"):
                return None if evidence.objection else Question("two-documents", case.me, other, clash)
            return Question("two-documents", case.me, other, (key,) if key is not None else clash)
        if key is not None and disagree(case.patient, person):
            return Question("shared-document", case.me, other, (key,))
        if evidence.objection:
            return Question(evidence.objection, case.me, other, evidence=evidence.said_by)
        if self._kept_apart(case, person, joined):
            return Question("decided-different", case.me, other)
        return None

    def _kept_apart(self, case: Case, person: Resource, joined: list[Resource]) -> bool:
        """Whether humans decided that some registration here is another person than some registration there."""
        here = {case.me, *(reference for known in joined for reference in golden.links(known))}
        there = set(golden.links(person))
        return any(
            review.verdict(task) == review.DIFFERENT and review.pair(task) & here and review.pair(task) & there
            for task in case.decisions(there)
        )

    # --- writing ------------------------------------------------------------------------------------------------------

    def _join(self, tx: Transaction, case: Case, decision: Decision, now: int, origin: str) -> list[Version]:
        """Make the decided Persons one and link the Patient to it."""
        survivor, *others = decision.persons
        taken = {(key.system, key.value) for question in decision.questions for key in question.keys}
        mine = [key for key in case.features.regional if (key.system, key.value) not in taken]
        survivor = golden.with_link(survivor, case.me, decision.assurance, decision.said_by[0])
        versions = []
        for other in others:
            survivor = golden.with_links_of(survivor, other)
            mine += self._rules.person_keys(other)
            versions.append(self._put(tx, golden.redirected(other, survivor["id"]), now, origin))
        person = golden.person(survivor, case.patients(survivor), mine, self._rules)
        versions.append(self._put(tx, person, now, origin))
        if golden.links(person) not in (golden.links(decision.persons[0]), [case.me]):
            versions += [self._put(tx, task, now, origin) for task in self._answered(tx, case, person)]
        return versions

    def _answered(self, tx: Transaction, case: Case, person: Resource) -> Iterator[Resource]:
        """The open Tasks between registrations that are one Person now, closed."""
        together = set(golden.links(person))
        for task in case.tasks(review.open_about(tuple(together))):
            if review.pair(task) <= together:
                yield review.answered(task)

    def _new_tasks(self, tx: Transaction, questions: list[Question]) -> list[Resource]:
        """Tasks for the questions that were not asked before; what was decided stays decided."""
        asked = {question.task_id: question for question in questions}
        return [question.task() for id, question in asked.items() if tx.read("Task", id) is None]

    def _found(self, tx: Transaction, me: str) -> Resource:
        """A new Person; a Patient that was moved away from the Person it founded founds another one."""
        for count in range(MAX_FOUNDED):
            id = str(uuid.uuid5(PERSONS, me if not count else f"{me}#{count}"))
            version = tx.read("Person", id)
            if version is None or version.deleted:
                break
            if not golden.is_active(old := self._databases.decode(version)) and golden.successor(old) is None:
                break
        return golden.new(id)

    def _without_stale(self, case: Case, person: Resource, mine: Iterable[Key]) -> Resource:
        """The Person without identifiers that no Patient states any more (and that no card was issued for)."""
        stated = {(key.system, key.value) for other in case.others(person) for key in other.regional}
        return golden.keeping(person, stated | {(key.system, key.value) for key in mine})

    def _left(self, case: Case, person: Resource) -> Resource:
        """The golden record of a Person without the Patient."""
        rest = self._without_stale(case, golden.without_link(person, case.me), ())
        return golden.person(rest, case.patients(rest), [], self._rules)

    def _put(self, tx: Transaction, resource: Resource, now: int, origin: str) -> Version:
        return self._databases.put(tx, resource, method="PUT", origin=origin, now=now)[0]


def clashing(mine: Iterable[Key], theirs: Iterable[Key]) -> tuple[Key, ...]:
    """Keys of a single-valued kind in ``theirs`` where ``mine`` has another value of that kind."""
    values: dict[str, set[str]] = {}
    for key in mine:
        if key.kind is not None and key.kind.single:
            values.setdefault(key.system, set()).add(key.value)
    return tuple(key for key in theirs if key.system in values and values[key.system] != {key.value})


def disagree(patient: Resource, person: Resource) -> bool:
    """Name and birth date are both known and both different: somebody else's document."""
    born, theirs = patient.get("birthDate"), person.get("birthDate")
    mine, other = names(patient), names(person)
    return bool(born and theirs and born != theirs and mine and other and not mine & other)

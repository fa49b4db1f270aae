"""The linker: every Patient that is written belongs to exactly one regional Person.

A Person (FHIR R4 8.3) is the region's view of one human being: links to the Patients of the hospitals, the regional
identifiers, and golden demographics that can be computed again from the Patients at any time. Its id never changes and
names nothing about the person. A Person that turned out to be another one stays, inactive, and links to the survivor,
so that old ids redirect.

Registrations are joined along the evidence between them. Where it contradicts itself (two valid numbers, a human's
decision) the registrations concerned are sorted into Persons anew, the strongest evidence first, so that the outcome
does not depend on the order in which they came; what was cut, and what no score may decide, a Task asks a human.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any, Protocol

from hub.errors import HubError
from hub.mpi import golden, review
from hub.mpi.blocks import NAMES, Blocks, StoredBlocks
from hub.mpi.cache import FeatureCache
from hub.mpi.case import Case, Knowledge
from hub.mpi.clusters import Group, Partition, partition
from hub.mpi.evidence import SHOWN, Edge, decided, linked, two_numbers
from hub.mpi.features import regional
from hub.mpi.keys import PARTS
from hub.mpi.persons import PERSONS, Writing, before, redirects
from hub.mpi.review import Question
from hub.mpi.rules import Key, Rules, load
from hub.mpi.score import FIELDS
from hub.mpi.snapshot import Snapshot
from hub.search.expression import Equals, Expression, Match, Query, Term
from hub.store.protocol import Reader, Store, Transaction, Version

__all__ = ["PERSONS", "Databases", "Linker"]

Resource = dict[str, Any]
POPULATION = ("population",)
MAX_REDIRECTS = 16
MAX_QUESTIONS = 2
"""More Persons that look the same are not told apart by asking."""
MAX_SHARED = 20
MAX_MEMBERS = 200
"""So many registrations are sorted anew together; more are no person but a mistake, which the quality report shows."""
CUTS = ("two-documents", "decided-different")


class Databases(Protocol):
    """What the linker asks of the master databases."""

    def put(
        self, tx: Transaction, resource: Resource, *, method: str, origin: str = "", now: int | None = None
    ) -> tuple[Version, bool]: ...

    def decode(self, version: Version) -> Resource: ...

    def carrying(self, values: Iterable[str], system: str | None = None) -> Expression: ...

    def derive(self, type: str, terms: Callable[[Resource], Iterable[Term]]) -> None: ...


class Linker:
    """Keeps Persons in step with Patients, inside the transaction that writes the Patient.

    ``blocks`` makes the place where blocking keys are kept; by default the store itself.
    """

    def __init__(
        self,
        databases: Databases,
        rules: Rules | None = None,
        blocks: Callable[[FeatureCache, Rules], Blocks] = StoredBlocks,
    ) -> None:
        self._databases = databases
        self.rules = rules or load()
        unknown = {part for block in self.rules.blocks for part in block} - PARTS.keys()
        unknown |= self.rules.score.bits.keys() - FIELDS.keys()
        if unknown:
            raise HubError("configuration", f"no blocking part or field is called {min(unknown)!r}", "rules.toml")
        cache = FeatureCache(databases.decode, self.rules)
        self.blocks = blocks(cache, self.rules)
        self._known = Knowledge(databases.decode, self.rules, cache, self.blocks)
        for type in NAMES:
            databases.derive(type, self.blocks.terms)

    def open(self, store: Store, snapshot: Snapshot) -> None:
        """Learn what the store holds, before the first write."""
        self.blocks.open(store, snapshot)

    def close(self) -> None:
        """Keep what was learned; the store must still be open and nobody write to it."""
        self.blocks.close()

    # --- doors --------------------------------------------------------------------------------------------------------

    def link(
        self, tx: Transaction, patient: Resource, *, now: int, origin: str = "", version: int = 0
    ) -> list[Version]:
        """Find or found the Person of a Patient that was just written; the versions that were put.

        ``patient`` is the whole resource with its id; ``version`` its version, 0 when it is to be looked up. ``now`` is
        microseconds since 1970 UTC.
        """
        if not version:
            stored = tx.read("Patient", patient["id"])
            version = stored.version if stored else 1
        case = Case(tx, self._known, patient, version)
        before = self.blocks.before(tx, patient["id"], version)
        self.blocks.note(case.written)
        if before is not None and before.digest == case.features.digest:
            return []
        unlinked = before is not None and not before.merged <= case.features.merged  # ADT A37
        return self._link(tx, case, now, origin, anew=unlinked)

    def relink(self, tx: Transaction, patient: Resource, *, now: int, origin: str = "") -> list[Version]:
        """As ``link``, also when the Patient itself did not change: the evidence around it did."""
        stored = tx.read("Patient", patient["id"])
        return self._link(tx, Case(tx, self._known, patient, stored.version if stored else 1), now, origin)

    def unlink(self, tx: Transaction, patient_id: str, *, now: int, origin: str = "") -> list[Version]:
        """A Patient was deleted: its Person loses the link; a Person without links becomes inactive."""
        case = Case(tx, self._known)
        person = case.person_of(f"Patient/{patient_id}")
        if person is None:
            return []
        rest = frozenset(golden.links(person)) - {f"Patient/{patient_id}"}
        if rest:
            return self._write(tx, case, [rest], [person], (), now, origin)
        return [self._put(tx, golden.without_links(person), now, origin)]

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
        return versions + self._sort(tx, Case(tx, self._known), {one, other}, now, "")

    def sort(self, tx: Transaction, members: set[str], *, now: int) -> list[Version]:
        """Sort registrations and what belongs to them into Persons anew, as the rules in force say."""
        return self._sort(tx, Case(tx, self._known), members, now, "")

    def replay(self, tx: Transaction, person_id: str, *, now: int) -> list[Version]:
        """Make the Persons of a cluster again from its Patients."""
        person = self.person(tx, person_id)
        return [] if person is None else self._sort(tx, Case(tx, self._known), set(golden.links(person)), now, "")

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
        where = self._databases.carrying((key.value,), key.system)
        found = tx.find(Query(("Person",), where, databases=POPULATION, limit=MAX_SHARED))
        return [person for row in found if golden.is_active(person := self._databases.decode(row.version))]

    def patients_numbered(self, tx: Reader, key: Key) -> list[Resource]:
        """The Patients that carry a number of one hospital."""
        where = self._databases.carrying((key.value,), key.system)
        found = tx.find(Query(("Patient",), where, databases=POPULATION, limit=MAX_SHARED))
        return [self._databases.decode(row.version) for row in found]

    def weigh(self, tx: Reader, patient: Resource) -> tuple[list[Edge], list[Resource]]:
        """What connects a Patient, which need not be stored, to registrations that are, the strongest first; and the
        Persons that it belongs to by that."""
        return self._weighed(Case(tx, self._known, patient))

    def preview(self, tx: Reader, members: set[str]) -> list[Group]:
        """The Persons that ``sort`` would make of these registrations and what belongs to them."""
        case = Case(tx, self._known)
        known, pool, tasks = self._connected(case, members)
        edges = [*case.edges_among(known), *self._remembered(case, known, pool, tasks)]
        return [
            frozenset(one for one in group if one.startswith("Patient/"))
            for group in partition(known, edges, self._apart(case, known, tasks)).groups
        ]

    # --- the decision -------------------------------------------------------------------------------------------------

    def _link(self, tx: Transaction, case: Case, now: int, origin: str, *, anew: bool = False) -> list[Version]:
        for guard in sorted(set(_guards(case))):
            tx.guard(guard)
        edges, pool = self._weighed(case)
        members = {case.me, *(link for person in pool for link in golden.links(person))}
        tasks = case.tasks(members)
        if anew or self._contradicted(case, members, tasks):
            return self._sort(tx, case, members, now, origin, edges)
        group = frozenset(members)
        versions = self._write(tx, case, [group], pool, edges, now, origin)
        return versions + self._ask(tx, case, group, edges, tasks, now, origin)

    def _weighed(self, case: Case) -> tuple[list[Edge], list[Resource]]:
        """What connects the Patient to others, and the Persons that it belongs to by that, its own included."""
        edges = case.edges()
        found = [case.person_of(case.me), *(case.person_of(edge.other) for edge in edges if edge.joins)]
        return edges, list({person["id"]: person for person in found if person is not None}.values())

    def _contradicted(self, case: Case, members: set[str], tasks: list[Resource]) -> bool:
        """Whether these must not all be one person, or something was cut off from them before."""
        numbers = {key.value for member in members for key in case.keys_of(member) if key.kind is self.rules.single}
        if len(numbers) > 1:
            return True
        different = (review.pair(task) for task in tasks if review.verdict(task) == review.DIFFERENT)
        return any(map(members.issuperset, different)) or any(_cuts(task) and review.is_open(task) for task in tasks)

    def _sort(
        self, tx: Transaction, case: Case, seeds: set[str], now: int, origin: str, edges: Iterable[Edge] = ()
    ) -> list[Version]:
        """Sort registrations into Persons anew, with all that ever was cut off from them."""
        members, pool, tasks = self._connected(case, seeds)
        known = [*case.edges_among(members), *self._remembered(case, members, pool, tasks)]
        parts = partition(members, known, self._apart(case, members, tasks))
        versions = self._write(tx, case, parts.groups, pool, known, now, origin, again=True)
        for question in self._cut(case, parts, tasks):
            versions += self._question(tx, question, now, origin)
        for group in parts.groups:
            mine = edges if case.me in group else ()
            versions += self._ask(tx, case, group, mine, tasks, now, origin)
        return versions

    def _connected(self, case: Case, seeds: set[str]) -> tuple[set[str], list[Resource], list[Resource]]:
        """The registrations of the seeds' Persons, of those cut off from them, and so on; their Persons and Tasks."""
        members: set[str] = set()
        pool: dict[str, Resource] = {}
        tasks: dict[str, Resource] = {}
        waiting = set(seeds)
        while waiting and len(members) < MAX_MEMBERS:
            person = case.person_of(reference := min(waiting))
            found = {reference}
            if person is not None:
                pool[person["id"]] = person
                found |= set(golden.links(person))
                if any(map(golden.is_issued, person.get("identifier", ()))):
                    found.add(f"Person/{person['id']}")
            found = {one for one in found - members if case.resource(one) is not None}
            members |= found
            for task in case.tasks(sorted(found)):
                tasks[task["id"]] = task
                if _cuts(task) or review.verdict(task):
                    waiting |= set(review.pair(task))
            waiting -= members | {reference}
        return members, list(pool.values()), list(tasks.values())

    def _remembered(self, case: Case, members: set[str], pool: list[Resource], tasks: list[Resource]) -> Iterable[Edge]:
        """Edges that the registrations of today need not show: decisions, cards issued, evidence before an update."""
        for task in tasks:
            if review.verdict(task) == review.SAME and review.pair(task) <= members:
                yield decided(*sorted(review.pair(task)))
        for person in pool:
            first, *rest = golden.links(person) or [""]
            for reference in rest:
                features = case.features_of(reference)
                assurance, said_by = golden.link_of(person, reference)
                if features is not None and features.version > 1 and reference != case.me and said_by not in SHOWN:
                    yield linked(first, reference, said_by, assurance)
            if (own := f"Person/{person['id']}") in members and first:
                holder = self._holder(case, person) if any(map(_parts, tasks)) else first
                yield linked(holder, own, "issued", "level4")

    def _holder(self, case: Case, person: Resource) -> str:
        """The first registration of a Person that did not come with one merged into it."""
        merged = (before(case, version) for version in redirects(case, (person["id"],)))
        came = {link for one in merged if one is not None for link in golden.links(one)}
        links = golden.links(person)
        return next((link for link in links if link not in came), links[0])

    def _apart(self, case: Case, members: set[str], tasks: list[Resource]) -> Callable[[Group, Group], bool]:
        """Whether two groups are two people: two different valid numbers, or a human said so."""
        features = {member: one for member in members if (one := case.features_of(member)) is not None}
        different = {review.pair(task) for task in tasks if review.verdict(task) == review.DIFFERENT}

        def apart(one: Group, other: Group) -> bool:
            pairs = list(product(one, other))
            return any(
                frozenset(pair) in different or two_numbers(features[pair[0]], features[pair[1]]) for pair in pairs
            )

        return apart

    def _cut(self, case: Case, parts: Partition, tasks: list[Resource]) -> Iterable[Question]:
        """What was overruled: evidence, and that the Patient belonged to a Person that it must leave."""
        different = {review.pair(task) for task in tasks if review.verdict(task) == review.DIFFERENT}
        group_of = {member: group for group in parts.groups for member in group}
        said = {edge.pair: edge.said_by for edge in parts.cut}
        if not any(case.me in pair for pair in said):
            former = golden.links(case.person_of(case.me) or {})
            left = [one for one in former if one in group_of and one not in group_of[case.me]]
            said |= {(case.me, one): "" for one in left[:1]}
        for (one, other), evidence in said.items():
            pairs = map(frozenset, product(group_of[one], group_of[other]))
            reason = "decided-different" if any(pair in different for pair in pairs) else "two-documents"
            yield Question(reason, one, other, evidence=evidence)

    # --- questions ----------------------------------------------------------------------------------------------------

    def _ask(
        self, tx: Transaction, case: Case, group: Group, edges: Iterable[Edge], tasks: list[Resource], now: int,
        origin: str,
    ) -> list[Version]:  # fmt: skip
        """Ask what is open between the Patient and other Persons; close what is one Person now."""
        versions: list[Version] = []
        asked: set[str] = set()
        for edge in edges:
            if edge.joins or edge.other in group or len(asked) == MAX_QUESTIONS:
                continue
            person = case.person_of(edge.other)
            if person is not None and person["id"] not in asked:
                asked.add(person["id"])
                question = Question(edge.objection, edge.one, edge.other, evidence=edge.said_by)
                versions += self._question(tx, question, now, origin)
        for task in tasks:
            if review.is_open(task) and review.pair(task) <= group:
                versions.append(self._put(tx, review.answered(task), now, origin))
        return versions

    def _question(self, tx: Transaction, question: Question, now: int, origin: str) -> list[Version]:
        """The Task, if the question was not asked before; what was decided stays decided."""
        return [] if tx.read("Task", question.task_id) else [self._put(tx, question.task(), now, origin)]

    # --- writing ------------------------------------------------------------------------------------------------------

    def _write(
        self, tx: Transaction, case: Case, groups: list[Group], pool: list[Resource], edges: Iterable[Edge], now: int,
        origin: str, *, again: bool = False,
    ) -> list[Version]:  # fmt: skip
        return Writing(case, groups, pool, edges, lambda one: self._put(tx, one, now, origin), again=again).run()

    def _put(self, tx: Transaction, resource: Resource, now: int, origin: str) -> Version:
        return self._databases.put(tx, resource, method="PUT", origin=origin, now=now)[0]


def _cuts(task: Resource) -> bool:
    """Whether the Task is about evidence that was overruled."""
    return review.reason(task) in CUTS


def _guards(case: Case) -> Iterable[str]:
    """What concurrent registrations of one person wait on: identifiers, and how the name reads."""
    features = case.features
    own = [*regional(features, case.rules), *(Key(system, value) for system, value in features.local)]
    yield from (key.guard for key in own)
    yield from (f"mpi:name:{reading}" for reading in features.readings if features.named)


def _parts(task: Resource) -> bool:
    """Whether a Task keeps registrations apart."""
    return _cuts(task) or review.verdict(task) == review.DIFFERENT

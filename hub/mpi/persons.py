"""Groups of registrations become Persons: which Person a group is, its links with their evidence, its golden record."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any

from hub.mpi import golden
from hub.mpi.case import Case
from hub.mpi.clusters import Group
from hub.mpi.evidence import Edge
from hub.mpi.rules import Key
from hub.search.expression import In, Match, Query
from hub.store.protocol import Version

Resource = dict[str, Any]
Put = Callable[[Resource], Version]
PERSONS = uuid.UUID("5e0c7c3c-6b0e-5d0a-9a53-0f3f6f0b7a11")
"""Namespace of Person ids: uuid5 of the reference of the Patient that founded it."""
MAX_FOUNDED = 1000
MAX_BACK = 50
"""Versions of a Person that was merged away that are looked at for the cards it had."""


class Writing:
    """One outcome of linking, written: ``groups`` of registrations, ``pool`` all active Persons concerned.

    A link that stays keeps its evidence, only that of the Patient being written is renewed; with ``again`` all are made
    from ``edges``.
    """

    def __init__(
        self, case: Case, groups: list[Group], pool: list[Resource], edges: Iterable[Edge], put: Put, *, again: bool
    ) -> None:
        self._case = case
        self._groups = sorted(groups, key=lambda group: (-len(group), sorted(group)))
        self._pool = {person["id"]: person for person in sorted(pool, key=_size)}
        self._put = put
        self._again = again
        self._entries: dict[str, Resource] = {
            link["target"]["reference"]: link for one in pool for link in one.get("link", ())
        }
        self._order = {reference: place for place, reference in enumerate(self._entries)}
        self._best = _best(edges, groups)
        self._had: dict[str, list[tuple[str, str]]] = {}

    def run(self) -> list[Version]:
        """Write the Persons of the groups and the redirects of those that are no more."""
        taken = self._taken()
        merged = {id: group for id, group in self._home().items() if taken[group]["id"] != id}
        versions = []
        for id, group in merged.items():
            survivor = taken[group]
            taken[group] = golden.with_cards_of(survivor, self._pool[id])
            versions.append(self._put(golden.redirected(self._pool[id], survivor["id"])))
        issued = {golden.pair(one): group for group in self._groups for one in golden.issued(taken[group])}
        stated = {
            group: {pair: key for pair, key in self._stated(group).items() if issued.get(pair, group) is group}
            for group in self._groups
        }
        held = self._held(taken, stated)
        for group in self._groups:
            for key in stated[group]:
                held.setdefault(key, group)
            keys = [key for key in stated[group].values() if held[_pair(key)] is group]
            person = {**taken[group], "active": True, "link": self._links(group)}
            versions.append(self._put(self._golden(person, keys)))
        return versions

    def _held(self, taken: dict[Group, Resource], stated: dict[Group, dict[tuple[str, str], Key]]) -> dict[Any, Group]:
        """Who keeps an identifier that two state: the Person that comes back with it, else the one that carries it."""
        held: dict[Any, Group] = {}
        for carried in (lambda one: self._had.get(one["id"], []), self._carried):
            for group in self._groups:
                for key in carried(taken[group]):
                    if key in stated[group]:
                        held.setdefault(key, group)
        return held

    # --- which Person -------------------------------------------------------------------------------------------------

    def _home(self) -> dict[str, Group]:
        """The group of each Person of the pool: where its card is, its founder, or most of its registrations."""
        if len(self._groups) == 1:
            return dict.fromkeys(self._pool, self._groups[0])
        founded = {str(uuid.uuid5(PERSONS, one)): group for group in self._groups for one in group}
        issued = {one.removeprefix("Person/"): group for group in self._groups for one in group}
        return {id: issued.get(id) or founded.get(id) or self._largest(person) for id, person in self._pool.items()}

    def _largest(self, person: Resource) -> Group:
        links = set(golden.links(person))
        return max(self._groups, key=lambda group: len(group & links))

    def _taken(self) -> dict[Group, Resource]:
        """The Person that each group is: the first of the pool whose home it is, one it had before, or a new one."""
        taken: dict[Group, Resource] = {}
        for id, group in self._home().items():
            taken.setdefault(group, self._pool[id])
        for group in self._groups:
            if group not in taken:
                taken[group] = self._found(group)
        return {group: self._pool.get(person["id"], person) for group, person in taken.items()}

    def _found(self, group: Group) -> Resource:
        """A Person that a registration of the group founded and that is no more, with its cards; else a new one."""
        for gone in redirects(self._case, self._pool):
            if (old := before(self._case, gone)) is not None and group & set(golden.links(old)):
                return self._again_with_cards(gone)
        free: list[str] = []
        for founder in sorted(group, key=lambda one: (one != self._case.me, one)):
            for count in range(MAX_FOUNDED):
                id = str(uuid.uuid5(PERSONS, founder if not count else f"{founder}#{count}"))
                version = self._case.tx.read("Person", id)
                if version is None or version.deleted:
                    free.append(id)
                    break
                if not golden.is_active(self._case.known.decode(version)):
                    return self._again_with_cards(version)
        return golden.new(free[0])

    def _again_with_cards(self, version: Version) -> Resource:
        """A Person that was merged away comes back, and the cards that it had leave the one that inherited them."""
        person, old = golden.new(version.id), before(self._case, version)
        if old is None:
            return person
        self._had[person["id"]] = self._carried(old)
        return self._move_cards(person, {golden.pair(one) for one in golden.issued(old)})

    def _move_cards(self, person: Resource, cards: set[tuple[str, str]]) -> Resource:
        moved: list[Resource] = []
        for id, other in self._pool.items():
            moved += [one for one in golden.issued(other) if golden.pair(one) in cards]
            rest = [one for one in other.get("identifier", ()) if golden.pair(one) not in cards]
            self._pool[id] = {**other, "identifier": rest}
        return {**person, "identifier": moved} if moved else person

    # --- what it says -------------------------------------------------------------------------------------------------

    def _links(self, group: Group) -> list[Resource]:
        """The links in the order in which they were made; the first registration founded the Person."""
        patients = [one for one in group if one.startswith("Patient/")]
        patients.sort(key=lambda one: (self._order.get(one, len(self._order)), one))
        return [self._link(one, first=one == patients[0]) for one in patients]

    def _link(self, reference: str, *, first: bool) -> Resource:
        entry, edge = self._entries.get(reference), self._best.get(reference)
        if self._again and first:
            return golden.link(reference, "level1", "founded")
        if entry is not None and (edge is None or (not self._again and edge.assurance <= entry["assurance"])):
            return entry
        if edge is None:
            return golden.link(reference, "level1", "founded")
        return golden.link(reference, edge.assurance, edge.said_by)

    def _stated(self, group: Group) -> dict[tuple[str, str], Key]:
        """The identifiers that registrations of the group state and that no Person outside the pool carries."""
        keys = {_pair(key): key for one in sorted(group) for key in self._case.keys_of(one)}
        known = {pair for person in self._pool.values() for pair in self._carried(person)}
        new = [key for pair, key in keys.items() if pair not in known]
        for person in self._case.carriers(new):
            if person["id"] not in self._pool:
                for pair in self._carried(person):
                    keys.pop(pair, None)
        return keys

    def _carried(self, person: Resource) -> list[tuple[str, str]]:
        return [golden.pair(one) for one in person.get("identifier", ())]

    def _golden(self, person: Resource, keys: list[Key]) -> Resource:
        references = golden.links(person)
        patients = [patient for one in references if (patient := self._case.resource(one)) is not None]
        sure = {one.removeprefix("Patient/") for one in references if (own := self._case.features_of(one)) and own.ids}
        base = golden.issued_only(person)
        return golden.person(base, patients, sure, keys, self._case.rules)


def _size(person: Resource) -> tuple[int, str]:
    return -len(person.get("link", ())), person["id"]


def _pair(key: Key) -> tuple[str, str]:
    return key.system, key.value


def _best(edges: Iterable[Edge], groups: Iterable[Group]) -> dict[str, Edge]:
    """The strongest edge of each registration within its group."""
    group_of = {member: group for group in groups for member in group}
    best: dict[str, Edge] = {}
    for edge in sorted((edge for edge in edges if edge.joins), key=lambda edge: edge.rank):
        if edge.one in group_of and edge.other in group_of[edge.one]:
            best.setdefault(edge.one, edge)
            best.setdefault(edge.other, edge)
    return best


def redirects(case: Case, ids: Iterable[str]) -> list[Version]:
    """The Persons that were merged into these."""
    survivors = tuple(f"Person/{id}" for id in ids)
    if not survivors:
        return []
    query = Query(("Person",), Match("link", In(survivors)), databases=("population",), limit=MAX_BACK)
    versions = (row.version for row in case.tx.find(query))
    return [version for version in versions if not golden.is_active(case.known.decode(version))]


def before(case: Case, version: Version) -> Resource | None:
    """What a Person was before it was merged away."""
    for number in range(version.version - 1, max(0, version.version - MAX_BACK), -1):
        earlier = case.tx.vread("Person", version.id, number)
        if earlier is None or earlier.deleted:
            break
        old = case.known.decode(earlier)
        if golden.is_active(old):
            return old
    return None

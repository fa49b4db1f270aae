"""Care for the master patient index: what its data say about themselves, and what other rules would change."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import combinations
from typing import Any

from hub.databases.database import Databases
from hub.mpi import golden, keys
from hub.mpi.blocks import MAX_BLOCK
from hub.mpi.clusters import Group
from hub.mpi.evidence import Edge, evidence
from hub.mpi.features import Features, compile_patient
from hub.mpi.index import Index
from hub.mpi.link import Linker
from hub.search.expression import Query
from hub.store.protocol import Store, Version

Resource = dict[str, Any]
PAGE = 500
MAX_ROWS = 1000
"""Rows of each finding; the number of all is always given."""
LARGE = 20
"""So many registrations of one person are looked at by a human."""
THIN = 3.0
"""A person held together by evidence less than this many bits above the limit is looked at by a human."""


class Stewardship:
    """The door for those who keep the index: reports, and sorting anew."""

    def __init__(self, store: Store, databases: Databases, linker: Linker, clock: Callable[[], int]) -> None:
        self._store = store
        self._databases = databases
        self._linker = linker
        self._clock = clock

    # --- quality ------------------------------------------------------------------------------------------------------

    def quality(self) -> Resource:
        """Duplicates within a source, overlays, suspicious clusters: counts and rows."""
        duplicates: list[Resource] = []
        suspicious: list[Resource] = []
        persons = registrations = 0
        for person in self._persons():
            persons += 1
            members = self._members(person)
            registrations += len(members)
            duplicates += _duplicates(person, members)
            suspicious += self._suspicious(person, members)
        overlays = list(self._overlays())
        found = {"duplicates": duplicates, "overlays": overlays, "suspicious": suspicious}
        return {
            "persons": persons,
            "registrations": registrations,
            "counts": {name: len(rows) for name, rows in found.items()},
            **{name: rows[:MAX_ROWS] for name, rows in found.items()},
        }

    def _persons(self) -> Iterator[Resource]:
        found = (self._databases.decode(version) for version in self._current("Person"))
        return (person for person in found if golden.is_active(person))

    def _members(self, person: Resource) -> list[Features]:
        versions = (self._store.read("Patient", link.partition("/")[2]) for link in golden.links(person))
        return [self._compiled(version) for version in versions if version is not None and not version.deleted]

    def _compiled(self, version: Version) -> Features:
        return compile_patient(self._databases.decode(version), self._linker.rules, version.version)

    def _current(self, type: str) -> Iterator[Version]:
        after: tuple[Any, ...] | None = None
        while page := self._store.find(Query((type,), databases=("population",), after=after, limit=PAGE)):
            yield from (row.version for row in page)
            after = page[-1].key

    def _suspicious(self, person: Resource, members: list[Features]) -> Iterator[Resource]:
        """Too many registrations, several valid numbers, too many names, or thin evidence between two parts."""
        row = {"person": person["id"], "registrations": [one.reference for one in members]}
        if len(members) > LARGE:
            yield {**row, "why": "large", "text": f"{len(members)} 份登记 / {len(members)} registrations"}
            return
        numbers = set().union(*(one.ids for one in members))
        if len(numbers) > 1:
            yield {**row, "why": "two-documents", "text": "两个有效证件号 / two valid numbers"}
        edges = [edge for pair in combinations(members, 2) if (edge := self._edge(*pair)) is not None and edge.joins]
        limit = self._linker.rules.score.link + THIN
        weak = [edge for edge in _spanning(edges) if edge.strength < limit]
        for edge in weak:
            yield {**row, "why": "thin", "text": f"证据薄弱 / thin evidence: {edge.said_by}", "pair": list(edge.pair)}

    def _edge(self, one: Features, other: Features) -> Edge | None:
        return evidence(one, other, self._linker.rules, lambda name: 0.0)

    def _overlays(self) -> Iterator[Resource]:
        """Records in which name and birth date became those of somebody else."""
        for version in self._current("Patient"):
            before = self._store.vread("Patient", version.id, version.version - 1) if version.version > 1 else None
            if before is None or before.deleted:
                continue
            old, new = self._compiled(before), self._compiled(version)
            both = old.named and new.named and old.born and new.born
            if both and old.born != new.born and set(old.readings).isdisjoint(new.readings):
                names = f"{'/'.join(old.names)} → {'/'.join(new.names)}"
                yield {"patient": new.reference, "version": version.version, "text": names}

    # --- relink -------------------------------------------------------------------------------------------------------

    def relink(self, *, apply: bool = False) -> Resource:
        """What the rules in force make of all registrations, against the persons there are; ``apply`` makes it so.

        Each difference names the registrations as they are grouped now and as they would be.
        """
        groups, now = self._groups(), {frozenset(golden.links(person)) for person in self._persons()}
        then = {group for group in groups if group not in now}
        parts = _differences(now - set(groups), then)
        if apply:
            for part in parts:
                members = {one for group in part["then"] for one in group}
                self._store.write(partial(self._linker.sort, members=members, now=self._clock()))
        changed = {"persons": len(now), "differences": len(parts), "applied": apply}
        return {**changed, "rows": parts[:MAX_ROWS], "rules": self._linker.rules.version}

    def _groups(self) -> list[Group]:
        """The persons that all registrations make under the rules in force."""
        index, known = Index(), list[Features]()
        edges: dict[str, set[str]] = defaultdict(set)
        for version in self._current("Patient"):
            features = self._compiled(version)
            asked = keys.asked(features, self._linker.rules)
            for slot in index.find(asked, MAX_BLOCK):
                edge = self._edge(features, known[slot])
                if edge is not None and edge.joins:
                    edges[edge.one].add(edge.other)
                    edges[edge.other].add(edge.one)
            index.add(b"patient", asked)
            known.append(features)
        for person in self._persons():
            for one, other in combinations(golden.links(person)[:LARGE], 2):
                edges[one].add(other)  # what is linked now is looked at together
                edges[other].add(one)
        groups: list[Group] = []
        for component in _components([one.reference for one in known], edges):
            groups += self._linker.preview(self._store, set(component)) if len(component) > 1 else [component]
        return groups


def _duplicates(person: Resource, members: Iterable[Features]) -> Iterator[Resource]:
    """Two live numbers of one source for one person."""
    held = Counter(system for one in members for system in {system for system, _ in one.local} if not one.merged)
    for system, count in held.items():
        if count > 1:
            records = [one.reference for one in members if system in one.sources]
            yield {"person": person["id"], "source": system, "registrations": records}


def _spanning(edges: list[Edge]) -> Iterator[Edge]:
    """The strongest edges that hold a cluster together."""
    group_of: dict[str, set[str]] = {}
    for edge in sorted(edges, key=lambda edge: edge.rank):
        one, other = group_of.setdefault(edge.one, {edge.one}), group_of.setdefault(edge.other, {edge.other})
        if one is not other:
            one |= other
            group_of.update(dict.fromkeys(other, one))
            yield edge


def _components(members: list[str], edges: dict[str, set[str]]) -> Iterator[Group]:
    seen: set[str] = set()
    for member in members:
        if member not in seen:
            component, waiting = {member}, [member]
            while waiting:
                fresh = edges[waiting.pop()] - component
                component |= fresh
                waiting += fresh
            seen |= component
            yield frozenset(component)


def _differences(now: Iterable[Group], then: Iterable[Group]) -> list[Resource]:
    """Groups of now and then that share a registration, together."""
    groups = [("now", group) for group in now] + [("then", group) for group in then]
    edges: dict[str, set[str]] = defaultdict(set)
    for _, group in groups:
        first, *rest = sorted(group)
        for other in rest:
            edges[first].add(other)
            edges[other].add(first)
    rows = []
    for component in _components(sorted({one for _, group in groups for one in group}), edges):
        rows.append({side: sorted(sorted(g) for name, g in groups if name == side and g <= component)
                     for side in ("now", "then")})  # fmt: skip
    return rows

"""What is known around the registrations being linked: each thing is read once, from the transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hub.mpi import golden, review
from hub.mpi.blocks import Blocks
from hub.mpi.cache import FeatureCache
from hub.mpi.evidence import Edge, decided, evidence
from hub.mpi.features import Features, compile_patient, regional
from hub.mpi.keys import key_block, link_block
from hub.mpi.rules import Key, Rules
from hub.store.protocol import Reader, Version

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What all cases share."""

    decode: Callable[[Version], Resource]
    rules: Rules
    cache: FeatureCache
    blocks: Blocks


class Case:
    """The readings of one transaction; ``me`` refers to the Patient being written, if it is about one."""

    def __init__(self, tx: Reader, known: Knowledge, patient: Resource | None = None, version: int = 0) -> None:
        self.tx = tx
        self.known = known
        self.rules = known.rules
        self._resources: dict[str, Resource | None] = {}
        self._features: dict[str, Features] = {}
        self._persons: dict[str, Resource | None] = {}
        self._tasks: dict[str, list[Resource]] = {}
        self._carriers: dict[tuple[str, str], list[Resource]] = {}
        self.me = ""
        if patient is not None:
            self.written = known.cache.written(patient, version)
            self.features = self.written.features
            self.me = self.features.reference
            self._resources[self.me] = patient
            self._features[self.me] = self.features

    # --- registrations ------------------------------------------------------------------------------------------------

    def resource(self, reference: str) -> Resource | None:
        """A Patient as it is now, or a Person that stands for a card issued to it; None when it is gone."""
        if reference not in self._resources:
            version = self.tx.read(*reference.split("/"))
            found = None if version is None or version.deleted else self.known.decode(version)
            self._resources[reference] = found
            if found is not None and version is not None and version.type == "Patient":
                self._features.setdefault(reference, self.known.cache.of(version, found))
        return self._resources[reference]

    def features_of(self, reference: str) -> Features | None:
        """The features of a registration as it is now."""
        if reference not in self._features and (found := self.resource(reference)) is not None:
            self._features.setdefault(reference, compile_patient(found, self.rules))
        return self._features.get(reference)

    def _current(self, proposed: Features) -> Features | None:
        """The features of a proposed Patient, read anew if it was written since, None if it is gone."""
        version = self.tx.read(*proposed.reference.split("/"))
        if version is None or version.deleted:
            return None
        if version.version == proposed.version:
            return proposed
        return self.known.cache.of(version)

    def keys_of(self, reference: str) -> list[Key]:
        """The identifiers that a registration states and that decide."""
        features = self.features_of(reference)
        return [] if features is None else regional(features, self.rules)

    # --- edges --------------------------------------------------------------------------------------------------------

    def edges(self) -> list[Edge]:
        """What connects the Patient to other registrations, the strongest first."""
        found = []
        for proposed in self.known.blocks.alike(self.tx, self.written):
            if self._edge(self.features, proposed) is None:
                continue
            other = self._current(proposed)
            edge = None if other is None else self._edge(self.features, other)
            if other is not None and edge is not None:
                self._features.setdefault(other.reference, other)
                found.append(edge)
        for person in self._issued():
            if (edge := self._edge(self.features, compile_patient(person, self.rules))) is not None:
                found.append(edge)
        for task in self.tasks((self.me,)):
            if review.verdict(task) == review.SAME:
                found.append(decided(self.me, *(review.pair(task) - {self.me})))
        return sorted(found, key=lambda edge: edge.rank)

    def _edge(self, one: Features, other: Features) -> Edge | None:
        return evidence(one, other, self.rules, self._commonness)

    def _commonness(self, name: str) -> float:
        bearers, registrations = self.known.blocks.bearers(self.tx, name)
        return self.rules.score.common_name(bearers, registrations) if registrations else 0.0

    def _issued(self) -> Iterator[Resource]:
        """The Persons to whom a card was issued, or a number bound, that the Patient shows: they stand for it."""
        local = (Key(system, value) for system, value in self.features.local)
        for person in self.carriers((*regional(self.features, self.rules), *local)):
            if any(map(golden.is_issued, person.get("identifier", ()))):
                yield person

    def edges_among(self, members: Iterable[str]) -> list[Edge]:
        """What connects these registrations to each other."""
        known = [one for member in sorted(members) if (one := self.features_of(member)) is not None]
        pairs = ((one, other) for place, one in enumerate(known) for other in known[:place])
        return [edge for pair in pairs if (edge := self._edge(*pair)) is not None]

    # --- Persons ------------------------------------------------------------------------------------------------------

    def person_of(self, reference: str) -> Resource | None:
        """The active Person that a registration belongs to."""
        if reference and reference not in self._persons:
            for person in self._active(self.known.blocks.find(self.tx, "Person", [link_block(reference)])):
                for link in golden.links(person):
                    self._persons[link] = person
            if reference.startswith("Person/"):
                self._persons[reference] = self.resource(reference)
        return self._persons.setdefault(reference, None)

    def carriers(self, wanted: Iterable[Key]) -> list[Resource]:
        """The active Persons that carry any of these identifiers."""
        pairs = {(key.system, key.value) for key in wanted}
        if missing := pairs - self._carriers.keys():
            self._carriers.update((pair, []) for pair in missing)
            found = self.known.blocks.find(self.tx, "Person", [key_block(Key(*pair)) for pair in missing])
            for person in self._active(found):
                for pair in missing.intersection(map(golden.pair, person.get("identifier", ()))):
                    self._carriers[pair].append(person)
        return list({person["id"]: person for pair in pairs for person in self._carriers[pair]}.values())

    def _active(self, versions: Iterable[Version]) -> list[Resource]:
        return [person for version in versions if golden.is_active(person := self.known.decode(version))]

    # --- Tasks --------------------------------------------------------------------------------------------------------

    def tasks(self, references: Iterable[str]) -> list[Resource]:
        """The review Tasks about any of these registrations."""
        wanted = list(references)
        missing = [reference for reference in wanted if reference not in self._tasks]
        if missing:
            self._tasks.update((reference, []) for reference in missing)
            for version in self.known.blocks.find(self.tx, "Task", map(link_block, missing)):
                task = self.known.decode(version)
                for reference in review.pair(task):
                    if reference in missing:
                        self._tasks[reference].append(task)
        return list({task["id"]: task for reference in wanted for task in self._tasks[reference]}.values())

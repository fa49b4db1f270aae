"""One registration being linked: what is known around it, each thing read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from hub.mpi import golden, review
from hub.mpi.features import BLOCK, FeatureCache, Features, key_block, link_block
from hub.mpi.rules import Key, Rules
from hub.search.expression import Expression, In, Match, Query
from hub.store.protocol import Reader, Version

Resource = dict[str, Any]
MAX_SHARED = 20
"""More holders of one identifier than this are not looked at: such a number identifies nobody."""
MAX_BLOCK = 64
MAX_FOUND = 2 * MAX_BLOCK
MAX_TASKS = 200
POPULATION = ("population",)


class Crowded:
    """Blocking keys that were found to have too many members, so that they are not asked for again."""

    def __init__(self, size: int = 100_000) -> None:
        self.keys: set[str] = set()
        self._size = size

    def add(self, keys: Iterable[str]) -> None:
        """Remember keys; when there are too many, begin anew: they would only be found again."""
        if len(self.keys) >= self._size:
            self.keys = set()
        self.keys |= set(keys)


class Case:
    """The view of one ``link``: the Patient as written, and readings of the store, each made once."""

    def __init__(
        self,
        tx: Reader,
        decode: Callable[[Version], Resource],
        rules: Rules,
        cache: FeatureCache,
        crowded: Crowded,
        patient: Resource,
    ) -> None:
        self._tx = tx
        self._decode = decode
        self._rules = rules
        self._cache = cache
        self._crowded = crowded
        self.patient = patient
        self.me = f"Patient/{patient['id']}"
        self.features = cache.written(patient)
        self._versions: dict[str, Version | None] = {}
        self._persons: dict[str, Resource | None] = {}
        self._around: list[Resource] = []
        self.alike: list[Features] = []
        """Other Patients that share a blocking key or a hospital's number with this one, or were merged into it."""
        self._look_around()

    def _look_around(self) -> None:
        """Find, with one query, the Persons that carry an identifier or link to this Patient, and the Patients alike.

        A block of 64 and more Patients says nothing and is left out.
        """
        keys = map(key_block, (*self.features.regional, *self.features.local))
        sure = {link_block(self.me), *keys}
        blocks = self.features.blocks - self._crowded.keys
        while True:
            query = Query(("Person", "Patient"), _in(sure | blocks), databases=POPULATION, limit=MAX_FOUND)
            rows = [row.version for row in self._tx.find(query)]
            patients = [version for version in rows if version.type == "Patient" and version.id != self.patient["id"]]
            found = [self._cache.of(version) for version in patients]
            sizes = Counter(key for one in found for key in one.blocks & blocks)
            crowded = {key for key, size in sizes.items() if size >= MAX_BLOCK}
            if not crowded:
                break
            self._crowded.add(crowded)
            blocks -= crowded
        self._versions.update((f"Patient/{version.id}", version) for version in patients)
        self.alike = found
        if len(rows) < MAX_FOUND:
            self._around = self._active(version for version in rows if version.type == "Person")
        else:
            self._around = self._persons_in(sure)
        self._persons.setdefault(self.me, None)

    def _persons_in(self, keys: set[str]) -> list[Resource]:
        query = Query(("Person",), _in(keys), databases=POPULATION, limit=MAX_SHARED)
        return self._active(row.version for row in self._tx.find(query))

    def _active(self, versions: Iterable[Version]) -> list[Resource]:
        persons = [person for version in versions if golden.is_active(person := self._decode(version))]
        for person in persons:
            self._persons.update(dict.fromkeys(golden.links(person), person))
        return persons

    # --- Patients -----------------------------------------------------------------------------------------------------

    def _version(self, reference: str) -> Version | None:
        if reference not in self._versions:
            version = self._tx.read("Patient", reference.partition("/")[2])
            self._versions[reference] = version if version is not None and not version.deleted else None
        return self._versions[reference]

    def patients(self, person: Resource) -> list[Resource]:
        """The linked Patients as they are now."""
        found = []
        for reference in golden.links(person):
            if reference == self.me:
                found.append(self.patient)
            elif (version := self._version(reference)) is not None:
                found.append(self._decode(version))
        return found

    def others(self, person: Resource) -> list[Features]:
        """The features of the Patients that a Person links to, without this one."""
        versions = (self._version(reference) for reference in golden.links(person) if reference != self.me)
        return [self._cache.of(version) for version in versions if version is not None]

    # --- Persons ------------------------------------------------------------------------------------------------------

    def person_of(self, reference: str) -> Resource | None:
        """The Person that links to a Patient."""
        if reference not in self._persons:
            self._persons_in({link_block(reference)})
            self._persons.setdefault(reference, None)
        return self._persons[reference]

    def holders(self, key: Key) -> list[Resource]:
        """The active Persons that carry an identifier of this Patient."""
        return [person for person in self._around if key in self._rules.person_keys(person)]

    # --- Tasks --------------------------------------------------------------------------------------------------------

    def decisions(self, references: Iterable[str]) -> list[Resource]:
        """Tasks that hold a human's decision about any of these registrations."""
        asked = tuple(references)
        return self.tasks(review.decisions_about(asked)) if asked else []

    def tasks(self, where: Expression) -> list[Resource]:
        """Review Tasks that meet a condition."""
        found = self._tx.find(Query(("Task",), where, limit=MAX_TASKS))
        return [self._decode(row.version) for row in found]


def _in(keys: Iterable[str]) -> Match:
    return Match(BLOCK, In(tuple(sorted(keys))))

"""One registration being linked: what is known around it, each thing read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hub.mpi import golden, review
from hub.mpi.features import BLOCK, Features, blocks, compile_patient
from hub.mpi.rules import Key, Rules
from hub.search.expression import Equals, Expression, In, Match, Query
from hub.store.protocol import Reader, Version

Resource = dict[str, Any]
MAX_SHARED = 20
"""More holders of one identifier than this are not looked at: such a number identifies nobody."""
MAX_CANDIDATES = 200
MAX_TASKS = 200
POPULATION = ("population",)


class Case:
    """The view of one ``link``: the Patient as written, and readings of the store, remembered."""

    def __init__(self, tx: Reader, decode: Callable[[Version], Resource], rules: Rules, patient: Resource) -> None:
        self._tx = tx
        self._decode = decode
        self._rules = rules
        self.patient = patient
        self.me = f"Patient/{patient['id']}"
        self.regional, self.local = rules.keys(patient)
        self._patients: dict[str, Resource | None] = {self.me: patient}
        self._persons: dict[str, Resource | None] = {}
        self._features: dict[str, Features] = {}

    def read(self, reference: str) -> Resource | None:
        """A Patient by reference, None when it is gone."""
        if reference not in self._patients:
            version = self._tx.read("Patient", reference.partition("/")[2])
            self._patients[reference] = self._decode(version) if version and not version.deleted else None
        return self._patients[reference]

    def features(self, reference: str) -> Features | None:
        """A Patient's features, None when it is gone."""
        if reference not in self._features:
            patient = self.read(reference)
            if patient is None:
                return None
            self._features[reference] = compile_patient(patient, self._rules)
        return self._features[reference]

    def patients(self, person: Resource, *, without_me: bool = False) -> list[Resource]:
        """The linked Patients as they are now."""
        references = (one for one in golden.links(person) if not (without_me and one == self.me))
        return [patient for reference in references if (patient := self.read(reference)) is not None]

    def person_of(self, reference: str) -> Resource | None:
        """The Person that links to a Patient."""
        if reference not in self._persons:
            query = Query(("Person",), Match("link", Equals(reference)), databases=POPULATION, limit=1)
            found = self._tx.find(query)
            self._persons[reference] = self._decode(found[0].version) if found else None
        return self._persons[reference]

    def holders(self, key: Key) -> list[Resource]:
        """The active Persons that carry a regional identifier."""
        where = Match("identifier", Equals(key.value, key.system))
        found = self._tx.find(Query(("Person",), where, databases=POPULATION, limit=MAX_SHARED))
        return [person for row in found if golden.is_active(person := self._decode(row.version))]

    def numbered(self, key: Key) -> Iterable[Resource]:
        """Persons to whom a number of one hospital is bound, or whose Patient carries it."""
        where = Match("identifier", Equals(key.value, key.system))
        for row in self._tx.find(Query(("Patient", "Person"), where, databases=POPULATION, limit=MAX_SHARED)):
            reference = f"{row.version.type}/{row.version.id}"
            if row.version.type == "Person":
                person = self._decode(row.version)
                if golden.is_active(person):
                    yield person
            elif reference != self.me and (holder := self.person_of(reference)) is not None:
                yield holder

    def merged_into_me(self) -> list[str]:
        """Patients that a hospital says were replaced by this one."""
        where = Match("link", Equals(self.me))
        found = self._tx.find(Query(("Patient",), where, databases=POPULATION, limit=MAX_SHARED))
        rows = (row.version for row in found)
        return [f"Patient/{row.id}" for row in rows if self.me in golden.merged_with(self._decode(row))]

    def alike(self) -> list[Features]:
        """Other Patients that share a blocking key with this one."""
        mine = self.features(self.me)
        keys = blocks(mine) if mine is not None else []
        if not keys:
            return []
        query = Query(("Patient",), Match(BLOCK, In(tuple(keys))), databases=POPULATION, limit=MAX_CANDIDATES)
        found = []
        for row in self._tx.find(query):
            reference = f"Patient/{row.version.id}"
            if reference != self.me:
                self._patients.setdefault(reference, self._decode(row.version))
                found.append(reference)
        return [features for reference in found if (features := self.features(reference)) is not None]

    def decisions(self, references: Iterable[str]) -> list[Resource]:
        """Tasks that hold a human's decision about any of these registrations."""
        asked = tuple(references)
        return self.tasks(review.decisions_about(asked)) if asked else []

    def tasks(self, where: Expression) -> list[Resource]:
        """Review Tasks that meet a condition."""
        found = self._tx.find(Query(("Task",), where, limit=MAX_TASKS))
        return [self._decode(row.version) for row in found]

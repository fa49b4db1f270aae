"""A region for the tests of the master patient index: a store with a linker, and short words."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from hub.databases.database import Databases
from hub.fhir import definitions
from hub.mpi import golden
from hub.mpi.blocks import Blocks, StoredBlocks
from hub.mpi.cache import FeatureCache
from hub.mpi.link import Linker
from hub.mpi.rules import Rules
from hub.search.expression import ALL, Query
from hub.search.parameters import Registry
from hub.store.protocol import Store

Resource = dict[str, Any]


@cache
def registry() -> Registry:
    """The search parameters of R4, read once."""
    return Registry(definitions.load())


class Region:
    """Registers Patients as ingest does and looks at what became of them."""

    def __init__(
        self, store: Store, clock: Callable[[], int], blocks: Callable[[FeatureCache, Rules], Blocks] = StoredBlocks
    ) -> None:
        self.store = store
        self.clock = clock
        self.databases = Databases(registry(), clock)
        self.linker = Linker(self.databases, blocks=blocks)

    def register(self, *patients: Resource) -> None:
        for patient in patients:
            now = self.clock()

            def work(tx: Any, patient: Resource = patient, now: int = now) -> None:
                if self.databases.put(tx, patient, method="PUT", now=now)[1]:
                    self.linker.link(tx, patient, now=now)

            self.store.write(work)

    def delete(self, id: str) -> None:
        now = self.clock()

        def work(tx: Any) -> None:
            self.databases.delete(tx, "Patient", id, now=now)
            self.linker.unlink(tx, id, now=now)

        self.store.write(work)

    def decide(self, one: str, other: str, same: bool) -> None:
        pair, now = (f"Patient/{one}", f"Patient/{other}"), self.clock()
        self.store.write(lambda tx: self.linker.decide(tx, *pair, same=same, actor="Li", note="", now=now))

    def all(self, type: str) -> list[Resource]:
        return [self.databases.decode(row.version) for row in self.store.find(Query((type,), ALL, limit=1000))]

    def persons(self) -> list[Resource]:
        """The active Persons."""
        return [person for person in self.all("Person") if person["active"]]

    def person(self, patient: str) -> Resource:
        person = self.linker.person_of(self.store, f"Patient/{patient}")
        assert person is not None
        return person

    def clusters(self) -> dict[str, frozenset[str]]:
        """Person id -> ids of its Patients."""
        return {
            person["id"]: frozenset(link.removeprefix("Patient/") for link in golden.links(person))
            for person in self.persons()
        }

    def together(self) -> set[frozenset[str]]:
        return set(self.clusters().values())

    def open_reasons(self) -> list[str]:
        tasks = [task for task in self.all("Task") if task["status"] == "requested"]
        return sorted(task["code"]["coding"][0]["code"] for task in tasks)

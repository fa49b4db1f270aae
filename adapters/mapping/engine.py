"""Runs the mapping tables: a message in, FHIR resources out. Tables are compiled once into closures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from adapters.mapping.compiler import Compiler, Reader
from adapters.mapping.conversions import Circumstances
from adapters.mapping.meaning import Meaning
from adapters.mapping.run import Problem, Resource, Run, Segment
from adapters.mapping.structure import Structure
from adapters.mapping.tables import Tables
from hub.errors import HubError

MAX_SENDERS, MAX_MEMORY = 32, 20_000
"""Of so many senders so many fields are remembered."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """The outcome: resources in order, values left out, segments no row maps, and the rest of what was said.

    That rest (``hub.services.amend.Statement``): slots to delete by reference; by type, whose word counts and what a
    cancelled event leaves.
    """

    resources: list[Resource]
    problems: list[Problem]
    unmapped: list[str]
    cleared: dict[str, list[str]]
    authority: dict[str, str]
    restores: dict[str, Any]
    inherits: dict[str, str]


class Engine:
    """All tables of an adapter, compiled; safe to share between threads."""

    def __init__(self, tables: Tables, reader: Reader) -> None:
        self.tables = tables
        self.compiler = Compiler(tables, reader)
        self.structures = {name: Structure(name, rows, self.compiler) for name, rows in tables.messages.items()}
        self.meaning = Meaning(tables, self.compiler)
        self._memories: dict[Any, dict[Any, Any]] = {}

    def run(
        self, event: str, segments: Iterable[Segment], *, delimiters: Any, codec: str, circumstances: Circumstances
    ) -> Mapped:
        """Map one message. HubError("event-unknown") when no table serves ``event`` (``ADT^A01``, ``ORU^``)."""
        name = self.tables.events.get(event)
        if name is None:
            raise HubError(
                "event-unknown", f"no mapping table serves {event}; the message is kept until one does", "MSH-9"
            )
        run = Run(delimiters, codec, circumstances, self.tables, self._memory(delimiters, codec, circumstances))
        unmapped = self.structures[name].walk(run, segments)
        resources = run.finish()
        cleared: dict[str, list[str]] = {}
        for entry, element in run.cleared:
            if "id" in entry.resource:
                elements = cleared.setdefault(f"{entry.resource['resourceType']}/{entry.resource['id']}", [])
                elements += [element] if element not in elements else []
        types = {resource["resourceType"]: None for resource in resources}
        authority, restores = self.meaning.authority(run, types), self.meaning.restores(event, types)
        return Mapped(resources, run.problems, unmapped, cleared, authority, restores, _inherits(resources))

    def _memory(self, delimiters: Any, codec: str, circumstances: Circumstances) -> dict[Any, Any]:
        """What the fields of one sender became; forgotten when it is much."""
        key = (delimiters, codec, circumstances)
        memory = self._memories.get(key)
        if memory is None or len(memory) > MAX_MEMORY:
            if len(self._memories) >= MAX_SENDERS:
                self._memories.clear()
            memory = self._memories[key] = {}
        return memory


def _inherits(resources: list[Resource]) -> dict[str, str]:
    """Record -> the record that it takes over: an old number's Patient, Encounter or Account in the same message."""
    found: dict[str, str] = {}
    for one in resources:
        prior = f"{one['resourceType']}/{one['id']}"
        others = [link.get("other", {}) for link in one.get("link", ()) if link.get("type") == "replaced-by"]
        if one["resourceType"] in ("Encounter", "Account"):
            others.append(one.get("partOf", {}))
        found |= dict.fromkeys((other["reference"] for other in others if "reference" in other), prior)
    return found

"""Runs the mapping tables: a message in, FHIR resources out. Tables are compiled once into closures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from adapters.mapping.compiler import Compiler, Reader
from adapters.mapping.conversions import Circumstances
from adapters.mapping.run import Problem, Resource, Run, Segment
from adapters.mapping.structure import Structure
from adapters.mapping.tables import Tables
from hub.errors import HubError


@dataclass(frozen=True, slots=True)
class Mapped:
    """The outcome: resources in order, values left out, segments no row maps, elements to delete by reference."""

    resources: list[Resource]
    problems: list[Problem]
    unmapped: list[str]
    cleared: dict[str, list[str]]


class Engine:
    """All tables of an adapter, compiled; safe to share between threads."""

    def __init__(self, tables: Tables, reader: Reader) -> None:
        self.tables = tables
        self.compiler = Compiler(tables, reader)
        self.structures = {name: Structure(name, rows, self.compiler) for name, rows in tables.messages.items()}

    def run(
        self, event: str, segments: Iterable[Segment], *, delimiters: Any, codec: str, circumstances: Circumstances
    ) -> Mapped:
        """Map one message. HubError("event-unknown") when no table serves ``event`` (``ADT^A01``)."""
        name = self.tables.events.get(event)
        if name is None:
            raise HubError(
                "event-unknown", f"no mapping table serves {event}; the message is kept until one does", "MSH-9"
            )
        run = Run(delimiters, codec, circumstances, self.tables.keys)
        unmapped = self.structures[name].walk(run, segments)
        resources = run.finish()
        cleared: dict[str, list[str]] = {}
        for entry, element in run.cleared:
            if "id" in entry.resource:
                elements = cleared.setdefault(f"{entry.resource['resourceType']}/{entry.resource['id']}", [])
                elements += [element] if element not in elements else []
        return Mapped(resources, run.problems, unmapped, cleared)

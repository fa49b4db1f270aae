"""$closure (R4 4.7.15): a client's transitive closure table, grown as it meets new concepts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from terminology.errors import TerminologyError
from terminology.system import Resource, System

MAX_TABLES = 1000
MAX_CONCEPTS = 20_000


@dataclass
class ClosureTable:
    """The concepts of one named table in the order they came, each with the version that brought it."""

    version: int = 0
    concepts: dict[tuple[str, str], int] = field(default_factory=dict)
    entries: list[tuple[int, str, str, str]] = field(default_factory=list)  # version, system, code, ancestor


class Closures:
    """All tables. They live as long as the process: a client whose table is unknown starts it anew, as R4 foresees."""

    def __init__(self, system: Callable[[str], System | None]) -> None:
        self._system = system
        self._tables: dict[str, ClosureTable] = {}

    def run(self, name: str, concepts: list[Resource], version: str | None, timestamp: str) -> Resource:
        """A name alone starts a table; with concepts, their new relations; with a version, all since that version."""
        if not concepts and version is None:
            if name not in self._tables and len(self._tables) >= MAX_TABLES:
                raise TerminologyError("too-costly", f"there are already {MAX_TABLES} closure tables")
            self._tables[name] = ClosureTable()
            return _map(name, 0, [], timestamp)
        table = self._tables.get(name)
        if table is None:
            raise TerminologyError("not-found", f"closure table {name!r} is not known here: start it again")
        if version is not None:
            if not version.isdigit():
                raise TerminologyError("invalid", f"version {version!r} is not one of this closure table")
            return _map(name, table.version, [row[1:] for row in table.entries if row[0] > int(version)], timestamp)
        table.version += 1
        added = [row for coding in concepts for row in self._add(table, coding)]
        table.entries += [(table.version, *row) for row in added]
        return _map(name, table.version, added, timestamp)

    def _add(self, table: ClosureTable, coding: Resource) -> list[tuple[str, str, str]]:
        """The relations between a new concept and those of its system in the table: system, code, ancestor."""
        url, code = coding.get("system", ""), coding.get("code", "")
        if (url, code) in table.concepts:
            return []
        if len(table.concepts) >= MAX_CONCEPTS:
            raise TerminologyError("too-costly", f"a closure table has at most {MAX_CONCEPTS} concepts")
        system = self._system(url)
        if system is None or system.find(code) is None:
            raise TerminologyError("not-found", f"code {code!r} of {url} is not known here")
        known = [other for other_url, other in table.concepts if other_url == url]
        table.concepts[url, code] = table.version
        above = [(url, code, other) for other in known if system.subsumes(other, code)]
        return above + [(url, other, code) for other in known if system.subsumes(code, other)]


def _map(name: str, version: int, rows: list[tuple[str, str, str]], timestamp: str) -> Resource:
    """The ConceptMap: the target of an element subsumes it."""
    groups: dict[str, dict[str, list[Resource]]] = {}
    for url, code, ancestor in rows:
        groups.setdefault(url, {}).setdefault(code, []).append({"code": ancestor, "equivalence": "subsumes"})
    answer: Resource = {
        "resourceType": "ConceptMap", "version": str(version), "name": name, "status": "active", "experimental": True,
        "date": timestamp,
    }  # fmt: skip
    if groups:
        answer["group"] = [
            {"source": url, "target": url, "element": [{"code": code, "target": to} for code, to in elements.items()]}
            for url, elements in groups.items()
        ]
    return answer

"""The pieces that SQL is put together from, and the catalog of parameter numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hub.search.expression import Number

COMPOUND = 100
REMEMBERED = 10_000
INTEGERS = range(-(2**63), 2**63)


class Sql(NamedTuple):
    """Text with ``?`` places and the values for them."""

    text: str
    values: tuple[Any, ...] = ()


class Source(NamedTuple):
    """``table x WHERE ...``; ``unique`` when no version comes twice."""

    text: str
    values: tuple[Any, ...] = ()
    unique: bool = False


class Scope(NamedTuple):
    """Where an expression looks: resource types and databases, () for all."""

    types: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()


FALSE = Sql("0")
TRUE = Sql("1")
NOTHING = Source("version x WHERE 0", unique=True)


def number(value: Number) -> Number:
    """The value as SQLite can hold it: an integer beyond 64 bits becomes the nearest float."""
    return value if isinstance(value, float) or value in INTEGERS else float(value)


def successor(text: str) -> str | None:
    """The least string above every string that starts with ``text``; None if there is none."""
    text = text.rstrip("\U0010ffff")
    if not text:
        return None
    following = ord(text[-1]) + 1
    return text[:-1] + chr(0xE000 if following == 0xD800 else following)


def joined(operator: str, parts: Sequence[Sql]) -> Sql:
    """The parts with the operator between, as a balanced tree: SQLite limits the depth of expressions.

    Constants are folded: SQLite finds no plan for a table with INDEXED BY under a condition that is plainly false.
    """
    decides, neutral = (FALSE, TRUE) if operator == "AND" else (TRUE, FALSE)
    if decides in parts:
        return decides
    parts = [part for part in parts if part != neutral]
    if len(parts) < 2:
        return parts[0] if parts else neutral
    half = len(parts) // 2
    left, right = joined(operator, parts[:half]), joined(operator, parts[half:])
    return Sql(f"({left.text} {operator} {right.text})", left.values + right.values)


def one_of(column: str, values: Sequence[Any]) -> Sql:
    """``column`` is one of the values."""
    if not values:
        return FALSE
    if len(values) == 1:
        return Sql(f"{column} = ?", (values[0],))
    if all(isinstance(value, int) for value in values):
        return Sql(f"{column} IN ({', '.join('?' * len(values))})", tuple(values))
    return Sql(f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(values),))


def united(sources: Sequence[Source]) -> Source:
    """The union of any number of sources, nested where SQLite limits the number of a compound SELECT."""
    while len(sources) > COMPOUND:
        sources = [united(sources[place : place + COMPOUND]) for place in range(0, len(sources), COMPOUND)]
    if len(sources) < 2:
        return sources[0] if sources else NOTHING
    text = " UNION ".join(f"SELECT x.seq AS seq FROM {source.text}" for source in sources)
    return Source(f"({text}) x WHERE 1", tuple(v for source in sources for v in source.values), unique=True)


class Catalog:
    """The numbers of the parameters, as of one moment; never changed, so that threads may share it.

    ``rows`` are those of the table ``parameter``: key, database, type, code.
    """

    def __init__(self, rows: Iterable[tuple[int, str, str, str]]) -> None:
        self._rows = tuple(rows)
        self.newest = max((row[0] for row in self._rows), default=None)
        self._codes: dict[tuple[str, str], dict[str, int]] = {}
        for key, database, type, code in self._rows:
            self._codes.setdefault((database, type), {})[code] = key
        self._found: dict[tuple[Scope, str], tuple[int, ...]] = {}

    def extended(self, row: tuple[int, str, str, str]) -> Catalog:
        """With one row more."""
        return Catalog((*self._rows, row))

    def codes(self, database: str, type: str) -> dict[str, int]:
        """Code -> number."""
        return self._codes.get((database, type), {})

    def keys(self, scope: Scope, code: str) -> tuple[int, ...]:
        """The numbers of a parameter in a scope."""
        found = self._found.get((scope, code))
        if found is None:
            found = tuple(self._codes[kind][code] for kind in self._within(scope) if code in self._codes[kind])
            if len(self._found) < REMEMBERED:
                self._found[scope, code] = found
        return found

    def kinds(self, scope: Scope) -> tuple[list[str], list[str]]:
        """The databases and the types that there have been in a scope."""
        within = self._within(scope)
        return list(dict.fromkeys(kind[0] for kind in within)), list(dict.fromkeys(kind[1] for kind in within))

    def _within(self, scope: Scope) -> list[tuple[str, str]]:
        return [
            kind
            for kind in self._codes
            if (not scope.types or kind[1] in scope.types) and (not scope.databases or kind[0] in scope.databases)
        ]

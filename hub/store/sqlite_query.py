"""Expression tree -> one SELECT of change numbers, for the schema of ``schema.sql``.

Every clause has two forms. As a *source* it enumerates the versions it holds for (``... x WHERE ...``, read along an
index); as a *check* it is a condition on ``x.seq``, answered by a look-up of the entries of that version. A conjunction
is the source of its rarest part and the checks of the others; how rare is found by counting a little way along the
index.
Values reach SQLite as parameters only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hub.search.expression import (
    And,
    Chain,
    Compare,
    Contains,
    Equals,
    Exists,
    Expression,
    Ids,
    In,
    InSystem,
    Match,
    Not,
    Number,
    Or,
    Order,
    Prefix,
    Query,
    Reverse,
    Test,
)

Probe = Callable[[str, tuple[Any, ...]], int]
PROBES = (200, 10_000)
COMPOUND = 100
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
    """The parts with the operator between, as a balanced tree: SQLite limits the depth of expressions."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    left, right = joined(operator, parts[:half]), joined(operator, parts[half:])
    return Sql(f"({left.text} {operator} {right.text})", left.values + right.values)


def one_of(column: str, values: Sequence[Any]) -> Sql:
    """``column`` is one of the values."""
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


def ordering(query: Query, table: str = "") -> str:
    """The ORDER BY terms of the sort keys ``k0``..., each with a comma behind."""
    directions = (" DESC" if order.descending else "" for order in query.order)
    return "".join(f"{table}k{place}{direction} NULLS LAST, " for place, direction in enumerate(directions))


def gathered(where: Or) -> list[Expression]:
    """The parts, those that ask for one value of the same parameter and system put together as one In."""
    parts: list[Expression] = []
    values: dict[tuple[str, str | None], list[str]] = {}
    for part in where.parts:
        if isinstance(part, Match) and isinstance(part.test, Equals):
            values.setdefault((part.param, part.test.system), []).append(part.test.value)
        else:
            parts.append(part)
    for (param, system), wanted in values.items():
        test = Equals(wanted[0], system) if len(wanted) == 1 else In(tuple(wanted), system)
        parts.append(Match(param, test))
    return parts


class Compiler:
    """Compiles for one moment: ``at`` a change number, or None for now.

    ``keys(databases, types, code)`` gives the numbers of a parameter in a scope, ``kinds(databases, types)`` the
    databases and the types there have been in it, ``probe(select, values)`` the number that a SELECT yields.
    """

    def __init__(
        self,
        keys: Callable[[tuple[str, ...], tuple[str, ...], str], tuple[int, ...]],
        kinds: Callable[[tuple[str, ...], tuple[str, ...]], tuple[list[str], list[str]]],
        at: int | None,
        probe: Probe,
    ) -> None:
        self._keys = keys
        self._kinds = kinds
        self._at = at
        self._probe = probe

    # --- whole queries ------------------------------------------------------------------------------------------------

    def page(self, query: Query) -> Sql:
        """The rows of ``query``: seq and the sort keys, in order, at most ``limit``."""
        scope = Scope(query.types, query.databases)
        keys = [self._key(order, scope) for order in query.order]
        names = [f"k{place}" for place in range(len(keys))]
        text, values = self._members(query.where, scope, keys)
        if query.after is not None:
            after = self._after(names, query.order, query.after)
            if keys:
                text, values = f"SELECT * FROM ({text}) WHERE {after.text}", values + after.values
            else:
                text, values = f"{text} AND x.seq > ?", (*values, *after.values)
        return Sql(f"{text} ORDER BY {ordering(query)}{'seq' if keys else 'x.seq'} LIMIT ?", (*values, query.limit))

    def count(self, query: Query) -> Sql:
        """The number of rows."""
        text, values = self._members(query.where, Scope(query.types, query.databases))
        return Sql(f"SELECT count(*) FROM ({text})", values)

    def _key(self, order: Order, scope: Scope) -> Sql:
        if order.param == "_lastUpdated":
            return Sql("(SELECT v.updated FROM version v WHERE v.seq = x.seq)")
        if order.param == "_id":
            return Sql("(SELECT v.id FROM version v WHERE v.seq = x.seq)")
        keys = self._keys(scope.databases, scope.types, order.param)
        if not keys:
            return Sql("NULL")
        if order.shape == "term":
            column = "max(e.value)" if order.descending else "min(e.value)"
        else:
            column = "max(e.high)" if order.descending else "min(e.low)"
        key = one_of("e.key", keys)
        entries = f"{order.shape} e INDEXED BY {order.shape}_seq"
        return Sql(f"(SELECT {column} FROM {entries} WHERE e.seq = x.seq AND {key.text})", key.values)

    def _after(self, names: list[str], orders: tuple[Order, ...], after: tuple[Any, ...]) -> Sql:
        """Behind the row with these sort keys; rows without a key are last."""
        if not names:
            return Sql("seq > ?", (after[-1],))
        text, values = "seq > ?", after[-1:]
        for name, order, value in reversed(list(zip(names, orders, after[:-1], strict=True))):
            same = f"{name} IS ? AND ({text})"
            if value is None:
                text, values = f"({same})", (None, *values)
            else:
                beyond = f"{name} {'<' if order.descending else '>'} ? OR {name} IS NULL"
                text, values = f"({beyond} OR ({same}))", (value, value, *values)
        return Sql(text, values)

    # --- sets ---------------------------------------------------------------------------------------------------------

    def _members(self, where: Expression, scope: Scope, keys: Sequence[Sql] = ()) -> Sql:
        """``SELECT x.seq AS seq, k0, ... FROM source x WHERE ...``: the versions for which ``where`` holds."""
        parts = list(where.parts) if isinstance(where, And) else [where]
        sources = [(place, source) for place, part in enumerate(parts) if (source := self._source(part, scope))]
        chosen, (text, values, unique) = self._rarest(sources) if sources else (-1, self._everything(scope))
        columns = "".join(f", {key.text} AS k{place}" for place, key in enumerate(keys))
        values = tuple(value for key in keys for value in key.values) + values
        checks = [self._check(part, scope) for place, part in enumerate(parts) if place != chosen]
        if checks:
            check = joined("AND", checks)
            text, values = f"{text} AND {check.text}", values + check.values
        return Sql(f"SELECT {'' if unique else 'DISTINCT '}x.seq AS seq{columns} FROM {text}", values)

    def _rarest(self, sources: list[tuple[int, Source]]) -> tuple[int, Source]:
        if len(sources) == 1:
            return sources[0]
        for most in PROBES:
            counted = [
                (
                    self._probe(f"SELECT count(*) FROM (SELECT 1 FROM {source.text} LIMIT ?)", (*source.values, most)),
                    place,
                )
                for place, source in sources
            ]
            least, place = min(counted)
            if least < most:
                return next(entry for entry in sources if entry[0] == place)
        return sources[0]

    def _everything(self, scope: Scope, also: Sql | None = None) -> Source:
        """All resources of the scope; with ``also``, those whose id meets it."""
        databases, types = self._kinds(scope.databases, scope.types)
        if not types:
            return NOTHING
        conditions = [self._alive("x"), one_of("x.database", databases), one_of("x.type", types)]
        if also is None:
            index = "version_live" if self._at is None else "version_kind"
        else:
            index = "version_current" if self._at is None else "version_number"
            conditions.append(also)
        whole = joined("AND", conditions)
        return Source(f"version x INDEXED BY {index} WHERE {whole.text}", whole.values, unique=True)

    def _alive(self, alias: str) -> Sql:
        """The row of ``version`` is current, and no deletion."""
        if self._at is None:
            return Sql(f"{alias}.ended IS NULL AND {alias}.text IS NOT NULL")
        return Sql(
            f"{alias}.seq <= ? AND ({alias}.ended IS NULL OR {alias}.ended > ?) AND {alias}.text IS NOT NULL",
            (self._at, self._at),
        )

    def _current(self, alias: str) -> Sql:
        """The version with this index entry is current."""
        if self._at is None:
            return Sql(f"NOT EXISTS (SELECT 1 FROM superseded s WHERE s.seq = {alias}.seq)")
        return Sql(
            f"{alias}.seq <= ? AND NOT EXISTS (SELECT 1 FROM superseded s WHERE s.seq = {alias}.seq AND s.ended <= ?)",
            (self._at, self._at),
        )

    def _source(self, where: Expression, scope: Scope) -> Source | None:
        """``... x WHERE ...`` that enumerates (perhaps more than once) the versions; None if only a check can tell."""
        if isinstance(where, Match):
            return self._match_source(where, scope)
        if isinstance(where, Ids):
            return self._everything(scope, one_of("x.id", where.ids)) if where.ids else NOTHING
        if isinstance(where, Chain):
            return self._entries(where.param, scope, self._refers(where, "x"))
        if isinstance(where, Reverse):
            named = self._named(where)
            return self._everything(scope, Sql(f"(x.type, x.id) IN ({named.text})", named.values))
        if isinstance(where, Or):
            return self._either_source(where, scope)
        if isinstance(where, And) and any(self._source(part, scope) for part in where.parts):
            members = self._members(where, scope)
            return Source(f"({members.text}) x WHERE 1", members.values, unique=True)
        return None

    def _either_source(self, where: Or, scope: Scope) -> Source | None:
        sources = []
        for part in gathered(where):
            source = self._source(part, scope)
            if source is None:
                return None
            sources.append(source)
        return united(sources)

    def _match_source(self, where: Match, scope: Scope) -> Source:
        if isinstance(where.test, Exists):
            return united([self._entries(where.param, scope, TRUE, table) for table in ("term", "range")])
        source = self._entries(where.param, scope, self._test(where.test, "x"), _table(where.test))
        exact = isinstance(where.test, Equals) and where.test.system is not None
        return source._replace(unique=source.unique or exact)

    def _entries(self, param: str, scope: Scope, test: Sql, table: str = "term") -> Source:
        keys = self._keys(scope.databases, scope.types, param)
        if not keys:
            return NOTHING
        whole = joined("AND", [one_of("x.key", keys), test, self._current("x")])
        return Source(f"{table} x WHERE {whole.text}", whole.values)

    # --- conditions ---------------------------------------------------------------------------------------------------

    def _check(self, where: Expression, scope: Scope) -> Sql:
        """A condition on x.seq."""
        if isinstance(where, Match):
            return self._match_check(where, scope)
        if isinstance(where, Ids):
            ids = one_of("v.id", where.ids)
            return Sql(f"EXISTS (SELECT 1 FROM version v WHERE v.seq = x.seq AND {ids.text})", ids.values)
        if isinstance(where, Chain):
            return self._entry_exists("term", where.param, scope, self._refers(where, "e"))
        if isinstance(where, Reverse):
            named = self._named(where)
            return Sql(
                f"EXISTS (SELECT 1 FROM version v WHERE v.seq = x.seq AND (v.type, v.id) IN ({named.text}))",
                named.values,
            )
        if isinstance(where, Not):
            inner = self._check(where.where, scope)
            return Sql(f"NOT ({inner.text})", inner.values)
        parts = gathered(where) if isinstance(where, Or) else where.parts
        if not parts:
            return FALSE if isinstance(where, Or) else TRUE
        return joined("OR" if isinstance(where, Or) else "AND", [self._check(part, scope) for part in parts])

    def _match_check(self, where: Match, scope: Scope) -> Sql:
        if isinstance(where.test, Exists):
            return joined("OR", [self._entry_exists(table, where.param, scope, TRUE) for table in ("term", "range")])
        return self._entry_exists(_table(where.test), where.param, scope, self._test(where.test, "e"))

    def _entry_exists(self, table: str, param: str, scope: Scope, test: Sql) -> Sql:
        keys = self._keys(scope.databases, scope.types, param)
        if not keys:
            return FALSE
        key, entries = one_of("e.key", keys), f"{table} e INDEXED BY {table}_seq"
        return Sql(
            f"EXISTS (SELECT 1 FROM {entries} WHERE e.seq = x.seq AND {key.text} AND {test.text})",
            key.values + test.values,
        )

    def _test(self, test: Test, e: str) -> Sql:
        """The test on one entry."""
        if isinstance(test, Equals):
            if test.system is None:
                return Sql(f"{e}.value = ?", (test.value,))
            return Sql(f"{e}.value = ? AND {e}.system = ?", (test.value, test.system))
        if isinstance(test, In):
            among = one_of(f"{e}.value", test.values)
            if test.system is None:
                return among
            return Sql(f"{among.text} AND {e}.system = ?", (*among.values, test.system))
        if isinstance(test, InSystem):
            return Sql(f"{e}.system = ?", (test.system,))
        if isinstance(test, Prefix):
            end = successor(test.text)
            if end is None:
                return Sql(f"{e}.value >= ?", (test.text,))
            return Sql(f"{e}.value >= ? AND {e}.value < ?", (test.text, end))
        if isinstance(test, Contains):
            return Sql(f"instr({e}.value, ?) > 0", (test.text,))
        if isinstance(test, Compare):
            return self._compare(test, e)
        return TRUE

    def _compare(self, test: Compare, e: str) -> Sql:
        """All comparisons, on one entry. As low <= high, an upper bound of high bounds low, the index's column."""
        tests = [(f"{e}.{bound} {operator} ?", number(value)) for bound, operator, value in test.tests]
        tests += [
            (f"{e}.low <= ?", number(value))
            for bound, operator, value in test.tests
            if bound == "high" and operator in ("<", "<=", "=")
        ]
        return Sql(" AND ".join(text for text, _ in tests) or "1", tuple(value for _, value in tests))

    # --- references ---------------------------------------------------------------------------------------------------

    def _refers(self, where: Chain, e: str) -> Sql:
        """The reference entry is to a resource of ``where.types`` for which ``where.where`` holds."""
        members = self._members(where.where, Scope(where.types))
        return Sql(
            f"{e}.value IN (SELECT v.type || '/' || v.id FROM version v WHERE v.seq IN ({members.text}))",
            members.values,
        )

    def _named(self, where: Reverse) -> Sql:
        """(type, id) of all that resources of ``where.type`` for which ``where.where`` holds refer to."""
        scope = Scope((where.type,))
        keys = self._keys((), scope.types, where.param)
        if not keys:
            return Sql("SELECT 1, 1 WHERE 0")
        members, key = self._members(where.where, scope), one_of("t.key", keys)
        return Sql(
            "SELECT substr(t.value, 1, instr(t.value, '/') - 1), substr(t.value, instr(t.value, '/') + 1)"
            f" FROM term t WHERE t.seq IN ({members.text}) AND {key.text}",
            members.values + key.values,
        )


def _table(test: Test) -> str:
    return "range" if isinstance(test, Compare) else "term"

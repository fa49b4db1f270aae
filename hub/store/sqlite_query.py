"""Expression tree -> one SELECT of change numbers, for the schema of ``schema.sql``.

Every clause has two forms. As a *source* it enumerates the versions it holds for (``... x WHERE ...``, read along an
index); as a *check* it is a condition on ``x.seq``, answered by a look-up of the entries of that version. A conjunction
is the source of its rarest part and the checks of the others; how rare is found by counting a little way along the
index.
Values reach SQLite as parameters only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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
    Or,
    Order,
    Prefix,
    Query,
    Reverse,
    Test,
)
from hub.store.sqlite_clauses import (
    FALSE,
    NOTHING,
    TRUE,
    Catalog,
    Scope,
    Source,
    Sql,
    joined,
    number,
    one_of,
    successor,
    united,
)

Probe = Callable[[str, tuple[Any, ...]], int]
PROPERTIES = {"_lastUpdated": "updated", "_id": "id"}  # sort keys that are columns of version, never null
RARE = 200
SOME = 5_000


def ordering(query: Query, table: str = "") -> str:
    """The ORDER BY terms of the sort keys ``k0``..., each with a comma behind."""
    terms = []
    for place, order in enumerate(query.order):
        direction = " DESC" if order.descending else ""
        terms.append(f"{table}k{place}{direction}{'' if order.param in PROPERTIES else ' NULLS LAST'}, ")
    return "".join(terms)


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
    """Compiles for one moment: ``at`` a change number, or None for now. ``probe`` gives the number a SELECT yields."""

    def __init__(self, catalog: Catalog, at: int | None, probe: Probe) -> None:
        self._catalog = catalog
        self._at = at
        self._probe = probe
        self._aliases = 0

    def _alias(self) -> str:
        self._aliases += 1
        return f"e{self._aliases}"

    # --- whole queries ------------------------------------------------------------------------------------------------

    def page(self, query: Query) -> Sql:
        """The rows of ``query``: seq and the sort keys, in order, at most ``limit``."""
        scope = Scope(query.types, query.databases)
        text, values = self._members(query.where, scope, query.order)
        if query.after is not None:
            after = self._after(query.order, query.after)
            if query.order:
                text, values = f"SELECT * FROM ({text}) WHERE {after.text}", values + after.values
            else:
                text, values = f"{text} AND x.seq > ?", (*values, *after.values)
        return Sql(
            f"{text} ORDER BY {ordering(query)}{'seq' if query.order else 'x.seq'} LIMIT ?", (*values, query.limit)
        )

    def count(self, query: Query) -> Sql:
        """The number of rows."""
        text, values = self._members(query.where, Scope(query.types, query.databases))
        return Sql(f"SELECT count(*) FROM ({text})", values)

    def _key(self, order: Order, scope: Scope, of_version: bool) -> Sql:
        """A sort key of x, which is a row of ``version`` or of an index."""
        if order.param in PROPERTIES:
            column = PROPERTIES[order.param]
            return Sql(f"x.{column}" if of_version else f"(SELECT v.{column} FROM version v WHERE v.seq = x.seq)")
        keys = self._catalog.keys(scope, order.param)
        if not keys:
            return Sql("NULL")
        if order.shape == "term":
            column = "max(e.value)" if order.descending else "min(e.value)"
        else:
            column = "max(e.high)" if order.descending else "min(e.low)"
        key = one_of("e.key", keys)
        entries = f"{order.shape} e INDEXED BY {order.shape}_seq"
        return Sql(f"(SELECT {column} FROM {entries} WHERE e.seq = x.seq AND {key.text})", key.values)

    def _after(self, orders: tuple[Order, ...], after: tuple[Any, ...]) -> Sql:
        """Behind the row with these sort keys; rows without a key are last."""
        text, values = "seq > ?", after[-1:]
        for place, (order, value) in reversed(list(enumerate(zip(orders, after[:-1], strict=True)))):
            name = f"k{place}"
            same = f"{name} IS ? AND ({text})"
            if value is None:
                text, values = f"({same})", (None, *values)
            else:
                beyond = f"{name} {'<' if order.descending else '>'} ? OR {name} IS NULL"
                text, values = f"({beyond} OR ({same}))", (value, value, *values)
        return Sql(text, values)

    # --- sets ---------------------------------------------------------------------------------------------------------

    def _members(self, where: Expression, scope: Scope, order: tuple[Order, ...] | None = None) -> Sql:
        """``SELECT x.seq AS seq, k0, ... FROM source x WHERE ...``: the versions for which ``where`` holds.

        ``order`` () is that of seq, in which many sources come anyway, so that a page is soon complete; None is any.
        """
        parts = list(where.parts) if isinstance(where, And) else [where]
        chosen = self._rarest(parts, scope, RARE if order == () else SOME)
        if chosen is None:
            text, values, unique = self._everything(scope, "version_kind" if order == () else "version_live")
        else:
            text, values, unique = self._source(chosen, scope)
        keys = [self._key(each, scope, chosen is None) for each in order or ()]
        columns = "".join(f", {key.text} AS k{place}" for place, key in enumerate(keys))
        checks = [self._check(part, scope, "x") for part in parts if part is not chosen]
        check = joined("AND", checks)
        if check == FALSE:
            text, values, unique = NOTHING
        elif checks:
            text, values = f"{text} AND {check.text}", values + check.values
        values = tuple(value for key in keys for value in key.values) + values
        return Sql(f"SELECT {'' if unique else 'DISTINCT '}x.seq AS seq{columns} FROM {text}", values)

    def _rarest(self, parts: Sequence[Expression], scope: Scope, most: int) -> Expression | None:
        """The part to be the source; None if only checks can tell. Beyond ``most`` all are alike: the simplest then."""
        sources = [part for part in parts if _enumerable(part)]
        if len(sources) < 2:
            return sources[0] if sources else None
        limit = RARE
        while True:
            counts = [self._rows_of(part, scope, limit) for part in sources]
            least = min(counts)
            if least < limit:
                return sources[counts.index(least)]
            if limit >= most:
                return min(sources, key=_preference)
            limit = most

    def _rows_of(self, where: Expression, scope: Scope, limit: int) -> int:
        """About how many rows the source has, counted no further than ``limit``."""
        if isinstance(where, Match):
            keys = self._catalog.keys(scope, where.param)
            if not keys:
                return 0
            if isinstance(where.test, Contains | InSystem | Exists) or _two_sided(where.test):
                return limit
            whole = joined("AND", [one_of("x.key", keys), self._test(where.test, "x")])
            select = f"SELECT count(*) FROM (SELECT 1 FROM {_table(where.test)} x WHERE {whole.text} LIMIT ?)"
            return self._probe(select, (*whole.values, limit))
        if isinstance(where, Ids):
            return len(where.ids)
        if isinstance(where, Chain | Reverse):
            inner = Scope(where.types if isinstance(where, Chain) else (where.type,))
            return self._rows_of(where.where, inner, limit)
        if isinstance(where, And | Or):
            counts = [self._rows_of(part, scope, limit) for part in where.parts if _enumerable(part)]
            return min(limit, sum(counts)) if isinstance(where, Or) else min(counts, default=limit)
        return limit

    def _everything(self, scope: Scope, index: str, also: Sql = TRUE) -> Source:
        """All resources of the scope for which ``also`` holds, found along the index, or its like for snapshots."""
        databases, types = self._catalog.kinds(scope)
        if not types:
            return NOTHING
        if self._at is not None:
            index = "version_number" if index == "version_current" else "version_kind"
        whole = joined("AND", [self._alive("x"), one_of("x.database", databases), one_of("x.type", types), also])
        if whole == FALSE:
            return NOTHING
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

    def _source(self, where: Expression, scope: Scope) -> Source:
        """Enumerates the versions for which ``where`` holds; only for what is ``_enumerable``."""
        if isinstance(where, Match):
            return self._match_source(where, scope)
        if isinstance(where, Ids):
            ids = one_of("x.id", where.ids)
            return self._everything(scope, "version_current", ids) if where.ids else NOTHING
        if isinstance(where, Chain):
            return self._entries(where.param, scope, self._refers(where))
        if isinstance(where, Reverse):
            return self._everything(scope, "version_current", self._named(where))
        if isinstance(where, Or):
            return united([self._source(part, scope) for part in gathered(where)])
        members = self._members(where, scope)
        return Source(f"({members.text}) x WHERE 1", members.values, unique=True)

    def _match_source(self, where: Match, scope: Scope) -> Source:
        if isinstance(where.test, Exists):
            return united([self._entries(where.param, scope, TRUE, table) for table in ("term", "range")])
        source = self._entries(where.param, scope, self._test(where.test, "x"), _table(where.test))
        exact = isinstance(where.test, Equals) and where.test.system is not None
        return source._replace(unique=source.unique or exact)

    def _entries(self, param: str, scope: Scope, test: Sql, table: str = "term") -> Source:
        keys = self._catalog.keys(scope, param)
        if not keys:
            return NOTHING
        whole = joined("AND", [one_of("x.key", keys), test, self._current("x")])
        return Source(f"{table} x WHERE {whole.text}", whole.values)

    # --- conditions ---------------------------------------------------------------------------------------------------

    def _check(self, where: Expression, scope: Scope, x: str) -> Sql:
        """A condition on ``x.seq``."""
        if isinstance(where, Match):
            return self._match_check(where, scope, x)
        if isinstance(where, Ids):
            return _exists("version v", f"v.seq = {x}.seq", one_of("v.id", where.ids))
        if isinstance(where, Chain):
            return self._chain_check(where, scope, x)
        if isinstance(where, Reverse):
            return self._reverse_check(where, x)
        if isinstance(where, Not):
            inner = self._check(where.where, scope, x)
            if inner in (TRUE, FALSE):
                return FALSE if inner == TRUE else TRUE
            return Sql(f"NOT ({inner.text})", inner.values)
        parts = gathered(where) if isinstance(where, Or) else where.parts
        return joined("OR" if isinstance(where, Or) else "AND", [self._check(part, scope, x) for part in parts])

    def _match_check(self, where: Match, scope: Scope, x: str) -> Sql:
        keys = self._catalog.keys(scope, where.param)
        if not keys:
            return FALSE
        tables = ("term", "range") if isinstance(where.test, Exists) else (_table(where.test),)
        whole = joined("AND", [one_of("e.key", keys), self._test(where.test, "e")])
        return joined(
            "OR", [_exists(f"{table} e INDEXED BY {table}_seq", f"e.seq = {x}.seq", whole) for table in tables]
        )

    def _chain_check(self, where: Chain, scope: Scope, x: str) -> Sql:
        """Follow each reference of this version to the resource it names, and check that."""
        keys = self._catalog.keys(scope, where.param)
        if not keys or not where.types:
            return FALSE
        e, v = self._alias(), self._alias()
        index = "version_current" if self._at is None else "version_number"
        whole = joined(
            "AND",
            [
                one_of(f"{e}.key", keys),
                Sql(f"{v}.type = substr({e}.value, 1, instr({e}.value, '/') - 1)"),
                Sql(f"{v}.id = substr({e}.value, instr({e}.value, '/') + 1)"),
                self._alive(v),
                one_of(f"+{v}.type", where.types),
                self._check(where.where, Scope(where.types), v),
            ],
        )
        tables = f"term {e} INDEXED BY term_seq CROSS JOIN version {v} INDEXED BY {index}"
        return _exists(tables, f"{e}.seq = {x}.seq", whole)

    def _reverse_check(self, where: Reverse, x: str) -> Sql:
        """Look up the references to this resource, and check the resources that make them."""
        scope = Scope((where.type,))
        keys = self._catalog.keys(scope, where.param)
        if not keys:
            return FALSE
        v, e = self._alias(), self._alias()
        whole = joined("AND", [one_of(f"{e}.key", keys), self._current(e), self._check(where.where, scope, e)])
        tables = f"version {v} CROSS JOIN term {e}"
        return _exists(tables, f"{v}.seq = {x}.seq AND {e}.value = {v}.type || '/' || {v}.id", whole)

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

    def _refers(self, where: Chain) -> Sql:
        """The reference entry x is to a resource of ``where.types`` for which ``where.where`` holds."""
        members = self._members(where.where, Scope(where.types))
        names = f"SELECT v.type || '/' || v.id FROM version v WHERE v.seq IN ({members.text})"
        return Sql(f"x.value IN ({names})", members.values)

    def _named(self, where: Reverse) -> Sql:
        """The row x of ``version`` is of a resource that one for which ``where.where`` holds refers to."""
        scope = Scope((where.type,))
        keys = self._catalog.keys(scope, where.param)
        if not keys:
            return FALSE
        members, key = self._members(where.where, scope), one_of("t.key", keys)
        parts = "substr(t.value, 1, instr(t.value, '/') - 1), substr(t.value, instr(t.value, '/') + 1)"
        rows = f"FROM term t INDEXED BY term_seq WHERE t.seq IN ({members.text}) AND {key.text}"
        return Sql(f"(x.type, x.id) IN (SELECT {parts} {rows})", members.values + key.values)


def _exists(tables: str, link: str, whole: Sql) -> Sql:
    return (
        FALSE if whole == FALSE else Sql(f"EXISTS (SELECT 1 FROM {tables} WHERE {link} AND {whole.text})", whole.values)
    )


def _enumerable(where: Expression) -> bool:
    """Whether an index leads to the versions; if not, only a check can tell."""
    if isinstance(where, And):
        return any(map(_enumerable, where.parts))
    if isinstance(where, Or):
        return all(map(_enumerable, where.parts))
    return not isinstance(where, Not)


def _preference(where: Expression) -> int:
    """Among sources with many rows, those that give them in order and without looking further."""
    if not isinstance(where, Match):
        return 2
    return 0 if isinstance(where.test, Equals) else 1


def _two_sided(test: Test) -> bool:
    """An overlap: the index bounds one side only."""
    return isinstance(test, Compare) and {("low", "<"), ("high", ">")} <= {
        (edge, sign[0]) for edge, sign, _ in test.tests
    }


def _table(test: Test) -> str:
    return "range" if isinstance(test, Compare) else "term"

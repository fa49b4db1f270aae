"""Index entries -> document fields, and expression tree -> filter on them, for MongoDB.

A document holds its terms as flat strings ``t: ["Patient<US>identifier<US>value<US>system"]`` and its ranges as
``g: [{k: "Observation<US>date", lo, hi}]``, so that two multikey indexes serve every parameter of every type, and no
test can be met by the halves of two entries. ``o`` holds each parameter's least and greatest value, to sort by.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from hub.search.expression import (
    And,
    Chain,
    Compare,
    Contains,
    Entries,
    Equals,
    Expression,
    Ids,
    In,
    InSystem,
    Not,
    Number,
    Or,
    Order,
    Prefix,
    Query,
    Reverse,
    Test,
)

SEPARATOR = "\x1f"
ESCAPES = str.maketrans({"\x1e": "\x1e0", "\x1f": "\x1e1"})
UNESCAPES = {"\x1e0": "\x1e", "\x1e1": "\x1f"}
NAMES = str.maketrans({"%": "%25", ".": "%2E", "$": "%24"})
SIGNS = {"<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte", "=": "$eq"}
INTEGERS = range(-(2**63), 2**63)
NOTHING: dict[str, Any] = {"_id": {"$in": []}}

Referrers = Callable[[Chain], Sequence[str]]
Referred = Callable[[Reverse], Sequence[str]]


def number(value: Number) -> Number:
    """The value as BSON can hold it: an integer beyond 64 bits becomes the nearest float."""
    return value if isinstance(value, float) or value in INTEGERS else float(value)


def flat(*parts: str) -> str:
    """The parts with separators between; a separator inside a part is escaped so that prefixes stay prefixes."""
    return SEPARATOR.join(part.translate(ESCAPES) for part in parts)


def value_of(term: str) -> str:
    """The value of a flat term."""
    return re.sub("\x1e.", lambda found: UNESCAPES[found[0]], term.split(SEPARATOR)[2])


def fields(type: str, entries: Entries) -> dict[str, Any]:
    """The fields ``t``, ``g`` and ``o`` of a document."""
    extremes: dict[str, Any] = {}

    def extend(shape: str, param: str, low: str | Number, high: str | Number) -> None:
        known = extremes.setdefault(shape, {}).setdefault(param.translate(NAMES), {"n": low, "x": high})
        known["n"], known["x"] = min(known["n"], low), max(known["x"], high)

    for term in entries.terms:
        extend("term", term.param, term.value, term.value)
    for each in entries.ranges:
        extend("range", each.param, number(each.low), number(each.high))
    return {
        "t": [flat(type, term.param, term.value, term.system) for term in entries.terms],
        "g": [
            {"k": flat(type, each.param), "lo": number(each.low), "hi": number(each.high)} for each in entries.ranges
        ],
        "o": extremes,
    }


class Filter:
    """Compiles for resources of ``types`` (all there are, when the query names none).

    ``chained(chain)`` gives the references (``Type/id``) of the resources a Chain may lead to, ``referred(reverse)``
    those that the resources of a Reverse refer to: MongoDB cannot join over databases, so they are asked for first.
    """

    def __init__(self, types: Sequence[str], chained: Referrers, referred: Referred) -> None:
        self._types = types
        self._chained = chained
        self._referred = referred

    def __call__(self, where: Expression) -> dict[str, Any]:
        if isinstance(where, And):
            return {"$and": [self(part) for part in where.parts]} if where.parts else {}
        if isinstance(where, Or):
            return {"$or": [self(part) for part in where.parts]} if where.parts else NOTHING
        if isinstance(where, Not):
            return {"$nor": [self(where.where)]}
        if isinstance(where, Ids):
            return {"key": {"$in": [f"{type}/{id}" for type in self._types for id in where.ids]}}
        if isinstance(where, Chain):
            references = self._chained(where)
            return {"t": {"$in": [flat(type, where.param, each, "") for type in self._types for each in references]}}
        if isinstance(where, Reverse):
            return {"key": {"$in": list(self._referred(where))}}
        return self._match(where.param, where.test)

    def _match(self, param: str, test: Test) -> dict[str, Any]:
        keys = [flat(type, param) for type in self._types]
        if isinstance(test, Equals | In):
            values = (test.value,) if isinstance(test, Equals) else test.values
            if test.system is None:
                return _any(_starting(flat(type, param, value, "")) for type in self._types for value in values)
            return {"t": {"$in": [flat(type, param, value, test.system) for type in self._types for value in values]}}
        if isinstance(test, Compare):
            bounds: dict[str, Any] = {"k": keys[0] if len(keys) == 1 else {"$in": keys}}
            every = [{_edge(edge): {SIGNS[sign]: number(value)}} for edge, sign, value in test.tests]
            # As low <= high, an upper bound of high bounds low too, which is the index's column.
            every += [{"lo": {"$lte": number(v)}} for edge, sign, v in test.tests if edge == "high" and sign[0] != ">"]
            return {"g": {"$elemMatch": bounds | ({"$and": every} if every else {})}}
        if isinstance(test, Prefix):
            return _any(_starting(flat(type, param, test.text)) for type in self._types)
        if isinstance(test, Contains | InSystem):
            return _any({"t": re.compile(_pattern(key, test))} for key in keys)
        return _any(each for key in keys for each in (_starting(key + SEPARATOR), {"g": {"$elemMatch": {"k": key}}}))


def _edge(edge: str) -> str:
    return "lo" if edge == "low" else "hi"


def _any(parts: Any) -> dict[str, Any]:
    every = list(parts)
    return every[0] if len(every) == 1 else {"$or": every} if every else NOTHING


def _starting(text: str) -> dict[str, Any]:
    """Some term starts with the text (never empty). One element must be in the interval, hence $elemMatch."""
    last = ord(text[-1]) + 1
    end = text + "\U0010ffff" if last > 0x10FFFF else text[:-1] + chr(0xE000 if last == 0xD800 else last)
    return {"t": {"$elemMatch": {"$gte": text, "$lt": end}}}


def _pattern(key: str, test: Contains | InSystem) -> str:
    start = "^" + re.escape(key + SEPARATOR)
    if isinstance(test, Contains):
        return f"{start}[^{SEPARATOR}]*{re.escape(test.text.translate(ESCAPES))}"
    return f"{start}[^{SEPARATOR}]*{SEPARATOR}{re.escape(test.system.translate(ESCAPES))}$"


def sorting(query: Query) -> list[dict[str, Any]]:
    """Aggregation stages behind the match: sort keys ``k0``..., the place to go on from, order, limit."""
    keys: dict[str, Any] = {}
    order: dict[str, int] = {}
    for place, each in enumerate(query.order):
        path = _path(each)
        keys |= {f"n{place}": {"$cond": [{"$gt": [path, None]}, 0, 1]}, f"k{place}": path}
        order |= {f"n{place}": 1, f"k{place}": -1 if each.descending else 1}
    stages: list[dict[str, Any]] = [{"$set": keys}] if keys else []
    if query.after is not None:
        stages.append({"$match": _after(query.order, query.after)})
    return [*stages, {"$sort": order | {"seq": 1}}, {"$limit": query.limit}, {"$project": {"t": 0, "g": 0, "o": 0}}]


def _path(order: Order) -> str:
    if order.param in ("_lastUpdated", "_id"):
        return "$updated" if order.param == "_lastUpdated" else "$id"
    edge = "x" if order.descending else "n"
    return f"$o.{order.shape}.{order.param.translate(NAMES)}.{edge}"


def _after(orders: tuple[Order, ...], after: tuple[Any, ...]) -> dict[str, Any]:
    behind: dict[str, Any] = {"seq": {"$gt": after[-1]}}
    for place, (order, value) in reversed(list(enumerate(zip(orders, after[:-1], strict=True)))):
        key, missing = f"k{place}", f"n{place}"
        if value is None:
            behind = {"$and": [{missing: 1}, behind]}
        else:
            beyond = {key: {"$lt" if order.descending else "$gt": value}}
            behind = {"$or": [{missing: 1}, beyond, {"$and": [{key: value}, behind]}]}
    return behind

"""The neutral index entries and the one query tree of the platform.

A stored resource is found by two shapes of index entry only. A *term* is text with an optional namespace: a token's
code and system, a reference, a uri, a normalised string. A *range* is ``low..high``: an instant interval in
microseconds since 1970 UTC, or a number with the interval of its implicit precision. All FHIR meaning (prefixes,
modifiers, precision, normalisation, units) is resolved before a query gets this shape, so that a store compiles it in
a few lines and every store gives the same answer. ``param`` is the search parameter's code; variants of one parameter
(``name:exact``, ``value-quantity`` in one unit) are parameters of their own, named by ``hub.search.index``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Number = int | float


class Term(NamedTuple):
    """Index entry for equality and prefix: a token (value = code), reference (``Type/id``), uri or string."""

    param: str
    value: str
    system: str = ""


class Range(NamedTuple):
    """Index entry for order: ``low <= high``, both inclusive-exclusive as the parameter's type defines."""

    param: str
    low: Number
    high: Number


@dataclass(frozen=True, slots=True)
class Entries:
    """All index entries of one resource version, without duplicates."""

    terms: tuple[Term, ...] = ()
    ranges: tuple[Range, ...] = ()


# --- tests on one entry -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Equals:
    """A term with this value; ``system`` None means any system, "" means none."""

    value: str
    system: str | None = None


@dataclass(frozen=True, slots=True)
class In:
    """A term whose value is one of these, in any system (or all in ``system``)."""

    values: tuple[str, ...]
    system: str | None = None


@dataclass(frozen=True, slots=True)
class InSystem:
    """A term in this system, whatever its value (R4 3.1.1.4.10 ``[system]|``). Scans the parameter's terms."""

    system: str


@dataclass(frozen=True, slots=True)
class Prefix:
    """A term whose value starts with this text."""

    text: str


@dataclass(frozen=True, slots=True)
class Contains:
    """A term whose value contains this text. Scans the parameter's terms."""

    text: str


@dataclass(frozen=True, slots=True)
class Compare:
    """A range of which every comparison holds; all on the same entry."""

    tests: tuple[tuple[Literal["low", "high"], Literal["<", "<=", ">", ">=", "="], Number], ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """Any entry of the parameter, term or range."""


Test = Equals | In | InSystem | Prefix | Contains | Compare | Exists

# --- the tree ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Match:
    """Some entry of ``param`` passes ``test``."""

    param: str
    test: Test


@dataclass(frozen=True, slots=True)
class Ids:
    """The resource's id is one of these."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """Some reference in ``param`` is to a current resource, of one of ``types``, for which ``where`` holds."""

    param: str
    types: tuple[str, ...]
    where: Expression


@dataclass(frozen=True, slots=True)
class Reverse:
    """Some current resource of ``type`` for which ``where`` holds refers to this one in its ``param`` (``_has``)."""

    type: str
    param: str
    where: Expression


@dataclass(frozen=True, slots=True)
class Not:
    """``where`` does not hold (also when there is no entry at all)."""

    where: Expression


@dataclass(frozen=True, slots=True)
class And:
    """All hold; And(()) holds for every resource."""

    parts: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Or:
    """At least one holds; Or(()) holds for none."""

    parts: tuple[Expression, ...] = ()


Expression = Match | Ids | Chain | Reverse | Not | And | Or

ALL = And(())
NONE = Or(())


def both(*parts: Expression) -> Expression:
    """And of the parts, flattened."""
    flat: list[Expression] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, And) else (part,))
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def either(parts: Iterable[Expression]) -> Expression:
    """Or of the parts, flattened."""
    flat: list[Expression] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Or) else (part,))
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def guarded(where: Expression, access: Callable[[str], Expression]) -> Expression:
    """``where`` with the access decision AND-ed for every resource that a chain or ``_has`` looks at on the way."""
    match where:
        case Chain(param, types, inner):
            inner = guarded(inner, access)
            decided: dict[Expression, list[str]] = {}
            for type in types:
                decided.setdefault(access(type), []).append(type)
            return either(Chain(param, tuple(some), both(inner, rule)) for rule, some in decided.items())
        case Reverse(type, param, inner):
            return Reverse(type, param, both(guarded(inner, access), access(type)))
        case Not(inner):
            return Not(guarded(inner, access))
        case And(parts):
            return And(tuple(guarded(part, access) for part in parts))
        case Or(parts):
            return Or(tuple(guarded(part, access) for part in parts))
    return where


# --- a whole query ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Order:
    """One sort key. ``param`` "_lastUpdated" and "_id" are properties of the version; else entries of that shape.

    Ascending sorts by the least entry of the resource (of ranges: the least low), descending by the greatest (the
    greatest high) (R4 search, 3.1.1.5.1);
    a resource without an entry comes last in both.
    """

    param: str
    descending: bool = False
    shape: Literal["term", "range"] = "term"


@dataclass(frozen=True, slots=True)
class Query:
    """What a store is asked: current resources of ``types`` in ``databases`` for which ``where`` holds, in order.

    ``databases`` () means all. ``at`` asks for the state after that change number (a snapshot; None is now).
    ``after`` is the ``Found.key`` of the last row of the page before. Ties, and an empty ``order``, are settled by
    ascending change number of the version, so that the order is total.
    """

    types: tuple[str, ...]
    where: Expression = field(default=ALL)
    order: tuple[Order, ...] = ()
    databases: tuple[str, ...] = ()
    at: int | None = None
    after: tuple[str | Number | None, ...] | None = None
    limit: int = 20

"""Functions on collections: existence, filtering, subsetting, combining, tree, logic (FHIRPath 2.0, 5.1-5.4, 5.8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Any

from hub.fhir.paths.operators import distinct as distinct_items
from hub.fhir.paths.operators import order, same
from hub.fhir.paths.scope import (
    Closure,
    Items,
    Scope,
    children,
    descendants,
    integer,
    logical,
    one,
    system,
    text,
    truth,
    type_info,
    wrong,
)
from hub.fhir.paths.values import number


@dataclass(frozen=True, slots=True)
class Function:
    """``run(scope, input, *arguments)``; the arguments are collections, or closures for a lazy function."""

    run: Callable[..., Items]
    least: int
    most: int


def table(*rows: tuple[str, Callable[..., Items], int, int]) -> dict[str, Function]:
    """Rows of name, function, least and most arguments."""
    return {name: Function(run, least, most) for name, run, least, most in rows}


# --- lazy: the argument is evaluated for each item --------------------------------------------------------------------


def where(scope: Scope, items: Items, criteria: Closure) -> Items:
    """``where(criteria)``."""
    return [item for index, item in enumerate(items) if truth(criteria(scope.inner(item, index)))]


def select(scope: Scope, items: Items, projection: Closure) -> Items:
    """``select(projection)``, flattened."""
    return [found for index, item in enumerate(items) for found in projection(scope.inner(item, index))]


def exists(scope: Scope, items: Items, criteria: Closure | None = None) -> Items:
    """``exists([criteria])``."""
    if criteria is None:
        return [bool(items)]
    return [any(truth(criteria(scope.inner(item, index))) for index, item in enumerate(items))]


def all_(scope: Scope, items: Items, criteria: Closure) -> Items:
    """``all(criteria)``."""
    return [all(truth(criteria(scope.inner(item, index))) for index, item in enumerate(items))]


def repeat(scope: Scope, items: Items, projection: Closure) -> Items:
    """``repeat(projection)``: until nothing new is found; each item once."""
    found: Items = []
    seen: set[Any] = set()
    queue = list(items)
    while queue:
        fresh: Items = []
        for item in queue:
            for result in projection(scope.inner(item)):
                value = system(result)
                key = value if isinstance(value, (str, int, bool)) else id(getattr(result, "value", result))
                if key not in seen:
                    seen.add(key)
                    fresh.append(result)
        found.extend(fresh)
        queue = fresh
    return found


def aggregate(scope: Scope, items: Items, aggregator: Closure, initial: Closure | None = None) -> Items:
    """``aggregate(aggregator [, init])``."""
    total = initial(scope) if initial else []
    for index, item in enumerate(items):
        total = aggregator(scope.inner(item, index, total))
    return total


def iif(scope: Scope, items: Items, criterion: Closure, then: Closure, otherwise: Closure | None = None) -> Items:
    """``iif(criterion, true-result [, otherwise-result])``; only the chosen branch runs."""
    if len(items) > 1:
        raise wrong("iif needs one item")
    inner = Scope(scope.env, items, scope.index, scope.total, scope.variables)
    value = one(criterion(inner), "criterion")
    if value is not None and not isinstance(value, bool):
        raise wrong("iif needs a Boolean criterion")
    if value:
        return then(inner)
    return otherwise(inner) if otherwise else []


def sort(scope: Scope, items: Items, *keys: Closure) -> Items:
    """``sort([key ...])``; a key with a leading minus sorts downwards. Empty keys come first."""
    ranked = [([key(scope.inner(item)) for key in keys] or [[item]], item) for item in items]

    def compare(left: Any, right: Any) -> int:
        for mine, theirs in zip(left[0], right[0], strict=True):
            a, b = one(mine), one(theirs)
            if a is None or b is None:
                found = (a is not None) - (b is not None)
            else:
                found = order(a, b) or 0
            if found:
                return found
        return 0

    return [item for _, item in sorted(ranked, key=cmp_to_key(compare))]


def trace(scope: Scope, items: Items, name: Closure, projection: Closure | None = None) -> Items:
    """``trace(name [, projection])``: the input, untouched."""
    return items


def define_variable(scope: Scope, items: Items, name: Closure, value: Closure | None = None) -> Items:
    """``defineVariable(name [, value])``: for the rest of the expression."""
    key = text(name(scope), "name") or ""
    if key in scope.variables or key in ("resource", "context", "rootResource", "ucum", "sct", "loinc"):
        raise wrong(f"%{key} is already defined")
    scope.variables[key] = value(Scope(scope.env, items, scope.index, scope.total, scope.variables)) if value else items
    return items


LAZY = table(
    ("where", where, 1, 1),
    ("select", select, 1, 1),
    ("exists", exists, 0, 1),
    ("all", all_, 1, 1),
    ("repeat", repeat, 1, 1),
    ("aggregate", aggregate, 1, 2),
    ("iif", iif, 2, 3),
    ("sort", sort, 0, 9),
    ("trace", trace, 1, 2),
    ("defineVariable", define_variable, 1, 2),
)

# --- eager ------------------------------------------------------------------------------------------------------------


def negate(scope: Scope, items: Items) -> Items:
    """``not()``."""
    value = truth(items, "operand of not()")
    return logical(None if value is None else not value)


def truths(items: Items) -> list[bool]:
    """The items as Booleans, for allTrue() and its kin."""
    found = [system(item) for item in items]
    if not all(isinstance(item, bool) for item in found):
        raise wrong("Booleans are expected")
    return found


def subset(items: Items, other: Items) -> bool:
    """Whether every item is in the other collection."""
    return all(any(same(item, candidate) is True for candidate in other) for item in items)


def single(scope: Scope, items: Items) -> Items:
    """``single()``."""
    if len(items) > 1:
        raise wrong("single() found more than one item")
    return items


def skip(scope: Scope, items: Items, count: Items) -> Items:
    """``skip(num)``."""
    return items[max(0, integer(count, "num") or 0) :]


def take(scope: Scope, items: Items, count: Items) -> Items:
    """``take(num)``."""
    return items[: max(0, integer(count, "num") or 0)]


def intersect(scope: Scope, items: Items, other: Items) -> Items:
    """``intersect(other)``."""
    return distinct_items([item for item in items if any(same(item, candidate) is True for candidate in other)])


def exclude(scope: Scope, items: Items, other: Items) -> Items:
    """``exclude(other)``."""
    return [item for item in items if not any(same(item, candidate) is True for candidate in other)]


def is_distinct(scope: Scope, items: Items) -> Items:
    """``isDistinct()``."""
    return [len(distinct_items(items)) == len(items)]


def totals(scope: Scope, items: Items) -> list[Any]:
    """System values that can be summed and ordered."""
    scope.env.spend(len(items))
    return [system(item) for item in items]


def _sum(scope: Scope, items: Items) -> Items:
    found = totals(scope, items)
    if not all(number(item) for item in found):
        raise wrong("sum() needs numbers")
    return [sum(found)] if found else []


def _extreme(sign: int) -> Callable[[Scope, Items], Items]:
    def extreme(scope: Scope, items: Items) -> Items:
        found = totals(scope, items)
        best = found[0] if found else None
        for item in found[1:]:
            if (order(item, best) or 0) * sign > 0:
                best = item
        return [] if best is None else [best]

    return extreme


EAGER = table(
    ("empty", lambda scope, items: [not items], 0, 0),
    ("not", negate, 0, 0),
    ("allTrue", lambda scope, items: [all(truths(items))], 0, 0),
    ("anyTrue", lambda scope, items: [any(truths(items))], 0, 0),
    ("allFalse", lambda scope, items: [not any(truths(items))], 0, 0),
    ("anyFalse", lambda scope, items: [not all(truths(items))], 0, 0),
    ("subsetOf", lambda scope, items, other: [subset(items, other)], 1, 1),
    ("supersetOf", lambda scope, items, other: [subset(other, items)], 1, 1),
    ("count", lambda scope, items: [len(items)], 0, 0),
    ("sum", _sum, 0, 0),
    ("min", _extreme(-1), 0, 0),
    ("max", _extreme(1), 0, 0),
    ("distinct", lambda scope, items: distinct_items(items), 0, 0),
    ("isDistinct", is_distinct, 0, 0),
    ("single", single, 0, 0),
    ("first", lambda scope, items: items[:1], 0, 0),
    ("last", lambda scope, items: items[-1:], 0, 0),
    ("tail", lambda scope, items: items[1:], 0, 0),
    ("skip", skip, 1, 1),
    ("take", take, 1, 1),
    ("intersect", intersect, 1, 1),
    ("exclude", exclude, 1, 1),
    ("union", lambda scope, items, other: distinct_items([*items, *other]), 1, 1),
    ("combine", lambda scope, items, other: [*items, *other], 1, 1),
    ("children", lambda scope, items: [child for item in items for child in children(item)], 0, 0),
    ("descendants", lambda scope, items: list(descendants(scope.env, items)), 0, 0),
    ("type", lambda scope, items: [type_info(item) for item in items], 0, 0),
)

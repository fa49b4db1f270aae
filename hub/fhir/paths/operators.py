"""The operators of FHIRPath (FHIRPath 2.0, 6) as functions on collections."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hub.fhir.paths.arithmetic import add, arithmetic, divide, modulo, multiply, subtract, whole
from hub.fhir.paths.scope import Items, logical, one, system, truth, wrong
from hub.fhir.paths.units import canonical
from hub.fhir.paths.values import CALENDAR_UNITS, Node, Quantity, Temporal, number, quantities

Operator = Callable[[Items, Items], Items]


# --- equality ---------------------------------------------------------------------------------------------------------


def same(one_item: Any, other: Any) -> bool | None:
    """``=`` on two items; None when the precision leaves it open."""
    left, right = system(one_item), system(other)
    if isinstance(left, Temporal) or isinstance(right, Temporal):
        pair = _moments(left, right)
        if pair is None or (pair[0].kind == "time") != (pair[1].kind == "time"):
            return False
        order = pair[0].compare(pair[1])
        return None if order is None else order == 0
    if isinstance(left, Quantity) or isinstance(right, Quantity):
        left, right = quantities(left, right)
        if left is None or right is None:
            return False
        order = left.compare(right)
        if order is None and canonical(left.unit) and canonical(right.unit):
            mixed = (left.unit in CALENDAR_UNITS) != (right.unit in CALENDAR_UNITS)
            return None if mixed or canonical(left.unit) != canonical(right.unit) else False
        return None if order is None else order == 0
    if isinstance(left, Node) or isinstance(right, Node):
        both = isinstance(left, Node) and isinstance(right, Node)
        return both and left.value == right.value and left.extra == right.extra
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return bool(left == right)


def _moments(left: Any, right: Any) -> tuple[Temporal, Temporal] | None:
    """Both as moments: a string beside a moment is read as one."""
    if isinstance(left, str) and isinstance(right, Temporal):
        left = Temporal.parse(left, "time" if right.kind == "time" else "dateTime")
    if isinstance(right, str) and isinstance(left, Temporal):
        right = Temporal.parse(right, "time" if left.kind == "time" else "dateTime")
    return (left, right) if isinstance(left, Temporal) and isinstance(right, Temporal) else None


def equal(left: Items, right: Items) -> Items:
    """``=``: same items in the same order; empty when a side is empty."""
    mine, theirs = _present(left), _present(right)
    if not mine or not theirs:
        return []
    if len(mine) != len(theirs):
        return [False]
    open_ = False
    for a, b in zip(mine, theirs, strict=True):
        answer = same(a, b)
        if answer is False:
            return [False]
        open_ = open_ or answer is None
    return [] if open_ else [True]


def _present(items: Items) -> Items:
    return [item for item in items if type(item) is not Node or item.value is not None or item.extra is not None]


def unequal(left: Items, right: Items) -> Items:
    """``!=``."""
    return [not item for item in equal(left, right)]


def alike(one_item: Any, other: Any) -> bool:
    """``~`` on two items: strings without case and spacing, decimals at the lesser precision."""
    left, right = system(one_item), system(other)
    if isinstance(left, str) and isinstance(right, str):
        return " ".join(left.lower().split()) == " ".join(right.lower().split())
    if number(left) and number(right):
        places = min(_places(left), _places(right))
        return round(Decimal(left), places) == round(Decimal(right), places)
    if isinstance(left, Quantity) or isinstance(right, Quantity):
        first, second = quantities(left, right)
        return first is not None and second is not None and _alikequantities(first, second)
    if isinstance(left, Node) and isinstance(right, Node):
        return _alike_json(left.value, right.value)
    return same(one_item, other) is True


_UCUM_DURATION = {"year": "a", "month": "mo", "week": "wk", "day": "d", "hour": "h", "minute": "min", "second": "s"}


def _alikequantities(first: Quantity, second: Quantity) -> bool:
    """Equal at the lesser precision; a calendar duration is alike the UCUM one."""
    mine = canonical(_UCUM_DURATION.get(first.unit, first.unit))
    theirs = canonical(_UCUM_DURATION.get(second.unit, second.unit))
    if mine is None or theirs is None:
        return first.unit == second.unit and alike(first.value, second.value)
    if mine[1] != theirs[1]:
        return False
    scaled = second.value * theirs[0] / mine[0]
    places = min(_places(first.value), _places(second.value)) if mine == theirs else _places(first.value)
    return round(first.value, places) == round(scaled, places)


def _places(value: Any) -> int:
    exponent = Decimal(value).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _alike_json(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        keys = {key for key in (*left, *right) if key != "id"}
        return all(_alike_json(left.get(key), right.get(key)) for key in keys)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(any(_alike_json(a, b) for b in right) for a in left)
    return alike(left, right) if left is not None and right is not None else left is right


def equivalent(left: Items, right: Items) -> Items:
    """``~``: the same items in any order; two empty collections are alike."""
    if len(left) != len(right):
        return [False]
    rest = list(right)
    for item in left:
        for index, other in enumerate(rest):
            if alike(item, other):
                del rest[index]
                break
        else:
            return [False]
    return [True]


def inequivalent(left: Items, right: Items) -> Items:
    """``!~``."""
    return [not item for item in equivalent(left, right)]


# --- order ------------------------------------------------------------------------------------------------------------


def order(left: Any, right: Any) -> int | None:
    """-1, 0 or 1 for two System values; None when open. Raises HubError ``value`` for values of different kinds."""
    if isinstance(left, Temporal) or isinstance(right, Temporal):
        pair = _moments(left, right)
        if pair is not None:
            return pair[0].compare(pair[1])
    elif isinstance(left, Quantity) or isinstance(right, Quantity):
        first, second = quantities(left, right)
        if first is not None and second is not None:
            return first.compare(second)
    elif (isinstance(left, str) and isinstance(right, str)) or (number(left) and number(right)):
        return int(left > right) - int(left < right)
    raise wrong("values of different types have no order")


def comparison(test: Callable[[int], bool]) -> Operator:
    """An order operator."""

    def compare(left: Items, right: Items) -> Items:
        first, second = one(left), one(right)
        if first is None or second is None:
            return []
        found = order(first, second)
        return [] if found is None else [test(found)]

    return compare


# --- collections ------------------------------------------------------------------------------------------------------


def distinct(items: Items) -> Items:
    """Without duplicates, in order of first appearance."""
    found: Items = []
    seen: set[Any] = set()
    for item in items:
        value = system(item)
        if isinstance(value, (str, bool)) or number(value):
            key = (isinstance(value, bool), value)
            if key not in seen:
                seen.add(key)
                found.append(item)
        elif not any(same(item, other) is True for other in found):
            found.append(item)
    return found


def union(left: Items, right: Items) -> Items:
    """``|``."""
    return distinct([*left, *right])


def membership(left: Items, right: Items) -> Items:
    """``in``."""
    if not left:
        return []
    if len(left) > 1:
        raise wrong("one item is expected on the left of in")
    return [any(same(left[0], item) is True for item in right)]


def containing(left: Items, right: Items) -> Items:
    """``contains``."""
    return membership(right, left)


# --- logic ------------------------------------------------------------------------------------------------------------


def conjunction(left: Items, right: Items) -> Items:
    """``and``, three-valued."""
    first, second = truth(left), truth(right)
    if first is False or second is False:
        return [False]
    return [] if first is None or second is None else [True]


def disjunction(left: Items, right: Items) -> Items:
    """``or``, three-valued."""
    first, second = truth(left), truth(right)
    if first or second:
        return [True]
    return [] if first is None or second is None else [False]


def exclusive(left: Items, right: Items) -> Items:
    """``xor``, three-valued."""
    first, second = truth(left), truth(right)
    return [] if first is None or second is None else [first != second]


def implication(left: Items, right: Items) -> Items:
    """``implies``, three-valued."""
    first, second = truth(left), truth(right)
    if first is False or second:
        return [True]
    return [] if first is None or second is None else logical(second)


def concatenate(left: Items, right: Items) -> Items:
    """``&``: an empty side counts as the empty string."""
    first, second = one(left), one(right)
    for value in (first, second):
        if value is not None and not isinstance(value, str):
            raise wrong("& joins strings only")
    return [(first or "") + (second or "")]


OPERATORS: dict[str, Operator] = {
    "=": equal,
    "!=": unequal,
    "~": equivalent,
    "!~": inequivalent,
    "<": comparison(lambda found: found < 0),
    "<=": comparison(lambda found: found <= 0),
    ">": comparison(lambda found: found > 0),
    ">=": comparison(lambda found: found >= 0),
    "|": union,
    "in": membership,
    "contains": containing,
    "and": conjunction,
    "or": disjunction,
    "xor": exclusive,
    "implies": implication,
    "+": arithmetic(add),
    "-": arithmetic(subtract),
    "*": arithmetic(multiply),
    "/": arithmetic(divide),
    "div": arithmetic(whole),
    "mod": arithmetic(modulo),
    "&": concatenate,
}

"""The direct route: plain paths on a known root, compiled to dictionary look-ups without nodes.

Plain are members, ``as``/``ofType`` on a choice, ``where(resolve() is T)`` and unions of these: nearly all of the 1,384
search parameter expressions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hub.fhir import definitions, reference
from hub.fhir.elements import is_primitive, members, options, supertypes, type_of
from hub.fhir.paths.parse import Binary, Call, Literal, Member, Tree, TypeTest

Pairs = list[tuple[Any, str]]
Route = Callable[[dict[str, Any]], Pairs]
# One step: member name, whether it is an array, and the (name, value) a where() asks of its items.
Stage = tuple[str, bool, tuple[str, str] | None]
# One way through the definitions: the steps, and the model at the end.
Way = tuple[tuple[Stage, ...], str]
_ANY = frozenset({"Resource", "DomainResource", "Element", "BackboneElement"})


def route(tree: Tree, root: str) -> Route | None:
    """The route of a tree on a model, or None when it is not plain."""
    match tree:
        case Binary("|", left, right):
            first, second = route(left, root), route(right, root)
            if first is None or second is None:
                return None
            return second if first is _nothing else first if second is _nothing else _union(first, second)
        case Call(target, "where", (TypeTest("is", Call(None, "resolve", ()), name),)) if target is not None:
            source = _ways(target, root)
            return None if source is None or any(way[1] != "Reference" for way in source) else _resolved(source, name)
    ways = _ways(tree, root)
    return None if ways is None else _joined([_walk(way) for way in ways])


class Walk(NamedTuple):
    """One way through the definitions: from a resource to values, which are all of one type.

    ``member`` is the only step where there is but one, else ""; ``many`` says whether that is an array.
    """

    values: Callable[[dict[str, Any]], list[Any]]
    type: str
    member: str
    many: bool


def walks(tree: Tree, root: str) -> list[Walk] | None:
    """The ways of a tree that is plain."""
    ways = _ways(tree, root)
    return None if ways is None else [_walked(steps, type_of(model)) for steps, model in ways]


def _walked(steps: tuple[Stage, ...], type: str) -> Walk:
    alone = len(steps) == 1 and steps[0][2] is None
    return Walk(_steps(steps), type, steps[0][0] if alone else "", alone and steps[0][1])


def _ways(tree: Tree, root: str) -> list[Way] | None:
    match tree:
        case Member(None, name):
            if name[0].isupper() and name in definitions.load().types:  # "code" is a member, not the type
                return [((), root)] if name in supertypes(root) else []
            return _step([((), root)], name)
        case Member(target, name) if target is not None:
            before = _ways(target, root)
            return None if before is None else _step(before, name)
        case TypeTest("as", operand, name):
            return _cast(_ways(operand, root), name)
        case Call(target, ("as" | "ofType"), (Member(None, name),)) if target is not None:
            return _cast(_ways(target, root), name)
        case Call(target, "where", (Binary("=", Member(None, name), Literal((str(value),))),)) if target is not None:
            return _where(_ways(target, root), name, value)
    return None


def _step(ways: list[Way], name: str) -> list[Way] | None:
    found: list[Way] = []
    for steps, model in ways:
        known = options(model, name)
        if is_primitive(model) or not members(model):
            return None
        if known is None:
            continue
        for key, to, many in known:
            if to == "Resource":
                return None
            found.append(((*steps, (key, many, None)), to))
    return found


def _cast(ways: list[Way] | None, name: str) -> list[Way] | None:
    if ways is None or name in _ANY:
        return None
    wanted = "dateTime" if name == "DateTime" else name  # as R4's own search parameters spell it
    return [way for way in ways if wanted in supertypes(type_of(way[1]))]


def _where(ways: list[Way] | None, name: str, value: str) -> list[Way] | None:
    """``where(name = 'value')`` on the last step; None when ``name`` is no single primitive."""
    found: list[Way] = []
    for steps, model in ways or ():
        known = options(model, name)
        if not steps or steps[-1][2] or known is None or len(known) > 1 or known[0][2] or not is_primitive(known[0][1]):
            return None
        key, many, _ = steps[-1]
        found.append(((*steps[:-1], (key, many, (name, value))), model))
    return found if ways is not None else None


def _walk(way: Way) -> Route:
    steps, model = way
    name = type_of(model)
    walk = _steps(steps)
    if is_primitive(model):
        return lambda resource: [(value, name) for value in walk(resource) if value is not None]
    return lambda resource: [(value, name) for value in walk(resource)]


def _steps(steps: tuple[Stage, ...]) -> Callable[[dict[str, Any]], list[Any]]:
    if not steps:
        return lambda resource: [resource]
    *before, (key, many, test) = steps
    if test is not None:
        name, wanted = test
        plain = _steps((*before, (key, many, None)))
        return lambda resource: [item for item in plain(resource) if item.get(name) == wanted]
    if not before:
        if many:
            return lambda resource: resource.get(key, [])
        return lambda resource: [resource[key]] if key in resource else []
    inner = _steps(tuple(before))
    if many:
        return lambda resource: [value for item in inner(resource) if key in item for value in item[key]]
    return lambda resource: [item[key] for item in inner(resource) if key in item]


def _nothing(resource: dict[str, Any]) -> Pairs:
    return []


def _joined(routes: list[Route]) -> Route:
    if not routes:
        return _nothing
    if len(routes) == 1:
        return routes[0]
    return lambda resource: [pair for way in routes for pair in way(resource)]


def _union(first: Route, second: Route) -> Route:
    def union(resource: dict[str, Any]) -> Pairs:
        left, right = first(resource), second(resource)
        if not right:
            return left
        return left + [pair for pair in right if pair not in left] if left else right

    return union


def _resolved(ways: list[Way], name: str) -> Route:
    """References whose text, or ``type``, says that they are to ``name``; a contained one is looked up."""
    walks = [_steps(steps) for steps, _ in ways]
    if not walks:
        return _nothing

    def resolved(resource: dict[str, Any]) -> Pairs:
        return [(item, "Reference") for walk in walks for item in walk(resource) if _refers(item, name, resource)]

    return resolved


def _refers(item: dict[str, Any], name: str, resource: dict[str, Any]) -> bool:
    text = item.get("reference")
    if not text:
        return bool(item.get("type") == name)
    if text.startswith("#"):
        contained = resource.get("contained", ())
        return any(one.get("id") == text[1:] and one.get("resourceType") == name for one in contained)
    return reference.parse(text).type == name or (item.get("type") == name and not reference.parse(text).type)

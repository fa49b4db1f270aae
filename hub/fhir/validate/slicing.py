"""Slicing (R4 5.1.0.14): which slice an item belongs to, by its discriminators, and what the slicing demands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hub.errors import HubError
from hub.fhir import paths
from hub.fhir.elements import supertypes, type_of
from hub.fhir.paths.values import Node
from hub.fhir.reference import parse
from hub.fhir.validate import codes, invariants, parts
from hub.fhir.validate import conformance as conform
from hub.fhir.validate.profiles import Shape
from hub.fhir.validate.references import resolve
from hub.fhir.validate.report import Place

if TYPE_CHECKING:
    from hub.fhir.validate.conformance import Conformance, Item

_URL = [{"type": "value", "path": "url"}]
_TYPE = [{"type": "type", "path": "$this"}]
_STEP = re.compile(r"extension\('([^']*)'\)|([A-Za-z]+\([A-Za-z.]*\))|\$this|([A-Za-z]+)")


def check(run: Conformance, shape: Shape, items: list[Item], place: Place, profile: str, within: str = "") -> None:
    """Assigns the items to the slices, then checks counts, order, closure, and each item against its slice.

    ``within`` is the slice whose items are sliced again: ``a`` has the slices ``a/b``.
    """
    slicing = (shape.slices[within] if within else shape).rules.get("slicing", {})
    discriminators = parts.objects(slicing, "discriminator") or _implied(shape)
    names = [name for name in shape.slices if name.rpartition("/")[0] == within]
    assigned = [_slice_of(run, shape, names, discriminators, item, profile) for item in items]
    here = (place, shape.name)
    for name in names:
        rules = shape.slices[name].rules
        count = sum(one == name for one in assigned)
        run.count(
            {"min": _least(shape, rules), "max": rules.get("max", "*")}, f"{shape.name}:{name}", count, here, profile
        )
    for item, chosen in zip(items, assigned, strict=True):
        if chosen is not None:
            run.value(shape.slices[chosen], item, profile)
    for name in {one.rpartition("/")[0] for one in shape.slices} & set(names):
        own = [item for item, chosen in zip(items, assigned, strict=True) if chosen == name]
        check(run, shape, own, place, profile, name)
    _arrangement(run, shape, slicing, items, assigned, names, profile)


def _least(shape: Shape, rules: dict[str, Any]) -> int:
    """min of a slice: what the slice itself says; a type slice of a choice has none of its own."""
    least = rules.get("min", 0)
    return least if isinstance(least, int) else 0


def _implied(shape: Shape) -> list[dict[str, str]]:
    """The discriminators of a slicing that does not name any."""
    if shape.name in ("extension", "modifierExtension"):
        return _URL
    typed = all(len(one.rules.get("type", ())) >= 1 for one in shape.slices.values())
    return _TYPE if typed else []


def _arrangement(
    run: Conformance,
    shape: Shape,
    slicing: dict[str, Any],
    items: list[Item],
    assigned: list[str | None],
    names: list[str],
    profile: str,
) -> None:
    """rules (open, closed, openAtEnd) and ordered."""
    rules = slicing.get("rules", "open")
    last = max((index for index, name in enumerate(assigned) if name is not None), default=-1)
    for index, (item, name) in enumerate(zip(items, assigned, strict=True)):
        if name is None and (rules == "closed" or (rules == "openAtEnd" and index < last)):
            run.report.add("profile-slice", item.place, name=shape.name, profile=profile)
    order = [names.index(name) for name in assigned if name is not None]
    if slicing.get("ordered") and order != sorted(order):
        run.report.add("profile-order", items[0].place, name=shape.name, profile=profile)


def _slice_of(
    run: Conformance, shape: Shape, names: list[str], discriminators: list[dict[str, str]], item: Item, profile: str
) -> str | None:
    for name in names:
        candidate = shape.slices[name]
        if discriminators:
            if all(_matches(run, candidate, row, item, profile) for row in discriminators):
                return name
        elif run.fits(candidate, item, profile):
            return name
    return None


def _matches(run: Conformance, shape: Shape, row: dict[str, str], item: Item, profile: str) -> bool:
    kind, path = parts.string(row, "type") or "value", parts.string(row, "path") or "$this"
    rules = shape.marks.get(path)
    if rules is None:
        rules = shape.marks[path] = _rules_at(run, shape, path)
    nodes = _nodes(run, path, item)
    if kind == "exists":
        least, most = rules.get("min", 0), rules.get("max", "*")
        return bool(nodes) if least else not nodes if most == "0" else True
    if kind == "type":
        wanted = [str(one.get("code")) for one in rules.get("type", ())]
        return any(name in supertypes(type_of(node.model)) for node in nodes for name in wanted if node.model)
    if kind == "profile":
        names = ("profile", "targetProfile")
        urls = [url for one in rules.get("type", ()) for name in names for url in parts.strings(one, name)]
        return any(run.conforms(url, conform.Item(node, item.place)) for node in nodes for url in urls)
    return _valued(run, rules, nodes, item, path)


def _valued(run: Conformance, rules: dict[str, Any], nodes: list[Node], item: Item, path: str) -> bool:
    """Discriminators value and pattern: a value has the fixed or pattern value, or a code of the required binding."""
    urls = _profiles(rules)
    if path == "url" and item.node.model == "Extension" and urls:
        return item.node.value.get("url") in urls
    constants = [(key, wanted) for key, wanted in rules.items() if key.startswith(("fixed", "pattern"))]
    for key, wanted in constants:
        test = conform.same if key.startswith("fixed") else conform.contains
        if not any(test(node.value, wanted) for node in nodes):
            return False
    binding = rules.get("binding", {})
    if constants or binding.get("strength") != "required" or run.terminology is None:
        return bool(constants) or (bool(nodes) and rules.get("min", 0) > 0 and not binding)
    pairs = [pair for node in nodes for pair in codes.pairs_of(node.value, node.model)]
    return any(run.terminology.validate_code(binding["valueSet"], system, code) for system, code in pairs)


def _rules_at(run: Conformance, shape: Shape, path: str) -> dict[str, Any]:
    """The rules of a slice at its discriminator's path, through the profiles of the types and the slices on the way.

    A pattern or fixed value above the path counts with the part that the path names.
    """
    steps = [("extension" if match[1] else match[3], match[1] or "") for match in _STEP.finditer(path)]
    return _along(run, shape, [step for step in steps if step[0] is not None], None)


def _along(run: Conformance, shape: Shape | None, steps: list[tuple[str, str]], constant: Any) -> dict[str, Any]:
    rules = dict(shape.rules) if shape is not None else {}
    own = _constant(rules)
    if own is None and constant is not None:
        rules["pattern"] = constant
    constant = constant if own is None else own
    if not steps:
        return rules
    (name, url), *rest = steps
    inner = constant.get(name) if isinstance(constant, dict) else None
    inner = inner[0] if isinstance(inner, list) and len(inner) == 1 else inner
    candidates: list[Shape] = [] if shape is None else _children(run, shape, name, url)
    if not candidates and name == "url":  # an Extension is told by the profile of its type
        return {"type": rules.get("type", ())} if inner is None else {"pattern": inner}
    if not candidates:
        return _along(run, None, rest, inner)
    outcomes = [_along(run, candidate, rest, inner) for candidate in candidates]
    return next((found for found in outcomes if _constant(found) is not None), outcomes[0])


def _constant(rules: dict[str, Any]) -> Any:
    return next((value for key, value in rules.items() if key.startswith(("fixed", "pattern"))), None)


def _children(run: Conformance, shape: Shape, name: str, url: str) -> list[Shape]:
    """The shapes a step can mean: the child and its slices; of an extension the slice with that url."""
    found = shape.children.get(name)
    if found is None:
        for one in shape.rules.get("type", ()):
            for canonical in parts.strings(one, "profile"):
                profiled = run.library.shape(canonical)
                if profiled is not None and name in profiled.children:
                    found = profiled.children[name]
    if found is None:
        return []
    if not url:
        return [found, *found.slices.values()]
    return [one for one in found.slices.values() if url in _profiles(one.rules)]


def _profiles(rules: dict[str, Any]) -> list[str]:
    return [url.partition("|")[0] for kind in rules.get("type", ()) for url in parts.strings(kind, "profile")]


def _nodes(run: Conformance, path: str, item: Item) -> list[Node]:
    if path == "$this":
        return [item.node]
    if path.isalpha():
        return [child.node for child in conform.children(item, path)]
    try:
        env = paths.Env(
            invariants.environment(run.frame).resource, resolver=lambda text: resolve(text, run.frame), now=None
        )
        found = paths.compile(path).on(item.node, env)
    except HubError:
        return []
    return [node for node in found if type(node) is Node]


def named_type(value: Any) -> str:
    """The resource type that a Reference names by itself."""
    text = value.get("reference") if isinstance(value, dict) else None
    named = parse(text).type if isinstance(text, str) else ""
    return named or str(value.get("type", "") if isinstance(value, dict) else "")

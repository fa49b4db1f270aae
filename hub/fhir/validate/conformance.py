"""Does a resource conform to a profile: cardinality, types, fixed and pattern values, bindings, invariants."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hub.errors import HubError
from hub.fhir import json
from hub.fhir.elements import is_primitive, options, resource_model, supertypes, type_of
from hub.fhir.paths.operators import order
from hub.fhir.paths.scope import system
from hub.fhir.paths.values import Node
from hub.fhir.validate import codes, invariants, parts, slicing
from hub.fhir.validate.profiles import Library, Shape
from hub.fhir.validate.references import resolve
from hub.fhir.validate.report import Frame, Place, Report, Visit

MAX_DEPTH = 48


@dataclass(frozen=True, slots=True)
class Item:
    """A value under a profile: the node and its place."""

    node: Node
    place: Place


@dataclass(slots=True)
class Conformance:
    """One resource against profiles; ``report`` collects, ``quiet`` copies judge slices."""

    library: Library
    report: Report
    frame: Frame
    terminology: codes.Codes | None = None
    depth: int = 0
    judged: dict[tuple[int, str], bool] = field(default_factory=dict)

    def check(self, canonical: str, item: Item) -> None:
        """Everything the profile demands of a value of its type."""
        shape = self.library.shape(canonical)
        if shape is not None and self.depth < MAX_DEPTH:
            self.depth += 1
            self.value(shape, item, canonical)
            self.depth -= 1

    def conforms(self, canonical: str, item: Item) -> bool:
        """Whether the value has no error under the profile; an unknown profile judges nothing."""
        structure = self.library.structure(canonical)
        if structure is None:
            return True
        if structure["type"] not in supertypes(type_of(item.node.model)):
            return False
        return self.judge((id(item.node.value), canonical), lambda inner: inner.check(canonical, item))

    def fits(self, shape: Shape, item: Item, profile: str) -> bool:
        """Whether the value has no error under a shape."""
        return self.judge(None, lambda inner: inner.value(shape, item, profile))

    def judge(self, key: tuple[int, str] | None, run: Callable[[Conformance], None]) -> bool:
        """Runs a check whose findings only count as yes or no."""
        if key is not None and key in self.judged:
            return self.judged[key]
        inner = Conformance(self.library, Report(), self.frame, self.terminology, self.depth, self.judged)
        run(inner)
        verdict = not inner.report.failed
        if key is not None:
            self.judged[key] = verdict
        return verdict

    # --- elements -----------------------------------------------------------------------------------------------------

    def value(self, shape: Shape, item: Item, profile: str) -> None:
        """One value against the rules of its element, then its children."""
        if shape.rules:
            self._rules(shape.rules, item, profile)
        if shape.constraints:
            self._invariants(shape, item)
        for name, child in shape.children.items():
            self._element(child, children(item, name), item.place, profile)

    def _rules(self, rules: dict[str, Any], item: Item, profile: str) -> None:
        self._type(rules, item, profile)
        self._constants(rules, item, profile)
        self._range(rules, item, profile)
        if "binding" in rules and item.node.model:
            codes.binding(rules["binding"], item.node.value, item.node.model, item.place, self.report, self.terminology)

    def _element(self, shape: Shape, items: list[Item], place: Place, profile: str) -> None:
        """All values of one element."""
        self.count(shape.rules, shape.name, len(items), (place, shape.name), profile)
        for item in items:
            self.value(shape, item, profile)
        if shape.slices:
            slicing.check(self, shape, items, place, profile)

    def count(self, rules: dict[str, Any], name: str, found: int, place: Place, profile: str) -> None:
        """min and max."""
        least, most = rules.get("min", 0), rules.get("max", "*")
        if isinstance(least, int) and found < least:
            self.report.add("profile-minimum", place, name=name, count=found, min=least, profile=profile)
        if isinstance(most, str) and most.isdigit() and found > int(most):
            self.report.add("profile-maximum", place, name=name, count=found, max=most, profile=profile)

    # --- rules of one value -------------------------------------------------------------------------------------------

    def _type(self, rules: dict[str, Any], item: Item, profile: str) -> None:
        types = [kind for kind in rules.get("type", ()) if not str(kind.get("code")).startswith("http:")]
        if not types or not item.node.model:
            return
        line = supertypes(type_of(item.node.model))
        fitting = [kind for kind in types if kind.get("code") in (line[:1] if is_primitive(line[0]) else line)]
        if not fitting:
            expected = ", ".join(str(kind.get("code")) for kind in types)
            self.report.add("profile-value-type", item.place, found=line[0], profile=profile, expected=expected)
            return
        if item.node.model == "Reference":
            self._target(fitting, item, profile)
        profiles = [url for kind in fitting for url in parts.strings(kind, "profile")]
        if item.node.model == "Extension" or not profiles or any(not kind.get("profile") for kind in fitting):
            return
        known = [url for url in profiles if self.library.structure(url) is not None]
        if len(profiles) == len(known) == 1:
            self.check(known[0], item)
        elif len(known) == len(profiles) and not any(self.conforms(url, item) for url in known):
            self.report.add("profile-unmet", item.place, expected=", ".join(profiles))

    def _target(self, types: list[dict[str, Any]], item: Item, profile: str) -> None:
        wanted = [url for kind in types for url in parts.strings(kind, "targetProfile")]
        text = item.node.value.get("reference") if isinstance(item.node.value, dict) else None
        if not wanted or not isinstance(text, str):
            return
        target = local(text, self.frame) or resolve(text, self.frame)
        found = target.get("resourceType") if target else slicing.named_type(item.node.value)
        if not isinstance(found, str) or not found:
            return
        structures = [self.library.structure(url) for url in wanted]
        allowed = {str(structure["type"]) for structure in structures if structure is not None}
        if None in structures or allowed & set(supertypes(found)):
            if target is None or None in structures:
                return
            node = Item(Node(target, found), item.place)
            if any(self.conforms(url, node) for url in wanted):
                return
        expected = ", ".join(url.rpartition("/")[2] for url in wanted)
        self.report.add("profile-target", item.place, found=found, profile=profile, expected=expected)

    def _constants(self, rules: dict[str, Any], item: Item, profile: str) -> None:
        for key, wanted in rules.items():
            if key.startswith("fixed") and not same(item.node.value, wanted):
                self.report.add("profile-fixed", item.place, expected=_shown(wanted), profile=profile)
            elif key.startswith("pattern") and not contains(item.node.value, wanted):
                self.report.add("profile-pattern", item.place, expected=_shown(wanted), profile=profile)

    def _range(self, rules: dict[str, Any], item: Item, profile: str) -> None:
        value = item.node.value
        if isinstance(rules.get("maxLength"), int) and isinstance(value, str) and len(value) > rules["maxLength"]:
            self.report.add("profile-length", item.place, length=len(value), max=rules["maxLength"], profile=profile)
        for key, limit in rules.items():
            sign = {"minValue": -1, "maxValue": 1}.get(key[:8], 0)
            if sign and _compared(value, limit, item.node.model) == sign:
                expected = f"{'<=' if sign > 0 else '>='} {_shown(limit)}"
                self.report.add("profile-range", item.place, expected=expected, profile=profile)

    def _invariants(self, shape: Shape, item: Item) -> None:
        env = invariants.environment(self.frame)
        visit = Visit({}, item.node.model, item.node.value, item.place, self.frame)
        for constraint in shape.constraints:
            invariants.evaluate(constraint, item.node, visit, self.report, env)


def children(item: Item, name: str) -> list[Item]:
    """The values of a child element, with their places."""
    value = item.node.value
    if not isinstance(value, dict):
        if isinstance(item.node.extra, dict) and name in ("extension", "id"):
            return children(Item(Node(item.node.extra, "Element"), _companion(item.place)), name)
        return []
    found: list[Item] = []
    for key, model, many in options(item.node.model, name) or ():
        if key not in value and "_" + key not in value:
            continue
        raw, extra = value.get(key), value.get("_" + key) if is_primitive(model) else None
        place = (item.place, key)
        if not many:
            found.append(Item(_node(raw, model, extra), place))
            continue
        raws, extras = raw if isinstance(raw, list) else [], extra if isinstance(extra, list) else []
        for index in range(max(len(raws), len(extras))):
            one = raws[index] if index < len(raws) else None
            more = extras[index] if index < len(extras) else None
            found.append(Item(_node(one, model, more), (place, index)))
    return found


def _companion(place: Place) -> Place:
    above, step = place
    if isinstance(step, int) and above is not None:
        return ((above[0], f"_{above[1]}"), step)
    return (above, f"_{step}")


def _node(value: Any, model: str, extra: Any) -> Node:
    if model == "Resource" and isinstance(value, dict):
        return Node(value, resource_model(value))
    return Node(value, model, extra)


def local(text: str, frame: Frame) -> dict[str, Any] | None:
    """The contained resource that ``#id`` means."""
    if not text.startswith("#"):
        return None
    for one in parts.objects(frame.root.resource, "contained"):
        if one.get("id") == text[1:]:
            return one
    return None


def same(value: Any, wanted: Any) -> bool:
    """fixed[x]: equal in every part (R4 ElementDefinition.fixed[x])."""
    if isinstance(wanted, dict):
        keys = value.keys() == wanted.keys() if isinstance(value, dict) else False
        return keys and all(same(value[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(value, list) and len(value) == len(wanted) and all(map(same, value, wanted))
    return _equal(value, wanted)


def contains(value: Any, wanted: Any) -> bool:
    """pattern[x]: holds at least what the pattern holds (R4 ElementDefinition.pattern[x])."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(contains(value.get(key), wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(value, list) and all(any(contains(item, one) for item in value) for one in wanted)
    return _equal(value, wanted)


def _equal(value: Any, wanted: Any) -> bool:
    if _number(value) and _number(wanted):
        return decimal.Decimal(str(value)) == decimal.Decimal(str(wanted))
    return type(value) is type(wanted) and bool(value == wanted)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool)


def _compared(value: Any, limit: Any, model: str) -> int | None:
    """-1, 0 or 1; None for what cannot be compared, as dates of another precision or amounts of another dimension."""
    try:
        return order(system(Node(value, model)), system(Node(limit, model)))
    except HubError:
        return None


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.encode(value).decode()
    return text if len(text) <= 160 else text[:157] + "..."

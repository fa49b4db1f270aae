"""A message against a conformance profile: usage, cardinality, length, value sets, predicates, constraints.

The findings follow NIST's classes: usage and cardinality are errors, length a warning, a constraint an error; an
expression that this hub cannot evaluate (a Java plug-in) is told, never taken as failed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from xml.etree.ElementTree import Element

from adapters.hl7v2.findings import finding
from adapters.hl7v2.message import NULL, Message, Segment
from adapters.hl7v2.profile import Group, Item, Profile, Rule
from hub.services.check import Finding

_STEP = re.compile(r"(\d+)(?:\[(\d+|\*)])?$")


@dataclass(slots=True)
class Node:
    """A place in the message under a profile: its children by position, its text, where it is."""

    message: Message
    holder: Group | None
    at: str
    text: str = ""
    segment: Segment | None = None
    place: tuple[int, ...] = ()
    children: dict[int, list[Node]] = field(default_factory=dict)

    def find(self, path: str) -> list[Node]:
        """The valued nodes at ``4[1].3[1]``; ``.`` is this one."""
        nodes = [self]
        for step in () if path in (".", "") else path.split("."):
            match = _STEP.match(step)
            if match is None:
                return []
            reached = [one for node in nodes for one in node.children.get(int(match[1]), ())]
            if match[2] not in (None, "*"):
                number = int(match[2])
                reached = [one for node in nodes for one in node.children.get(int(match[1]), ())[number - 1 : number]]
            nodes = reached
        return nodes


def check(message: Message, profile: Profile) -> list[Finding]:
    """Every finding of a message against a profile."""
    if message.kind != profile.kind:
        return [finding("profile-other", "MSH-9", 1, value=message.kind, expected=profile.kind)]
    walk = _Walk(message, profile)
    root = Node(message, profile.message, message.kind)
    end = walk.group(root, profile.message, 0)
    for segment in walk.segments[end:]:
        walk.tell("profile-unexpected", Node(message, None, message.position(segment), segment.name, segment))
    walk.rules("Message", profile.message.id, root)
    return walk.found


class _Walk:
    def __init__(self, message: Message, profile: Profile) -> None:
        self.message = message
        self.profile = profile
        self.segments = [one for one in message.segments if one.is_line() and one.name[0] != "Z"]
        self.found: list[Finding] = []

    def tell(self, rule: str, node: Node, *, expected: str = "", detail: str = "", value: str | None = None) -> None:
        place = self.message.place(node.segment, *node.place) if node.segment is not None else None
        line, column, offset = place if place else (None, None, None)
        text = node.text if value is None else value
        self.found.append(
            finding(rule, node.at, line, column, offset=offset, value=text, expected=expected, detail=detail)
        )

    # --- structure

    def group(self, node: Node, group: Group, at: int) -> int:
        """Take the group's members from segment ``at``; where it ends."""
        for position, item in enumerate(group.items, 1):
            instances: list[Node] = []
            while at < len(self.segments) and self.segments[at].name in self._first(item):
                if 0 <= item.max <= len(instances):
                    break
                at = self._one(node, item, at, instances)
            node.children[position] = instances
            self._usage(item, instances, node, item.name or self._name(item))
        return at

    def _one(self, node: Node, item: Item, at: int, instances: list[Node]) -> int:
        if item.group is not None:
            inner = Node(self.message, item.group, f"{item.name}[{len(instances) + 1}]", segment=self.segments[at])
            instances.append(inner)
            end = self.group(inner, item.group, at)
            self.rules("Group", item.group.id, inner)
            return max(end, at + 1)
        instances.append(self._segment(self.segments[at], item))
        return at + 1

    def _name(self, item: Item) -> str:
        return self.profile.segments[item.type].name if item.type in self.profile.segments else item.type

    def _first(self, item: Item) -> frozenset[str]:
        if item.group is None:
            return frozenset((self._name(item),))
        names: frozenset[str] = frozenset()
        for one in item.group.items:
            names |= self._first(one)
            if one.min > 0:
                break
        return names

    def _usage(self, item: Item, instances: list[Node], node: Node, name: str) -> None:
        missing = Node(self.message, None, f"{node.at}-{name}" if node.segment else name, "", node.segment)
        if item.usage == "R" and not instances:
            self.tell("profile-required", missing, expected=name)
        if item.usage == "X" and instances:
            self.tell("profile-forbidden", instances[0])
        if 0 <= item.max < len(instances):
            self.tell("profile-cardinality", instances[item.max], expected=f"at most {item.max}")
        elif instances and len(instances) < item.min:
            self.tell("profile-cardinality", instances[-1], expected=f"at least {item.min}")

    # --- segments, fields, components

    def _segment(self, segment: Segment, item: Item) -> Node:
        holder = self.profile.segments.get(item.type)
        node = Node(self.message, holder, self.message.position(segment), segment.text, segment)
        if holder is None:
            return node
        for number, one in enumerate(holder.items, 1):
            pieces = [text for text in segment.repetitions(number) if text]
            type = one.type
            if holder.mapping is not None and holder.mapping[0] == number:
                type = holder.mapping[2].get(segment.raw(holder.mapping[1]), type)
            instances = [
                self._value(text, one, type, f"{node.at}-{number}[{index}]", segment, (number, index))
                for index, text in enumerate(pieces, 1)
            ]
            node.children[number] = instances
            empty = Node(self.message, None, f"{node.at}-{number}", "", segment, (number,))
            if one.usage == "R" and not instances:
                self.tell("profile-required", empty, expected=one.name)
            if one.usage == "X" and instances:
                self.tell("profile-forbidden", instances[0])
            if 0 <= one.max < len(instances) and one.max > 0:
                self.tell("profile-cardinality", instances[one.max], expected=f"at most {one.max}")
        self.rules("Segment", item.type, node)
        return node

    def _value(self, text: str, item: Item, type: str, at: str, segment: Segment, place: tuple[int, ...]) -> Node:
        holder = self.profile.types.get(type)
        node = Node(self.message, holder, at, text, segment, place)
        header = segment.name == "MSH" and place[0] < 3
        delimiters = self.message.delimiters
        delimiter = (delimiters.component, delimiters.subcomponent, "")[len(place) - 2] if len(place) < 5 else ""
        parts = text.split(delimiter) if delimiter and not header else [text]
        if holder is not None and holder.items and text != NULL:
            self._components(node, holder, parts, segment)
        elif not header and text != NULL:
            self._length(node, item)
            node.children[1] = [node]
        if text != NULL:
            self._codes(node, item, parts[0])
        self.rules("Datatype", type, node)
        return node

    def _components(self, node: Node, holder: Group, parts: list[str], segment: Segment) -> None:
        for number, one in enumerate(holder.items, 1):
            text = parts[number - 1] if number <= len(parts) else ""
            at, place = f"{node.at}.{number}", (*node.place, number)
            if text:
                child = self._value(text, one, one.type, at, segment, place)
                node.children[number] = [child]
                if one.usage == "X":
                    self.tell("profile-forbidden", child)
            elif one.usage == "R":
                self.tell("profile-required", Node(self.message, None, at, "", segment, place), expected=one.name)

    def _length(self, node: Node, item: Item) -> None:
        size = len(self.message.delimiters.unescape(node.text))
        if 0 <= item.max_length < size:
            self.tell("profile-length", node, expected=f"at most {item.max_length}")
        elif size < item.min_length:
            self.tell("profile-length", node, expected=f"at least {item.min_length}")

    def _codes(self, node: Node, item: Item, code: str) -> None:
        known = [self.profile.codes[name] for name in item.binding if name in self.profile.codes]
        if known and code and not any(code in values or _local(code, values) for values in known):
            self.tell("profile-code", node, expected=":".join(item.binding), value=code)

    # --- rules

    def rules(self, level: str, id: str, node: Node) -> None:
        """Predicates and constraints of one level on one instance."""
        for rule in self.profile.rules.get((level, id), ()):
            outcome = evaluate(rule.test, node)
            if rule.true:
                self._predicate(rule, outcome, node)
            elif outcome is False:
                self.tell("profile-constraint", self._target(rule, node), detail=f"{rule.id}: {rule.text}")
            elif outcome is None and rule.test.find(".//Plugin") is None and rule.test.tag != "Plugin":
                continue
            elif outcome is None:
                self.tell("profile-plugin", node, detail=rule.id, value="")

    def _predicate(self, rule: Rule, outcome: bool | None, node: Node) -> None:
        if outcome is None:
            return
        usage = rule.true if outcome else rule.false
        present = node.find(rule.target)
        if usage == "R" and not present:
            self.tell("profile-predicate", self._target(rule, node), detail=f"{rule.text}: R", expected="R")
        elif usage == "X" and present:
            self.tell("profile-predicate", present[0], detail=f"{rule.text}: X", expected="X")

    def _target(self, rule: Rule, node: Node) -> Node:
        """The place a rule speaks of: what is there, else the way to it."""
        found = node.find(rule.target)
        if found:
            return found[0]
        return Node(self.message, None, self._way(node, rule.target), "", node.segment, node.place)

    def _way(self, node: Node, target: str) -> str:
        """The place of an absent element: groups and segments by name, fields and components by number."""
        numbers = [int(step.partition("[")[0]) for step in target.split(".") if step]
        at, group = node.at, node.holder if node.place == () else None
        while numbers and group is not None and group.id not in self.profile.segments:
            item = group.items[numbers.pop(0) - 1] if numbers[0] <= len(group.items) else None
            if item is None:
                break
            at, group = f"{at}.{item.name or self._name(item)}", item.group or self.profile.segments.get(item.type)
        joint = "-" if not node.place else "."
        return at + (joint + ".".join(map(str, numbers)) if numbers else "")


def _local(code: str, values: frozenset[str]) -> bool:
    """Patterns of table HL70396: ``HL7nnnn`` and ``99zzz``."""
    return ("HL7nnnn" in values and bool(re.fullmatch(r"HL7\d{4}", code))) or ("99zzz" in values and code[:2] == "99")


# --- expressions (NIST ConformanceContext) ---------------------------------------------------------------------------


def evaluate(test: Element, node: Node) -> bool | None:
    """True, False, or None where nothing decides: the element is absent, or the expression is a plug-in."""
    if test.tag in ("AND", "OR", "NOT", "IMPLY", "XOR", "FORALL", "EXIST"):
        return _joined(test.tag, [evaluate(one, node) for one in test])
    if test.tag == "Presence":
        return bool(node.find(test.get("Path", ".")))
    if test.tag == "PathValue":
        return _compared(node, test)
    if test.tag == "SetID":
        return _sequence(node, test.get("Path", "."))
    values = [one.text for one in node.find(test.get("Path", "."))]
    tests = [outcome for value in values if (outcome := _matches(test, value)) is not None]
    return all(tests) if tests else None


def _joined(tag: str, outcomes: list[bool | None]) -> bool | None:
    """Three-valued logic (Kleene)."""
    if tag == "NOT":
        return None if outcomes[0] is None else not outcomes[0]
    if tag == "IMPLY":
        outcomes, tag = [_joined("NOT", outcomes[:1]), outcomes[1]], "OR"
    if tag == "XOR":
        return None if None in outcomes else outcomes[0] is not outcomes[1]
    decisive = tag in ("OR", "EXIST")
    if decisive in outcomes:
        return decisive
    return None if None in outcomes else not decisive


def _matches(test: Element, value: str) -> bool | None:
    if test.tag == "PlainText":
        text = test.get("Text", "")
        return value.lower() == text.lower() if test.get("IgnoreCase") == "true" else value == text
    if test.tag == "Format":
        return bool(_pattern(test.get("Regex", "")).fullmatch(value))
    if test.tag == "StringList":
        return value in test.get("CSV", "").split(",")
    if test.tag == "NumberList":
        return value in [number.strip() for number in test.get("CSV", "").split(",")]
    if test.tag == "SimpleValue":
        return _OPERATORS[test.get("Operator", "EQ")](value, test.get("Value", ""))
    return None


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "EQ": lambda left, right: left == right,
    "NE": lambda left, right: left != right,
    "GT": lambda left, right: left > right,
    "LT": lambda left, right: left < right,
    "GE": lambda left, right: left >= right,
    "LE": lambda left, right: left <= right,
}


def _compared(node: Node, test: Element) -> bool | None:
    left, right = (node.find(test.get(name, ".")) for name in ("Path1", "Path2"))
    if not left and not right:
        return None
    if not left or not right:
        return False
    return _OPERATORS[test.get("Operator", "EQ")](left[0].text, right[0].text)


def _sequence(node: Node, path: str) -> bool | None:
    """SetID: the values at a path count 1, 2, 3... over the instances of its first step."""
    first, _, rest = path.partition(".")
    nodes = node.children.get(int(re.sub(r"\[.*", "", first) or 0), [])
    values = [found[0].text for one in nodes if (found := one.find(rest or "."))]
    return values == [str(number) for number in range(1, len(values) + 1)] if values else None

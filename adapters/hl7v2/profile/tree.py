"""A message laid out as a profile sees it: groups, segments, fields, components, each with its children by position."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from adapters.hl7v2.message import HEADERS, NULL, Message, Segment
from adapters.hl7v2.profile.records import Group, Item, Profile

MAX_MISPLACED = 20
_STEP = re.compile(r"(\d+)(?:\[(\d+|\*)])?$")


@dataclass(slots=True)
class Node:
    """A place in the message: its text as sent, what the profile says of it, its children by position.

    ``item`` is how its holder asks for it, ``holder`` what it holds itself; ``instance`` counts from 1 under its
    parent; ``extra`` is the position of the first valued piece that the profile does not know, 0 for none;
    ``unresolved`` the field that should decide a data type and does not.
    """

    message: Message
    holder: Group | None
    at: str
    text: str = ""
    segment: Segment | None = None
    place: tuple[int, ...] = ()
    item: Item | None = None
    instance: int = 1
    extra: int = 0
    unresolved: int = 0
    level: str = ""
    children: dict[int, list[Node]] = field(default_factory=dict)

    @property
    def value(self) -> str:
        """The text with its escape sequences resolved."""
        if self.segment is not None and self.segment.name in HEADERS and self.place[:1] in ((1,), (2,)):
            return self.text
        return self.message.delimiters.unescape(self.text, self.message.codec)

    def find(self, path: str) -> list[Node]:
        """The valued nodes at ``4[1].3[1]``; ``.`` is this one."""
        nodes = [self]
        for step in () if path in (".", "") else path.split("."):
            match = _STEP.match(step)
            if match is None:
                return []
            if match[2] in (None, "*"):
                nodes = [one for node in nodes for one in node.children.get(int(match[1]), ())]
            else:
                number = int(match[2])
                nodes = [one for node in nodes for one in node.children.get(int(match[1]), ())[number - 1 : number]]
        return nodes


Asserted = Callable[[Element, Node], bool | None]


class Builder:
    """Lays one message out. ``asserted`` decides the assertions of slicings."""

    def __init__(self, message: Message, profile: Profile, asserted: Asserted) -> None:
        self._message = message
        self._profile = profile
        self._asserted = asserted
        self._first: dict[int, frozenset[str]] = {}

    def build(self) -> tuple[Node, list[Segment]]:
        """The root, and the segments for which the profile has no place, so that what follows them still has one."""
        known = self._names(self._profile.message)
        segments = [one for one in self._message.segments if one.is_line() and one.name[0] != "Z"]
        outside = [one for one in segments if one.name not in known]
        rest = [one for one in segments if one.name in known]
        while True:
            root = Node(self._message, self._profile.message, self._message.kind, level="Message")
            end = self._group(root, self._profile.message, rest, 0)
            if end >= len(rest):
                return root, outside
            if len(outside) >= MAX_MISPLACED:
                return root, outside + rest[end:]
            outside.append(rest[end])
            rest = rest[:end] + rest[end + 1 :]

    # --- groups

    def name(self, item: Item) -> str:
        """The standard's name of a segment or group."""
        segment = self._profile.segments.get(item.type)
        return item.name or (segment.name if segment else item.type)

    def _names(self, group: Group) -> frozenset[str]:
        inner = (self._names(one.group) if one.group else frozenset((self.name(one),)) for one in group.items)
        return frozenset().union(*inner)

    def _begins(self, item: Item) -> frozenset[str]:
        """The segments an item can begin with."""
        if item.group is None:
            return frozenset((self.name(item),))
        if id(item) not in self._first:
            names: set[str] = set()
            for one in item.group.items:
                names |= self._begins(one)
                if one.min > 0:
                    break
            self._first[id(item)] = frozenset(names)
        return self._first[id(item)]

    def _group(self, node: Node, group: Group, segments: list[Segment], at: int) -> int:
        for position, item in enumerate(group.items, 1):
            begins = self._begins(item)
            instances: list[Node] = []
            while at < len(segments) and segments[at].name in begins and not 0 <= item.max <= len(instances):
                number = len(instances) + 1
                if item.group is None:
                    instances.append(self._sliced_segment(group, position, item, segments[at], number))
                    at += 1
                    continue
                inner = Node(
                    self._message, item.group, f"{item.name}[{number}]", segment=segments[at], item=item,
                    instance=number, level="Group",
                )  # fmt: skip
                instances.append(inner)
                at = max(self._group(inner, item.group, segments, at), at + 1)
            node.children[position] = instances
        return at

    # --- segments, fields, components

    def _sliced_segment(self, group: Group, position: int, item: Item, segment: Segment, number: int) -> Node:
        node = self._segment(segment, item, item.type, number)
        flavour = self._flavour(group.id, position, number, node)
        return self._segment(segment, item, flavour, number) if flavour else node

    def _flavour(self, holder: str, position: int, number: int, node: Node) -> str:
        slicing = self._profile.slicings.get((holder, position))
        if slicing is None:
            return ""
        if number in slicing.occurrences:
            return slicing.occurrences[number]
        return next((flavour for test, flavour in slicing.assertions if self._asserted(test, node)), "")

    def _segment(self, segment: Segment, item: Item, type: str, number: int) -> Node:
        holder = self._profile.segments.get(type)
        at = self._message.position(segment)
        node = Node(self._message, holder, at, segment.text, segment, (), item, number, level="Segment")
        if holder is None:
            return node
        for position, one in enumerate(holder.items, 1):
            kind = self._dynamic(holder, position, segment) or one.type
            instances: list[Node] = []
            for index, text in enumerate(segment.repetitions(position), 1):
                if text:
                    where = f"{at}-{position}[{index}]"
                    value = self._value(text, one, kind, where, segment, (position, index))
                    flavour = self._flavour(holder.id, position, index, value)
                    if flavour:
                        value = self._value(text, one, flavour, where, segment, (position, index))
                    value.instance = len(instances) + 1
                    instances.append(value)
            node.children[position] = instances
            if instances and kind == one.type and holder.dynamic is not None and holder.dynamic.position == position:
                node.unresolved = holder.dynamic.references[0]
        known = len(holder.items)
        if not known:
            return node
        node.extra = next((index for index in range(known + 1, len(segment.fields)) if segment.fields[index]), 0)
        return node

    def _dynamic(self, holder: Group, position: int, segment: Segment) -> str:
        dynamic = holder.dynamic
        if dynamic is None or dynamic.position != position:
            return ""
        said = tuple(segment.raw(reference, 1, 1) for reference in dynamic.references)
        return dynamic.cases.get(said) or dynamic.cases.get((said[0], *[""] * (len(said) - 1)), "")

    def _value(self, text: str, item: Item, type: str, at: str, segment: Segment, place: tuple[int, ...]) -> Node:
        holder = self._profile.types.get(type)
        node = Node(self._message, holder, at, text, segment, place, item, level="Datatype")
        if (segment.name in HEADERS and place[0] < 3) or text == NULL:
            return node
        if holder is None or not holder.items:
            node.children[1] = [node]
            return node
        delimiters = self._message.delimiters
        delimiter = (delimiters.component, delimiters.subcomponent, "")[len(place) - 2] if len(place) < 5 else ""
        parts = text.split(delimiter) if delimiter else [text]
        for number, one in enumerate(holder.items, 1):
            piece = parts[number - 1] if number <= len(parts) else ""
            if piece:
                child = self._value(piece, one, one.type, f"{at}.{number}", segment, (*place, number))
                node.children[number] = [child]
        node.extra = next((index for index, piece in enumerate(parts, 1) if index > len(holder.items) and piece), 0)
        return node

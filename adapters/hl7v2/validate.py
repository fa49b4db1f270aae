"""Validation by the base standard: structure, usage, cardinality, extra content, data type formats, tables.

Every finding is collected; the place is ``PID[1]-3[2].4.2`` with line, column and byte offset.
"""

from __future__ import annotations

from collections.abc import Iterator

from adapters.hl7v2 import spec
from adapters.hl7v2.findings import finding
from adapters.hl7v2.message import HEADERS, NULL, Message, Segment
from adapters.hl7v2.plan import FORMATS, PRIMITIVES, plan_of
from adapters.hl7v2.spec import Group, Part, Spec
from hub.services.check import Finding

MAX_FINDINGS = 1000
MAX_MISPLACED = 20


def validate(message: Message) -> list[Finding]:
    """All findings by the version the message names and the structure that MSH-9.3, or else its event, has."""
    version = spec.load(message.version)
    found: list[Finding] = []
    if version.version != message.version:
        found.append(finding("version-unknown", "MSH-12", 1, value=message.version, expected=version.version))
    name = message.value(message.header, 9, 1, 3)
    group = version.structures.get(name) or version.structures.get(spec.structure_of(message.kind))
    if group is None:
        found.append(finding("structure-unknown", "MSH-9", 1, value=name or message.kind))
    plan = plan_of(version.version, message.delimiters)
    if group is not None:
        ends = (message.delimiters.field, "")
        order = tuple([segment.name if segment.text[3:4] in ends else "" for segment in message.segments])
        if order not in plan.orders(group):
            wrong = Structure(message).check(group)
            found += wrong
            if not wrong:
                plan.orders(group).add(order)
    for segment in message.segments:
        fields = plan.fields(segment.name)
        if fields is not None and segment.is_line() and not fields.right(segment):
            found += Fields(message, version, segment).check()
            if len(found) > MAX_FINDINGS:
                break
    return found[:MAX_FINDINGS]


class Structure:
    """Segments against the structure of their message (HL7 v2.5.1 2.5.2)."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self._found: list[Finding] = []
        self._segments: list[Segment] = []

    def check(self, group: Group) -> list[Finding]:
        """A segment out of place is told and set aside, so that what follows is still checked."""
        outside: list[Finding] = []
        rest: list[Segment] = []
        for segment in self._message.segments:
            if segment.name in group.all:
                rest.append(segment)
            elif segment.is_line() and segment.name[0] != "Z":
                outside.append(self._tell("segment-unexpected", segment))
        misplaced: list[Finding] = []
        while True:
            self._segments, self._found = rest, []
            end = self._match(group, 0)
            if end >= len(rest) or len(misplaced) >= MAX_MISPLACED:
                break
            misplaced.append(self._tell("segment-misplaced", rest[end]))
            rest = rest[:end] + rest[end + 1 :]
        return outside + misplaced + self._found

    def _match(self, group: Group, at: int) -> int:
        """Take the group's members from ``at``; where it ends. Missing ones are told."""
        if group.choice:
            for member in group.members:
                if at < len(self._segments) and self._segments[at].name in member.first:
                    return self._match(member.group, at) if member.group else at + 1
            return at
        for member in group.members:
            count = 0
            while (
                at < len(self._segments)
                and self._segments[at].name in member.first
                and (member.max < 0 or count < member.max)
            ):
                at = self._match(member.group, at) if member.group else at + 1
                count += 1
            if count < member.min:
                self._missing(member.name, at)
        return at

    def _missing(self, name: str, at: int) -> None:
        near = (self._segments or self._message.segments)[min(at, len(self._segments) - 1)]
        rule = "group-missing" if len(name) > 3 else "segment-missing"
        self._found.append(finding(rule, name, near.index + 1, detail=name, expected=name))

    def _tell(self, rule: str, segment: Segment) -> Finding:
        place = self._message.place(segment)
        return finding(rule, self._message.position(segment), place.line, 1, offset=place.offset, value=segment.name)


class Fields:
    """The fields of one segment against its definition."""

    def __init__(self, message: Message, version: Spec, segment: Segment) -> None:
        self._message = message
        self._version = version
        self._segment = segment
        self._at = message.position(segment)

    def check(self) -> Iterator[Finding]:
        parts = self._version.segments[self._segment.name]
        fields = self._segment.fields
        for number, part in enumerate(parts, 1):
            text = fields[number] if number < len(fields) else ""
            if self._segment.name in HEADERS and number < 3:
                continue
            if not text:
                if part.min > 0:
                    yield self._tell("field-required", number, expected=part.name)
                continue
            pieces = self._segment.repetitions(number)
            if 0 <= part.max < len(pieces) and part.max > 0:
                yield self._tell("field-repeats", number, part.max + 1, value=text, expected=str(part.max))
            for repetition, piece in enumerate(pieces, 1):
                if piece and piece != NULL:
                    yield from self._piece(part, piece, number, repetition)
        extra = next((number for number in range(len(parts) + 1, len(fields)) if fields[number]), 0)
        if extra:
            yield self._tell("field-extra", extra, value=fields[extra], expected=str(len(parts)))

    def _piece(self, part: Part, text: str, number: int, repetition: int) -> Iterator[Finding]:
        type = part.type
        if (self._segment.name, number) == ("OBX", 5):
            type = self._segment.field(2)
        yield from self._value(type, part.table, text, (number, repetition))

    def _value(self, type: str, table: str, text: str, place: tuple[int, ...]) -> Iterator[Finding]:
        """A value of a data type at field, repetition, component, subcomponent."""
        delimiters = self._message.delimiters
        delimiter = (delimiters.component, delimiters.subcomponent, "")[len(place) - 2]
        parts = self._version.types.get(type)
        if parts is None or not delimiter:
            yield from self._primitive(type, table, text, place)
            return
        pieces = text.split(delimiter)
        for component, (piece, part) in enumerate(zip(pieces, parts, strict=False), 1):
            if piece and piece != NULL:
                yield from self._value(part.type, part.table or table * (component == 1), piece, (*place, component))
        extra = next((number for number, piece in enumerate(pieces[len(parts) :], len(parts) + 1) if piece), 0)
        if extra:
            value = pieces[extra - 1]
            yield self._tell("component-extra", *place, extra, value=value, expected=f"{type}: {len(parts)}")

    def _primitive(self, type: str, table: str, text: str, place: tuple[int, ...]) -> Iterator[Finding]:
        form = FORMATS.get(type)
        codes = self._version.tables.get(table) if type == "ID" else None
        if form is not None and not form.match(text):
            yield self._tell("value-format", *place, value=text, expected=type)
        elif codes and self._message.delimiters.unescape(text) not in codes:
            yield self._tell("code-unknown", *place, value=text, expected=table)
        elif form is None and not codes and type in PRIMITIVES and self._separated(text, len(place)):
            yield self._tell("separator-unescaped", *place, value=text, expected=type)

    def _separated(self, text: str, level: int) -> bool:
        """Whether a separator divides a value that has no parts."""
        delimiters = self._message.delimiters
        letters = (delimiters.component, delimiters.subcomponent)[level - 2 :]
        return any(letter and text.partition(letter)[2].strip(letter) for letter in letters)

    def _tell(self, rule: str, *place: int, value: str = "", expected: str = "") -> Finding:
        number, repetition, component, subcomponent = (*place, 1, 1, 1)[:4] if len(place) > 1 else (place[0], 1, 1, 1)
        at = f"{self._at}-{number}" + (f"[{repetition}]" if len(place) > 1 else "")
        at += "".join(f".{one}" for one in place[2:])
        where = self._message.place(self._segment, number, repetition, component, subcomponent)
        return finding(rule, at, where.line, where.column, offset=where.offset, value=value, expected=expected)

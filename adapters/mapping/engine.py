"""Runs the mapping tables: a message in, a transaction Bundle of FHIR resources out.

Tables are compiled once into closures. A message is then walked segment by segment: each finds its place in the group
structure of the message table, fills the resources of its rows, and drops what an earlier turn of the same group had in
view; so an OBX belongs to the OBR before it. Identifiers of resources are UUIDs of what identifies them (``keys.csv``),
never of their place in the message.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from adapters.mapping.conversions import Circumstances
from adapters.mapping.datatypes import Compiler, Reader
from adapters.mapping.tables import Key, MessageRow, Tables
from hub.errors import HubError
from hub.fhir import elements
from hub.fhir.ids import NAMESPACE, resource_id
from hub.fhir.temporal import interval

Resource = dict[str, Any]


class Segment(Protocol):
    """A segment of the source: a name, and field texts by number."""

    name: str
    index: int

    @property
    def fields(self) -> Sequence[str]: ...


@dataclass(slots=True)
class Entry:
    """A resource under construction."""

    resource: Resource
    label: str
    segment: Segment
    owner: bool = True
    scope: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    references: list[dict[str, str]] = field(default_factory=list)
    key: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that no row could take: its position, the text, and why."""

    at: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """The outcome: resources in order, values left out, segments no row maps, elements to delete by reference."""

    resources: list[Resource]
    problems: list[Problem]
    unmapped: list[str]
    cleared: dict[str, list[str]]


class Run:
    """One message on its way through the tables; what closures see."""

    __slots__ = (
        "circumstances", "cleared", "codec", "current", "delimiters", "entries", "keys", "labels", "latest", "level",
        "made", "parts", "piece", "problems", "referred", "segment",
    )  # fmt: skip

    def __init__(
        self, delimiters: Any, codec: str, circumstances: Circumstances, keys: dict[str, tuple[Key, ...]]
    ) -> None:
        self.delimiters = delimiters
        self.codec = codec
        self.circumstances = circumstances
        self.keys = keys
        self.entries: list[Entry] = []
        self.current: dict[str, Entry] = {}
        self.labels: dict[str, list[Entry]] = {}
        self.latest: dict[str, Segment] = {}
        self.made: dict[str, Entry] = {}
        self.referred: dict[tuple[Any, str], dict[str, str]] = {}
        self.problems: list[Problem] = []
        self.cleared: list[tuple[Entry, str]] = []
        self.segment: Segment
        self.piece = ""
        self.parts: list[str] = []
        self.level = 0

    def refuse(self, at: str, value: str, why: str) -> None:
        """Note a value that is left out."""
        self.problems.append(Problem(at, value[:80], why))

    def refer(self, type: str, content: Resource) -> dict[str, str] | None:
        """A reference to a resource described inside a field (a Practitioner in an XCN); made once a message."""
        entry = Entry({"resourceType": type, **content}, type, self.segment)
        if not self._identify(entry):
            return None
        known = self.made.setdefault(entry.key, entry)
        if known is entry:
            self.entries.append(entry)
        return {"reference": f"{type}/{known.resource['id']}"}

    def link(self, target: Entry) -> dict[str, str]:
        """A reference whose text is set when the target has its id."""
        reference = {"reference": ""}
        target.references.append(reference)
        return reference

    # --- identity

    def _identify(self, entry: Entry) -> bool:
        type = entry.resource["resourceType"]
        for rule in self.keys.get(type, ()):
            if len(rule.parts) == 1 and rule.parts[0].startswith("identifier"):
                chosen = _chosen(entry.resource.get("identifier", ()), rule.parts[0])
                if chosen is not None and "system" in chosen and _own(chosen, rule.parts[0]):
                    entry.key = "\x1f".join((chosen["system"], type, rule.parts[0], chosen["value"]))
                    entry.resource["id"] = resource_id(type, chosen["system"], chosen["value"])
                    return True
            parts = [self._part(entry, part) for part in rule.parts]
            if all(part is not None for part in parts):
                text = "\x1f".join((self.circumstances.facility, type, rule.parts[0], *(part or "" for part in parts)))
                entry.key = text
                entry.resource["id"] = str(uuid.uuid5(NAMESPACE, text))
                return True
        return False

    def _part(self, entry: Entry, part: str) -> str | None:
        """One part of a key: an element of the resource, or a field of its segment; None when a must is missing."""
        optional = part.endswith("?")
        part = part.rstrip("?")
        if part.startswith("identifier"):
            text = _text(_chosen(entry.resource.get("identifier", ()), part) or "")
        elif "-" in part:
            name, number = part.split("-")
            segment = entry.segment if entry.segment.name == name else self.latest.get(name)
            fields = segment.fields if segment is not None else ()
            text = fields[int(number)] if int(number) < len(fields) else ""
        else:
            value: Any = entry.resource
            for name in part.split("."):
                value = value.get(name, "") if isinstance(value, dict) else ""
            text = _text(value)
        return text if text or optional else None

    def finish(self) -> list[Resource]:
        """Give every resource its id, in order of creation, and write the references to it."""
        seen: dict[str, Entry] = {}
        resources: list[Resource] = []
        for entry in self.entries:
            if "id" not in entry.resource and not self._identify(entry):
                self.refuse(
                    entry.segment.name, "", f"nothing identifies this {entry.resource['resourceType']}; it is left out"
                )
                _unlink(entry)
                continue
            first = self._again(entry, seen)
            for reference in entry.references:
                reference["reference"] = f"{first.resource['resourceType']}/{first.resource['id']}"
            if first is entry:
                self._choose(entry)
                self._order(entry)
                resources.append(entry.resource)
        return resources

    def _choose(self, entry: Entry) -> None:
        """Of a choice element (R4 2.6.2.4) that was given in two types, the first stays."""
        for members in choices(entry.resource["resourceType"]):
            if len(entry.resource.keys() & members) < 2:
                continue
            present = [name for name in entry.resource if name in members]
            for name in present[1:]:
                value = entry.resource.pop(name)
                self.refuse(entry.segment.name, str(value), f"{present[0]} was given as well as {name}")

    def _order(self, entry: Entry) -> None:
        """Of a period that ends before it starts (R4 per-1) the start stays."""
        for name in PERIODS:
            period = entry.resource.get(name, {})
            if len(period.keys() & {"start", "end"}) < 2:
                continue
            if interval(period["start"])[0] >= interval(period["end"])[1]:
                self.refuse(entry.segment.name, period.pop("end"), f"{name} ends before it starts")

    def _again(self, entry: Entry, seen: dict[str, Entry]) -> Entry:
        """The same key a second time: the same resource, or by ``keys.csv`` another one with a number."""
        first = seen.setdefault(entry.key, entry)
        if first is entry:
            return entry
        type = entry.resource["resourceType"]
        again = next(rule for rule in self.keys[type] if entry.key.split("\x1f")[2] == rule.parts[0]).again
        key = entry.key
        if again not in ("same", "other"):
            own = self._part(entry, again) or ""
            if own != (self._part(first, again) or ""):
                key = f"{entry.key}\x1f{own}"
                first = seen.setdefault(key, entry)
        if again != "other" and first is not entry:
            for name, value in entry.resource.items():
                first.resource.setdefault(name, value)
            return first
        number = 2
        while again == "other" and (key := f"{entry.key}\x1f{number}") in seen:
            number += 1
        seen[key] = entry
        entry.key = key
        entry.resource["id"] = str(uuid.uuid5(NAMESPACE, key))
        return entry


@cache
def choices(type: str) -> tuple[frozenset[str], ...]:
    """The member names of each choice element of a resource type."""
    return tuple(frozenset(one.models) for one in elements.members(type).values() if len(one.models) > 1)


def _unlink(entry: Entry) -> None:
    for reference in entry.references:
        reference.pop("reference")
        reference["display"] = "not identified"


def _chosen(identifiers: Iterable[Resource], part: str) -> Resource | None:
    """The identifier that counts, whatever the order they came in.

    ``identifier[MR,PI,*,NI]`` prefers these types in this order, ``*`` being every other; then the least.
    """
    types = part[len("identifier[") : -1].split(",")
    others = types.index("*") if "*" in types else len(types)

    def rank(identifier: Resource) -> tuple[bool, int, str]:
        code = (identifier.get("type", {}).get("coding") or [{}])[0].get("code", "")
        return ("system" not in identifier, types.index(code) if code in types else others, _text(identifier))

    return min((identifier for identifier in identifiers if identifier.get("value")), key=rank, default=None)


def _own(identifier: Resource, part: str) -> bool:
    """Whether an identifier names the sender's own record. Types after ``*`` name a person in many senders' records."""
    types = part[len("identifier[") : -1].split(",")
    code = (identifier.get("type", {}).get("coding") or [{}])[0].get("code", "")
    return "*" not in types or code not in types[types.index("*") :]


def _text(value: Any) -> str:
    """What of an element identifies: system and value of an Identifier, codes of a CodeableConcept, a reference."""
    if isinstance(value, list):
        return "\x1e".join(filter(None, (_text(one) for one in value)))
    if isinstance(value, dict):
        if "reference" in value or value.keys() == {"display"}:
            return str(value.get("reference", ""))
        if "coding" in value or "text" in value:
            first = (value.get("coding") or [{}])[-1]
            return (
                f"{first.get('system', '')}|{first.get('code', '')}"
                if first.get("code")
                else _text(value.get("text", ""))
            )
        if "value" in value:
            code = (value.get("type", {}).get("coding") or [{}])[0].get("code", "")
            return f"{value.get('system', '')}|{value['value']}|{code}"
        return "\x1d".join(_text(one) for one in value.values())
    return str(value)


# --- message tables -------------------------------------------------------------------------------------------------

Step = Callable[[Run, Segment], None]
PERIODS = ("period", "occurrencePeriod", "effectivePeriod", "performedPeriod")
WHOSE = ("subject", "patient", "beneficiary")
"""References to the person that R4 requires of most resources."""


@dataclass(slots=True)
class Place:
    """A segment's place in a message table: its groups, outermost first, and the steps of its rows."""

    number: int
    groups: tuple[str, ...]
    steps: list[Step]
    labels: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Group:
    """What a group's rows bring into view: places, segments, resources, and of those the ones of groups within it."""

    first: int
    places: set[int] = field(default_factory=set)
    segments: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)
    inner: set[str] = field(default_factory=set)


class Structure:
    """One message table, compiled."""

    def __init__(self, name: str, rows: Iterable[MessageRow], compiler: Compiler) -> None:
        self.name = name
        self.places: dict[str, list[Place]] = {}
        self._groups: dict[str, Group] = {}
        known: dict[str, Place] = {}
        for number, row in enumerate(rows):
            *groups, segment = row.identifier.split(".")
            segment = segment.split(":")[0]
            place = known.get(row.identifier)
            if place is None:
                paths = tuple(".".join(groups[: depth + 1]) for depth in range(len(groups)))
                place = known[row.identifier] = Place(number, paths, [])
                self.places.setdefault(segment, []).append(place)
            if row.map:
                place.steps.append(_step(row, compiler))
            for path in place.groups:
                group = self._groups.setdefault(path, Group(number))
                group.segments.add(segment)
                group.places.add(place.number)
                if row.target and not row.target.endswith("+"):
                    place.labels.add(row.target)
                    group.labels.add(row.target)
                    if path != place.groups[-1]:
                        group.inner.add(row.target)

    def walk(self, run: Run, segments: Iterable[Segment]) -> list[str]:
        """Take every segment to its place and run its rows; the names of segments without a mapping."""
        at: Place | None = None
        seen: set[int] = set()
        unmapped: dict[str, None] = {}
        for segment in segments:
            places = self.places.get(segment.name)
            if places is None:
                unmapped[segment.name] = None
                continue
            place = places[0] if len(places) == 1 or at is None else self._next(places, at)
            if at is not None and place.number <= at.number:
                self._begin_again(run, at, place, seen)
            seen.add(place.number)
            at = place
            run.latest[segment.name] = run.segment = segment
            if not place.steps:
                unmapped[segment.name] = None
            for step in place.steps:
                step(run, segment)
        return list(unmapped)

    def _next(self, places: list[Place], at: Place) -> Place:
        """The place of a segment after ``at``: ahead in the innermost group with one, else the group begins anew."""
        for depth in range(len(at.groups), 0, -1):
            group = at.groups[depth - 1]
            within = [place for place in places if len(place.groups) >= depth and place.groups[depth - 1] == group]
            if within:
                return next((place for place in within if place.number >= at.number), within[0])
        return places[0]

    def _begin_again(self, run: Run, at: Place, place: Place, seen: set[int]) -> None:
        """What the earlier turn of a group had in view is out of view when the group begins anew.

        Going back to a group's first segment, or to one that this turn already had, begins the innermost group that
        holds both places. A segment that only comes late does not, nor one that repeats in its place, unless it shares
        its resource with an earlier one (ORC and OBR make one ServiceRequest: a second OBR is another order).
        """
        common = [path for path in place.groups if path in at.groups]
        group = self._groups[common[-1]]
        again = place.number == group.first or place.number in seen
        if place is at and place.number != group.first:
            again = any(
                place.labels & other.labels
                for others in self.places.values()
                for other in others
                if other is not place and other.groups == place.groups
            )
        if len(common) == 1 or not again:
            return
        seen -= group.places
        for name in group.segments:
            run.latest.pop(name, None)
        for label in group.labels:
            run.current.pop(label, None)
        for label in group.inner:
            run.labels.pop(label, None)


def _step(row: MessageRow, compiler: Compiler) -> Step:
    """One row: a target with ``+`` adds to the resource in view, any other is a new resource for each segment.

    The map of another segment (``ORC[...]`` on an OBR row) takes the one of that name in view.
    """
    test = compiler.condition(row.condition) if row.condition else None
    fill = compiler.segment(row.map)
    links = [_link(text) for text in row.references.split(";") if text.strip()]
    adds = row.target.endswith("+")
    source, own = row.map.split("[")[0], row.identifier.rpartition(".")[2].split(":")[0]
    label = row.target.removesuffix("+")
    type = label.split("[")[0]

    def step(run: Run, segment: Segment) -> None:
        if test is not None and not test(run):
            return
        entry = run.current.get(label)
        if entry is None and adds:
            return
        if entry is None or (not adds and entry.segment.name == segment.name and entry.segment is not segment):
            entry = Entry({"resourceType": type}, label, segment)
            run.current[label] = entry
            run.labels.setdefault(label, []).append(entry)
            run.entries.append(entry)
        entry.scope = {}
        filling = segment if source == own else run.latest.get(source)
        if filling is not None:
            run.segment = filling
            fill(run, entry, filling)
            run.segment = segment
        for link in links:
            link(run, entry)

    return step


def _link(text: str) -> Callable[[Run, Entry], None]:
    """``subject=Patient``: an element of this resource; ``DiagnosticReport:result[]=Observation``: of another in view.

    ``Observation[*]:specimen=Specimen`` reaches all of this group; ``[]`` adds to a list, ``[-1]`` is its last element.
    """
    left, _, right = text.strip().partition("=")
    owner, _, path = left.rpartition(":")
    every = owner.endswith("[*]")
    owner = owner.removesuffix("[*]")
    steps = path.split(".")

    def link(run: Run, entry: Entry) -> None:
        target = run.current.get(right)
        if target is None:
            if not owner and path in WHOSE:
                entry.resource.setdefault(path, {"display": "not named in the message"})
            return
        if every:
            owners = run.labels.get(owner, [])
        else:
            one = run.current.get(owner) if owner else entry
            owners = [one] if one is not None else []
        for resource in owners:
            if resource is not target:
                _place(resource.resource, steps, run.link(target))

    return link


def _place(resource: Resource, path: list[str], reference: dict[str, str]) -> None:
    for name in path[:-1]:
        if name.endswith("[]"):
            items = resource.setdefault(name[:-2], [])
            items.append({})
            resource = items[-1]
        elif name.endswith("[-1]"):
            resource = resource.setdefault(name[:-4], [{}])[-1]
        else:
            resource = resource.setdefault(name, {})
    last = path[-1]
    if last.endswith("[]"):
        items = resource.setdefault(last[:-2], [])
        if reference not in items or not reference["reference"]:
            items.append(reference)
    else:
        resource.setdefault(last, reference)


# --- the engine -----------------------------------------------------------------------------------------------------


class Engine:
    """All tables of an adapter, compiled; safe to share between threads."""

    def __init__(self, tables: Tables, reader: Reader) -> None:
        self.tables = tables
        self.compiler = Compiler(tables, reader)
        self.structures = {name: Structure(name, rows, self.compiler) for name, rows in tables.messages.items()}

    def run(
        self, event: str, segments: Iterable[Segment], *, delimiters: Any, codec: str, circumstances: Circumstances
    ) -> Mapped:
        """Map one message. HubError("event-unknown") when no table serves ``event`` (``ADT^A01``)."""
        name = self.tables.events.get(event)
        if name is None:
            raise HubError(
                "event-unknown", f"no mapping table serves {event}; the message is kept until one does", "MSH-9"
            )
        run = Run(delimiters, codec, circumstances, self.tables.keys)
        unmapped = self.structures[name].walk(run, segments)
        resources = run.finish()
        cleared: dict[str, list[str]] = {}
        for entry, element in run.cleared:
            if "id" in entry.resource:
                elements = cleared.setdefault(f"{entry.resource['resourceType']}/{entry.resource['id']}", [])
                elements += [element] if element not in elements else []
        return Mapped(resources, run.problems, unmapped, cleared)

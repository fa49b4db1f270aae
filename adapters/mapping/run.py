"""One message on its way through the tables: the resources under construction, what is in view, and who is who.

Identifiers of resources are UUIDs of what identifies them (``keys.csv``), never of their place in the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from adapters.mapping.complete import complete, detached
from adapters.mapping.conversions import Circumstances
from adapters.mapping.tables import Tables
from hub.fhir import elements
from hub.fhir.ids import name_id, resource_id
from hub.fhir.temporal import interval

Resource = dict[str, Any]
PERIODS = ("period", "occurrencePeriod", "effectivePeriod", "performedPeriod")


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


class Run:
    """One message on its way through the tables; what closures see."""

    __slots__ = (
        "blank", "circumstances", "cleared", "codec", "current", "delimiters", "entries", "filled", "labels", "latest",
        "level", "made", "memory", "numbers", "parts", "piece", "problems", "referred", "sampling", "segment", "tables",
        "waveform",
    )  # fmt: skip

    def __init__(
        self, delimiters: Any, codec: str, circumstances: Circumstances, tables: Tables, memory: dict[Any, Any]
    ) -> None:
        self.delimiters = delimiters
        self.blank = delimiters.component + delimiters.subcomponent + " "
        self.memory = memory
        self.codec = codec
        self.circumstances = circumstances
        self.tables = tables
        self.sampling: Any = None
        self.waveform: tuple[Segment, list[str], int] | None = None
        self.entries: list[Entry] = []
        self.current: dict[str, Entry] = {}
        self.labels: dict[str, list[Entry]] = {}
        self.latest: dict[str, Segment] = {}
        self.made: dict[str, Entry] = {}
        self.referred: dict[tuple[Any, str], dict[str, str]] = {}
        self.numbers: dict[str, int] = {}
        self.problems: list[Problem] = []
        self.filled: list[str] = []
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
        for rule in self.tables.keys.get(type, ()):
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
                entry.resource["id"] = name_id(text)
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
                resources.append(entry.resource)
        for entry in seen.values():
            self._choose(entry)
            self._order(entry)
            for name in complete(entry.resource, self.tables.defaults.get(entry.resource["resourceType"], {})):
                self.filled.append(f"{entry.resource['resourceType']}/{entry.resource['id']}.{name}")
            resources += detached(entry.resource)
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
        again = next(rule for rule in self.tables.keys[type] if entry.key.split("\x1f")[2] == rule.parts[0]).again
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
        if again == "other":
            number = self.numbers[key] = self.numbers.get(key, 1) + 1
            key = f"{key}\x1f{number}"
        seen[key] = entry
        entry.key = key
        entry.resource["id"] = name_id(key)
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

"""Wrong messages made of a right one by what its profile says, read from the XML itself and not by our own reader."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

FORMS = ("NM", "SI", "DT", "TM", "DTM")
TEXTS = ("ST", "TX", "IS", "ID")


@dataclass(frozen=True)
class Mutant:
    """A message with one fault of a kind, and the beginning of the place where it must be told."""

    kind: str
    text: str
    at: str

    def __repr__(self) -> str:
        return f"{self.kind} {self.at}"


class Nist:
    """A NIST/IGAMT folder, as far as faults are made of it."""

    def __init__(self, folder: Path) -> None:
        root = ElementTree.parse(folder / "PROFILE.xml").getroot()
        self.segments = {one.get("ID", ""): one for one in root.iter("Segment") if one.get("ID")}
        self.types = {one.get("ID", ""): one for one in root.iter("Datatype")}
        self.order = [one for one in root.iter("Segment") if one.get("Ref")]
        self.groups = list(root.iter("Group"))
        self.closed: set[str] = set()
        self.constraints: list[tuple[str, Element]] = []
        if (folder / "VALUESETS.xml").is_file():
            sets = ElementTree.parse(folder / "VALUESETS.xml").getroot()
            off = {one.text for one in sets.iter("BindingIdentifier")}
            self.closed = {
                one.get("BindingIdentifier", "")
                for one in sets.iter("ValueSetDefinition")
                if one.get("Extensibility") == "Closed"
                and one.get("BindingIdentifier") not in off
                and [value.get("Value") for value in one] not in ([], ["..."])
            }
        if (folder / "CONSTRAINTS.xml").is_file():
            rules = ElementTree.parse(folder / "CONSTRAINTS.xml").getroot()
            for holder in rules.findall("Constraints/Segment/ByID"):
                for test in holder.findall("Constraint/Assertion/PlainText"):
                    self.constraints.append((holder.get("ID", ""), test))

    def flavour(self, name: str) -> Element:
        """The first definition of a segment that the message structure names."""
        return next(
            self.segments[one.get("Ref", "")]
            for one in self.order
            if self.segments[one.get("Ref", "")].get("Name") == name
        )

    def reference(self, name: str) -> Element:
        return next(one for one in self.order if self.segments[one.get("Ref", "")].get("Name") == name)

    def group(self, element: Element) -> Element | None:
        """The group that names a segment."""
        return next((one for one in self.groups if element in list(one)), None)

    def beginning(self, group: Element) -> set[str]:
        """The segments a group can begin with."""
        names: set[str] = set()
        for one in group:
            if one.tag in ("Group", "SegGroup"):
                return names | self.beginning(one)
            names.add(self.segments[one.get("Ref", "")].get("Name", ""))
            if one.get("Usage") == "R":
                break
        return names

    def fields(self, name: str) -> list[Element]:
        return self.flavour(name).findall("Field")

    def parts(self, element: Element) -> list[Element]:
        type = self.types.get(element.get("Datatype", ""))
        return [] if type is None else type.findall("Component")

    def base(self, element: Element) -> str:
        type = self.types.get(element.get("Datatype", ""))
        return "" if type is None else type.get("Name", "")

    def is_closed(self, element: Element) -> bool:
        bound = [one for one in element.get("Binding", "").split(":") if one]
        return bool(bound) and element.get("BindingStrength") == "R" and all(one in self.closed for one in bound)


class Static(Nist):
    """An HL7v2xStaticDef document in the same terms."""

    def __init__(self, file: Path) -> None:
        root = ElementTree.parse(file).getroot()
        self.order = list(root.iter("Segment"))
        for one in self.order:
            one.set("Ref", one.get("Name", ""))
        self.segments = {one.get("Name", ""): one for one in self.order}
        self.groups = list(root.iter("SegGroup"))
        self.constraints = [
            (segment.get("Name", ""), Element("PlainText", {"Path": f"{number}[1]"}))
            for segment in self.order
            for number, field in enumerate(segment.findall("Field"), 1)
            if field.get("ConstantValue")
        ]

    def flavour(self, name: str) -> Element:
        return self.segments[name]

    def parts(self, element: Element) -> list[Element]:
        return [*element.findall("Component"), *element.findall("SubComponent")]

    def base(self, element: Element) -> str:
        return element.get("Datatype", "")

    def is_closed(self, element: Element) -> bool:
        return element.get("Datatype") == "ID" and bool(element.get("Table"))


def mutants(profile: Nist, valid: str, count: int, seed: int) -> list[Mutant]:
    """At most ``count`` different mutants of a valid message with CR terminators."""
    lines = valid.rstrip("\r").split("\r")
    made = [*_segments(profile, lines), *_constraints(profile, lines)]
    for index, line in enumerate(lines):
        made += _fields(profile, lines, index, line)
    unique = {mutant.text: mutant for mutant in made if mutant.text != valid}
    chosen = sorted(unique.values(), key=repr)
    return chosen if len(chosen) <= count else random.Random(seed).sample(chosen, count)


def _joined(lines: list[str], index: int, line: str) -> str:
    return "\r".join([*lines[:index], line, *lines[index + 1 :]]) + "\r"


def _segments(profile: Nist, lines: list[str]) -> Iterator[Mutant]:
    names = [line[:3] for line in lines]
    for index in range(1, len(lines)):
        name, element = names[index], profile.reference(names[index])
        without = "\r".join(lines[:index] + lines[index + 1 :]) + "\r"
        group = profile.group(element)
        optional = group is not None and group.get("Usage") != "R" and group.find("Segment") is element
        if element.get("Usage") == "R" and names.count(name) == 1 and not optional:
            yield Mutant("drop-segment", without, "")
            yield Mutant("misplaced", "\r".join([lines[0], *lines[index + 1 :], *lines[1 : index + 1]]) + "\r", "")
        again = group is not None and group.get("Max") != "1" and name in profile.beginning(group)
        if element.get("Max") == "1" and index > 1 and not again:
            yield Mutant("segment-overflow", "\r".join([*lines[: index + 1], *lines[index:]]) + "\r", "")
        yield Mutant(
            "unexpected", "\r".join([*lines[: index + 1], "ZZA|1", "RXA|0|1", *lines[index + 1 :]]) + "\r", "RXA"
        )
    for group in profile.groups:
        if group.get("Usage") != "R":
            continue
        inside = {profile.segments[one.get("Ref", "")].get("Name") for one in group.iter("Segment")}
        kept = [line for line in lines if line[:3] not in inside]
        if len(kept) < len(lines):
            yield Mutant("drop-group", "\r".join(kept) + "\r", "")


def _constraints(profile: Nist, lines: list[str]) -> Iterator[Mutant]:
    for id, test in profile.constraints:
        name = profile.segments[id].get("Name", "")
        steps = [int(step.partition("[")[0]) for step in test.get("Path", "").split(".")]
        for index, line in enumerate(lines):
            fields = _split(line)
            if line[:3] == name and profile.flavour(name) is profile.segments[id] and steps[0] < len(fields):
                if name == "MSH" and steps[0] < 3:
                    continue
                pieces = fields[steps[0]].split("^")
                pieces[steps[1] - 1 if len(steps) > 1 else 0] = "WRONG"
                changed = [*fields[: steps[0]], "^".join(pieces), *fields[steps[0] + 1 :]]
                yield Mutant("constraint", _joined(lines, index, _text(changed)), f"{name}[1]-{steps[0]}")


def _split(line: str) -> list[str]:
    fields = line.split("|")
    return [fields[0], "|", *fields[1:]] if line.startswith("MSH") else fields


def _text(fields: list[str]) -> str:
    return "|".join([fields[0], *fields[2:]] if fields[0] == "MSH" else fields)


def _fields(profile: Nist, lines: list[str], index: int, line: str) -> Iterator[Mutant]:
    name, fields = line[:3], _split(line)
    number = sum(one[:3] == name for one in lines[: index + 1])
    defined = profile.fields(name)

    def mutant(kind: str, position: int, text: str) -> Mutant:
        grown = [*fields, *[""] * (position + 1 - len(fields))]
        changed = [*grown[:position], text, *grown[position + 1 :]]
        return Mutant(kind, _joined(lines, index, _text(changed)), f"{name}[{number}]-{position}")

    yield mutant("extra-field", len(defined) + 1, "extra")
    for position, element in enumerate(defined, 1):
        sent = fields[position] if position < len(fields) else ""
        if (name == "MSH" and position in (1, 2, 9)) or "~" in sent:
            continue
        if element.get("Usage") == "X" and not sent:
            yield mutant("forbidden", position, "X")
        if not sent:
            continue
        if element.get("Usage") == "R":
            yield mutant("drop-field", position, "")
        if element.get("Max") == "1":
            yield mutant("cardinality", position, f"{sent}~{sent}")
        parts = profile.parts(element)
        if parts:
            for kind, text in _parts(profile, parts, sent, "^", profile.is_closed(element)):
                yield mutant(kind, position, text)
        else:
            for kind, text in _leaf(profile, element, sent, "^"):
                yield mutant(kind, position, text)


def _parts(profile: Nist, parts: list[Element], sent: str, separator: str, bound: bool) -> Iterator[tuple[str, str]]:
    pieces = sent.split(separator)

    def put(position: int, text: str) -> str:
        grown = [*pieces, *[""] * (position - len(pieces))]
        return separator.join([*grown[: position - 1], text, *grown[position:]])

    yield "extra-part", put(len(parts) + 1, "extra")
    for position, element in enumerate(parts, 1):
        piece = pieces[position - 1] if position <= len(pieces) else ""
        if element.get("Usage") == "X" and not piece:
            yield "forbidden-part", put(position, "X")
        if not piece:
            continue
        if element.get("Usage") == "R" and len([one for one in pieces if one]) > 1:
            yield "drop-part", put(position, "")
        inner = profile.parts(element)
        if inner and separator == "^":
            for kind, text in _parts(profile, inner, piece, "&", False):
                yield kind, put(position, text)
        elif not inner:
            for kind, text in _leaf(profile, element, piece, "&" if separator == "^" else ""):
                yield kind, put(position, text)
        if position == 1 and bound:
            yield "wrong-code", put(position, "QQ9")


def _leaf(profile: Nist, element: Element, sent: str, separator: str) -> Iterator[tuple[str, str]]:
    base = profile.base(element)
    if profile.is_closed(element):
        yield "wrong-code", "QQ9"
    longest = element.get("MaxLength") or element.get("Length") or ""
    if longest.isdigit() and 0 < int(longest) < 1000:
        yield "length", sent + "9" * (int(longest) + 1 - len(sent))
    if base in FORMS:
        yield "format", "20261399" if base != "NM" and base != "SI" else "1O"
    if base in TEXTS and separator and len(sent) > 1:
        yield "separator", f"{sent[0]}{separator}{sent[1:]}"

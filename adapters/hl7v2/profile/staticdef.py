"""Conformance profiles in the older format HL7v2xConformanceProfile/HL7v2xStaticDef (HL7 v2.5.1 2.12): one document.

Its predicates are prose; they are told as what cannot be evaluated. Tables of the data type ID are those of the
standard.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from adapters.hl7v2 import spec
from adapters.hl7v2.profile.records import (
    UNLIMITED,
    Binding,
    Dynamic,
    Group,
    Item,
    Profile,
    Rule,
    ValueSet,
    document,
    number,
)  # fmt: skip
from hub.errors import HubError

TAGS = ("Field", "Component", "SubComponent")
PRIMITIVES = ("ST", "TX", "FT", "NM", "DT", "TM", "DTM", "ID", "IS", "SI")


def load(file: Path) -> Profile:
    """Read a document. HubError("structure") when it is none."""
    root = document(file)
    static = root if root.tag == "HL7v2xStaticDef" else root.find("HL7v2xStaticDef")
    if static is None:
        raise HubError("structure", f"{file.name} has no HL7v2xStaticDef", str(file))
    return _Reader(root.get("HL7Version") or "2.5.1").profile(static, file.stem)


class _Reader:
    def __init__(self, version: str) -> None:
        self._version = version
        self._spec = spec.load(version)
        self._segments: dict[str, Group] = {}
        self._types: dict[str, Group] = {}
        self._rules: dict[tuple[str, str], tuple[Rule, ...]] = {}
        self._faults: list[str] = []

    def profile(self, static: Element, name: str) -> Profile:
        meta = static.find("MetaData")
        structure = static.get("MsgStructID", "")
        message = Group("message", structure, tuple(self._members(static)))
        return Profile(
            (meta.get("Name") or name) if meta is not None else name,
            self._version,
            f"{static.get('MsgType')}^{static.get('EventType')}",
            message,
            self._segments,
            self._types,
            self._rules,
            {
                key: ValueSet({code: {"": "P"} for code in codes})
                for key, codes in self._spec.tables.items()
                if codes
            },
            faults=tuple(sorted(set(self._faults))),
        )  # fmt: skip

    def _members(self, element: Element) -> list[Item]:
        found = []
        for one in element:
            limits = number(one.get("Min"), 0), number(one.get("Max"), UNLIMITED)
            usage = one.get("Usage", "O")
            if one.tag == "SegGroup":
                name = one.get("Name", "")
                inner = Group(name, name, tuple(self._members(one)))
                found.append(Item(name, usage, "", *limits, group=inner))
            elif one.tag == "Segment":
                found.append(Item("", usage, self._segment(one), *limits))
        return found

    def _segment(self, element: Element) -> str:
        name = element.get("Name", "")
        id = f"{name}.{len(self._segments) + 1}"
        items = self._items(element, id, 0)
        dynamic = None
        if name == "OBX":
            types = (*PRIMITIVES, *self._spec.types)
            cases: dict[tuple[str, ...], str] = {(type,): self._plain(type) for type in types}
            dynamic = Dynamic(5, (2,), cases)
        self._segments[id] = Group(id, name, items, dynamic)
        return id

    def _items(self, element: Element, id: str, level: int) -> tuple[Item, ...]:
        found = []
        for position, one in enumerate(element.findall(TAGS[level]), 1):
            where = f"{id}-{position}" if level == 0 else f"{id}.{position}"
            if one.findtext("Predicate"):
                self._faults.append(f"{where}: the predicate is prose: {one.findtext('Predicate')}"[:200])
            constant = one.get("ConstantValue")
            if constant:
                rule = Element("PlainText", {"Path": f"{position}[1]", "Text": constant})
                level_name = "Segment" if level == 0 else "Datatype"
                said = Rule(where, f"{position}[1]", f"{where} = {constant}", rule)
                self._rules[level_name, id] = (*self._rules.get((level_name, id), ()), said)
            found.append(self._item(one, where, level))
        return tuple(found)

    def _item(self, one: Element, where: str, level: int) -> Item:
        type, length = one.get("Datatype", ""), number(one.get("Length"), UNLIMITED)
        return Item(
            one.get("Name", ""),
            {"W": "X", "B": "O"}.get(one.get("Usage", "O"), one.get("Usage", "O")),
            self._type(one, where, type, level),
            number(one.get("Min"), 0),
            number(one.get("Max"), UNLIMITED) if level == 0 else 1,
            number(one.get("MinLength"), UNLIMITED),
            number(one.get("MaxLength"), length),
            self._binding(one, type),
        )

    def _binding(self, one: Element, type: str) -> Binding | None:
        table = one.get("Table", "")
        key = f"HL7{int(table):04d}" if table.isdigit() else table
        return Binding((key,)) if type == "ID" and key in self._spec.tables else None

    def _type(self, one: Element, where: str, type: str, level: int) -> str:
        if level == 2 or one.find(TAGS[level + 1]) is None:
            return self._plain(type)
        self._types[where] = Group(where, type, ())
        self._types[where] = Group(where, type, self._items(one, where, level + 1))
        return where

    def _plain(self, type: str) -> str:
        """A data type without components of its own: primitive, or one the profile says nothing about."""
        self._types.setdefault(type, Group(type, type, (), opaque=type in self._spec.types or not type.isalpha()))
        return type

"""Conformance profiles in the NIST/IGAMT format: PROFILE.xml, CONSTRAINTS.xml and VALUESETS.xml of one folder.

Read into frozen records; ``adapters.hl7v2.conformance`` holds a message against them. Documents with a DOCTYPE are
refused, since entities are the way to make a small XML file large.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from hub.errors import HubError

MAX_BYTES = 20_000_000
UNLIMITED = -1


@dataclass(frozen=True, slots=True)
class Item:
    """A segment or group in a group, a field in a segment, or a component in a data type.

    ``type`` is the id of its segment or data type ("" for a group); ``usage`` R, RE, O, C, X...; lengths of -1 are not
    given; ``binding`` names value sets, ``strength`` R (required) or S (suggested).
    """

    name: str
    usage: str
    type: str = ""
    min: int = 0
    max: int = 1
    min_length: int = UNLIMITED
    max_length: int = UNLIMITED
    binding: tuple[str, ...] = ()
    strength: str = ""
    group: Group | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A message, group, segment or data type: its id, the standard's name, and what it holds, by position from 1."""

    id: str
    name: str
    items: tuple[Item, ...]
    mapping: tuple[int, int, dict[str, str]] | None = None
    """Of a segment with dynamic data types: the field, the field that names its type, value -> data type id."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A constraint (``true`` empty) or predicate on ``target``; ``test`` is the expression's element."""

    id: str
    target: str
    text: str
    test: ElementTree.Element
    true: str = ""
    false: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """One folder. Rules are keyed by level (``Datatype``, ``Segment``, ``Group``, ``Message``) and id."""

    name: str
    version: str
    kind: str
    message: Group
    segments: dict[str, Group]
    types: dict[str, Group]
    rules: dict[tuple[str, str], tuple[Rule, ...]]
    codes: dict[str, frozenset[str]]


def load(folder: Path) -> Profile:
    """Read a folder. HubError("structure") names the file that is missing or no such document."""
    root = _read(folder / "PROFILE.xml")
    message = root.find("Messages/Message")
    if message is None:
        raise HubError("structure", "PROFILE.xml has no Messages/Message", str(folder))
    meta = root.find("MetaData")
    return Profile(
        (meta.get("Name") or folder.name) if meta is not None else folder.name,
        root.get("HL7Version", ""),
        f"{message.get('Type')}^{message.get('Event')}",
        Group(message.get("ID", ""), message.get("StructID", ""), tuple(_item(child) for child in message)),
        {one.get("ID", ""): _segment(one) for one in root.findall("Segments/Segment")},
        {one.get("ID", ""): _holder(one, "Component") for one in root.findall("Datatypes/Datatype")},
        _rules(folder / "CONSTRAINTS.xml"),
        _codes(folder / "VALUESETS.xml"),
    )


def _read(file: Path) -> ElementTree.Element:
    if not file.is_file():
        raise HubError("structure", f"the profile has no {file.name}", str(file))
    data = file.read_bytes()
    if len(data) > MAX_BYTES or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise HubError("structure", f"{file.name} is longer than {MAX_BYTES} bytes or has a DOCTYPE", str(file))
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise HubError("structure", f"{file.name} is no XML document: {error}", str(file)) from None


def _item(element: ElementTree.Element) -> Item:
    """A Segment reference or a Group of a message."""
    low, high = _number(element.get("Min"), 0), _number(element.get("Max"), UNLIMITED)
    usage = element.get("Usage", "O")
    if element.tag == "Group":
        name = element.get("Name", "")
        inner = Group(element.get("ID", ""), name, tuple(_item(child) for child in element))
        return Item(name, usage, "", low, high, group=inner)
    return Item("", usage, element.get("Ref", ""), low, high)


def _holder(element: ElementTree.Element, tag: str) -> Group:
    items = tuple(
        Item(
            one.get("Name", ""),
            one.get("Usage", "O"),
            one.get("Datatype", ""),
            _number(one.get("Min"), 0),
            _number(one.get("Max"), UNLIMITED if tag == "Field" else 1),
            _number(one.get("MinLength"), UNLIMITED),
            _number(one.get("MaxLength"), UNLIMITED),
            tuple(filter(None, one.get("Binding", "").split(":"))),
            one.get("BindingStrength", ""),
        )
        for one in element.findall(tag)
    )
    return Group(element.get("ID", ""), element.get("Name", ""), items)


def _segment(element: ElementTree.Element) -> Group:
    held = _holder(element, "Field")
    mapping = element.find("DynamicMapping/Mapping")
    if mapping is None:
        return held
    cases = {case.get("Value", ""): case.get("Datatype", "") for case in mapping.findall("Case")}
    return Group(
        held.id,
        held.name,
        held.items,
        (_number(mapping.get("Position"), 5), _number(mapping.get("Reference"), 2), cases),
    )


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdigit() else default


def _rules(file: Path) -> dict[tuple[str, str], tuple[Rule, ...]]:
    if not file.is_file():
        return {}
    found: dict[tuple[str, str], tuple[Rule, ...]] = {}
    root = _read(file)
    for level in (*root.findall("Predicates/*"), *root.findall("Constraints/*")):
        for holder in level:
            rules = [rule for element in holder if (rule := _rule(element)) is not None]
            key = (level.tag, holder.get("ID", ""))
            found[key] = (*found.get(key, ()), *rules)
    return found


def _rule(element: ElementTree.Element) -> Rule | None:
    body = element.find("Condition" if element.tag == "Predicate" else "Assertion")
    if body is None or len(body) == 0:
        return None
    text = " ".join((element.findtext("Description") or "").split())
    names = (element.get("ID", ""), element.get("Target", "."), text)
    return Rule(*names, body[0], element.get("TrueUsage", ""), element.get("FalseUsage", ""))


def _codes(file: Path) -> dict[str, frozenset[str]]:
    """Closed value sets with content; those listed under NoValidation are left out."""
    if not file.is_file():
        return {}
    root = _read(file)
    excluded = {one.text for one in root.findall("NoValidation/BindingIdentifier")}
    found = {}
    for one in root.iter("ValueSetDefinition"):
        name = one.get("BindingIdentifier", "")
        values = frozenset(value.get("Value", "") for value in one.findall("ValueElement") if value.get("Usage") != "E")
        if name not in excluded and values and values != {"..."} and one.get("Extensibility") == "Closed":
            found[name] = values
    return found

"""Conformance profiles in the NIST/IGAMT format: a folder of up to six XML documents.

PROFILE.xml (structure), CONSTRAINTS.xml (predicates and conformance statements), VALUESETS.xml, VALUESETBINDINGS.xml
(value set and single code bindings), COCONSTRAINTS.xml and SLICINGS.xml; all but the first may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from adapters.hl7v2.profile.expressions import faults
from adapters.hl7v2.profile.records import (
    UNLIMITED,
    Binding,
    CoConstraint,
    CoGroup,
    CoTable,
    Dynamic,
    Group,
    Item,
    Profile,
    Rule,
    Slicing,
    ValueSet,
    document,
    number,
)  # fmt: skip
from hub.errors import HubError

SEVERITIES = {"W": "warning", "A": "information", "SHOULD": "warning"}
"""Classification or Strength of a constraint; all others are errors."""
PLAIN = ("VARIES", "-", "")
"""Names of data types that are no data type."""


def load(folder: Path) -> Profile:
    """Read a folder. HubError("structure") names the file that is missing or no such document."""
    root = document(folder / "PROFILE.xml")
    message = root.find("Messages/Message")
    if message is None:
        raise HubError("structure", "PROFILE.xml has no Messages/Message", str(folder))
    meta = root.find("MetaData")
    whole = Group(message.get("ID", ""), message.get("StructID", ""), tuple(_member(child) for child in message))
    segments = {one.get("ID", ""): _segment(one) for one in root.findall("Segments/Segment")}
    types = {one.get("ID", ""): _datatype(one) for one in root.findall("Datatypes/Datatype")}
    constraints = _optional(folder, "CONSTRAINTS.xml")
    return Profile(
        (meta.get("Name") or folder.name) if meta is not None else folder.name,
        root.get("HL7Version", ""),
        f"{message.get('Type')}^{message.get('Event')}",
        whole,
        segments,
        types,
        _rules(constraints),
        _value_sets(_optional(folder, "VALUESETS.xml")),
        _bindings(_optional(folder, "VALUESETBINDINGS.xml")),
        _slicings(_optional(folder, "SLICINGS.xml")),
        tuple(_tables(_optional(folder, "COCONSTRAINTS.xml"), whole.id)),
        tuple(sorted({*_dangling(whole, segments, types), *_broken(constraints)})),
    )


def _optional(folder: Path, name: str) -> Element:
    file = folder / name
    return document(file) if file.is_file() else Element("none")


# --- PROFILE ---------------------------------------------------------------------------------------------------------


def _member(element: Element) -> Item:
    """A Segment reference or a Group of a message."""
    low, high = number(element.get("Min"), 0), number(element.get("Max"), UNLIMITED)
    usage = element.get("Usage", "O")
    if element.tag == "Group":
        name = element.get("Name", "")
        inner = Group(element.get("ID", ""), name, tuple(_member(child) for child in element))
        return Item(name, usage, "", low, high, group=inner)
    return Item("", usage, element.get("Ref", ""), low, high)


def _items(element: Element, tag: str) -> tuple[Item, ...]:
    return tuple(
        Item(
            one.get("Name", ""),
            _usage(one.get("Usage", "O")),
            one.get("Datatype", ""),
            number(one.get("Min"), 0),
            number(one.get("Max"), UNLIMITED if tag == "Field" else 1),
            number(one.get("MinLength"), UNLIMITED),
            number(one.get("MaxLength"), UNLIMITED),
            _attribute_binding(one),
        )
        for one in element.findall(tag)
    )


def _usage(text: str) -> str:
    """C(R/X) is conditional, W (withdrawn) is not supported, B (backward compatible) optional."""
    return {"W": "X", "B": "O"}.get(text, text.partition("(")[0])


def _attribute_binding(element: Element) -> Binding | None:
    sets = tuple(filter(None, element.get("Binding", "").split(":")))
    places = re.findall(r"\d+", element.get("BindingLocation", ""))
    return (
        Binding(sets, element.get("BindingStrength") or "R", tuple((place, "") for place in places)) if sets else None
    )


def _datatype(element: Element) -> Group:
    name = element.get("Name", "")
    return Group(element.get("ID", ""), name, _items(element, "Component"), opaque=name.upper() in PLAIN)


def _segment(element: Element) -> Group:
    mapping = element.find("DynamicMapping/Mapping")
    dynamic = None
    if mapping is not None:
        second = number(mapping.get("SecondReference"), 0)
        references = (number(mapping.get("Reference"), 2), *((second,) if second else ()))
        cases = {
            tuple(case.get(name, "") for name in ("Value", "SecondValue")[: len(references)]): case.get("Datatype", "")
            for case in mapping.findall("Case")
        }
        dynamic = Dynamic(number(mapping.get("Position"), 5), references, cases)
    return Group(element.get("ID", ""), element.get("Name", ""), _items(element, "Field"), dynamic)


def _dangling(whole: Group, segments: dict[str, Group], types: dict[str, Group]) -> Iterator[str]:
    for item in whole.items:
        if item.group is not None:
            yield from _dangling(item.group, segments, types)
        elif item.type not in segments:
            yield f"segment {item.type} is not defined"
    for holder in (*segments.values(), *types.values()):
        for item in holder.items:
            if item.type not in types:
                yield f"data type {item.type} is not defined"


# --- CONSTRAINTS -----------------------------------------------------------------------------------------------------


def _keyed(root: Element, path: str) -> Iterator[tuple[tuple[str, str], Element]]:
    """What is said of each element of each level, ByID or ByName."""
    for level in root.findall(path):
        for holder in level:
            key = (level.tag, holder.get("ID") or holder.get("Name") or "")
            for element in holder:
                yield key, element


def _rules(root: Element) -> dict[tuple[str, str], tuple[Rule, ...]]:
    found: dict[tuple[str, str], tuple[Rule, ...]] = {}
    for path in ("Predicates/*", "Constraints/*"):
        for key, element in _keyed(root, path):
            body = element.find("Condition" if element.tag == "Predicate" else "Assertion")
            if body is not None and len(body):
                found[key] = (*found.get(key, ()), _rule(element, body[0]))
    return found


def _rule(element: Element, test: Element) -> Rule:
    text = " ".join((element.findtext("Description") or "").split())
    level = element.get("Classification") or element.get("Strength") or ""
    return Rule(
        element.get("ID", ""),
        element.get("Target", "."),
        text,
        test,
        element.get("TrueUsage", ""),
        element.get("FalseUsage", ""),
        SEVERITIES.get(level.upper(), "error"),
    )


def _broken(root: Element) -> Iterator[str]:
    for path in ("Predicates/*", "Constraints/*"):
        for _, element in _keyed(root, path):
            body = element.find("Condition" if element.tag == "Predicate" else "Assertion")
            if body is None or not len(body):
                yield f"{element.get('ID', '')} has no expression"
            else:
                yield from (f"{element.get('ID', '')}: {fault}" for fault in faults(body[0]))


# --- VALUESETS, VALUESETBINDINGS -------------------------------------------------------------------------------------


def _value_sets(root: Element) -> dict[str, ValueSet]:
    """Those with content; what is listed under NoValidation is left out."""
    excluded = {one.text for one in root.findall("NoValidation/BindingIdentifier")}
    found = {}
    for one in root.iter("ValueSetDefinition"):
        name = one.get("BindingIdentifier", "")
        codes: dict[str, dict[str, str]] = {}
        for element in one.findall("ValueElement"):
            codes.setdefault(element.get("Value", ""), {})[element.get("CodeSystem", "")] = element.get("Usage", "P")
        codes.pop("...", None)
        if name not in excluded and codes:
            found[name] = ValueSet(codes, one.get("Extensibility") != "Closed")
    return found


def _bindings(root: Element) -> dict[tuple[str, str], tuple[Binding, ...]]:
    found: dict[tuple[str, str], tuple[Binding, ...]] = {}
    for path in ("ValueSetBindings/*", "SingleCodeBindings/*"):
        for key, element in _keyed(root, path):
            found[key] = (*found.get(key, ()), binding(element))
    return found


def binding(element: Element) -> Binding:
    """A ValueSetBinding or SingleCodeBinding."""
    locations = tuple(
        (one.get("CodeLocation", "."), one.get("CodeSystemLocation") or "")
        for one in element.findall("BindingLocations/*")
    )
    sets = tuple(one.get("BindingIdentifier", "") for one in element.findall("Bindings/Binding"))
    code = element.get("Code")
    single = (code, element.get("CodeSystem", "")) if code else None
    strength = element.get("BindingStrength") or element.get("Strength") or "R"
    return Binding(sets, strength, locations, element.get("Target", "."), single)


# --- SLICINGS, COCONSTRAINTS -----------------------------------------------------------------------------------------


def _slicings(root: Element) -> dict[tuple[str, int], Slicing]:
    """(id of the holding message, group or segment, position) -> slicing."""
    found: dict[tuple[str, int], Slicing] = {}
    for holder in (*root.iterfind("SegmentSlicing//GroupContext"), *root.iterfind("FieldSlicing//SegmentContext")):
        for element in holder:
            slices = element.findall("Slice")
            slicing = Slicing(
                number(element.get("Position"), 0),
                {number(one.get("Occurrence"), 0): one.get("Ref", "") for one in slices if one.get("Occurrence")},
                tuple(
                    (body[0], one.get("Ref", ""))
                    for one in slices
                    if (body := one.find("Assertion")) is not None and len(body)
                ),
            )
            found[holder.get("ID", ""), slicing.position] = slicing
    return found


def _tables(root: Element, message: str) -> Iterator[CoTable]:
    for holder in root.findall("ByMessage"):
        if holder.get("ID") != message:
            continue
        for context in holder.iter("Context"):
            for segment in context.findall("Segment"):
                for table in segment:
                    body = table.find("Condition/Assertion")
                    yield CoTable(
                        context.get("Path", "."),
                        segment.get("Path", "."),
                        body[0] if body is not None and len(body) else None,
                        tuple(
                            one.get("Path", "")
                            for one in sorted(table.iter("IdPath"), key=lambda one: number(one.get("Priority"), 99))
                        ),
                        tuple(_row(one) for one in table.findall("CoConstraint")),
                        tuple(_co_group(one) for one in table.findall("CoConstraintGroup")),
                    )


def _co_group(element: Element) -> CoGroup:
    rows = tuple(_row(one) for one in (*element.findall("Primary"), *element.findall("CoConstraint")))
    limits = number(element.get("Min"), 0), number(element.get("Max"), UNLIMITED)
    return CoGroup(element.get("Name", ""), element.get("Usage", "O"), *limits, rows)


def _row(element: Element) -> CoConstraint:
    selectors, constraints = (tuple(element.findall(f"{name}/*")) for name in ("Selectors", "Constraints"))
    said = (one.get("Code") or one.get("Value") or one.get("Text") or "" for one in selectors)
    limits = number(element.get("Min"), 0), number(element.get("Max"), UNLIMITED)
    return CoConstraint(element.get("Usage", "O"), *limits, selectors, constraints, " ".join(said))

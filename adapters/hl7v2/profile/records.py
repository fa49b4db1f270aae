"""What a conformance profile says, whichever format it came in (HL7 v2 Conformance Methodology R1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from hub.errors import HubError

MAX_BYTES = 20_000_000
UNLIMITED = -1


@dataclass(frozen=True, slots=True)
class Binding:
    """A value set binding or (``single``) a bound code.

    ``locations`` are (path of the code, path of its code system, "" for none) below the bound element; one of them
    must hold a member. ``strength`` is R (required), S (suggested) or U (undetermined).
    """

    sets: tuple[str, ...]
    strength: str = "R"
    locations: tuple[tuple[str, str], ...] = ()
    target: str = "."
    single: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A segment or group in a group, a field in a segment, or a component in a data type.

    ``type`` is the id of its segment or data type ("" for a group); ``usage`` R, RE, O, C, X...; lengths of -1 are not
    given.
    """

    name: str
    usage: str
    type: str = ""
    min: int = 0
    max: int = 1
    min_length: int = UNLIMITED
    max_length: int = UNLIMITED
    binding: Binding | None = None
    group: Group | None = None


@dataclass(frozen=True, slots=True)
class Dynamic:
    """Data types that depend on another field: the field, the fields that decide, and value(s) -> data type id."""

    position: int
    references: tuple[int, ...]
    cases: dict[tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class Group:
    """A message, group, segment or data type: its id, the standard's name, and what it holds, by position from 1.

    ``opaque`` is a data type whose components the profile does not speak of.
    """

    id: str
    name: str
    items: tuple[Item, ...]
    dynamic: Dynamic | None = None
    opaque: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A constraint (``true`` empty) or predicate on ``target``; ``test`` is the expression's element."""

    id: str
    target: str
    text: str
    test: ElementTree.Element
    true: str = ""
    false: str = ""
    severity: str = "error"


@dataclass(frozen=True, slots=True)
class ValueSet:
    """Code -> code system -> usage (R, P, or E: excluded). An unchecked one has no content to check against."""

    codes: dict[str, dict[str, str]]
    open: bool = False


@dataclass(frozen=True, slots=True)
class Slicing:
    """Which flavour an instance has: by its number, or by the first assertion it meets."""

    position: int
    occurrences: dict[int, str] = field(default_factory=dict)
    assertions: tuple[tuple[ElementTree.Element, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CoConstraint:
    """Segments that meet all ``selectors`` must meet all ``constraints``, and so many of them must be there."""

    usage: str
    min: int
    max: int
    selectors: tuple[ElementTree.Element, ...]
    constraints: tuple[ElementTree.Element, ...]
    name: str


@dataclass(frozen=True, slots=True)
class CoGroup:
    """Segments that belong together; the first row is the primary, which opens an instance of the group."""

    name: str
    usage: str
    min: int
    max: int
    rows: tuple[CoConstraint, ...]


@dataclass(frozen=True, slots=True)
class CoTable:
    """One table: where it applies (paths from the message), when, and what; ``ids`` are the paths that tell a group."""

    context: str
    segment: str
    condition: ElementTree.Element | None
    ids: tuple[str, ...]
    rows: tuple[CoConstraint, ...]
    groups: tuple[CoGroup, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile. Rules and bindings are keyed by level (``Datatype``, ``Segment``, ``Group``, ``Message``) and id.

    ``faults`` are what the profile itself gets wrong or leaves out (NIST: specification error).
    """

    name: str
    version: str
    kind: str
    message: Group
    segments: dict[str, Group]
    types: dict[str, Group]
    rules: dict[tuple[str, str], tuple[Rule, ...]] = field(default_factory=dict)
    sets: dict[str, ValueSet] = field(default_factory=dict)
    bindings: dict[tuple[str, str], tuple[Binding, ...]] = field(default_factory=dict)
    slicings: dict[tuple[str, int], Slicing] = field(default_factory=dict)
    tables: tuple[CoTable, ...] = ()
    faults: tuple[str, ...] = ()


def number(text: str | None, default: int) -> int:
    """A count; ``*``, ``NA`` and what is missing give the default."""
    return int(text) if text and text.isascii() and text.isdigit() else default


def document(file: Path) -> ElementTree.Element:
    """The root of an XML file.

    HubError("structure") when it is missing, too long, not well-formed, or has a DOCTYPE: entities are the way to make
    a small XML file large.
    """
    if not file.is_file():
        raise HubError("structure", f"the profile has no {file.name}", str(file))
    data = file.read_bytes()
    if len(data) > MAX_BYTES or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise HubError("structure", f"{file.name} is longer than {MAX_BYTES} bytes or has a DOCTYPE", str(file))
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise HubError("structure", f"{file.name} is no XML document: {error}", str(file)) from None

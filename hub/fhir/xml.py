"""FHIR XML to and from the same plain resources as JSON (R4 2.6.1). No document type, no entity, no other namespace."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from hub.errors import HubError
from hub.fhir import definitions, elements, narrative
from hub.fhir.json import MAX_BYTES, Decimal
from hub.fhir.location import Key, Place
from hub.fhir.narrative import NAMESPACE as XHTML

NAMESPACE = "http://hl7.org/fhir"
Resource = dict[str, Any]

_INTEGERS = frozenset({"integer", "positiveInt", "unsignedInt"})
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,5})?")


@dataclass(slots=True)
class _Node:
    """An XML element: local name, namespace, attributes, children and texts in order, place in the text."""

    name: str
    space: str
    attributes: dict[str, str]
    place: Place
    content: list[_Node | str] = field(default_factory=list)

    @property
    def children(self) -> list[_Node]:
        return [item for item in self.content if isinstance(item, _Node)]


def decode(data: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = 64) -> Resource:
    """The resource in XML text. Raises HubError ``too-long``, or ``structure`` at "line L column C"."""
    return _Reader().resource(_parse(data, max_bytes, max_depth), ())


def places(data: bytes) -> dict[tuple[Key, ...], Place]:
    """Path (member names and 0-based indexes) -> line and column, as ``hub.fhir.location.places`` for JSON."""
    reader = _Reader()
    reader.resource(_parse(data, MAX_BYTES, 4096), ())
    return reader.places


def _parse(data: bytes, max_bytes: int, max_depth: int) -> _Node:
    if len(data) > max_bytes:
        raise HubError("too-long", f"The content has {len(data)} bytes; at most {max_bytes} are accepted.")
    parser = expat.ParserCreate(namespace_separator=" ")
    stack: list[_Node] = []
    roots: list[_Node] = []

    def refuse(*_: Any) -> None:
        raise _wrong("A document type declaration is not allowed.", (parser.CurrentLineNumber, 1))

    def start(tag: str, attributes: dict[str, str]) -> None:
        space, _, name = tag.rpartition(" ")
        place = (parser.CurrentLineNumber, parser.CurrentColumnNumber + 1)
        if len(stack) >= max_depth * 2:
            raise _wrong(f"Nested deeper than {max_depth * 2} elements.", place)
        node = _Node(name, space, attributes, place)
        (stack[-1].content if stack else roots).append(node)
        stack.append(node)

    def text(characters: str) -> None:
        if stack:
            stack[-1].content.append(characters)

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    parser.CharacterDataHandler = text
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        what = expat.errors.messages[error.code]
        raise _wrong(f"The text is not well-formed XML: {what}.", (error.lineno, error.offset + 1)) from error
    return roots[0]


def _wrong(what: str, place: Place) -> HubError:
    return HubError("structure", what, f"line {place[0]} column {place[1]}")


class _Reader:
    """XML nodes to JSON members, noting where each value stands."""

    def __init__(self) -> None:
        self.places: dict[tuple[Key, ...], Place] = {}

    def resource(self, node: _Node, path: tuple[Key, ...]) -> Resource:
        if node.space != NAMESPACE:
            raise _wrong(f"The element {node.name} is not in the namespace {NAMESPACE}.", node.place)
        if node.name not in definitions.load().resource_types:
            raise _wrong(f"{node.name} is not a resource type of R4.", node.place)
        self.places[path] = node.place
        return {"resourceType": node.name, **self._members(node, node.name, path)}

    def _members(self, node: _Node, model: str, path: tuple[Key, ...]) -> dict[str, Any]:
        known = elements.json_members(model)
        order = {element.name: index for index, element in enumerate(elements.members(model).values())}
        last = 0
        _attributes(node, model)
        members: dict[str, Any] = {name: node.attributes[name] for name in ("id", "url") if name in node.attributes}
        for item in node.content:
            if isinstance(item, str):
                if item.strip():
                    raise _wrong(f"Text does not belong in {node.name}.", node.place)
                continue
            if item.name not in known or item.space != (XHTML if item.name == "div" else NAMESPACE):
                raise _wrong(f"{elements.type_of(model)} has no element {item.name}.", item.place)
            element, to = known[item.name]
            if order[element.name] < last:
                raise _wrong(f"{item.name} is out of the order that the definition demands.", item.place)
            last = order[element.name]
            self._add(members, item, to, element.many, path)
        for name in members:  # companions of repeating primitives are as long as the values
            other = members.get(name[1:]) if name[0] == "_" else None
            if isinstance(other, list):
                members[name] += [None] * (len(other) - len(members[name]))
        return {name: value for name, value in members.items() if not _only_nulls(value)}

    def _add(self, members: dict[str, Any], item: _Node, model: str, many: bool, path: tuple[Key, ...]) -> None:
        here = (*path, item.name)
        if many:
            count = len(members.get(item.name, members.get("_" + item.name, ())))
            self.places.setdefault(here, item.place)
            here = (*here, count)
        self.places[here] = item.place
        value, companion = self._value(item, model, here)
        if not many:
            if item.name in members or "_" + item.name in members:
                raise _wrong(f"{item.name} does not repeat.", item.place)
            members.update({item.name: value} if value is not None else {})
            members.update({"_" + item.name: companion} if companion else {})
            return
        members.setdefault(item.name, []).append(value)
        if elements.is_primitive(model):
            companions = members.setdefault("_" + item.name, [])
            companions += [None] * (len(members[item.name]) - 1 - len(companions))
            companions.append(companion or None)

    def _value(self, node: _Node, model: str, path: tuple[Key, ...]) -> tuple[Any, dict[str, Any]]:
        """The JSON value, and the companion of a primitive."""
        if model == "Resource":
            inner = node.children
            if len(inner) != 1:
                raise _wrong(f"{node.name} holds exactly one resource.", node.place)
            return self.resource(inner[0], path), {}
        if model == "xhtml":
            return _xhtml(node, outer=True), {}
        if not elements.is_primitive(model):
            return self._members(node, model, path), {}
        companion = self._members(node, "Element", path)
        text = node.attributes.get("value")
        if text is None and not companion:
            raise _wrong(f"{node.name} has neither a value nor an extension.", node.place)
        return None if text is None else _primitive(text, model), companion


def _only_nulls(value: Any) -> bool:
    return isinstance(value, list) and all(item is None for item in value)


def _attributes(node: _Node, model: str) -> None:
    """Refuses attributes that FHIR does not have; those of XML Schema may stand anywhere."""
    allowed = {"id", "url"} if model == "Extension" else {"id", "value"} if model == "Element" else {"id"}
    for name in node.attributes:
        if name not in allowed and not name.startswith("http://www.w3.org/"):
            raise _wrong(f"{node.name} has no attribute {name}.", node.place)


def _primitive(text: str, model: str) -> Any:
    """The JSON value of an attribute; what does not fit the type stays text, for the validator to name."""
    if model == "boolean" and text in ("true", "false"):
        return text == "true"
    if model in _INTEGERS and _INTEGER.fullmatch(text):
        return int(text)
    if model == "decimal" and len(text) < 1000 and _DECIMAL.fullmatch(text):
        return Decimal(text)
    return text


def _xhtml(node: _Node, outer: bool) -> str:
    start = f'<{node.name} xmlns="{XHTML}"' if outer else f"<{node.name}"
    for name, value in node.attributes.items():
        start += f" {name.replace('http://www.w3.org/XML/1998/namespace ', 'xml:')}={quoteattr(value)}"
    inner = "".join(escape(item) if isinstance(item, str) else _xhtml(item, outer=False) for item in node.content)
    return f"{start}>{inner}</{node.name}>" if inner else f"{start}/>"


# --- out --------------------------------------------------------------------------------------------------------------


def encode(resource: Resource) -> bytes:
    """The resource as XML (UTF-8). Elements come in the order that the definition demands."""
    pieces = ['<?xml version="1.0" encoding="UTF-8"?>']
    _resource(resource, pieces, f' xmlns="{NAMESPACE}"')
    return "".join(pieces).encode()


def _resource(resource: Resource, pieces: list[str], attributes: str = "") -> None:
    name = str(resource["resourceType"])
    pieces.append(f"<{name}{attributes}>")
    _content(resource, name, pieces, resource=True)
    pieces.append(f"</{name}>")


def _content(value: dict[str, Any], model: str, pieces: list[str], resource: bool = False) -> None:
    for key, (_, to) in elements.json_members(model).items():
        if key not in value and "_" + key not in value:
            continue
        if not resource and (key == "id" or (key == "url" and model == "Extension")):
            continue
        item, companion = value.get(key), value.get("_" + key)
        if isinstance(item, list) or isinstance(companion, list):
            many, extras = item or [], companion or []
            for index in range(max(len(many), len(extras))):
                one = many[index] if index < len(many) else None
                _element(key, one, extras[index] if index < len(extras) else None, to, pieces)
        else:
            _element(key, item, companion, to, pieces)


def _element(name: str, value: Any, companion: Any, model: str, pieces: list[str]) -> None:
    if model == "Resource":
        pieces.append(f"<{name}>")
        _resource(value, pieces)
        pieces.append(f"</{name}>")
    elif model == "xhtml":
        pieces.append(narrative.well_formed(str(value)))
    elif elements.is_primitive(model):
        extra = companion or {}
        text = "" if value is None else f" value={_attribute(value)}"
        _tagged(name, text, extra, "Element", pieces)
    else:
        url = f" url={_attribute(value['url'])}" if model == "Extension" and "url" in value else ""
        _tagged(name, url, value, model, pieces)


def _tagged(name: str, attributes: str, value: dict[str, Any], model: str, pieces: list[str]) -> None:
    if "id" in value:
        attributes = f" id={_attribute(value['id'])}{attributes}"
    inner: list[str] = []
    _content(value, model, inner)
    pieces.append(f"<{name}{attributes}>{''.join(inner)}</{name}>" if inner else f"<{name}{attributes}/>")


def _attribute(value: Any) -> str:
    text = ("true" if value else "false") if isinstance(value, bool) else getattr(value, "literal", str(value))
    return quoteattr(text, {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})

"""Narrative XHTML: is it well-formed, and only what FHIR allows (R4 2.4.0.1, txt-1 and txt-2)?"""

from __future__ import annotations

import re
from html.entities import name2codepoint
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

NAMESPACE = "http://www.w3.org/1999/xhtml"

ELEMENTS = frozenset({
    "a", "abbr", "acronym", "b", "big", "blockquote", "br", "caption", "cite", "code", "col", "colgroup", "dd",
    "dfn", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "li", "ol", "p",
    "pre", "q", "samp", "small", "span", "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead",
    "tr", "tt", "ul", "var",
})  # fmt: skip
ATTRIBUTES = frozenset({
    "abbr", "accesskey", "align", "alt", "axis", "bgcolor", "border", "cellhalign", "cellpadding",
    "cellspacing", "cellvalign", "char", "charoff", "charset", "cite", "class", "colspan", "compact", "coords",
    "dir", "frame", "headers", "height", "href", "hreflang", "hspace", "id", "lang", "longdesc", "name",
    "nowrap", "rel", "rev", "rowspan", "rules", "scope", "shape", "span", "src", "start", "style", "summary",
    "tabindex", "title", "type", "valign", "value", "vspace", "width", "xml:lang", "xmlns",
})  # fmt: skip
BLOCKS = frozenset(
    {"blockquote", "div", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "ol", "p", "pre", "table", "ul"}
)
_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]*);")
_SCRIPT = re.compile(r"^\s*(?:javascript|vbscript|data:text)", re.IGNORECASE)
_XML = frozenset({"lt", "gt", "amp", "quot", "apos"})


def faults(div: str) -> list[str]:
    """What is wrong with the text of a Narrative.div; nothing for a good one."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.ProcessingInstructionHandler = reader.instruction
    try:
        parser.Parse(_ENTITY.sub(_plain, div), True)
    except expat.ExpatError as error:
        return [
            f"not well-formed XML: {expat.errors.messages[error.code]}, line {error.lineno} column {error.offset + 1}"
        ]
    except _Refused as error:
        return [str(error)]
    if not reader.content:
        reader.found.append("no content that is not white space")
    return reader.found


def fragments(div: str) -> tuple[set[str], set[str]]:
    """The ids that a well-formed div gives, and those that its links and images name with ``#``."""
    given: set[str] = set()
    named: set[str] = set()

    def start(name: str, attributes: dict[str, str]) -> None:
        given.update(attributes[key] for key in ("id", "name") if key in attributes)
        link = attributes.get("src" if name == "img" else "href", "")
        if link.startswith("#") and len(link) > 1:
            named.add(link[1:])

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = _Reader().doctype
    try:
        parser.Parse(_ENTITY.sub(_plain, div), True)
    except (expat.ExpatError, _Refused):
        return set(), set()
    return given, named


def well_formed(div: str) -> str:
    """The div as it can stand in an XML document: HTML entities as characters, what is no XML as escaped text."""
    text = _ENTITY.sub(_plain, div)
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _Reader().doctype
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, _Refused):
        return f'<div xmlns="{NAMESPACE}">{escape(div)}</div>'
    return text


class _Refused(Exception):
    """Something that ends the reading."""


class _Reader:
    """Collects what the rules forbid while expat reads."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.depth = 0
        self.paragraph = 0  # the depth of the open paragraph
        self.content = False

    def start(self, name: str, attributes: dict[str, Any]) -> None:
        if self.depth == 0 and name != "div":
            self.found.append(f"the outermost element is {name}, not div")
        elif self.depth == 0 and attributes.get("xmlns") != NAMESPACE:
            self.found.append(f"the div is not in the namespace {NAMESPACE}")
        self.depth += 1
        if self.depth > 200:
            raise _Refused("nested deeper than 200 levels")
        if name not in ELEMENTS:
            self.found.append(f"the element {name} is not allowed")
        elif self.paragraph and name in BLOCKS:
            self.found.append(f"the element {name} is not allowed in a paragraph")
        elif name == "p":
            self.paragraph = self.depth
        self.content = self.content or (name == "img" and "src" in attributes)
        for attribute, value in attributes.items():
            if attribute not in ATTRIBUTES:
                self.found.append(f"the attribute {attribute} of {name} is not allowed")
            elif attribute in ("href", "src", "cite", "longdesc") and _SCRIPT.match(value):
                self.found.append(f"the attribute {attribute} of {name} holds a script")

    def end(self, name: str) -> None:
        if self.depth == self.paragraph:
            self.paragraph = 0
        self.depth -= 1

    def text(self, data: str) -> None:
        self.content = self.content or bool(data.strip())

    def doctype(self, *_: Any) -> None:
        raise _Refused("a document type declaration is not allowed")

    def instruction(self, target: str, _: str) -> None:
        self.found.append(f"the processing instruction {target} is not allowed")


def _plain(match: re.Match[str]) -> str:
    name = match.group(1)
    return match.group() if name in _XML or name not in name2codepoint else chr(name2codepoint[name])

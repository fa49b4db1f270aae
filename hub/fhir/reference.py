"""References between resources (R4 2.3)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from hub.fhir import definitions

_KEPT = 256  # characters of a text whose parts are remembered
_LITERAL = re.compile(
    r"(?P<base>[A-Za-z][A-Za-z0-9+.-]*://\S+?/)?(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9\-.]{1,64})"
    r"(?:/_history/(?P<version>[A-Za-z0-9\-.]{1,64}))?(?:#(?P<fragment>\S*))?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A literal reference taken apart; "" for what it does not say.

    ``base`` is the service base of an absolute one, with its last slash; ``url`` the whole text without version and
    fragment. A urn, a canonical or a conditional reference has only ``url``.
    """

    type: str = ""
    id: str = ""
    version: str = ""
    base: str = ""
    fragment: str = ""
    url: str = ""

    @property
    def key(self) -> str:
        """``Type/id``, or "" when the reference does not name a resource of a server."""
        return f"{self.type}/{self.id}" if self.id else ""


def parse(text: str) -> Reference:
    """The parts of ``Patient/1``, ``http://host/fhir/Patient/1/_history/2``, ``#contained``, ``urn:uuid:...``."""
    return _parse(text) if len(text) <= _KEPT else _parse.__wrapped__(text)


@lru_cache(maxsize=65536)
def _parse(text: str) -> Reference:
    if text.startswith("#"):
        return Reference(fragment=text[1:], url=text)
    match = _LITERAL.fullmatch(text)
    if match is None or match["type"] not in definitions.load().resource_types:
        url, _, fragment = text.partition("#")
        return Reference(fragment=fragment, url=url)
    base = match["base"] or ""
    url = f"{base}{match['type']}/{match['id']}"
    return Reference(match["type"], match["id"], match["version"] or "", base, match["fragment"] or "", url)


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every Reference object (a member ``reference`` that is text) in a resource, also in contained ones."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if isinstance(item.get("reference"), str):
                yield item
            stack.extend(child for child in reversed(item.values()) if isinstance(child, (dict, list)))
        elif isinstance(item, list):
            stack.extend(child for child in reversed(item) if isinstance(child, (dict, list)))


def conditional(resource: dict[str, Any]) -> list[str]:
    """The conditional references ``Type?query`` of a resource, each once (R4 3.1.0.11.1)."""
    found: list[str] = []
    stack: list[Any] = [resource]
    while stack:  # inline, not by ``walk``: this runs for every entry of every transaction
        item = stack.pop()
        for name, value in item.items() if type(item) is dict else enumerate(item):
            kind = type(value)
            if kind is dict or kind is list:
                stack.append(value)
            elif name == "reference" and kind is str and "?" in value:
                found.append(value)
    types = definitions.load().resource_types
    return [text for text in dict.fromkeys(reversed(found)) if text.partition("?")[0] in types]


def rewrite(resource: dict[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """A copy with references, uris and links of narratives replaced by ``mapping`` (R4 3.1.0.11.2).

    A key is a fullUrl, a ``Type/id`` or a conditional reference; a version or fragment after it stays.
    """
    if not mapping:
        return resource
    return _rewrite(resource, mapping, _uri_names())


def _rewrite(value: dict[str, Any], mapping: Mapping[str, str], names: frozenset[str]) -> dict[str, Any]:
    copy = {}
    for name, item in value.items():
        kind = type(item)
        if kind is str:
            copy[name] = _mapped(item, mapping, name) if name in names else item
        elif kind is dict:
            copy[name] = _rewrite(item, mapping, names)
        elif kind is list:
            copy[name] = _rewrite_list(item, mapping, names, name)
        else:
            copy[name] = item
    return copy


def _rewrite_list(items: list[Any], mapping: Mapping[str, str], names: frozenset[str], name: str) -> list[Any]:
    copy: list[Any] = []
    for item in items:
        if isinstance(item, dict):
            copy.append(_rewrite(item, mapping, names))
        elif isinstance(item, str) and name in names:
            copy.append(_mapped(item, mapping, name))
        else:
            copy.append(item)
    return copy


_LINK = re.compile(r"""((?:href|src)\s*=\s*["'])([^"'#]+)(["'#])""")


def _mapped(text: str, mapping: Mapping[str, str], name: str) -> str:
    if name == "div":
        return _LINK.sub(lambda found: found[1] + mapping.get(found[2], found[2]) + found[3], text)
    if text in mapping:
        return mapping[text]
    for mark in ("/_history/", "#"):
        head, found, tail = text.partition(mark)
        if found and head in mapping:
            return mapping[head] + (f"#{tail}" if mark == "#" else "")
    return text


@cache
def _uri_names() -> frozenset[str]:
    """The JSON members that may name a resource: references, uris, urls, narratives (a canonical names no instance)."""
    names: set[str] = set()
    for kind in definitions.load().types:
        structure = definitions.load().structure(kind)
        for element in structure["snapshot"]["element"] if structure else ():
            name = element["path"].rpartition(".")[2]
            for code in (item["code"] for item in element.get("type", ()) if item["code"] in ("uri", "url")):
                names.add(name.replace("[x]", code.capitalize()))
    return frozenset(names - {"system"} | {"reference", "div"})

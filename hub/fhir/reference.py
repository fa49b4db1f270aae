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
    found = (item["reference"] for item in walk(resource))
    types = definitions.load().resource_types
    return list(dict.fromkeys(text for text in found if "?" in text and text.partition("?")[0] in types))


def rewrite(resource: dict[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """A copy with references, uris and links of narratives replaced by ``mapping`` (R4 3.1.0.11.2).

    A key is a fullUrl, a ``Type/id`` or a conditional reference; a version or fragment after it stays.
    """
    if not mapping:
        return resource
    rewritten = _rewrite(resource, mapping, "")
    assert isinstance(rewritten, dict)
    return rewritten


def _rewrite(value: Any, mapping: Mapping[str, str], name: str) -> Any:
    if isinstance(value, dict):
        return {key: _rewrite(item, mapping, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_rewrite(item, mapping, name) for item in value]
    if not isinstance(value, str) or not (name == "reference" or name == "div" or name in _uri_names()):
        return value
    if name == "div":
        return _LINK.sub(lambda found: found[1] + mapping.get(found[2], found[2]) + found[3], value)
    return _mapped(value, mapping)


_LINK = re.compile(r"""((?:href|src)\s*=\s*["'])([^"'#]+)(["'#])""")


def _mapped(text: str, mapping: Mapping[str, str]) -> str:
    if text in mapping:
        return mapping[text]
    for mark in ("/_history/", "#"):
        head, found, tail = text.partition(mark)
        if found and head in mapping:
            return mapping[head] + (f"#{tail}" if mark == "#" else "")
    return text


@cache
def _uri_names() -> frozenset[str]:
    """The JSON member names that hold a uri or url in R4 (a canonical is no reference to an instance)."""
    names: set[str] = set()
    for kind in definitions.load().types:
        structure = definitions.load().structure(kind)
        for element in structure["snapshot"]["element"] if structure else ():
            name = element["path"].rpartition(".")[2]
            for code in (item["code"] for item in element.get("type", ()) if item["code"] in ("uri", "url")):
                names.add(name.replace("[x]", code.capitalize()))
    return frozenset(names - {"system", "reference"})

"""Code systems that are a grammar or a registry of parts: UCUM, BCP 47, MIME types, URIs, time zones."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Iterable
from functools import cache

from terminology import sections, ucum
from terminology.errors import TerminologyError
from terminology.system import Concept, Resource

MAX_CODE = 255

# RFC 6838 4.2 restricted names; parameters as RFC 2045 5.1.
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_PARAMETER = r"""[ \t]*;[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+=(?:[A-Za-z0-9!#$%&'*+.^_`|~-]+|"[^"\r\n]{0,100}")"""
_MIME = re.compile(rf"{_NAME}/{_NAME}(?:{_PARAMETER}){{0,8}}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+")
_PRIVATE = re.compile(r"x(?:-[a-z0-9]{1,8})+")
_VARIANT = re.compile(r"[a-z0-9]{5,8}|[0-9][a-z0-9]{3}")


class RuledSystem:
    """A code system whose codes are recognised by ``name``: code -> display, or None when it is not a code."""

    enumerable = False

    def __init__(self, url: str, title: str, version: str, name: Callable[[str], str | None]) -> None:
        self.url = url
        self.version = version
        self.metadata: Resource = {
            "resourceType": "CodeSystem", "url": url, "title": title, "status": "active",
            "caseSensitive": url != "urn:ietf:bcp:47", "compositional": True, "content": "not-present",
        }  # fmt: skip
        if version:
            self.metadata["version"] = version
        self._name = name

    def find(self, code: str) -> Concept | None:
        display = self._name(code) if len(code) <= MAX_CODE else None
        return None if display is None else Concept(code, display)

    def concepts(self) -> Iterable[Concept]:
        raise TerminologyError("too-costly", f"the codes of {self.url} are formed by rule and cannot be listed")

    def children(self, code: str) -> Iterable[str]:
        return ()

    def descendants(self, code: str) -> Iterable[str]:
        return ()

    def having(self, name: str, value: str) -> Iterable[Concept]:
        return ()

    def search(self, words: list[str]) -> Iterable[Concept] | None:
        return None

    def close(self) -> None:
        return None

    def subsumes(self, ancestor: str, code: str) -> bool:
        return ancestor == code


def mime_type(code: str) -> str | None:
    """A media type (BCP 13, RFC 6838), with parameters."""
    return code if _MIME.fullmatch(code) else None


def uri(code: str) -> str | None:
    """An absolute URI (RFC 3986), by form."""
    return code if _URI.fullmatch(code) else None


def time_zone(code: str) -> str | None:
    """A name of the IANA time zone database."""
    return code if code in _time_zones() else None


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


@cache
def _subtags() -> dict[str, dict[str, str]]:
    subtags: dict[str, dict[str, str]] = sections.table("languages")["subtags"]
    return subtags


def language(tag: str) -> str | None:
    """A valid language tag (RFC 5646 2.2.9): well-formed, and every subtag registered. Returns its description."""
    known = _subtags()
    text = tag.lower()
    if text in known["grandfathered"]:
        return known["grandfathered"][text]
    if _PRIVATE.fullmatch(text):
        return tag
    parts = text.split("-")
    name = known["language"].get(parts[0])
    if name is None:
        return None
    rest, details = parts[1:], []
    for kind, limit in (("extlang", 1), ("script", 1), ("region", 1), ("variant", 4)):
        while rest and limit and rest[0] in known[kind] and (kind != "variant" or _VARIANT.fullmatch(rest[0])):
            details.append(known[kind][rest.pop(0)])
            limit -= 1
    if rest and not _extensions(rest):
        return None
    return f"{name} ({', '.join(details)})" if details else name


def _extensions(parts: list[str]) -> bool:
    """``u-ca-chinese``, ``x-private``: a singleton (once each) and its subtags (RFC 5646 2.2.6, 2.2.7)."""
    seen: set[str] = set()
    while parts:
        singleton = parts.pop(0)
        if len(singleton) != 1 or not singleton.isalnum() or singleton in seen:
            return False
        seen.add(singleton)
        shortest = 1 if singleton == "x" else 2
        count = 0
        while parts and (singleton == "x" or len(parts[0]) > 1):
            if not (shortest <= len(parts[0]) <= 8 and parts[0].isalnum() and parts[0].isascii()):
                return False
            parts.pop(0)
            count += 1
        if not count:
            return False
    return True


@cache
def systems() -> dict[str, RuledSystem]:
    """Url -> the code systems defined by rule."""
    made = (
        RuledSystem("http://unitsofmeasure.org", "Unified Code for Units of Measure", ucum.version(), ucum.name),
        RuledSystem("urn:ietf:bcp:47", "Tags for identifying languages", "", language),
        RuledSystem("urn:ietf:bcp:13", "Media types", "", mime_type),
        RuledSystem("urn:ietf:rfc:3986", "Uniform Resource Identifier", "", uri),
        RuledSystem("https://www.iana.org/time-zones", "IANA time zones", "", time_zone),
    )
    return {system.url: system for system in made}

"""A code system as the operations see it: concepts, hierarchy and properties, wherever they are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Resource = dict[str, Any]

MAX_BELOW = 256  # sets of descendants kept for a code system

PARENT_PROPERTIES = frozenset({"parent", "subsumedBy"})
PARENT_URI = "http://hl7.org/fhir/concept-properties#parent"
CHILD_URI = "http://hl7.org/fhir/concept-properties#child"


@dataclass(frozen=True, slots=True)
class Concept:
    """CodeSystem.concept. ``designations`` and ``properties`` are FHIR elements as written in the resource."""

    code: str
    display: str = ""
    definition: str = ""
    designations: tuple[Resource, ...] = ()
    properties: tuple[Resource, ...] = ()
    parents: tuple[str, ...] = ()
    abstract: bool = False
    inactive: bool = False

    def values(self, name: str) -> Iterator[str]:
        """The values of a property, as text."""
        for item in self.properties:
            if item["code"] == name:
                yield value_text(item)

    def displays(self, language: str | None = None) -> Iterator[str]:
        """Display and designations, those of ``language`` (a prefix, ``zh`` is also ``zh-CN``) only if given."""
        if language is None:
            yield self.display
        for item in self.designations:
            if language is None or item.get("language", "").lower().startswith(language.lower()):
                yield item["value"]


def value_text(item: Resource) -> str:
    """The value[x] of a concept property as text: a Coding's code, a boolean's literal."""
    for key, value in item.items():
        if key.startswith("value"):
            if isinstance(value, dict):
                return str(value.get("code", ""))
            return str(value).lower() if isinstance(value, bool) else str(value)
    return ""


class System(Protocol):
    """A code system in one version. ``enumerable`` is False for a grammar (UCUM): its codes cannot be listed.

    ``metadata`` is the CodeSystem resource without its concepts; ``language`` that of the displays.
    """

    url: str
    version: str
    metadata: Resource
    enumerable: bool

    def find(self, code: str) -> Concept | None:
        """The concept of a code, None if there is none."""

    def concepts(self) -> Iterable[Concept]:
        """All concepts, parents before children. TerminologyError("too-costly") if not enumerable."""

    def children(self, code: str) -> Iterable[str]:
        """The codes one step below."""

    def descendants(self, code: str) -> Iterable[str]:
        """The codes below, without itself."""

    def close(self) -> None:
        """Let go of files."""

    def subsumes(self, ancestor: str, code: str) -> bool:
        """``code`` is below ``ancestor``, or is it."""

    def having(self, name: str, value: str) -> Iterable[Concept]:
        """The concepts with this value of a property."""

    def search(self, words: list[str]) -> Iterable[Concept] | None:
        """The concepts one of whose names has all these words; None where it is as good to read them all."""


class ListedSystem:
    """A code system whose concepts are in a CodeSystem resource, nested or by parent properties."""

    enumerable = True

    def __init__(self, resource: Resource, names: Mapping[str, str] | None = None) -> None:
        """``names`` are Chinese names of codes, added as designations."""
        self.url: str = resource["url"]
        self.version: str = resource.get("version", "")
        self.metadata = {k: v for k, v in resource.items() if k != "concept"}
        declared = resource.get("property", ())
        self._up = PARENT_PROPERTIES | {p["code"] for p in declared if p.get("uri") == PARENT_URI}
        self._down = {p["code"] for p in declared if p.get("uri") == CHILD_URI}
        self._names = names or {}
        self._concepts: dict[str, Concept] = {}
        self._children: dict[str, list[str]] = {}
        self._add(resource.get("concept", ()))
        self._folded: dict[str, str] = {}
        if not resource.get("caseSensitive", True):
            self._folded = {code.lower(): code for code in self._concepts}
        self._below: dict[str, frozenset[str]] = {}

    def _add(self, nodes: Iterable[Resource]) -> None:
        stack: list[tuple[Resource, str]] = [(node, "") for node in reversed(list(nodes))]
        while stack:
            node, above = stack.pop()
            code = node["code"]
            properties = node.get("property", ())
            parents = [above] if above else []
            parents += [value_text(p) for p in properties if p["code"] in self._up and value_text(p) not in parents]
            for parent in parents:
                self._children.setdefault(parent, []).append(code)
            for item in properties:
                if item["code"] in self._down:
                    self._children.setdefault(code, []).append(value_text(item))
            if code not in self._concepts:
                self._concepts[code] = concept(node, tuple(parents), self._names.get(code, ""))
            stack.extend((child, code) for child in reversed(node.get("concept", ())))

    def find(self, code: str) -> Concept | None:
        found = self._concepts.get(code)
        return self._concepts.get(self._folded.get(code.lower(), "")) if found is None and self._folded else found

    def concepts(self) -> Iterable[Concept]:
        return self._concepts.values()

    def children(self, code: str) -> Iterable[str]:
        return [child for child in dict.fromkeys(self._children.get(code, ())) if child in self._concepts]

    def descendants(self, code: str) -> Iterable[str]:
        found: dict[str, None] = {}
        stack = list(self.children(code))[::-1]
        while stack:
            current = stack.pop()
            if current not in found and current != code:
                found[current] = None
                stack.extend(list(self.children(current))[::-1])
        return found

    def having(self, name: str, value: str) -> Iterable[Concept]:
        return (concept for concept in self._concepts.values() if value in concept.values(name))

    def search(self, words: list[str]) -> Iterable[Concept] | None:
        return None

    def close(self) -> None:
        return None

    def subsumes(self, ancestor: str, code: str) -> bool:
        below = self._below.get(ancestor)
        if below is None:
            below = self._below[ancestor] = frozenset(self.descendants(ancestor)) | {ancestor}
            while len(self._below) > MAX_BELOW:
                self._below.pop(next(iter(self._below)), None)
        return code in below


def concept(node: Resource, parents: tuple[str, ...], chinese: str = "") -> Concept:
    """The Concept of a CodeSystem.concept element, with a Chinese name if it has none of its own."""
    designations = tuple(node.get("designation", ()))
    if chinese and not any(d.get("language", "").startswith("zh") for d in designations):
        designations = (*designations, {"language": "zh", "value": chinese})
    properties = node.get("property", ())
    flags = {p["code"]: value_text(p) for p in properties}
    return Concept(
        code=node["code"],
        display=node.get("display", ""),
        definition=node.get("definition", ""),
        designations=designations,
        properties=tuple(properties),
        parents=parents,
        abstract="true" in (flags.get("notSelectable"), flags.get("abstract")),
        inactive=flags.get("inactive") == "true" or flags.get("status") in ("retired", "inactive"),
    )

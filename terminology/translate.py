"""ConceptMap/$translate (R4 4.10.13): the targets of a code, or with ``reverse`` the sources that lead to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from terminology.parameters import build, group, part
from terminology.system import Resource

NO_MATCH = frozenset({"unmatched", "disjoint"})
INVERSE = {"wider": "narrower", "narrower": "wider", "subsumes": "specializes", "specializes": "subsumes"}

Dependencies = dict[str, set[str]]


@dataclass(frozen=True, slots=True)
class Match:
    """One target: equivalence seen from the code asked about, the coding, its map, what it yields besides."""

    equivalence: str
    coding: Resource
    source: str
    products: tuple[Resource, ...] = ()


@dataclass
class MapIndex:
    """The groups of all concept maps, by source and by target system and code."""

    forward: dict[tuple[str, str], list[tuple[Resource, Resource, Resource]]] = field(default_factory=dict)
    backward: dict[tuple[str, str], list[tuple[Resource, Resource, Resource, Resource]]] = field(default_factory=dict)
    unmapped: dict[str, list[tuple[Resource, Resource]]] = field(default_factory=dict)

    @classmethod
    def of(cls, maps: Iterable[Resource]) -> MapIndex:
        """The index of these maps."""
        index = cls()
        for concept_map in (m for m in maps if m.get("status") != "retired"):
            for item in concept_map.get("group", ()):
                index._add(concept_map, item)
        return index

    def _add(self, concept_map: Resource, item: Resource) -> None:
        source, target = item.get("source", ""), item.get("target", "")
        if "unmapped" in item:
            self.unmapped.setdefault(source, []).append((concept_map, item))
        for element in item.get("element", ()):
            self.forward.setdefault((source, element.get("code", "")), []).append((concept_map, item, element))
            for to in element.get("target", ()):
                key = (target, to.get("code", ""))
                self.backward.setdefault(key, []).append((concept_map, item, element, to))

    def targets(self, system: str, code: str, dependencies: Dependencies) -> list[Match]:
        """Where the maps lead from this code."""
        found = []
        hits = self.forward.get((system, code), [])
        for concept_map, item, element in hits:
            for to in element.get("target", ()):
                if _holds(to, dependencies):
                    coding = _coding(item.get("target", ""), to, item.get("targetVersion", ""))
                    found.append(Match(_equivalence(to), coding, _name(concept_map), tuple(to.get("product", ()))))
        mapped = {id(item) for _, item, _ in hits}
        for concept_map, item in self.unmapped.get(system, ()):
            if id(item) not in mapped:
                found += _fallback(concept_map, item, code)
        return found

    def sources(self, system: str, code: str) -> list[Match]:
        """Which codes the maps lead from to this code."""
        return [
            Match(
                INVERSE.get(_equivalence(to), _equivalence(to)),
                _coding(item.get("source", ""), element, item.get("sourceVersion", "")),
                _name(concept_map),
            )
            for concept_map, item, element, to in self.backward.get((system, code), ())
        ]


def _equivalence(to: Resource) -> str:
    text: str = to.get("equivalence", "relatedto")
    return text


def _fallback(concept_map: Resource, item: Resource, code: str) -> list[Match]:
    """ConceptMap.group.unmapped for a code the group does not list."""
    rule = item["unmapped"]
    if rule.get("mode") == "provided":
        coding = _coding(item.get("target", ""), {"code": code})
    elif rule.get("mode") == "fixed" and "code" in rule:
        coding = _coding(item.get("target", ""), rule)
    else:
        return []
    return [Match("inexact" if rule["mode"] == "fixed" else "equal", coding, _name(concept_map))]


def _holds(to: Resource, dependencies: Dependencies) -> bool:
    """Every dependsOn of the target is met by the caller's facts."""
    return all(item.get("value") in dependencies.get(item.get("property", ""), ()) for item in to.get("dependsOn", ()))


def _coding(system: str, node: Resource, version: str = "") -> Resource:
    coding = {"system": system, "version": version, "code": node.get("code", ""), "display": node.get("display", "")}
    return {key: value for key, value in coding.items() if value}


def _name(concept_map: Resource) -> str:
    version = concept_map.get("version")
    return f"{concept_map.get('url', '')}|{version}" if version else str(concept_map.get("url", ""))


def answer(matches: list[Match]) -> Resource:
    """The Parameters of $translate; ``result`` is True if a match means more than "there is none"."""
    good = any(match.equivalence not in NO_MATCH for match in matches)
    rows = [
        group(
            "match",
            part("equivalence", "Code", match.equivalence),
            part("concept", "Coding", match.coding),
            *(_product(item) for item in match.products),
            part("source", "Uri", match.source),
        )
        for match in matches
    ]
    message = None if good else part("message", "String", "no concept map here translates the code")
    return build({"name": "result", "valueBoolean": good}, message, *rows)


def _product(item: Resource) -> Resource:
    concept = {"system": item.get("system"), "code": item.get("value"), "display": item.get("display")}
    coding = {key: value for key, value in concept.items() if value}
    return group("product", part("element", "Uri", item.get("property")), part("concept", "Coding", coding))

"""The terminology service in process: what the operations answer, cached, and always that of the current content."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from terminology import lookup as codes
from terminology.closure import Closures
from terminology.errors import TerminologyError
from terminology.expand import Expansion, Options, expansion, searched, shown
from terminology.registry import Registry
from terminology.system import Concept, Resource, System
from terminology.translate import Dependencies, MapIndex, Match, answer
from terminology.valueset import ValueSet, Versions, canonical_of, compiled

MAX_EXPANSIONS = 64
MAX_SETS = 4096

Kept = TypeVar("Kept")

_NOTHING = Versions()


@dataclass
class _Cache:
    """What was made of the content of one generation."""

    generation: int
    sets: dict[str, ValueSet] = field(default_factory=dict)
    expansions: dict[str, Expansion] = field(default_factory=dict)
    maps: MapIndex | None = None

    @staticmethod
    def keep(kept: dict[str, Kept], key: str, value: Kept, limit: int) -> None:
        """Keep a value; the oldest goes when there are too many."""
        kept[key] = value
        while len(kept) > limit:
            kept.pop(next(iter(kept)), None)


class Terminology:
    """Code systems, value sets and concept maps, and the questions FHIR asks of them.

    ``clock`` gives microseconds since 1970 UTC. Answers are FHIR resources as plain dicts, made anew for each call;
    every refusal is a TerminologyError. Calls from several threads are safe.
    """

    def __init__(self, clock: Callable[[], int], registry: Registry | None = None) -> None:
        self.registry = registry or Registry()
        self._clock = clock
        self._closures = Closures(self.registry.system)
        self._cache = _Cache(-1)

    # --- content ----------------------------------------------------------------------------------------------------

    def put(self, resource: Resource) -> None:
        """Add or replace a CodeSystem, ValueSet or ConceptMap."""
        self.registry.put(resource)

    def remove(self, kind: str, url: str, version: str = "") -> None:
        """Take back what ``put`` added."""
        self.registry.remove(kind, url, version)

    def attach(self, system: System) -> None:
        """Add a code system that is kept elsewhere, such as a loaded release."""
        self.registry.attach(system)

    def close(self) -> None:
        """Close the files of loaded releases."""
        self.registry.close()

    def _current(self) -> _Cache:
        """What was made of the present content; a change of content begins a new one, so nothing stale is kept."""
        cache = self._cache
        if cache.generation != self.registry.generation:
            cache = self._cache = _Cache(self.registry.generation)
        return cache

    # --- code systems -----------------------------------------------------------------------------------------------

    def system(self, url: str, version: str = "") -> System:
        """The code system. TerminologyError("not-found") if its content is not here."""
        return codes.known(self.registry.system(f"{url}|{version}"), url)

    def find(self, url: str, code: str) -> Concept | None:
        """The concept of a code; None if the code or the code system is not known here."""
        system = self.registry.system(url)
        return system.find(code) if system else None

    def lookup(
        self, system: str, code: str, *, version: str = "", properties: Iterable[str] = (), display_language: str = ""
    ) -> Resource:
        """CodeSystem/$lookup (ITI-96)."""
        return codes.lookup(self.system(system, version), code, properties, display_language)

    def subsumes(self, system: str, code_a: str, code_b: str, *, version: str = "") -> Resource:
        """CodeSystem/$subsumes."""
        return codes.subsumes(self.system(system, version), code_a, code_b)

    def find_matches(
        self, system: str, properties: list[tuple[str, Resource]], *, exact: bool, version: str = ""
    ) -> Resource:
        """CodeSystem/$find-matches."""
        return codes.find_matches(self.system(system, version), properties, exact)

    def related(self, system: str, code: str, direction: str) -> list[str] | None:
        """The code and those that subsume it ("above") or that it subsumes ("below"), as the search modifiers mean it.

        None if the code is not known here.
        """
        hierarchy = self.registry.system(system)
        if hierarchy is None or hierarchy.find(code) is None:
            return None
        if direction == "below":
            return [code, *hierarchy.descendants(code)]
        found, stack = {code: None}, [code]
        while stack:
            concept = hierarchy.find(stack.pop())
            fresh = [parent for parent in (concept.parents if concept else ()) if parent not in found]
            found |= dict.fromkeys(fresh)
            stack += fresh
        return list(found)

    # --- value sets -------------------------------------------------------------------------------------------------

    def value_set(self, canonical: str) -> ValueSet:
        """The compiled value set of ``url`` or ``url|version``. TerminologyError("not-found") if unknown."""
        cache = self._current()
        found = cache.sets.get(canonical)
        if found is None:
            resource = self.registry.value_set(canonical)
            if resource is None:
                raise TerminologyError("not-found", f"value set {canonical} is not known here")
            found = compiled(self.registry, resource, _NOTHING)
            cache.keep(cache.sets, canonical, found, MAX_SETS)
        return found

    def is_compiled(self, canonical: str) -> bool:
        """Whether a value set has been used since the content last changed, so that using it again is quick."""
        return canonical in self._current().sets

    def member(self, canonical: str, system: str, code: str) -> Concept | None:
        """The concept if the value set has it: the shortest way to ask, for bindings. ``system`` "" means any."""
        return self._member(self.value_set(canonical), system, code)[1]

    def _member(self, value_set: ValueSet, system: str, code: str) -> tuple[str, Concept | None]:
        if system:
            url = self.registry.url(system)
            return system, value_set.find(url, code)
        for url in sorted(value_set.systems()):
            found = value_set.find(url, code)
            if found is not None:
                return url, found
        return system, None

    def members(self, canonical: str) -> list[tuple[str, str]] | None:
        """System and code of everything in a value set, as the search modifiers ``:in`` and ``:not-in`` mean it.

        None if the value set is not known here or cannot be listed.
        """
        try:
            return [
                (row.system, row.concept.code) for row in self._expansion(self.value_set(canonical), canonical).rows
            ]
        except TerminologyError:
            return None

    def validate_code(
        self,
        url: str = "",
        *,
        code: str = "",
        system: str = "",
        version: str = "",
        display: str = "",
        value_set: Resource | None = None,
        abstract: bool = False,
        display_language: str = "",
    ) -> Resource:
        """ValueSet/$validate-code (ITI-95..) with ``url`` or ``value_set``, else CodeSystem/$validate-code.

        An unknown value set is an error; an unknown code or code system gives ``result`` false and a message.
        """
        if not code:
            raise TerminologyError("required", "a code is needed")
        chosen = compiled(self.registry, value_set, _NOTHING) if value_set else self.value_set(url) if url else None
        origin, found = self.registry.url(system), None
        where = f"value set {url}" if url else "the value set" if value_set else "the code system"
        if chosen is None:
            known = self.registry.system(f"{system}|{version}")
            found = known.find(code) if known else None
            where = where if known else "a code system known here"
        else:
            try:
                origin, found = self._member(chosen, system, code)
            except TerminologyError as error:  # the content needed to judge is not here
                where = f"{where}: {error.text}"
        return codes.judged(
            found, origin, code, shown=display, where=where, abstract=abstract, language=display_language
        )

    def expand(
        self, url: str = "", *, value_set: Resource | None = None, versions: Versions = _NOTHING, **options: Any
    ) -> Resource:
        """ValueSet/$expand (ITI-97) by ``url`` or of a given resource; ``options`` are fields of ``expand.Options``."""
        chosen = Options(**options)
        if min(chosen.offset or 0, chosen.count or 0) < 0:
            raise TerminologyError("invalid", "offset and count are not negative")
        if value_set is None and versions == _NOTHING:
            compiled_set = self.value_set(url)
            rows = searched(compiled_set, chosen.filter) or self._expansion(compiled_set, url)
        else:
            resource = value_set or self.registry.value_set(url)
            if resource is None:
                raise TerminologyError("not-found", f"value set {url} is not known here")
            compiled_set = compiled(self.registry, resource, versions)
            rows = expansion(compiled_set)
        name = f"{canonical_of(compiled_set.resource)} {chosen} {self.registry.generation}"
        identifier = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}"
        return shown(compiled_set, rows, chosen, identifier=identifier, timestamp=self._now())

    def _expansion(self, value_set: ValueSet, canonical: str) -> Expansion:
        cache = self._current()
        found = cache.expansions.get(canonical)
        if found is None:
            found = expansion(value_set)
            cache.keep(cache.expansions, canonical, found, MAX_EXPANSIONS)
        return found

    # --- concept maps -----------------------------------------------------------------------------------------------

    def translate(
        self,
        system: str,
        code: str,
        *,
        url: str = "",
        concept_map: Resource | None = None,
        source: str = "",
        target: str = "",
        target_system: str = "",
        dependencies: Dependencies | None = None,
        reverse: bool = False,
    ) -> Resource:
        """ConceptMap/$translate (ITI-101) with one map (``url``, ``concept_map``) or all that fit.

        ``source`` and ``target`` are value sets the code and its translation must be in; ``target_system`` a system.
        """
        matches = self.matches(
            system, code, url=url, concept_map=concept_map, source=source, dependencies=dependencies, reverse=reverse
        )
        return answer([match for match in matches if self._fits(match, target, target_system)])

    def matches(
        self,
        system: str,
        code: str,
        *,
        url: str = "",
        concept_map: Resource | None = None,
        source: str = "",
        dependencies: Dependencies | None = None,
        reverse: bool = False,
    ) -> list[Match]:
        """What $translate answers, before its targets are narrowed."""
        if not code or not system:
            raise TerminologyError("required", "a code and its system are needed")
        if source and self.member(source, system, code) is None:
            raise TerminologyError("invalid", f"code {code!r} is not in value set {source}")
        index = self._index(url, concept_map)
        origin = self.registry.url(system)
        return index.sources(origin, code) if reverse else index.targets(origin, code, dependencies or {})

    def _index(self, url: str, concept_map: Resource | None) -> MapIndex:
        if concept_map is not None:
            return MapIndex.of([concept_map])
        if url:
            found = self.registry.resource("ConceptMap", url)
            if found is None:
                raise TerminologyError("not-found", f"concept map {url} is not known here")
            return MapIndex.of([found])
        cache = self._current()
        if cache.maps is None:
            cache.maps = MapIndex.of(self.registry.concept_maps())
        return cache.maps

    def _fits(self, match: Match, target: str, target_system: str) -> bool:
        system, code = match.coding.get("system", ""), match.coding.get("code", "")
        if target_system and system != target_system:
            return False
        return not target or self.registry.value_set(target) is None or self.member(target, system, code) is not None

    def closure(self, name: str, concepts: list[Resource], *, version: str | None = None) -> Resource:
        """$closure."""
        return self._closures.run(name, concepts, version, self._now())

    def _now(self) -> str:
        return (
            datetime.fromtimestamp(self._clock() / 1_000_000, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z")
        )

"""A value set as a question: is this code in it? Compiled from ValueSet.compose (R4 4.9.5, 4.9.8)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from terminology.errors import TerminologyError
from terminology.registry import Registry
from terminology.system import Concept, Resource, System

MAX_NESTING = 20
MAX_PATTERN = 500

_RUNAWAY = re.compile(r"[*+}][^()]*\)[*+{]")  # a repetition of a repetition takes exponential time

Test = Callable[[Concept], bool]


@dataclass(frozen=True, slots=True)
class Versions:
    """The version of a code system to use: ``default`` where none is named, ``force`` in any case (url -> version)."""

    default: Mapping[str, str] | None = None
    force: Mapping[str, str] | None = None

    def of(self, url: str, named: str) -> str:
        """The version for ``url`` where the value set names ``named`` or ""."""
        forced = (self.force or {}).get(url)
        return forced or named or (self.default or {}).get(url, "")


class Clause:
    """One include or exclude: codes of a system, listed or by filter, that are in all of ``sets`` too."""

    def __init__(
        self, url: str, system: System | None, listed: dict[str, Resource] | None, sets: list[ValueSet]
    ) -> None:
        self.url = url
        self.system = system
        self.listed = listed
        self.sets = sets
        self.tests: list[Test] = []
        self.below: list[str] = []
        self.having: list[tuple[str, str]] = []
        self.only_sets = not url and listed is None

    def find(self, url: str, code: str) -> Concept | None:
        """The concept, as this clause shows it, or None."""
        if self.only_sets:
            found = self.sets[0].find(url, code)
        elif url != self.url:
            return None
        elif self.listed is not None:
            found = self._listed(code)
        else:
            found = self.known().find(code)
            if found is not None and not all(test(found) for test in self.tests):
                return None
        return found if found is not None and all(s.find(url, code) for s in self.sets) else None

    def _listed(self, code: str) -> Concept | None:
        assert self.listed is not None
        node = self.listed.get(code)
        known = self.system.find(code) if self.system else None
        if node is None:  # the system may be insensitive to case
            return known if known is not None and known.code != code and known.code in self.listed else None
        return _shown(node, known)

    def known(self) -> System:
        """The code system. TerminologyError("not-found") if its content is not here."""
        if self.system is None:
            raise TerminologyError("not-found", f"the content of code system {self.url} is not known here")
        return self.system

    def candidates(self) -> Iterable[Concept]:
        """The concepts of this clause, in the order of the definition."""
        if self.only_sets:
            found: Iterable[Concept] = ()  # expand reads the rows of the sets themselves
        elif self.listed is not None:
            found = (c for c in map(self._listed, self.listed) if c is not None)
        elif self.below:
            system, root = self.known(), self.below[0]
            codes = (root, *system.descendants(root))
            found = (c for c in map(system.find, codes) if c is not None and all(test(c) for test in self.tests))
        elif self.having:
            found = (c for c in self.known().having(*self.having[0]) if all(test(c) for test in self.tests))
        else:
            found = (c for c in self.known().concepts() if all(test(c) for test in self.tests))
        return found


def _shown(node: Resource, known: Concept | None) -> Concept:
    """A listed concept with the display and designations that the value set gives it."""
    known = known or Concept(node["code"])
    if "display" not in node and "designation" not in node:
        return known
    designations = (*node.get("designation", ()), *known.designations)
    return replace(known, display=node.get("display", known.display), designations=designations)


class ValueSet:
    """A compiled value set. ``resource`` is its definition; ``activeOnly`` that of compose.inactive = false."""

    def __init__(self, resource: Resource, includes: list[Clause], excludes: list[Clause]) -> None:
        self.resource = resource
        self.includes = includes
        self.excludes = excludes
        self.active_only = resource.get("compose", {}).get("inactive") is False

    def find(self, url: str, code: str) -> Concept | None:
        """The concept if the set has it. TerminologyError("not-found") if a code system's content is missing."""
        missing: TerminologyError | None = None
        for clause in self.includes:
            try:
                found = clause.find(url, code)
            except TerminologyError as error:
                missing = error
                continue
            if found is not None and not (self.active_only and found.inactive):
                return None if any(c.find(url, code) for c in self.excludes) else found
        if missing is not None:
            raise missing
        return None

    def systems(self) -> set[str]:
        """The urls of the code systems it draws from."""
        urls: set[str] = set()
        for clause in self.includes:
            urls.update(set().union(*(s.systems() for s in clause.sets)) if clause.only_sets else {clause.url})
        return urls


def compiled(registry: Registry, resource: Resource, versions: Versions, above: tuple[str, ...] = ()) -> ValueSet:
    """The value set that a resource defines. TerminologyError if it refers to itself or to nothing."""
    url = resource.get("url", "")
    if url in above and url:
        raise TerminologyError("invalid", f"value set {url} includes itself")
    if len(above) > MAX_NESTING:
        raise TerminologyError("too-costly", "value sets are nested too deeply")
    compose = resource.get("compose")
    if compose is None:
        return _from_expansion(registry, resource)
    here = (*above, url)
    parts = {
        kind: [_clause(registry, part, versions, here) for part in compose.get(kind, ())]
        for kind in ("include", "exclude")
    }
    return ValueSet(resource, parts["include"], parts["exclude"])


def _from_expansion(registry: Registry, resource: Resource) -> ValueSet:
    """A value set without a definition is what its stored expansion lists."""
    if "expansion" not in resource:
        return ValueSet(resource, [], [])
    listed: dict[str, dict[str, Resource]] = {}
    stack = list(resource["expansion"].get("contains", ()))
    while stack:
        node = stack.pop(0)
        stack[:0] = node.get("contains", ())
        if "code" in node and not node.get("abstract"):
            listed.setdefault(node.get("system", ""), {})[node["code"]] = node
    return ValueSet(resource, [Clause(url, registry.system(url), codes, []) for url, codes in listed.items()], [])


def _clause(registry: Registry, part: Resource, versions: Versions, above: tuple[str, ...]) -> Clause:
    sets = []
    for canonical in part.get("valueSet", ()):
        other = registry.value_set(canonical)
        if other is None:
            raise TerminologyError("not-found", f"value set {canonical} is not known here")
        sets.append(compiled(registry, other, versions, above))
    url = registry.url(part.get("system", ""))
    if not url:
        if not sets:
            raise TerminologyError("invalid", "an include needs a system or a value set")
        return Clause("", None, None, sets)
    version = versions.of(url, part.get("version", ""))
    system = registry.system(f"{url}|{version}")
    if system is None and not versions.of(url, ""):
        system = registry.system(
            url
        )  # HL7's packages name versions they do not carry; the answer says which one was used
    listed = {c["code"]: c for c in part["concept"]} if "concept" in part else None
    clause = Clause(url, system, listed, sets)
    for item in part.get("filter", ()):
        _add_filter(clause, item)
    return clause


def _add_filter(clause: Clause, item: Resource) -> None:
    """One compose.include.filter as a test (http://hl7.org/fhir/filter-operator)."""
    try:
        name, op, value = item["property"], item["op"], item["value"]
    except KeyError as missing:
        raise TerminologyError("invalid", f"a filter of {clause.url} has no {missing.args[0]}") from None
    hierarchy = clause.system
    if op in ("is-a", "descendent-of") and hierarchy is not None:
        clause.below.append(value)
    if op in ("is-a", "descendent-of", "is-not-a", "generalizes"):
        clause.tests.append(_hierarchy_test(clause, op, value))
        return
    if op == "=" and name in ("parent", "concept") and hierarchy is not None:
        clause.tests.append(lambda c: value in c.parents if name == "parent" else c.code == value)
        return
    check = _text_test(clause.url, op, value)
    if op == "=" and name not in ("code", "concept", "display"):
        clause.having.append((name, value))
    if name in ("code", "concept"):
        clause.tests.append(lambda c: check(iter((c.code,))))
    elif name == "display":
        clause.tests.append(lambda c: check(iter((c.display,))))
    else:
        clause.tests.append(lambda c: check(c.values(name)))


def _hierarchy_test(clause: Clause, op: str, value: str) -> Test:
    if op == "is-a":
        return lambda c: clause.known().subsumes(value, c.code)
    if op == "descendent-of":
        return lambda c: c.code != value and clause.known().subsumes(value, c.code)
    if op == "is-not-a":
        return lambda c: not clause.known().subsumes(value, c.code)
    return lambda c: clause.known().subsumes(c.code, value)


def _text_test(url: str, op: str, value: str) -> Callable[[Iterable[str]], bool]:
    if op == "=":
        return lambda values: value in values
    if op in ("in", "not-in"):
        wanted = frozenset(v.strip() for v in value.split(","))
        return lambda values: any(v in wanted for v in values) == (op == "in")
    if op == "exists":
        return lambda values: any(True for _ in values) == (value == "true")
    if op == "regex":
        if len(value) > MAX_PATTERN or _RUNAWAY.search(value):
            raise TerminologyError("too-costly", f"a regex filter of {url} is too long or repeats a repetition")
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise TerminologyError("invalid", f"regex filter {value!r} of {url}: {error}") from None
        return lambda values: any(pattern.fullmatch(v) for v in values)
    raise TerminologyError("not-supported", f"filter operator {op!r} on {url}")


def canonical_of(resource: Resource) -> str:
    """``url|version`` of a resource."""
    return f"{resource.get('url', '')}|{resource.get('version', '')}".rstrip("|")

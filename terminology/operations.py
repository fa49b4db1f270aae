"""The FHIR operations of the terminology service: Parameters in, resource out.

``OPERATIONS[type, name](terminology, parameters)`` answers ``POST [base]/type/$name``; type "" is the system level. For
a call on an instance the edge adds the resource as parameter ``codeSystem``, ``valueSet`` or ``conceptMap``; for GET it
makes Parameters of the query with ``from_query``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from terminology import parameters as fhir
from terminology import shape
from terminology.errors import TerminologyError
from terminology.registry import split
from terminology.service import Terminology
from terminology.system import Resource
from terminology.valueset import Versions

MAX_CODINGS = 100

_BOOLEAN = {"abstract", "exact", "includeDesignations", "includeDefinition", "activeOnly", "excludeNested"}
_BOOLEAN |= {"excludeNotForUI", "reverse", "compositional"}
_INTEGER = frozenset({"offset", "count"})


class Arguments:
    """The parameters of one call, read by name."""

    def __init__(self, parameters: Resource) -> None:
        self._values = fhir.read(parameters)

    def all(self, name: str) -> list[Any]:
        """Every value of a parameter."""
        return self._values.get(name, [])

    def one(self, name: str) -> Any:
        """The value, None if absent. TerminologyError("invalid") if it is there more than once."""
        values = self.all(name)
        if len(values) > 1:
            raise TerminologyError("invalid", f"parameter {name} is there {len(values)} times")
        return values[0] if values else None

    def text(self, name: str) -> str:
        """A text, "" if absent."""
        value = self.one(name)
        if value is not None and not isinstance(value, str):
            raise TerminologyError("invalid", f"parameter {name} is not a text")
        return value or ""

    def texts(self, name: str) -> list[str]:
        """The texts of a parameter that may repeat."""
        values = self.all(name)
        if not all(isinstance(value, str) for value in values):
            raise TerminologyError("invalid", f"parameter {name} is not a text")
        return values

    def flag(self, name: str) -> bool:
        """A boolean, False if absent."""
        value = self.one(name)
        if value not in (None, True, False):
            raise TerminologyError("invalid", f"parameter {name} is not a boolean")
        return bool(value)

    def number(self, name: str) -> int | None:
        """A number that is not negative, None if absent."""
        value = self.one(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise TerminologyError("invalid", f"parameter {name} is not a number from 0")
        return value

    def resource(self, name: str, kind: str) -> Resource | None:
        """A resource of this type, None if absent."""
        value = self.one(name)
        if value is not None and (not isinstance(value, dict) or value.get("resourceType") != kind):
            raise TerminologyError("invalid", f"parameter {name} is not a {kind}")
        if value is not None:
            shape.check(value)
        return value

    def codings(self) -> list[Resource]:
        """What is asked about: ``coding``, ``codeableConcept`` or ``code`` and ``system``, as Codings."""
        coding, concept = self.one("coding"), self.one("codeableConcept")
        found: Any
        if coding is not None:
            found = [coding]
        elif concept is not None:
            found = concept.get("coding") if isinstance(concept, dict) else None
            if not isinstance(found, list) or not found:
                raise TerminologyError("required", "the CodeableConcept has no coding")
        else:
            names = ("system", "version", "code", "display")
            found = [{name: self.text(name) for name in names if self.text(name)}]
            found[0].setdefault("version", self.text("systemVersion"))
        if len(found) > MAX_CODINGS or not all(_is_coding(item) for item in found):
            raise TerminologyError("invalid", "a Coding has texts as system, version, code and display")
        return list(found)


def _is_coding(item: object) -> bool:
    names = ("system", "version", "code", "display")
    return isinstance(item, dict) and all(isinstance(item.get(name, ""), str) for name in names)


def _parts(item: object) -> dict[str, Resource]:
    """The parts of a parameter by name; empty if it has none."""
    parts = item if isinstance(item, list) else []
    return {str(part.get("name")): part for part in parts if isinstance(part, dict)}


def from_query(pairs: Iterable[tuple[str, str]]) -> Resource:
    """The Parameters of a GET: booleans and numbers by name, the rest as texts. TerminologyError("invalid")."""
    items: list[Resource] = []
    for name, text in pairs:
        if name in _BOOLEAN:
            if text not in ("true", "false"):
                raise TerminologyError("invalid", f"parameter {name} is true or false, not {text!r}")
            items.append({"name": name, "valueBoolean": text == "true"})
        elif name in _INTEGER:
            if not (text.isascii() and text.isdigit() and len(text) < 10):
                raise TerminologyError("invalid", f"parameter {name} is a number from 0, not {text!r}")
            items.append({"name": name, "valueInteger": int(text)})
        else:
            items.append({"name": name, "valueString": text})
    return {"resourceType": "Parameters", "parameter": items}


def lookup(terminology: Terminology, parameters: Resource) -> Resource:
    """CodeSystem/$lookup."""
    arguments = Arguments(parameters)
    coding = _the_coding(arguments)
    return terminology.lookup(
        coding["system"],
        coding["code"],
        version=coding.get("version", ""),
        properties=arguments.texts("property"),
        display_language=arguments.text("displayLanguage"),
    )


def _the_coding(arguments: Arguments) -> Resource:
    coding = arguments.codings()[0]
    own = arguments.resource("codeSystem", "CodeSystem")
    if own:
        coding = {**coding, "system": own.get("url", "")}
    if not coding.get("system") or not coding.get("code"):
        raise TerminologyError("required", "a code and its system are needed")
    return coding


def validate_in_system(terminology: Terminology, parameters: Resource) -> Resource:
    """CodeSystem/$validate-code."""
    arguments = Arguments(parameters)
    own = arguments.resource("codeSystem", "CodeSystem") or {}
    url = arguments.text("url") or own.get("url", "")
    codings = [{"system": url, "version": arguments.text("version"), **c} for c in arguments.codings()]
    if not all(coding.get("system") for coding in codings):
        raise TerminologyError("required", "url, or the system of the coding, is needed")
    return _first_valid(terminology, arguments, codings, url="", value_set=None)


def validate_in_set(terminology: Terminology, parameters: Resource) -> Resource:
    """ValueSet/$validate-code."""
    arguments = Arguments(parameters)
    value_set = arguments.resource("valueSet", "ValueSet")
    url = _canonical(arguments, "url", "valueSetVersion")
    if not url and value_set is None:
        raise TerminologyError("required", "url or valueSet is needed")
    return _first_valid(terminology, arguments, arguments.codings(), url=url, value_set=value_set)


def _first_valid(
    terminology: Terminology, arguments: Arguments, codings: list[Resource], *, url: str, value_set: Resource | None
) -> Resource:
    """The answer about the first valid coding, or about the first one."""
    answers = (
        terminology.validate_code(
            url,
            value_set=value_set,
            code=coding.get("code", ""),
            system=coding.get("system", ""),
            version=coding.get("version", ""),
            display=coding.get("display", ""),
            abstract=arguments.flag("abstract"),
            display_language=arguments.text("displayLanguage"),
        )
        for coding in codings
    )
    first: Resource | None = None
    for answer in answers:
        if answer["parameter"][0]["valueBoolean"]:
            return answer
        first = first or answer
    assert first is not None  # there is at least one coding
    return first


def _canonical(arguments: Arguments, name: str, version: str) -> str:
    url = arguments.text(name)
    return f"{url}|{arguments.text(version)}" if url and arguments.text(version) and "|" not in url else url


def expand(terminology: Terminology, parameters: Resource) -> Resource:
    """ValueSet/$expand."""
    arguments = Arguments(parameters)
    value_set = arguments.resource("valueSet", "ValueSet")
    url = _canonical(arguments, "url", "valueSetVersion")
    if not url and value_set is None:
        raise TerminologyError("required", "url or valueSet is needed")
    versions = Versions(
        dict(split(item) for item in arguments.texts("system-version")) or None,
        dict(split(item) for item in arguments.texts("force-system-version")) or None,
    )
    return terminology.expand(
        url,
        value_set=value_set,
        versions=versions,
        filter=arguments.text("filter"),
        offset=arguments.number("offset"),
        count=arguments.number("count"),
        active_only=arguments.flag("activeOnly"),
        include_designations=arguments.flag("includeDesignations"),
        designations=tuple(arguments.texts("designation")),
        include_definition=arguments.flag("includeDefinition"),
        exclude_nested=arguments.flag("excludeNested"),
        exclude_not_for_ui=arguments.flag("excludeNotForUI"),
        display_language=arguments.text("displayLanguage"),
    )


def subsumes(terminology: Terminology, parameters: Resource) -> Resource:
    """CodeSystem/$subsumes."""
    arguments = Arguments(parameters)
    own = arguments.resource("codeSystem", "CodeSystem") or {}
    a, b = arguments.one("codingA"), arguments.one("codingB")
    if a is not None and b is not None:
        if not (_is_coding(a) and _is_coding(b)) or a.get("system") != b.get("system"):
            raise TerminologyError("invalid", "codingA and codingB are of one system")
        system, code_a, code_b = a.get("system", ""), a.get("code", ""), b.get("code", "")
    else:
        system = arguments.text("system") or own.get("url", "")
        code_a, code_b = arguments.text("codeA"), arguments.text("codeB")
    if not (system and code_a and code_b):
        raise TerminologyError("required", "a system and two codes are needed")
    return terminology.subsumes(system, code_a, code_b, version=arguments.text("version"))


def find_matches(terminology: Terminology, parameters: Resource) -> Resource:
    """CodeSystem/$find-matches."""
    arguments = Arguments(parameters)
    own = arguments.resource("codeSystem", "CodeSystem") or {}
    system = arguments.text("system") or own.get("url", "")
    properties = []
    for item in arguments.all("property"):
        parts = _parts(item)
        if "code" not in parts or "value" not in parts:
            raise TerminologyError("invalid", "a property has the parts code and value")
        properties.append((str(fhir.value(parts["code"])), {k: v for k, v in parts["value"].items() if k != "name"}))
    if not system:
        raise TerminologyError("required", "a system is needed")
    exact = arguments.flag("exact")
    return terminology.find_matches(system, properties, exact=exact, version=arguments.text("version"))


def translate(terminology: Terminology, parameters: Resource) -> Resource:
    """ConceptMap/$translate. Of a CodeableConcept the first coding that has a translation is taken."""
    arguments = Arguments(parameters)
    concept_map = arguments.resource("conceptMap", "ConceptMap")
    dependencies: dict[str, set[str]] = {}
    for item in arguments.all("dependency"):
        parts = _parts(item)
        concept = fhir.value(parts.get("concept", {}))
        codings = concept.get("coding") if isinstance(concept, dict) else None
        if not isinstance(codings, list) or not all(_is_coding(coding) for coding in codings):
            raise TerminologyError("invalid", "a dependency has the parts element and concept, a CodeableConcept")
        element = str(fhir.value(parts.get("element", {})))
        dependencies.setdefault(element, set()).update(coding.get("code", "") for coding in codings)
    answer: Resource = {}
    for coding in arguments.codings():
        answer = terminology.translate(
            coding.get("system", ""),
            coding.get("code", ""),
            url=_canonical(arguments, "url", "conceptMapVersion"),
            concept_map=concept_map,
            source=arguments.text("source"),
            target=arguments.text("target"),
            target_system=arguments.text("targetsystem") or arguments.text("targetSystem"),
            dependencies=dependencies,
            reverse=arguments.flag("reverse"),
        )
        if answer["parameter"][0]["valueBoolean"]:
            break
    return answer


def closure(terminology: Terminology, parameters: Resource) -> Resource:
    """$closure."""
    arguments = Arguments(parameters)
    name, concepts = arguments.text("name"), arguments.all("concept")
    if not name:
        raise TerminologyError("required", "the name of the closure table is needed")
    if not all(_is_coding(item) for item in concepts):
        raise TerminologyError("invalid", "concept is a Coding")
    return terminology.closure(name, concepts, version=arguments.text("version") or None)


OPERATIONS: dict[tuple[str, str], Callable[[Terminology, Resource], Resource]] = {
    ("CodeSystem", "lookup"): lookup,
    ("CodeSystem", "validate-code"): validate_in_system,
    ("CodeSystem", "subsumes"): subsumes,
    ("CodeSystem", "find-matches"): find_matches,
    ("ValueSet", "expand"): expand,
    ("ValueSet", "validate-code"): validate_in_set,
    ("ConceptMap", "translate"): translate,
    ("", "closure"): closure,
}

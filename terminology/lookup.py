"""Questions about codes of one code system: $lookup, $validate-code, $subsumes, $find-matches (R4 4.8.15)."""

from __future__ import annotations

from collections.abc import Iterable

from terminology.errors import TerminologyError
from terminology.expand import display as display_in
from terminology.parameters import build, group, part
from terminology.system import Concept, Resource, System, value_text

MAX_MATCHES = 100
_STANDARD = frozenset({"display", "designation", "parent", "child", "definition", "inactive", "abstract"})


def known(system: System | None, url: str) -> System:
    """The system. TerminologyError("not-found") if there is none."""
    if system is None:
        raise TerminologyError("not-found", f"code system {url} is not known here")
    return system


def concept(system: System, code: str) -> Concept:
    """The concept. TerminologyError("not-found") if the system does not have the code."""
    found = system.find(code)
    if found is None:
        raise TerminologyError("not-found", f"code {code!r} is not in code system {system.url}")
    return found


def lookup(system: System, code: str, wanted: Iterable[str] = (), language: str = "") -> Resource:
    """CodeSystem/$lookup. ``wanted`` names properties; without any, all there are are given."""
    found = concept(system, code)
    names = set(wanted)
    title = system.metadata.get("title") or system.metadata.get("name") or system.url
    tags = {name.removeprefix("lang.") for name in names if name.startswith("lang.")}
    designations = [
        group("designation", part("language", "Code", d.get("language")), part("use", "Coding", d.get("use")),
              part("value", "String", d["value"]))
        for d in found.designations
        if not names or "designation" in names or d.get("language") in tags
    ]  # fmt: skip
    return build(
        part("name", "String", title),
        part("version", "String", system.version),
        part("display", "String", display_in(found, language) or found.code),
        part("abstract", "Boolean", True if found.abstract else None),
        *designations,
        *(item for item in _properties(system, found) if not names or item["part"][0]["valueCode"] in names),
    )


def _properties(system: System, found: Concept) -> Iterable[Resource]:
    if found.definition:
        yield _property("definition", {"valueString": found.definition})
    for parent in found.parents:
        yield _property("parent", {"valueCode": parent})
    for child in system.children(found.code):
        yield _property("child", {"valueCode": child})
    if found.inactive:
        yield _property("inactive", {"valueBoolean": True})
    for item in found.properties:
        if item["code"] not in _STANDARD:
            yield _property(item["code"], {k: v for k, v in item.items() if k.startswith("value")})


def _property(code: str, value: Resource) -> Resource:
    return group("property", part("code", "Code", code), {"name": "value", **value})


def judged(
    found: Concept | None, url: str, code: str, *, shown: str, where: str, abstract: bool, language: str
) -> Resource:
    """The answer of $validate-code about one code: result, message, display and the code it is about."""
    message = ""
    if found is None:
        message = f"code {code!r} of {url or 'any system'} is not in {where}"
    elif found.abstract and not abstract:
        message = f"code {code!r} is abstract: it groups codes and is not used itself"
    elif shown and not same_display(found, shown):
        message = f"{shown!r} is not a display of code {code!r}; it is {found.display!r}"
    answer = [{"name": "result", "valueBoolean": not message}]
    if message:
        answer.append({"name": "message", "valueString": message})
    if found is not None:
        text = display_in(found, language) if language else found.display
        if text:
            answer.append({"name": "display", "valueString": text})
    answer.append({"name": "code", "valueCode": code})
    if url:
        answer.append({"name": "system", "valueUri": url})
    return {"resourceType": "Parameters", "parameter": answer}


def same_display(found: Concept, text: str) -> bool:
    """The text is the display or a designation, case and blanks apart; a concept without either accepts any."""
    names = [name for name in found.displays() if name]
    wanted = " ".join(text.lower().split())
    return not names or any(" ".join(name.lower().split()) == wanted for name in names)


def subsumes(system: System, a: str, b: str) -> Resource:
    """CodeSystem/$subsumes: equivalent, subsumes, subsumed-by or not-subsumed."""
    one, other = concept(system, a).code, concept(system, b).code
    if one == other:
        outcome = "equivalent"
    elif system.subsumes(one, other):
        outcome = "subsumes"
    elif system.subsumes(other, one):
        outcome = "subsumed-by"
    else:
        outcome = "not-subsumed"
    return build(part("outcome", "Code", outcome))


def find_matches(system: System, properties: list[tuple[str, Resource]], exact: bool) -> Resource:
    """CodeSystem/$find-matches: concepts that have these properties.

    ``properties`` are code and value ({"valueCode": ...}). ``exact`` asks for concepts with all of them; otherwise
    those with the most are given, with what they lack as ``unmatched``. At most MAX_MATCHES.
    """
    if not properties:
        raise TerminologyError("required", "at least one property is needed")
    scored: list[tuple[int, Concept, list[tuple[str, Resource]]]] = []
    for candidate in system.concepts():
        lacking = [item for item in properties if not _has(system, candidate, *item)]
        if len(lacking) < len(properties) and not (exact and lacking):
            scored.append((len(lacking), candidate, lacking))
    best = min((score for score, _, _ in scored), default=0)
    matches = [_match(system, found, lacking) for score, found, lacking in scored if score == best]
    return build(*matches[:MAX_MATCHES])


def _match(system: System, found: Concept, lacking: list[tuple[str, Resource]]) -> Resource:
    coding = {"system": system.url, "code": found.code, "display": found.display}
    rest = [group("unmatched", part("code", "Code", code), {"name": "value", **value}) for code, value in lacking]
    return group("match", part("code", "Coding", {k: v for k, v in coding.items() if v}), *rest)


def _has(system: System, candidate: Concept, code: str, value: Resource) -> bool:
    wanted = value_text(value)
    if code in ("display", "designation"):
        return same_display(candidate, wanted)
    if code in ("parent", "concept"):
        return candidate.code != wanted and system.subsumes(wanted, candidate.code)
    return wanted in candidate.values(code)

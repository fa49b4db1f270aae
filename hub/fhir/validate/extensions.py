"""Extensions: known, on the right element, modifier or not (R4 2.4); their content is checked as a profile."""

from __future__ import annotations

import re
from typing import Any

from hub.fhir.definitions import CANONICAL
from hub.fhir.elements import json_members, supertypes, type_of
from hub.fhir.validate import parts
from hub.fhir.validate.profiles import Library
from hub.fhir.validate.report import Report, Visit, steps

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")

# Contexts that R4 uses itself but does not declare (errata).
_MENDED = {
    CANONICAL + "structuredefinition-fhir-type": {"ElementDefinition.type"},
    CANONICAL + "regex": {"ElementDefinition.type"},
    CANONICAL + "structuredefinition-normative-version": {"DomainResource", "ElementDefinition"},
    CANONICAL + "capabilitystatement-expectation": {"CapabilityStatement.rest.resource"},
}


def check(visit: Visit, report: Report, library: Library, known_only: bool) -> str | None:
    """One extension; returns the url of the definition its content is to be checked by.

    ``known_only`` makes an extension without a definition here an error, but for HL7's own, which are published in
    packages newer than R4.
    """
    value, place = visit.value, visit.place
    if ("extension" in value) == any(name.lstrip("_").startswith("value") for name in value):
        report.add("extension-content", place)
    url = value.get("url")
    member = _member(visit)
    if not isinstance(url, str) or visit.element["path"] == "Extension.extension":
        return None
    if not _ABSOLUTE.fullmatch(url):
        report.add("extension-relative", (place, "url"), url=url[:80])
        return None
    definition = library.structure(url)
    if definition is None or definition["type"] != "Extension":
        rule = "modifier-unknown" if member == "modifierExtension" else "extension-unknown"
        strict = known_only and not url.startswith("http://hl7.org/")
        report.add(rule, place, severity="error" if strict else "", url=url)
        return None
    _modifier(definition, member, visit, report)
    _context(definition, visit, report)
    return url


def _member(visit: Visit) -> str:
    above = visit.place[0]
    return str(above[1]) if isinstance(visit.place[1], int) and above is not None else str(visit.place[1])


def _modifier(definition: dict[str, Any], member: str, visit: Visit, report: Report) -> None:
    rows = [row for part in ("snapshot", "differential") for row in parts.objects(definition.get(part), "element")]
    modifier = any(row.get("isModifier") is True for row in rows if row.get("path") == "Extension")
    if modifier and member == "extension":
        report.add("extension-modifier", visit.place, url=definition["url"])
    elif not modifier and member == "modifierExtension":
        report.add("extension-plain", visit.place, url=definition["url"])


def _context(definition: dict[str, Any], visit: Visit, report: Report) -> None:
    contexts = parts.objects(definition, "context")
    if not contexts or any(parts.string(item, "type") not in ("element", "extension") for item in contexts):
        return
    names, url = _owner(visit)
    allowed = {parts.string(item, "expression") for item in contexts if item["type"] == "element"}
    allowed |= _MENDED.get(definition["url"], set())
    urls = [parts.string(item, "expression") for item in contexts if item["type"] == "extension"]
    extensions = {url.partition("#")[0] for url in urls}
    if names & allowed or "Element" in allowed or url in extensions:
        return
    expected = ", ".join(sorted(allowed | extensions))
    where = ".".join(str(step) for step in steps(visit.place)[:-1] if isinstance(step, str))
    report.add("extension-context", visit.place, url=definition["url"], context=where, expected=expected)


def _owner(visit: Visit) -> tuple[set[str], str]:
    """The names under which a context may mean the element that carries the extension; the url of an owning extension.

    ``Patient.name.family`` is also ``HumanName.family``, ``string`` and ``Element``.
    """
    inner = list(steps(visit.place)[len(steps(visit.frame.place)) :])
    while inner and not isinstance(inner[-1], str):
        inner.pop()
    model, full, value = visit.frame.type, visit.frame.type, visit.frame.resource
    names = {full, *supertypes(full)}
    for step in inner[:-1]:
        value = _child(value, step)
        if isinstance(step, int):
            continue
        element, to = json_members(model).get(step.removeprefix("_"), (None, ""))
        if element is None:
            return {"Element"}, ""
        full = f"{full}.{element.name}"
        names = {full, f"{full}[x]", element.path, element.path.removesuffix("[x]"), to, *supertypes(type_of(to))}
        model = to
    url = value.get("url") if model == "Extension" and isinstance(value, dict) else ""
    return names, str(url)


def _child(value: Any, step: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None

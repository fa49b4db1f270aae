"""Invariants of the base definitions (R4 2.9): FHIRPath constraints of types and elements.

ele-1 and ext-1 hold on every element and are part of the structure; dom-2 to dom-5 and txt-1, txt-2 are told in code,
because their expressions are slow or say less than the text; so are ref-1 and bdl-8 (references, Bundles).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from hub.errors import HubError
from hub.fhir import definitions, narrative, paths
from hub.fhir.paths.scope import resource_node
from hub.fhir.paths.values import Node
from hub.fhir.validate import parts
from hub.fhir.validate.report import Frame, Report, Visit

_IN_CODE = frozenset({"ele-1", "ext-1", "dom-2", "dom-3", "dom-4", "dom-5", "txt-1", "txt-2", "ref-1", "bdl-8"})
# Expressions of R4 that do not say what their text means (errata).
_MENDED = {
    "que-7": "operator = 'exists' implies (answer is boolean)",
    "ras-2": "probability.ofType(decimal).empty() or probability.ofType(decimal) <= 100",
}
_BEST_PRACTICE = "http://hl7.org/fhir/StructureDefinition/elementdefinition-bestpractice"


@dataclass(frozen=True, slots=True)
class Constraint:
    """An ElementDefinition.constraint, compiled."""

    key: str
    severity: str
    human: str
    expression: str
    path: paths.Path


def compiled(rows: list[dict[str, Any]]) -> tuple[Constraint, ...]:
    """The constraints that are evaluated; one that cannot be compiled is left out."""
    found = []
    for row in rows:
        key, expression = parts.string(row, "key"), parts.string(row, "expression")
        if key in _IN_CODE or not expression:
            continue
        try:
            path = paths.compile(_MENDED.get(key, expression))
        except HubError:
            continue
        severity, human = parts.string(row, "severity") or "error", parts.string(row, "human")
        found.append(Constraint(key, severity, human, expression, path))
    return tuple(found)


@cache
def of_model(model: str) -> tuple[Constraint, ...]:
    """The constraints of a type, or of an element defined in place."""
    structure = definitions.load().structure(model.partition(".")[0])
    if structure is None:
        return ()
    elements = structure["snapshot"]["element"]
    rows = [row for element in elements if element["path"] == model for row in element.get("constraint", ())]
    return compiled(rows)


def check(visit: Visit, report: Report, env: paths.Env) -> None:
    """Evaluates what the type and the element demand of a value."""
    constraints = of_model(visit.model) if "." not in visit.model or not visit.element else ()
    own = of_model(visit.element["path"]) if visit.element else ()
    if not constraints and not own:
        return
    node = Node(visit.value, visit.model)
    for constraint in (*constraints, *own):
        evaluate(constraint, node, visit, report, env)


def evaluate(constraint: Constraint, node: Node, visit: Visit, report: Report, env: paths.Env) -> None:
    """One constraint on one node; anything but true is a finding (R4 2.9.1.5)."""
    try:
        result = constraint.path.on(node, env)
    except HubError as error:
        if not report.failed:
            report.add("invariant-unknown", visit.place, key=constraint.key, reason=error.diagnostics)
        return
    value = result[0] if len(result) == 1 else bool(result)
    value = value.value if type(value) is Node else value
    if value is False or value is None:
        rule = "invariant" if constraint.severity == "error" else "invariant-warning"
        facts = {"key": constraint.key, "human": constraint.human, "expression": constraint.expression}
        report.add(rule, visit.place, **facts)


def environment(frame: Frame) -> paths.Env:
    """The FHIRPath environment of a resource; made once a frame."""
    env: paths.Env | None = frame.facts.get("env")
    if env is None:
        root = resource_node(frame.root.resource)
        env = frame.facts["env"] = paths.Env(resource_node(frame.resource), root=root)
    return env


def contained(visit: Visit, report: Report) -> None:
    """dom-2 to dom-5: what a contained resource must not have, and that something refers to it (R4 2.3.2)."""
    items = parts.numbered(visit.value, "contained")
    used = _references(visit.value) if items else set()
    for index, item in items:
        place = ((visit.place, "contained"), index)
        meta = parts.object(item, "meta")
        if item.get("contained"):
            _broken("dom-2", "A contained resource must not contain resources", place, report)
        if "versionId" in meta or "lastUpdated" in meta:
            _broken("dom-4", "A contained resource has no meta.versionId and no meta.lastUpdated", place, report)
        if meta.get("security"):
            _broken("dom-5", "A contained resource has no security label", place, report)
        if f"#{item.get('id')}" not in used and "#" not in _references(item):
            _broken(
                "dom-3",
                "Nothing refers to the contained resource, and it does not refer to its container",
                place,
                report,
            )


def _broken(key: str, human: str, place: Any, report: Report) -> None:
    report.add("invariant", place, key=key, human=human, expression=key)


def _references(value: Any) -> set[str]:
    """Every text below that starts with ``#``."""
    found: set[str] = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str) and item.startswith("#"):
            found.add(item)
    return found


def text(visit: Visit, report: Report, strict: bool) -> None:
    """txt-1 and txt-2 of a Narrative.div; what it links to with ``#`` is there: an error when ``strict``."""
    for fault in narrative.faults(visit.value):
        report.add("narrative", visit.place, fault=fault)
    if '"#' not in visit.value and "'#" not in visit.value:
        return
    given, named = narrative.fragments(visit.value)
    for missing in sorted(named - given - _ids(visit.frame.root.resource)):
        report.add("narrative-link", visit.place, severity="error" if strict else "", value=missing)


def _ids(value: Any) -> set[str]:
    """Every id below: of elements and of contained resources."""
    found: set[str] = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            found.add(parts.string(item, "id"))
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return found

"""The form that a CodeSystem, ValueSet or ConceptMap must have before the operations work on it.

This is not validation against the definitions: only what the code of this package relies on, at any depth.
"""

from __future__ import annotations

from typing import Any

from terminology.errors import TerminologyError

TYPES = ("CodeSystem", "ValueSet", "ConceptMap")
MAX_NODES = 2_000_000

# element -> (kind, required); a dict is the rows of a repeating element, of which each is an object of that form.
_CONCEPT: dict[str, Any] = {"code": "text!", "display": "text", "definition": "text"}
_CONCEPT["designation"] = {"value": "text!", "language": "text", "use": "object"}
_CONCEPT["property"] = {"code": "text!"}
_CONCEPT["concept"] = _CONCEPT
_FILTER = {"property": "text!", "op": "text!", "value": "text!"}
_LISTED = {"code": "text!", "display": "text", "designation": _CONCEPT["designation"]}
_INCLUDE = {"system": "text", "version": "text", "concept": _LISTED, "filter": _FILTER, "valueSet": "texts"}
_CONTAINS: dict[str, Any] = {"system": "text", "code": "text", "display": "text"}
_CONTAINS["designation"] = _CONCEPT["designation"]
_CONTAINS["contains"] = _CONTAINS
_DEPENDS = {"property": "text!", "value": "text!", "system": "text", "display": "text"}
_TARGET = {"code": "text", "display": "text", "equivalence": "text", "dependsOn": _DEPENDS, "product": _DEPENDS}
_GROUP = {
    "source": "text", "sourceVersion": "text", "target": "text", "targetVersion": "text", "unmapped": "object",
    "element": {"code": "text", "display": "text", "target": _TARGET},
}  # fmt: skip
_CANONICAL = {"url": "text", "version": "text", "title": "text", "name": "text", "status": "text"}
_FORMS: dict[str, dict[str, Any]] = {
    "CodeSystem": {
        **_CANONICAL, "content": "text", "valueSet": "text", "caseSensitive": "flag", "concept": _CONCEPT,
        "property": {"code": "text!", "uri": "text"},
    },
    "ValueSet": {**_CANONICAL, "compose": "object", "expansion": "object"},
    "ConceptMap": {**_CANONICAL, "group": _GROUP},
}  # fmt: skip
_INSIDE = {
    "compose": {"inactive": "flag", "include": _INCLUDE, "exclude": _INCLUDE},
    "expansion": {"contains": _CONTAINS},
    "unmapped": {"mode": "text", "code": "text", "display": "text"},
    "use": {"system": "text", "code": "text"},
}
_KINDS: dict[str, type] = {"text": str, "flag": bool, "object": dict}


def check(resource: Any) -> None:
    """TerminologyError("invalid") that names the element which has not the form FHIR gives it."""
    kind = resource.get("resourceType") if isinstance(resource, dict) else None
    if kind not in TYPES:
        raise TerminologyError("invalid", "a CodeSystem, ValueSet or ConceptMap is needed")
    stack: list[tuple[Any, dict[str, Any], str]] = [(resource, _FORMS[kind], kind)]
    nodes = 0
    while stack:
        node, form, place = stack.pop()
        nodes += 1
        if nodes > MAX_NODES:
            raise TerminologyError("too-costly", f"the {kind} has more than {MAX_NODES} elements")
        if not isinstance(node, dict):
            raise TerminologyError("invalid", f"{place} is not an object")
        for name, wanted in form.items():
            if name in node:
                stack += _elements(node[name], wanted, f"{place}.{name}")
            elif isinstance(wanted, str) and wanted.endswith("!"):
                raise TerminologyError("invalid", f"{place} has no {name}")


def _elements(value: Any, wanted: Any, place: str) -> list[tuple[Any, dict[str, Any], str]]:
    """The objects below an element that have to be looked at; refuses one of the wrong kind."""
    if isinstance(wanted, dict) or wanted == "texts":
        if not isinstance(value, list):
            raise TerminologyError("invalid", f"{place} is not a list")
        if wanted == "texts":
            if not all(isinstance(item, str) for item in value):
                raise TerminologyError("invalid", f"{place} is not a list of texts")
            return []
        return [(item, wanted, place) for item in value]
    if not isinstance(value, _KINDS[wanted.rstrip("!")]):
        raise TerminologyError("invalid", f"{place} is not a {wanted.rstrip('!')}")
    inside: Any = _INSIDE.get(place.rpartition(".")[2])
    return [(value, inside, place)] if inside and isinstance(value, dict) else []

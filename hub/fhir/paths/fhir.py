"""Functions that FHIR adds to FHIRPath (R4 2.9.1.2)."""

from __future__ import annotations

from typing import Any

from hub.fhir import narrative
from hub.fhir.paths.functions import table
from hub.fhir.paths.scope import Items, Scope, member, one, resource_node, system, text, values, wrong
from hub.fhir.paths.values import Node
from hub.fhir.reference import parse


def extension(scope: Scope, items: Items, url: Items) -> Items:
    """``extension(url)``."""
    wanted = text(url, "url")
    found = member(items, "extension")
    return [item for item in found if type(item.value) is dict and item.value.get("url") == wanted]


def has_value(scope: Scope, items: Items) -> Items:
    """``hasValue()``: one primitive that has a value, not only extensions."""
    return [len(items) == 1 and _primitive(items[0])]


def _primitive(item: Any) -> bool:
    return item.value is not None and type(item.value) is not dict if type(item) is Node else True


def get_value(scope: Scope, items: Items) -> Items:
    """``getValue()``."""
    return [system(items[0])] if len(items) == 1 and _primitive(items[0]) else []


def resolve(scope: Scope, items: Items) -> Items:
    """``resolve()``: contained resources, then the resolver; without one, what the reference says of its type."""
    found: Items = []
    for item in items:
        target = _target(item)
        scope.env.spend(1)
        resource = None if target is None else _local(scope, target) or _resolved(scope, target)
        if resource is not None:
            found.append(resource_node(resource))
            continue
        named = (parse(target).type if target else "") or (_declared(item) if type(item) is Node else "")
        if named and scope.env.resolver is None:
            found.append(Node({"resourceType": named}, named))
    return found


def _target(item: Any) -> str | None:
    value = item.value if type(item) is Node else item
    if type(value) is dict:
        value = value.get("reference")
    return value if isinstance(value, str) else None


def _resolved(scope: Scope, target: str) -> dict[str, Any] | None:
    return scope.env.resolver(target) if scope.env.resolver else None


def _declared(item: Node) -> str:
    kind = item.value.get("type") if type(item.value) is dict else None
    return kind if isinstance(kind, str) else ""


def _local(scope: Scope, target: str) -> dict[str, Any] | None:
    """The contained resource that ``#id`` means; ``#`` is the container."""
    if not target.startswith("#"):
        return None
    if target == "#":
        return dict(scope.env.root.value)
    for node in member([scope.env.root, scope.env.resource], "contained"):
        if type(node.value) is dict and node.value.get("id") == target[1:]:
            return node.value
    return None


def conforms_to(scope: Scope, items: Items, profile: Items) -> Items:
    """``conformsTo(url)``, asked of the validator when there is one; a base type needs no validator."""
    url = text(profile, "profile")
    if not items or url is None:
        return []
    base = "http://hl7.org/fhir/StructureDefinition/"
    item = items[0]
    if type(item) is Node and item.model == url.removeprefix(base):
        return [True]
    if scope.env.conforms is not None:
        return [scope.env.conforms(item, url)]
    if url.startswith(base) and type(item) is Node:
        return [False]
    raise wrong(f"the profile {url} is not known here")


def member_of(scope: Scope, items: Items, value_set: Items) -> Items:
    """``memberOf(valueset)`` of a code, Coding or CodeableConcept; empty when the terminology cannot say."""
    url = text(value_set, "value set")
    if not items or url is None:
        return []
    if scope.env.terminology is None:
        return []
    answers = [scope.env.terminology.validate_code(url, *pair) for pair in _codes(items[0])]
    if any(answers):
        return [True]
    return [] if None in answers or not answers else [False]


def _codes(item: Any) -> list[tuple[str, str]]:
    value = item.value if type(item) is Node else item
    if isinstance(value, str):
        return [("", value)]
    codings = value.get("coding", [value]) if type(value) is dict else []
    return [
        (str(coding.get("system", "")), str(coding.get("code", ""))) for coding in codings if isinstance(coding, dict)
    ]


def element_definition(scope: Scope, items: Items) -> Items:
    """``elementDefinition()`` and ``slice()`` need a profile in hand: empty without."""
    return []


def html_checks(scope: Scope, items: Items) -> Items:
    """``htmlChecks()``: the narrative rules txt-1 and txt-2 (R4 2.4.0.1)."""
    return [all(not narrative.faults(value) for value in values(items) if isinstance(value, str))]


def extensions_of(scope: Scope, items: Items, url: Items) -> Items:
    """``hasExtension(url)``."""
    return [bool(extension(scope, items, url))]


def check_modifiers(scope: Scope, items: Items, *known: Items) -> Items:
    """``checkModifiers(url ...)``: refuses unknown modifier extensions."""
    allowed = {one(url) for url in known}
    for item in member(items, "modifierExtension"):
        if item.value.get("url") not in allowed:
            raise wrong(f"the modifier extension {item.value.get('url')} is not known")
    return items


EAGER = table(
    ("extension", extension, 1, 1),
    ("hasExtension", extensions_of, 1, 1),
    ("hasValue", has_value, 0, 0),
    ("getValue", get_value, 0, 0),
    ("resolve", resolve, 0, 0),
    ("conformsTo", conforms_to, 1, 1),
    ("memberOf", member_of, 1, 1),
    ("elementDefinition", element_definition, 0, 0),
    ("slice", element_definition, 2, 2),
    ("checkModifiers", check_modifiers, 0, 99),
    ("htmlChecks", html_checks, 0, 0),
)

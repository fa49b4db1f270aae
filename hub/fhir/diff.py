"""The difference of two resources as a FHIRPath Patch (R4 3.1.0.12.1): applied to the first, it gives the second.

``id``, ``meta.versionId`` and ``meta.lastUpdated`` are the server's and no difference.
"""

from __future__ import annotations

from typing import Any

from hub.errors import HubError
from hub.fhir import json
from hub.fhir.elements import is_primitive, members, resource_model

Json = dict[str, Any]
Change = tuple[str, str, list[Json]]
"""type, path and the further parts of one operation."""

OPEN_TYPES = frozenset(
    "Address Age Annotation Attachment CodeableConcept Coding ContactPoint Count Distance Duration HumanName Identifier"
    " Money Period Quantity Range Ratio Reference SampledData Signature Timing ContactDetail Contributor"
    " DataRequirement Expression ParameterDefinition RelatedArtifact TriggerDefinition UsageContext Dosage Meta".split()
)
"""The complex types that Parameters.parameter.value[x] can have (R4 2.24.0.1); others are given part by part."""

_KEYWORDS = frozenset("and as contains div false implies in is mod or true xor".split())


def fhirpath_patch(source: Json, target: Json) -> Json:
    """A Parameters resource with the operations that make ``target`` of ``source``; without any when they are equal.

    Raises HubError ``parameter-value`` for resources of two types and ``value`` for a difference that a FHIRPath Patch
    cannot say.
    """
    model = resource_model(source)
    if not model or target.get("resourceType") != model:
        raise HubError("parameter-value", "Only two resources of one type have a difference.")
    changes, _ = _object(_content(source), _content(target), model, model)
    rows = [
        {"name": "operation", "part": [_code("type", kind), _text("path", path), *parts]}
        for kind, path, parts in changes
    ]
    return {"resourceType": "Parameters", **({"parameter": rows} if rows else {})}


def _content(resource: Json) -> Json:
    content = {name: value for name, value in resource.items() if name not in ("id", "_id", "meta")}
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in ("versionId", "lastUpdated")}
    return {**content, "meta": meta} if meta else content


def _object(source: Json, target: Json, model: str, path: str) -> tuple[list[Change], bool]:
    """The changes inside an object, and whether some of it stays throughout, so that it is never empty meanwhile."""
    changes: list[Change] = []
    stays = "resourceType" in source
    for name, element in members(model).items():
        old = [key for key in element.models if key in source or "_" + key in source]
        new = [key for key in element.models if key in target or "_" + key in target]
        if not old and not new:
            continue
        place = f"{path}.`{name}`" if name in _KEYWORDS else f"{path}.{name}"
        if old == new:
            found, kept = _element(source, target, old[0], element.models[old[0]], place, path)
            changes += found
            stays = stays or kept
            continue
        changes += [("delete", one, []) for key in old for one in _places(source, key, place)]
        for key in new:
            changes += _added(target, key, element.models[key], path, name)
    return changes, stays


def _element(source: Json, target: Json, key: str, model: str, place: str, path: str) -> tuple[list[Change], bool]:
    """The changes of one element that both objects have."""
    old, new = source.get(key), target.get(key)
    extras = source.get("_" + key), target.get("_" + key)
    if _equal(old, new) and _equal(*extras):
        return [], True
    name = place.rpartition(".")[2].strip("`")
    if isinstance(old if old is not None else extras[0], list):
        if extras == (None, None):
            return _list(old or [], new or [], model, place), True
        if not old:
            raise HubError("value", f"A FHIRPath Patch cannot say the difference at {place}.", place)
        return _added(target, key, model, path, name) + [("delete", f"{place}[0]", [])] * len(old), True
    if is_primitive(model) and extras != (None, None):
        return [("delete", place, []), *_added(target, key, model, path, name)], False
    return _item(old, new, model, place), True


def _item(old: Any, new: Any, model: str, place: str) -> list[Change]:
    """The changes that make one item of another, as few as possible, else its replacement."""
    if _equal(old, new):
        return []
    if isinstance(old, dict) and isinstance(new, dict) and old.get("resourceType") == new.get("resourceType"):
        changes, stays = _object(old, new, resource_model(old) or model, place)
        if stays:
            return changes
    return [("replace", place, [_value("value", model, new)])]


def _list(old: list[Any], new: list[Any], model: str, place: str) -> list[Change]:
    """The changes of a list between what both begin and end with."""
    start = 0
    while start < min(len(old), len(new)) and _equal(old[start], new[start]):
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and _equal(old[-1 - end], new[-1 - end]):
        end += 1
    before, after = old[start : len(old) - end], new[start : len(new) - end]
    both = min(len(before), len(after))
    changes = [
        change
        for index in range(both)
        for change in _item(before[index], after[index], model, f"{place}[{start + index}]")
    ]
    changes += [("delete", f"{place}[{start + index}]", []) for index in reversed(range(both, len(before)))]
    for index in range(both, len(after)):
        parts = [{"name": "index", "valueInteger": start + index}, _value("value", model, after[index])]
        changes.append(("insert", place, parts))
    return changes


def _places(holder: Json, key: str, place: str) -> list[str]:
    """The paths of an element's items, to be deleted one after the other."""
    items = holder.get(key, holder.get("_" + key))
    return [f"{place}[0]"] * len(items) if isinstance(items, list) else [place]


def _added(holder: Json, key: str, model: str, path: str, name: str) -> list[Change]:
    """The operations that add an element, an item of a list each."""
    value, extra = holder.get(key), holder.get("_" + key)
    if not isinstance(value, list) and not isinstance(extra, list):
        return [("add", path, [_text("name", name), _value("value", model, value, extra)])]
    values, extras = value or [], extra or []
    count = max(len(values), len(extras))
    values, extras = values + [None] * (count - len(values)), extras + [None] * (count - len(extras))
    return [
        ("add", path, [_text("name", name), _value("value", model, one, more)])
        for one, more in zip(values, extras, strict=True)
    ]


def _value(name: str, model: str, value: Any, extra: Any = None) -> Json:
    """A part with a value: of an open type as such, a resource, or part by part."""
    if is_primitive(model):
        kind = "String" if model == "xhtml" else model[0].upper() + model[1:]
        part = {f"value{kind}": value, f"_value{kind}": extra}
        return {"name": name, **{key: one for key, one in part.items() if one is not None}}
    if model in OPEN_TYPES:
        return {"name": name, f"value{model}": value}
    if isinstance(value, dict) and "resourceType" in value:
        return {"name": name, "resource": value}
    parts = [
        {**added[-1], "name": element}
        for element, definition in members(model).items()
        for key, to in definition.models.items()
        if key in value or "_" + key in value
        for _, _, added in _added(value, key, to, "", element)
    ]
    return {"name": name, "part": parts}


def _code(name: str, value: str) -> Json:
    return {"name": name, "valueCode": value}


def _text(name: str, value: str) -> Json:
    return {"name": name, "valueString": value}


def _equal(left: Any, right: Any) -> bool:
    """Whether two JSON values are the same, members in any order, decimals by their literals."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return type(left) is type(right) and json.encode(left) == json.encode(right)

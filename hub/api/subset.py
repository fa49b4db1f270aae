"""Parts of a resource: ``_summary`` and ``_elements`` (R4 3.1.1.5.8, 3.1.1.5.9), marked with the tag SUBSETTED."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hub.errors import HubError
from hub.fhir import json
from hub.fhir.definitions import Definitions

SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
SUMMARIES = frozenset({"", "true", "text", "data", "count", "false"})
_ALWAYS = frozenset({"resourceType", "id", "meta", "implicitRules"})

Tree = dict[str, "Tree"]


@dataclass(frozen=True, slots=True)
class _Shape:
    """Of one type: its mandatory elements, and the tree of its summary elements ({} keeps all below)."""

    mandatory: frozenset[str]
    summary: Tree


def of_text(definitions: Definitions, text: bytes, summary: str, elements: tuple[str, ...]) -> bytes:
    """The JSON text of a resource reduced to what is asked. HubError("parameter-value") for an unknown ``_summary``."""
    if summary not in SUMMARIES:
        raise HubError(
            "parameter-value", f"_summary {summary[:40]!r} is not true, text, data, count or false", "_summary"
        )
    if not elements and summary in ("", "false"):
        return text
    return json.encode(reduced(definitions, json.decode(text, max_bytes=len(text)), summary, elements))


def reduced(
    definitions: Definitions, resource: dict[str, Any], summary: str, elements: tuple[str, ...]
) -> dict[str, Any]:
    """The resource with the elements asked for, the mandatory ones, and the tag."""
    type = resource["resourceType"]
    shape = _shape(definitions, type)
    if elements:
        names = {name.removeprefix(type + ".").partition(".")[0] for name in elements}
        choices = {name + "[x]" for name in names}
        kept = _pick(resource, {name: {} for name in names | choices | _ALWAYS | shape.mandatory})
    elif summary == "true":
        kept = _pick(resource, shape.summary)
    elif summary == "text":
        kept = _pick(resource, {name: {} for name in {"text"} | _ALWAYS | shape.mandatory})
    else:
        kept = {name: value for name, value in resource.items() if name != "text"}
    meta = dict(kept.get("meta", {}))
    meta["tag"] = [*meta.get("tag", ()), SUBSETTED]
    after = ("resourceType", "id")
    return {**{name: kept[name] for name in after if name in kept}, "meta": meta} | {
        name: value for name, value in kept.items() if name not in (*after, "meta")
    }


def _pick(value: Any, tree: Tree) -> Any:
    if not tree:
        return value
    if isinstance(value, list):
        return [_pick(item, tree) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _pick(item, below) for name, item in value.items() if (below := _find(tree, name)) is not None}


def _find(tree: Tree, name: str) -> Tree | None:
    """The subtree of a member; ``_birthDate`` goes with ``birthDate``, ``valueQuantity`` with ``value[x]``."""
    name = name.removeprefix("_")
    found = tree.get(name)
    if found is not None:
        return found
    cut = next((i for i, letter in enumerate(name) if letter.isupper()), 0)
    while cut:
        found = tree.get(name[:cut] + "[x]")
        if found is not None:
            return found
        cut = next((i for i in range(cut + 1, len(name)) if name[i].isupper()), 0)
    return None


@lru_cache(maxsize=256)
def _shape(definitions: Definitions, type: str) -> _Shape:
    structure = definitions.structure(type)
    assert structure is not None  # only resource types of these definitions are stored
    summary: Tree = {name: {} for name in _ALWAYS}
    mandatory = set()
    for element in structure["snapshot"]["element"][1:]:
        path = element["path"].split(".")[1:]
        if len(path) == 1 and element.get("min", 0) > 0:
            mandatory.add(path[0])
        if element.get("isSummary"):
            _grow(summary, path)
    return _Shape(frozenset(mandatory), summary)


def _grow(tree: Tree, path: list[str]) -> None:
    for name in path[:-1]:
        if name not in tree:
            return  # below an element that is no summary element itself
        tree = tree[name]
    if path[-1] not in _ALWAYS:
        tree.setdefault(path[-1], {})

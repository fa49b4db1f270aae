"""A resource as *slots*: the parts of it that a message can state, withhold or delete by themselves.

A slot is an element (``gender``), a part of a single structure (``period.end``), a choice whatever its type
(``value``), or the items of a list that are told apart (``participant:ATND``), by ``amend.toml``.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from hub.fhir import elements

Resource = dict[str, Any]
FIXED = frozenset({"resourceType", "id", "meta"})
STRUCTURES = frozenset({"BackboneElement", "Period"})
EACH = ":+"
"""Stands in the slot of a list item that nothing can replace."""


@cache
def rules() -> dict[str, dict[str, Any]]:
    """The tables of ``amend.toml``."""
    return tomllib.loads(files("hub.services").joinpath("amend.toml").read_text(encoding="utf-8"))


@cache
def _names(type: str) -> tuple[dict[str, str], frozenset[str], dict[str, list[str]]]:
    """JSON member -> slot; members whose parts are slots; members whose items are told apart."""
    slots: dict[str, str] = {}
    structures = set()
    for name, element in elements.members(type).items():
        for member, model in element.models.items():
            slots[member] = slots[f"_{member}"] = name
            if not element.many and len(element.models) == 1 and elements.type_of(model) in STRUCTURES:
                structures.add(member)
    lists = rules()["lists"]
    return slots, frozenset(structures), {**lists["*"], **lists.get(type, {})}


def named(type: str, name: str) -> str:
    """The slot that somebody calls ``valueQuantity`` (``value``), ``period.end`` or ``extension:http://...``."""
    slots, structures, _ = _names(type)
    element, dot, _ = name.partition(".")
    if ":" in name or (dot and element in structures):
        return name
    return slots.get(element, element)


def split(resource: Resource) -> dict[str, Resource]:
    """Slot -> the JSON members that it consists of."""
    slots, structures, lists = _names(resource["resourceType"])
    found: dict[str, Resource] = {}
    for member, value in resource.items():
        if member in FIXED:
            continue
        if member in structures and isinstance(value, dict):
            for part, content in value.items():
                found[f"{member}.{part}"] = {member: {part: content}}
        elif member in lists and isinstance(value, list):
            for item in value:
                found.setdefault(f"{member}{_mark(item, lists[member])}", {member: []})[member].append(item)
        else:
            found.setdefault(slots.get(member, member), {})[member] = value
    return found


def join(slots: dict[str, Resource]) -> Resource:
    """The members of all slots, in their order."""
    whole: Resource = {}
    for members in slots.values():
        for member, value in members.items():
            present = whole.get(member)
            if isinstance(present, list) and isinstance(value, list):
                whole[member] = present + value
            elif isinstance(present, dict) and isinstance(value, dict):
                whole[member] = {**present, **value}
            else:
                whole[member] = value
    return whole


def _mark(item: Any, rule: list[str]) -> str:
    name, *values = rule
    if name == "+":
        return f"{EACH}{_word(item)}"
    word = _word(item.get(name)) if isinstance(item, dict) else ""
    return f":{word if not values or word in values else ''}"


def _word(value: Any) -> str:
    """What tells an item apart: a text, a code, a reference."""
    if isinstance(value, list):
        return _word(value[0]) if value else ""
    if isinstance(value, dict):
        return _word(next((value[name] for name in ("coding", "code", "reference", "text") if name in value), ""))
    return "_".join(str(value).split()) if value else ""

"""Element paths of the tables: ``gender``, ``name.family``, ``identifier[1]``, ``contact[0].name``.

``[1]`` is a new list element for every repetition of a field; rows of the same number and repetition fill the same one.
``[0]`` is one element for the whole segment.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Put = Callable[[dict[str, Any], dict[tuple[Any, ...], Any], int, Any], None]
"""Set a value in (root, scope, repetition)."""

MANY = 50
"""Beyond this many elements an equal one is no longer looked for."""
_STEP = re.compile(r"(_?[A-Za-z]+)(?:\[(\d+)])?$")


def setter(attribute: str) -> Put:
    """Compile an element path. ValueError if it is none."""
    steps: list[tuple[str, int | None]] = []
    for part in attribute.split("."):
        match = _STEP.match(part)
        if match is None:
            raise ValueError(f"{attribute!r} is not an element path")
        steps.append((match[1], int(match[2]) if match[2] else None))
    paths = [".".join(f"{name}[{slot}]" for name, slot in steps[: depth + 1]) for depth in range(len(steps))]
    name, slot = steps[-1]
    put = _member(name) if slot is None else _item(name, slot, paths[-1])
    for (name, slot), path in zip(steps[-2::-1], paths[-2::-1], strict=True):
        put = _into(name, put) if slot is None else _into_item(name, slot, path, put)
    return put


def _member(name: str) -> Put:
    def put(root: dict[str, Any], scope: dict[tuple[Any, ...], Any], repetition: int, value: Any) -> None:
        present = root.get(name)
        if present is not None and isinstance(present, dict) and isinstance(value, dict):
            present.update(value)
        else:
            root[name] = value

    return put


def _item(name: str, slot: int, path: str) -> Put:
    def put(root: dict[str, Any], scope: dict[tuple[Any, ...], Any], repetition: int, value: Any) -> None:
        place = (path, repetition if slot else 0, id(root))
        element = scope.get(place)
        if element is not None and isinstance(element, dict) and isinstance(value, dict):
            element.update(value)
            return
        items = root.get(name)
        if items is None:
            root[name] = [value]
        elif len(items) < MANY and value in items:
            value = items[items.index(value)]
        else:
            items.append(value)
        scope[place] = value

    return put


def _into(name: str, inner: Put) -> Put:
    def put(root: dict[str, Any], scope: dict[tuple[Any, ...], Any], repetition: int, value: Any) -> None:
        inner(root.setdefault(name, {}), scope, repetition, value)

    return put


def _into_item(name: str, slot: int, path: str, inner: Put) -> Put:
    def put(root: dict[str, Any], scope: dict[tuple[Any, ...], Any], repetition: int, value: Any) -> None:
        place = (path, repetition if slot else 0, id(root))
        element = scope.get(place)
        if element is None:
            element = scope[place] = {}
            root.setdefault(name, []).append(element)
        inner(element, scope, repetition, value)

    return put

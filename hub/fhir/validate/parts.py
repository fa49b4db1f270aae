"""Reading members of a resource whose structure may be wrong: what has the wrong shape counts as absent."""

from __future__ import annotations

from typing import Any


def objects(value: Any, name: str) -> list[dict[str, Any]]:
    """The objects in the array member ``name``."""
    items = value.get(name) if isinstance(value, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def numbered(value: Any, name: str) -> list[tuple[int, dict[str, Any]]]:
    """The objects in the array member ``name`` with their indexes."""
    items = value.get(name) if isinstance(value, dict) else None
    if not isinstance(items, list):
        return []
    return [(index, item) for index, item in enumerate(items) if isinstance(item, dict)]


def object(value: Any, name: str) -> dict[str, Any]:
    """The object member ``name``, or {}."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def string(value: Any, name: str) -> str:
    """The text member ``name``, or ""."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def strings(value: Any, name: str) -> list[str]:
    """The texts in the array member ``name``."""
    items = value.get(name) if isinstance(value, dict) else None
    return [item for item in items if isinstance(item, str)] if isinstance(items, list) else []

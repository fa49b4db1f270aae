"""Profiles, tags and security labels put into and taken out of Resource.meta ($meta-add, $meta-delete)."""

from __future__ import annotations

from typing import Any

Resource = dict[str, Any]


def added(resource: Resource, given: Resource) -> Resource:
    """The resource with the profiles, tags and labels of the Meta ``given`` that it does not have yet."""
    meta = dict(resource.get("meta", {}))
    for name in ("profile", "security", "tag"):
        own = meta.get(name, [])
        new = [item for item in _items(given, name) if _key(item) not in {_key(one) for one in own}]
        if new:
            meta[name] = [*own, *new]
    return {**resource, "meta": meta}


def removed(resource: Resource, given: Resource) -> Resource:
    """The resource without the profiles, tags and labels of the Meta ``given``."""
    meta = dict(resource.get("meta", {}))
    for name in ("profile", "security", "tag"):
        gone = {_key(item) for item in _items(given, name)}
        kept = [item for item in meta.pop(name, []) if _key(item) not in gone]
        if kept:
            meta[name] = kept
    return {**resource, "meta": meta}


def _items(meta: Resource, name: str) -> list[Any]:
    found = meta.get(name, [])
    return found if isinstance(found, list) else []


def _key(item: Any) -> tuple[str, str]:
    """What makes two of them the same: a profile's url, a Coding's system and code."""
    return (str(item.get("system", "")), str(item.get("code", ""))) if isinstance(item, dict) else ("", str(item))

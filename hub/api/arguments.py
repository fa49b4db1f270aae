"""The parameters of an operation, from the query or from a Parameters body (R4 3.2.0.3)."""

from __future__ import annotations

from typing import Any

from hub.api.exchange import Request


def arguments(request: Request) -> dict[str, list[str]]:
    """The primitive ones by name, query and body together; references as their text."""
    pairs = list(request.pairs)
    if request.body:
        for one in _rows(request.resource()):
            value = next((value for name, value in one.items() if name.startswith("value")), None)
            if isinstance(value, dict):
                value = value.get("reference")
            if isinstance(value, str | int):
                pairs.append((str(one.get("name")), str(value).lower() if isinstance(value, bool) else str(value)))
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def parameter(parameters: dict[str, Any], name: str) -> Any:
    """The value or resource of the first parameter of this name, None if there is none."""
    for one in _rows(parameters):
        if one.get("name") == name:
            return next((value for key, value in one.items() if key == "resource" or key.startswith("value")), None)
    return None


def _rows(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    rows = parameters.get("parameter")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

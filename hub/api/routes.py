"""The one table of FHIR routes (R4 3.1.0.0): method and shape of the path -> interaction.

A shape is a path with its variable segments replaced: ``T`` a resource type, ``I`` an id, ``V`` a version, ``$`` an
operation. The CapabilityStatement is generated from the same table.
"""

from __future__ import annotations

import re

from hub.api.exchange import Route
from hub.errors import HubError

ROUTES: dict[str, dict[str, str]] = {
    "": {"GET": "search_system", "POST": "transaction"},
    "metadata": {"GET": "capabilities"},
    "openapi.json": {"GET": "openapi"},
    "_search": {"POST": "search_system"},
    "_history": {"GET": "history_system"},
    "_export/I": {"GET": "export_status", "DELETE": "export_delete"},
    "_export/I/F": {"GET": "export_file"},
    "_import/I": {"GET": "import_status", "DELETE": "import_delete"},
    "_import/I/F": {"GET": "import_file"},
    "_async/I": {"GET": "async_status", "DELETE": "async_delete"},
    "_async/I/F": {"GET": "async_file"},
    "$": {"GET": "operation", "POST": "operation"},
    "T": {
        "GET": "search_type",
        "POST": "create",
        "PUT": "conditional_update",
        "PATCH": "conditional_patch",
        "DELETE": "conditional_delete",
    },
    "T/_search": {"POST": "search_type"},
    "T/_history": {"GET": "history_type"},
    "T/$": {"GET": "operation", "POST": "operation"},
    "T/I": {"GET": "read", "PUT": "update", "PATCH": "patch", "DELETE": "delete"},
    "T/I/_history": {"GET": "history_instance"},
    "T/I/_history/V": {"GET": "vread"},
    "T/I/T": {"GET": "search_compartment"},
    "T/I/T/_search": {"POST": "search_compartment"},
    "T/I/$": {"GET": "operation", "POST": "operation"},
}

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


class Router:
    """Finds the route of a method and path among the resource types that are known."""

    def __init__(self, types: frozenset[str], routes: dict[str, dict[str, str]] = ROUTES) -> None:
        self._types = types
        self._routes = routes

    def find(self, method: str, path: str) -> Route:
        """The route. HubError("type-unknown"), "not-found" or "method-unknown" (with what is allowed in ``at``)."""
        segments = path.split("/") if path else []
        shape, facts = self._shape(segments)
        methods = self._routes.get(shape)
        if methods is None:
            raise HubError("not-found", f"there is nothing at {path[:200]!r}; see metadata", path[:200])
        interaction = methods.get("GET" if method == "HEAD" else method)
        if interaction is None:
            raise HubError("method-unknown", f"{method[:20]} is not defined for this address", self.allowed(shape))
        return Route(interaction, **facts)

    def allowed(self, shape: str) -> str:
        """The methods of a shape, as the Allow header has them."""
        methods = self._routes[shape]
        return ", ".join([*methods, "HEAD"] if "GET" in methods else methods)

    def _shape(self, segments: list[str]) -> tuple[str, dict[str, str]]:
        if len(segments) == 2 and segments[0] in self._types and _ID.fullmatch(segments[1]):
            return "T/I", {"type": segments[0], "id": segments[1]}  # most requests
        facts: dict[str, str] = {}
        parts: list[str] = []
        for place, segment in enumerate(segments):
            if segment.startswith("$"):
                facts["name"], part = segment[1:], "$"
            elif segment.startswith("_") or (place == 0 and segment in ("metadata", "openapi.json")):
                part = segment
            elif place == 0:
                facts["type"], part = self._type(segment), "T"
            elif place == 1:
                facts["id"], part = self._id(segment), "I"
            elif place == 2 and segments[0] in ("_export", "_import", "_async"):
                facts["name"], part = segment, "F"
            elif place == 2 and (segment == "*" or segment in self._types):
                facts["name"], part = segment, "T"
            elif place == 3 and segments[2] == "_history":
                facts["version"], part = segment, "V"
            else:
                part = segment
            parts.append(part)
        return "/".join(parts), facts

    def _id(self, text: str) -> str:
        if not _ID.fullmatch(text):
            raise HubError("not-found", f"{text[:80]!r} is not an id: 1 to 64 of A-Z a-z 0-9 - .", text[:80])
        return text

    def _type(self, name: str) -> str:
        if name not in self._types:
            raise HubError("type-unknown", f"{name[:60]!r} is not a resource type of FHIR R4", name[:60])
        return name

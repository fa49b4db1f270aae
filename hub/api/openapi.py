"""The FHIR API in OpenAPI 3.0, generated from the route table, for tools that know nothing of FHIR."""

from __future__ import annotations

from typing import Any

from hub import __version__
from hub.api import negotiate
from hub.api.routes import ROUTES

SEGMENTS = {"T": "type", "I": "id", "V": "version", "$": "operation", "F": "file"}
_BODIES = frozenset({"POST", "PUT", "PATCH"})


def document(root: str, types: frozenset[str], operations: list[str]) -> dict[str, Any]:
    """The description of the base ``root``; ``types`` are the resource types, ``operations`` the names without $."""
    known = {
        "type": {"type": "string", "enum": sorted(types)},
        "member": {"type": "string", "enum": ["*", *sorted(types)]},
        "id": {"type": "string", "pattern": r"^[A-Za-z0-9\-.]{1,64}$"},
        "version": {"type": "string", "pattern": "^[0-9]{1,9}$"},
        "operation": {"type": "string", "enum": [f"${name}" for name in sorted(operations)]},
        "file": {"type": "string"},
    }
    paths: dict[str, Any] = {}
    for shape, methods in ROUTES.items():
        names = _names(shape)
        path = "/" + "/".join(f"{{{name}}}" if name in known else name for name in names)
        variables = [
            {"name": name, "in": "path", "required": True, "schema": known[name]} for name in names if name in known
        ]
        paths[path] = {
            method.lower(): _operation(method, interaction, shape, variables) for method, interaction in methods.items()
        }
    return {
        "openapi": "3.0.3",
        "info": {"title": "Region hub FHIR R4 API", "version": __version__},
        "servers": [{"url": root}],
        "paths": paths,
    }


def _names(shape: str) -> list[str]:
    """The path's segments, variable ones by their names; a second type is that of a compartment's members."""
    names: list[str] = []
    for part in shape.split("/") if shape else []:
        name = SEGMENTS.get(part, part)
        names.append("member" if name in names else name)
    return names


def _operation(method: str, interaction: str, shape: str, variables: list[dict[str, Any]]) -> dict[str, Any]:
    search = interaction.startswith("search")
    query: list[dict[str, Any]] = [
        {"name": "_format", "in": "query", "schema": {"type": "string", "enum": ["json", "xml"]}},
        {"name": "_pretty", "in": "query", "schema": {"type": "boolean"}},
    ]
    if search or interaction.startswith("conditional"):
        free = {"type": "object", "additionalProperties": {"type": "string"}}
        query.append({"name": "parameters", "in": "query", "style": "form", "explode": True, "schema": free})
    operation: dict[str, Any] = {
        "operationId": "-".join(part for part in (interaction, method.lower(), *_names(shape)) if part != "_search"),
        "parameters": [*variables, *query],
        "responses": {"default": {"description": "a resource, or an OperationOutcome", "content": _content(False)}},
    }
    if method in _BODIES:
        operation["requestBody"] = {"required": not search, "content": _content(search)}
    return operation


def _content(form: bool) -> dict[str, Any]:
    if form:
        return {negotiate.FORM: {"schema": {"type": "object", "additionalProperties": {"type": "string"}}}}
    resource = {"type": "object", "required": ["resourceType"], "properties": {"resourceType": {"type": "string"}}}
    return {negotiate.MEDIA[negotiate.JSON]: {"schema": resource}}

"""Logical ids that follow from what identifies a resource, so that every protocol gives the same thing the same id."""

from __future__ import annotations

import uuid

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://region-hub.example/fhir/id")


def resource_id(type: str, system: str, value: str) -> str:
    """The id of the resource of ``type`` that carries this business identifier (ours, within R4 2.24.0.1.1)."""
    return str(uuid.uuid5(NAMESPACE, "\x1f".join((type, system, value))))

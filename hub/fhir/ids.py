"""Logical ids that follow from what identifies a resource, so that every protocol gives the same thing the same id."""

from __future__ import annotations

import hashlib
import uuid

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://region-hub.example/fhir/id")
_NAMESPACE = NAMESPACE.bytes


def name_id(name: str) -> str:
    """The UUID of a name in our namespace (RFC 4122 4.3, version 5), as ``uuid.uuid5`` gives it, in half the time."""
    digest = hashlib.sha1(_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def resource_id(type: str, system: str, value: str) -> str:
    """The id of the resource of ``type`` that carries this business identifier (ours, within R4 2.24.0.1.1).

    >>> resource_id("Patient", "urn:x", "7") == str(uuid.uuid5(NAMESPACE, "Patient\x1furn:x\x1f7"))
    True
    """
    return name_id("\x1f".join((type, system, value)))

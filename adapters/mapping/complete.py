"""The last touch on a mapped resource: what R4 requires and the message did not give, and what came out incomplete."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from adapters.mapping.conversions import instant_after
from hub.fhir import elements
from hub.fhir.ids import resource_id

Resource = dict[str, Any]
INLINE = 65_536
"""Attachments with more base64 than this are kept as a Binary of their own."""
UNTIMED = frozenset({"proposed", "cancelled", "waitlist"})


def complete(resource: Resource, defaults: Mapping[str, Any]) -> list[str]:
    """Fill required elements that are missing (``defaults.csv``); their names. Empty extensions, notes, links go."""
    if "extension" in resource and not _prune(resource["extension"]):
        del resource["extension"]
    if "note" in resource:
        resource["note"] = [note for note in resource["note"] if "text" in note]
        if not resource["note"]:
            del resource["note"]
    if "link" in resource:
        resource["link"] = [link for link in resource["link"] if link.get("other")]
        if not resource["link"]:
            del resource["link"]
    if resource["resourceType"] == "Appointment":
        _appointment(resource)
    filled = []
    for member, value in defaults.items():
        name, members = _element(resource["resourceType"], member)
        if not resource.keys() & members:
            resource[member] = deepcopy(value)
            filled.append(name)
    return filled


@cache
def _element(type: str, member: str) -> tuple[str, frozenset[str]]:
    """The element that a JSON member belongs to, and its members: all types of a choice."""
    element, _ = elements.json_members(type)[member]
    return element.name, frozenset(element.models)


def _prune(extensions: list[Resource]) -> bool:
    """Take away extensions without a value (R4 ext-1); whether any is left."""
    for extension in extensions:
        if "extension" in extension and not _prune(extension["extension"]):
            del extension["extension"]
    extensions[:] = [one for one in extensions if len(one) > 1]
    return bool(extensions)


def _appointment(resource: Resource) -> None:
    """Start and end come together (R4 app-2), and only what is not agreed yet has none (app-3)."""
    start, end = resource.get("start"), resource.get("end")
    if start and not end:
        resource["end"] = instant_after(start, resource.get("minutesDuration", 0))
    elif end and not start:
        resource["start"] = end
    elif not start and resource.get("status") not in UNTIMED:
        resource["status"] = "proposed"


def detached(resource: Resource) -> list[Resource]:
    """The large attachments of a report or document as Binaries, to which it refers from now on (R4 2.24.0.7)."""
    if resource["resourceType"] == "DiagnosticReport":
        attachments = resource.get("presentedForm", ())
    elif resource["resourceType"] == "DocumentReference":
        attachments = [content.get("attachment", {}) for content in resource.get("content", ())]
    else:
        return []
    return [_binary(resource, one) for one in attachments if len(one.get("data", "")) > INLINE]


def _binary(owner: Resource, attachment: Resource) -> Resource:
    data = attachment.pop("data")
    reference = f"{owner['resourceType']}/{owner['id']}"
    id = resource_id("Binary", reference, hashlib.sha256(data.encode("ascii")).hexdigest())
    attachment["url"] = f"Binary/{id}"
    attachment["size"] = len(data) // 4 * 3 - data[-2:].count("=")
    return {
        "resourceType": "Binary",
        "id": id,
        "contentType": attachment.get("contentType", "application/octet-stream"),
        "securityContext": {"reference": reference},
        "data": data,
    }

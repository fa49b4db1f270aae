"""What a subscriber is sent: R4 rest-hook (R4 Subscription), topic-based notifications (R5 Backport IG 1.1 for R4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from hub.errors import HubError
from hub.fhir import json, temporal
from hub.services.messaging import feed
from hub.store.protocol import Version

Resource = dict[str, Any]

TOPIC = "https://region-hub.example/fhir/SubscriptionTopic/resource-change"
"""Ours: every creation and update of a resource that a filter of the subscription names."""
_BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-"
_HEADER = re.compile(r"([A-Za-z0-9-]{1,64}): ?([\x20-\x7e]{0,2000})")
_OWN_HEADERS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade", "te"})
MAX_BATCH = 100
MESSAGE = "message"

Criteria = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Plan:
    """A Subscription understood: which changes, where to, and in what form.

    ``content`` is "" for R4 (the resource itself, or nothing when there is no payload type), empty, id-only or
    full-resource for a topic, message for a feed of Patients (IHE PMIR ITI-93, ITI-94).
    ``heartbeat`` is in seconds, 0 for none.
    """

    criteria: tuple[Criteria, ...]
    endpoint: str
    headers: dict[str, str]
    payload: str
    content: str = ""
    batch: int = 1
    heartbeat: int = 0

    @property
    def topical(self) -> bool:
        """Whether notifications are those of a topic, with a handshake before the first."""
        return self.content not in ("", MESSAGE)


def plan(subscription: Resource) -> Plan:
    """What a Subscription asks for. HubError, located, for what is not offered."""
    channel = subscription.get("channel", {})
    kind = channel.get("type")
    if kind not in ("rest-hook", "message"):
        raise HubError("value", "the channels rest-hook and message are offered", "Subscription.channel.type")
    payload = channel.get("payload", "")
    if payload not in ("", "application/fhir+json", "application/json"):
        raise HubError("value", "the payload application/fhir+json is offered", "Subscription.channel.payload")
    endpoint, headers = channel.get("endpoint", ""), _headers(channel.get("header", []))
    asked = subscription.get("criteria", "")
    if kind == "message":
        if asked.partition("?")[0] != "Patient":
            raise HubError("value", "a feed of messages is of Patients (ITI-94)", "Subscription.criteria")
        return Plan((_criteria(asked),), endpoint, headers, "application/fhir+json", MESSAGE, MAX_BATCH)
    if asked != TOPIC:
        return Plan((_criteria(asked),), endpoint, headers, payload)
    filters = [text for text in _extension(subscription.get("_criteria"), "filter-criteria") if isinstance(text, str)]
    if not filters:
        raise HubError("required", "the topic needs a filter, such as Observation?code=718-7", "Subscription.criteria")
    content = next(iter(_extension(channel.get("_payload"), "payload-content")), "id-only")
    if content not in ("empty", "id-only", "full-resource"):
        raise HubError("value", "payload-content is empty, id-only or full-resource", "Subscription.channel.payload")
    return Plan(
        tuple(_criteria(text) for text in filters), endpoint, headers, payload or "application/fhir+json", content,
        min(_number(channel, "max-count", 20), MAX_BATCH), _number(channel, "heartbeat-period", 0),
    )  # fmt: skip


def _number(channel: Resource, name: str, default: int) -> int:
    found = next(iter(_extension(channel, name)), default)
    return found if isinstance(found, int) and found > 0 else default


def _extension(holder: Any, name: str) -> list[Any]:
    rows = holder.get("extension", []) if isinstance(holder, dict) else []
    return [
        next((value for key, value in row.items() if key.startswith("value")), None)
        for row in rows
        if row.get("url") == _BACKPORT + name
    ]


def _criteria(text: str) -> Criteria:
    type, _, query = text.partition("?")
    return type, tuple(parse_qsl(query, keep_blank_values=True, max_num_fields=50))


def _headers(lines: list[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None or match[1].lower() in _OWN_HEADERS:
            raise HubError("value", f"the header {line[:60]!r} cannot be sent", "Subscription.channel.header")
        headers[match[1]] = match[2]
    return headers


@dataclass(frozen=True, slots=True)
class Event:
    """One numbered event: the version that met the criteria."""

    number: int
    version: Version


def requests(plan: Plan, id: str, events: list[Event], root: str, total: int) -> list[tuple[str, str, bytes]]:
    """Method, URL and body of each request that tells these events; for a topic, one for all of them."""
    if plan.content == MESSAGE:
        return [("POST", plan.endpoint, _feed(plan, id, events, root))]
    if plan.content:
        return [("POST", plan.endpoint, bundle(plan, id, "event-notification", events, root, total))]
    if not plan.payload:
        return [("POST", plan.endpoint, b"") for _ in events]
    place = plan.endpoint.rstrip("/")
    return [("PUT", f"{place}/{one.version.type}/{one.version.id}", one.version.text) for one in events]


def _feed(plan: Plan, id: str, events: list[Event], root: str) -> bytes:
    """What became of these Patients, as the message of ITI-93; the same events make the same message."""
    entries = [
        {
            "fullUrl": f"{root}/{one.version.type}/{one.version.id}",
            "resource": json.stored(one.version.text),
            "request": {
                "method": "POST" if one.version.version == 1 else "PUT",
                "url": f"{one.version.type}/{one.version.id}",
            },
            "response": {"status": "201" if one.version.version == 1 else "200"},
        }
        for one in events
    ]
    newest = events[-1]
    return json.encode(feed(id, root, plan.endpoint, entries, f"{id[:40]}-{newest.number}", newest.version.updated))


def bundle(plan: Plan, id: str, kind: str, events: list[Event], root: str, total: int, status: str = "active") -> bytes:
    """A notification Bundle: the status, then what the events are about as far as ``plan.content`` shows it."""
    entries = []
    for event in events if plan.content != "empty" else ():
        version = event.version
        place = f"{version.type}/{version.id}"
        told: Resource = {
            "fullUrl": f"{root}/{place}",
            "request": {"method": "POST" if version.version == 1 else "PUT", "url": place},
            "response": {"status": "201" if version.version == 1 else "200"},
        }
        if plan.content == "full-resource":
            told["resource"] = json.stored(version.text)
        entries.append(told)
    first = {
        "fullUrl": f"{root}/Subscription/{id}/$status",
        "resource": status_parameters(plan, id, kind, events, root, total, status),
        "request": {"method": "GET", "url": f"{root}/Subscription/{id}/$status"},
        "response": {"status": "200"},
    }
    return json.encode({"resourceType": "Bundle", "type": "history", "entry": [first, *entries]})


def status_parameters(
    plan: Plan, id: str, kind: str, events: list[Event], root: str, total: int, status: str
) -> Resource:
    """The SubscriptionStatus of R5 as Parameters in R4 (Backport, backport-subscription-status-r4)."""
    rows: list[Resource] = [
        {"name": "subscription", "valueReference": {"reference": f"{root}/Subscription/{id}"}},
        {"name": "topic", "valueCanonical": TOPIC},
        {"name": "status", "valueCode": status},
        {"name": "type", "valueCode": kind},
        {"name": "eventsSinceSubscriptionStart", "valueString": str(total)},
    ]
    for event in events:
        part: list[Resource] = [
            {"name": "eventNumber", "valueString": str(event.number)},
            {"name": "timestamp", "valueInstant": temporal.instant(event.version.updated)},
        ]
        if plan.content != "empty":
            focus = f"{root}/{event.version.type}/{event.version.id}"
            part.append({"name": "focus", "valueReference": {"reference": focus}})
        rows.append({"name": "notificationEvent", "part": part})
    return {
        "resourceType": "Parameters",
        "meta": {"profile": [f"{_BACKPORT}subscription-status-r4"]},
        "parameter": rows,
    }

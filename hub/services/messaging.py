"""FHIR messages ($process-message): the Mobile Patient Identity Feed (IHE PMIR ITI-93) in and, for subscribers, out.

A feed is a message Bundle: a MessageHeader, and the Bundle of type history that it focuses on, whose entries say what
became of each Patient (POST, PUT, DELETE; a merge is a PUT with a link replaced-by). A source's ``Patient/1`` means
something to that source only, so it becomes a Patient of ours whose id is made of the source's endpoint and its id: the
same message again changes nothing, and references between Patients of one source need no lookup.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from hub.errors import HubError
from hub.fhir import reference, temporal
from hub.fhir.ids import NAMESPACE
from hub.services.context import Context
from hub.services.transaction import Transactions

Resource = dict[str, Any]
FEED = "urn:ihe:iti:pmir:2019:patient-feed"
METHODS = ("POST", "PUT", "DELETE")


class Messages:
    """Performs FHIR messages. ``clock`` gives microseconds since 1970 UTC; ``root`` is our own FHIR base."""

    def __init__(
        self, transactions: Transactions, clock: Callable[[], int], new_id: Callable[[], str], root: str
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._new_id = new_id
        self._root = root

    def process(self, context: Context, message: Resource) -> Resource:
        """Perform a message as one unit; the message that answers it (R4 2.4.3.2, MessageHeader.response ok).

        HubError("structure") for what is no message, "event-unknown" for an event other than the patient feed, and
        that of the first entry which cannot be performed.
        """
        header, entries = _taken_apart(message)
        source = header["source"]["endpoint"]
        requests = [_request(entry, source, place) for place, entry in enumerate(entries)]
        self._transactions.transaction(context, {"resourceType": "Bundle", "type": "transaction", "entry": requests})
        answer = {
            "resourceType": "MessageHeader",
            "id": self._new_id(),
            "eventUri": FEED,
            "destination": [{"endpoint": source}],
            "source": {"endpoint": f"{self._root}/$process-message"},
            "response": {"identifier": header.get("id", ""), "code": "ok"},
        }
        return envelope(answer, [], self._new_id(), self._clock())


def feed(subscription: str, root: str, endpoint: str, entries: list[Resource], id: str, now: int) -> Resource:
    """The message that tells a subscriber what became of Patients (ITI-93): ``entries`` as in a history Bundle."""
    history = {"resourceType": "Bundle", "id": f"{id[:60]}-h", "type": "history", "entry": entries}
    focus = f"{root}/Bundle/{history['id']}"
    header = {
        "resourceType": "MessageHeader",
        "id": id[:64],
        "eventUri": FEED,
        "destination": [{"endpoint": endpoint}],
        "source": {"endpoint": f"{root}/Subscription/{subscription}"},
        "focus": [{"reference": focus}],
    }
    return envelope(header, [{"fullUrl": focus, "resource": history}], f"{id[:60]}-m", now)


def envelope(header: Resource, entries: list[Resource], id: str, now: int) -> Resource:
    """A message Bundle (R4 2.4.3)."""
    first = {"fullUrl": f"urn:uuid:{uuid.uuid5(NAMESPACE, header['id'])}", "resource": header}
    return {
        "resourceType": "Bundle",
        "id": id,
        "type": "message",
        "timestamp": temporal.instant(now),
        "entry": [first, *entries],
    }


def _taken_apart(message: Resource) -> tuple[Resource, list[Resource]]:
    """The MessageHeader and the entries of the history Bundle. HubError, located in the message."""
    entries = message.get("entry")
    resources = (
        [entry.get("resource") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    )
    header = resources[0] if resources else None
    if (
        message.get("type") != "message"
        or not isinstance(header, dict)
        or header.get("resourceType") != "MessageHeader"
    ):
        raise HubError("structure", "a message is a Bundle of type message that begins with a MessageHeader", "Bundle")
    if header.get("eventUri") != FEED:
        said = str(header.get("eventUri") or header.get("eventCoding"))[:80]
        raise HubError("event-unknown", f"the event {said} is not processed; {FEED} is", "MessageHeader.event")
    source = header.get("source")
    if not isinstance(source, dict) or not isinstance(source.get("endpoint"), str):
        raise HubError("required", "the feed says whose it is", "MessageHeader.source.endpoint")
    found = [one for one in resources[1:] if isinstance(one, dict) and one.get("resourceType") == "Bundle"]
    if len(found) != 1 or found[0].get("type") != "history" or not isinstance(found[0].get("entry"), list):
        raise HubError("structure", "the focus of a feed is one Bundle of type history with entries", "Bundle.entry[1]")
    return header, found[0]["entry"]


def _request(entry: Any, source: str, place: int) -> Resource:
    """An entry of the history as an entry of a transaction here."""
    at = f"Bundle.entry[1].resource.entry[{place}]"
    request = entry.get("request") if isinstance(entry, dict) else None
    method = request.get("method") if isinstance(request, dict) else None
    if not isinstance(request, dict) or method not in METHODS:
        raise HubError("required", f"the entry's request is one of {', '.join(METHODS)}", f"{at}.request.method")
    resource = entry.get("resource")
    named = resource.get("id") if isinstance(resource, dict) else None
    asked = reference.parse(str(request.get("url", "")))
    id = _own(source, str(named or asked.id or entry.get("fullUrl", "")))
    url = f"Patient/{id}"
    if method == "DELETE":
        return {"request": {"method": "DELETE", "url": url}}
    if not isinstance(resource, dict) or resource.get("resourceType") != "Patient":
        raise HubError("value", "the feed is of Patients", f"{at}.resource")
    links = [_link(link, source) for link in resource.get("link", ()) if isinstance(link, dict)]
    ours = {**resource, "id": id, **({"link": links} if links else {})}
    return {"fullUrl": f"urn:uuid:{id}", "resource": ours, "request": {"method": "PUT", "url": url}}


def _link(link: Resource, source: str) -> Resource:
    """A Patient.link of the source as one of ours."""
    other = link.get("other", {})
    target = reference.parse(str(other.get("reference", "")))
    if target.type != "Patient":
        return link
    return {**link, "other": {**other, "reference": f"Patient/{_own(source, target.id)}"}}


def _own(source: str, id: str) -> str:
    """The id here of what a source calls ``id``."""
    return str(uuid.uuid5(NAMESPACE, f"{source}\x1fPatient\x1f{id}"))

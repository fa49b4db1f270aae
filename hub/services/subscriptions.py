"""Subscriptions: every change that meets the criteria is told to the subscriber, numbered, in order, and never lost.

The log of changes is the outbox: a cursor runs along it, and in one commit the events it finds are numbered and written
down and the cursor moves. Delivery is a second step with its own durable mark, so that a crash at any point repeats a
number at most and skips none. A subscriber that does not answer is tried again, ever less often, for ``RETRY_HOURS``;
then the Subscription's status says error, and it goes on from the same event when the client sets it to requested.
One process of several leads (a lease); the others wait.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir import json
from hub.search import evaluate
from hub.search.expression import Entries, Expression
from hub.search.parse import Parser
from hub.services import notification
from hub.services.context import Context
from hub.services.endpoint import Caller
from hub.services.ingest import Ingest
from hub.services.notification import Event, Plan
from hub.store.protocol import Item, Store, Transaction, Version

STATES, EVENTS, FEED = "subscription", "event", "feed"
REQUESTED, ACTIVE, OFF, ERROR = "requested", "active", "off", "error"
RETRY_HOURS = 72
LONGEST_PAUSE = 3600
LEASE = 30_000_000
POLL = 0.2
BATCH = 500
DELIVERERS = 8
MAX_EVENTS_SHOWN = 1000
KEPT_EVENTS = 10_000
"""Delivered events of a Subscription that $events still shows."""
SECOND = 1_000_000

log = logging.getLogger("hub.subscriptions")


@dataclass(slots=True)
class Subscriber:
    """One subscription at work; ``events`` and ``delivered`` are numbers of events, times in microseconds."""

    id: str
    plan: Plan
    digest: str
    state: str
    rules: dict[str, list[Expression]]
    events: int = 0
    delivered: int = 0
    failures: int = 0
    failing_since: int = 0
    next: int = 0
    last: int = 0
    busy: threading.Lock = field(default_factory=threading.Lock)


class Subscriptions:
    """The feed and the deliveries. ``root`` is the FHIR base that notifications name resources by."""

    def __init__(
        self,
        store: Store,
        databases: Databases,
        ingest: Ingest,
        parser: Parser,
        caller: Caller,
        clock: Callable[[], int],
        root: str,
    ) -> None:
        self._store = store
        self._databases = databases
        self._ingest = ingest
        self._parser = parser
        self._caller = caller
        self._clock = clock
        self._root = root
        self._known: dict[str, Subscriber] = {}
        self._cursor = 0
        self._leads_until = 0
        self._ending = threading.Event()
        self._context = Context("subscription", "region-hub")
        self._pool = ThreadPoolExecutor(DELIVERERS, thread_name_prefix="notify")
        self._thread = threading.Thread(target=self._run, name="subscriptions", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the deliveries under way."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown(wait=True)
        self._caller.close()

    # --- what an operation asks ($status, $events) --------------------------------------------------------------------

    def status(self, subscription: dict[str, Any]) -> dict[str, Any]:
        """$status of a topic-based Subscription. HubError as ``notification.plan``."""
        id, plan = subscription["id"], notification.plan(subscription)
        item = self._store.item(STATES, id)
        total = item.data["events"] if item else 0
        return notification.status_parameters(
            plan, id, "query-status", [], self._root, total, str(subscription.get("status"))
        )

    def told(self, subscription: dict[str, Any], first: int, last: int) -> bytes:
        """$events: the events numbered ``first`` to ``last`` as a notification Bundle, at most MAX_EVENTS_SHOWN."""
        id, plan = subscription["id"], notification.plan(subscription)
        item = self._store.item(STATES, id)
        total = item.data["events"] if item else 0
        first = max(first, 1, (item.data["delivered"] if item else 0) - KEPT_EVENTS + 1)
        until = min(last, total, first + MAX_EVENTS_SHOWN - 1)
        found = [self._event(id, number) for number in range(first, until + 1)]
        events = [event for event in found if event is not None]  # one may be discarded while this looks
        return notification.bundle(plan, id, "query-event", events, self._root, total, str(subscription.get("status")))

    # --- the loop -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending.is_set():
            worked = False
            try:
                if self._leads():
                    worked = self._feed()
                    self._deliver_due()
            except HubError:
                log.exception("the feed of changes stopped; it is tried again")
                self._ending.wait(1)
            if not worked:
                self._ending.wait(POLL)

    def _leads(self) -> bool:
        """Whether this process has the lease; renewed when half of it is over."""
        now = self._clock()
        if self._leads_until - now > LEASE // 2:
            return True
        held = self._leads_until > now
        if self._store.item(FEED, "lead") is None:
            cursor = {"cursor": self._store.last_seq()}
            self._store.write(lambda tx: self._found(tx, now, cursor))
        if held:
            self._store.write(lambda tx: tx.settle(FEED, "lead", "on", {}))
        if not self._store.claim(FEED, ("on",), now, LEASE):
            self._leads_until = 0
            return False
        self._leads_until = now + LEASE
        if not held:
            self._load()
        return True

    def _found(self, tx: Transaction, now: int, cursor: dict[str, Any]) -> None:
        tx.enqueue(Item(FEED, "lead", "lead", "", "on", {}, b"", now))
        tx.enqueue(Item(FEED, "cursor", "cursor", "", "mark", cursor, b"", now))

    def _load(self) -> None:
        """Take up where the last leader stopped."""
        mark = self._store.item(FEED, "cursor")
        self._cursor = mark.data["cursor"] if mark else self._store.last_seq()
        self._known.clear()
        for item in self._store.items(STATES, states=(REQUESTED, ACTIVE), limit=100_000):
            version = self._store.read("Subscription", item.id)
            if version is None or version.deleted:
                continue
            try:
                one = self._subscriber(self._databases.decode(version))
            except HubError as error:
                log.warning("Subscription/%s cannot be taken up: %s", item.id, error)
                continue
            names = ("events", "delivered", "failures", "failing_since", "next", "last")
            for name in names:
                setattr(one, name, item.data[name])
            one.state = item.state
            self._known[one.id] = one

    # --- changes to numbered events -----------------------------------------------------------------------------------

    def _feed(self) -> bool:
        """Look at the next changes; whether there were any."""
        last = self._store.last_seq()
        if last <= self._cursor:
            return False
        if not self._known and not self._asked_since(self._cursor):
            self._cursor = last  # nobody asks for anything: there is nothing to look at
            return False
        changes = self._store.changes(self._cursor, BATCH)
        if not changes:
            return False
        rows: list[Item] = []
        totals: dict[str, int] = {}
        for version in changes:
            if version.type == "Subscription":
                self._configure(version)
            if not version.deleted:
                for one in self._meant(version):
                    totals[one.id] = totals.get(one.id, one.events) + 1
                    rows.append(self._row(f"{one.id}-{totals[one.id]}", version))
        told = [one for one in self._known.values() if one.id in totals]
        cursor = changes[-1].seq

        def work(tx: Transaction) -> None:
            for row in rows:
                tx.enqueue(row)
            for one in told:
                tx.settle(STATES, one.id, one.state, {"events": totals[one.id]})
            tx.settle(FEED, "cursor", "mark", {"cursor": cursor})

        self._store.write(work)
        for one in told:
            one.events = totals[one.id]
        self._cursor = cursor
        return True

    def _asked_since(self, seq: int) -> bool:
        """Whether a Subscription changed after that change."""
        newest = self._store.history(("Subscription",), limit=1)
        return bool(newest) and newest[0].seq > seq

    def _meant(self, version: Version) -> list[Subscriber]:
        """The subscribers whose criteria a change meets."""
        asking = [one for one in self._known.values() if version.type in one.rules and one.state != OFF]
        if not asking:
            return []
        entries = self._databases.indexer.entries(self._databases.decode(version))
        return [
            one for one in asking if any(evaluate.holds(rule, version.id, entries) for rule in one.rules[version.type])
        ]

    def _row(self, name: str, version: Version) -> Item:
        data = {"type": version.type, "id": version.id, "version": version.version}
        return Item(EVENTS, name, name, "", "kept", data, b"", self._clock())

    def _configure(self, version: Version) -> None:
        """Follow a change of a Subscription."""
        known = self._known.get(version.id)
        resource = {} if version.deleted else self._databases.decode(version)
        status = resource.get("status", OFF)
        if status in (OFF, ERROR):
            if known is not None:
                known.state = OFF
                self._keep(known)
                del self._known[version.id]
            return
        if status == ACTIVE and known is not None and known.digest == _digest(resource):
            return
        try:
            one = self._subscriber(resource)
        except HubError as error:
            self._mark(version.id, ERROR, error.diagnostics)
            return
        before = self._store.item(STATES, version.id)
        if before is not None:
            one.events, one.delivered = before.data["events"], before.data["delivered"]
        one.last = self._clock()
        self._known[one.id] = one
        self._store.write(lambda tx: tx.enqueue(Item(STATES, one.id, one.id, "", one.state, _data(one), b"", one.last)))
        self._keep(one)

    def _subscriber(self, resource: dict[str, Any]) -> Subscriber:
        plan = notification.plan(resource)
        rules: dict[str, list[Expression]] = {}
        for type, pairs in plan.criteria:
            where = self._parser.parse((type,), pairs, strict=True).query.where
            evaluate.holds(where, "", Entries())
            rules.setdefault(type, []).append(where)
        self._caller.check(plan.endpoint)
        return Subscriber(resource["id"], plan, _digest(resource), REQUESTED, rules)

    # --- deliveries ---------------------------------------------------------------------------------------------------

    def _deliver_due(self) -> None:
        now = self._clock()
        for one in list(self._known.values()):
            beats = one.plan.heartbeat and now - one.last >= one.plan.heartbeat * SECOND
            waits = one.delivered < one.events or one.state == REQUESTED or beats
            if one.state in (REQUESTED, ACTIVE) and waits and one.next <= now and one.busy.acquire(blocking=False):
                self._pool.submit(self._deliver, one)

    def _deliver(self, one: Subscriber) -> None:
        """Tell one subscriber what it has not been told, in order."""
        try:
            if one.state == REQUESTED:
                if one.plan.topical:
                    self._call(one, notification.bundle(one.plan, one.id, "handshake", [], self._root, one.events))
                one.state = ACTIVE
                self._mark(one.id, ACTIVE, "")
            while one.delivered < one.events and one.state == ACTIVE and not self._ending.is_set():
                self._tell(one)
            if one.plan.heartbeat and self._clock() - one.last >= one.plan.heartbeat * SECOND:
                self._call(one, notification.bundle(one.plan, one.id, "heartbeat", [], self._root, one.events))
            if one.failures:
                one.failures = one.failing_since = 0
            self._keep(one)
        except HubError as error:
            self._failed(one, error)
        finally:
            one.busy.release()

    def _tell(self, one: Subscriber) -> None:
        until = min(one.events, one.delivered + one.plan.batch)
        events = [self._due(one.id, number) for number in range(one.delivered + 1, until + 1)]
        for method, url, body in notification.requests(one.plan, one.id, events, self._root, one.events):
            self._caller.call(method, url, self._headers(one), body)
        old = range(max(1, one.delivered - KEPT_EVENTS + 1), until - KEPT_EVENTS + 1)
        one.delivered, one.last = until, self._clock()

        def work(tx: Transaction) -> None:
            tx.settle(STATES, one.id, one.state, {"delivered": one.delivered, "last": one.last})
            tx.discard(EVENTS, [f"{one.id}-{number}" for number in old])

        self._store.write(work)

    def _call(self, one: Subscriber, body: bytes) -> None:
        self._caller.call("POST", one.plan.endpoint, self._headers(one), body)
        one.last = self._clock()

    def _headers(self, one: Subscriber) -> dict[str, str]:
        return {**one.plan.headers, **({"Content-Type": one.plan.payload} if one.plan.payload else {})}

    def _due(self, id: str, number: int) -> Event:
        event = self._event(id, number)
        if event is None:
            raise HubError("exception", f"event {number} of Subscription/{id} is missing")
        return event

    def _event(self, id: str, number: int) -> Event | None:
        item = self._store.item(EVENTS, f"{id}-{number}")
        version = item and self._store.vread(item.data["type"], item.data["id"], item.data["version"])
        return Event(number, version) if version else None

    def _failed(self, one: Subscriber, error: HubError) -> None:
        now = self._clock()
        one.failures += 1
        one.failing_since = one.failing_since or now
        one.next = now + min(2 ** min(one.failures - 1, 20), LONGEST_PAUSE) * SECOND
        log.warning("Subscription/%s: %s (attempt %d)", one.id, error.diagnostics, one.failures)
        if now - one.failing_since > RETRY_HOURS * 3600 * SECOND:
            one.state = ERROR
            self._mark(one.id, ERROR, error.diagnostics)
        self._keep(one)

    def _keep(self, one: Subscriber) -> None:
        """Write down where a subscription stands; the number of events is the feed's to write."""
        facts = {name: value for name, value in _data(one).items() if name != "events"}
        self._store.write(lambda tx: tx.settle(STATES, one.id, one.state, facts))

    def _mark(self, id: str, status: str, error: str) -> None:
        """Say in the Subscription itself how it stands."""

        def change(resource: dict[str, Any]) -> dict[str, Any]:
            kept = {name: value for name, value in resource.items() if name != "error"}
            return {**kept, "status": status, **({"error": error} if error else {})}

        try:
            self._ingest.change(self._context, "Subscription", id, change, event="update")
        except HubError as refusal:
            if refusal.name not in ("deleted", "not-found"):
                raise


def _data(one: Subscriber) -> dict[str, Any]:
    return {
        "events": one.events,
        "delivered": one.delivered,
        "failures": one.failures,
        "failing_since": one.failing_since,
        "next": one.next,
        "last": one.last,
    }


def _digest(resource: dict[str, Any]) -> str:
    """What of a Subscription makes it another one when it changes."""
    asked = [resource.get(name) for name in ("criteria", "_criteria", "channel")]
    return hashlib.sha256(json.encode(asked)).hexdigest()

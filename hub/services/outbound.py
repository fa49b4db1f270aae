"""Messages to subscribed systems, never lost, in order for each destination.

The log of changes is the source: a cursor runs along it, and in one commit the messages it gives are numbered and
written down and the cursor moves. Sending is a second step with its own durable mark, so that a crash at any point
sends a message twice at most (under the same control id) and loses none. A destination that does not answer is tried
again, ever less often; what it refuses is kept as refused, and the next goes out. One process of several serves a
destination (a lease); the others wait.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hub.errors import HubError
from hub.store.protocol import Item, Store, Transaction, Version

CONTROL = "outbound"
QUEUED, SENT, REFUSED = "queued", "sent", "refused"
ACTIVE, PAUSED = "active", "paused"
BATCH = 200
POLL = 0.2
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
LEASE = 120_000_000
MAX_REPLAYED = 10_000

Change = Version
"""A version that was stored, as destinations see it."""

log = logging.getLogger("hub.outbound")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent: its kind, the reference of what it tells of, its bytes."""

    kind: str
    about: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """What a destination said: whether it took the message, and its words."""

    accepted: bool
    answer: bytes


class Destination(Protocol):
    """An adapter's way to one subscribed system."""

    name: str

    def messages(self, version: Change, control_id: str) -> list[Outgoing]:
        """What the system is told of a change; [] for nothing."""

    def send(self, raw: bytes) -> Answered:
        """Deliver and wait for the answer. OSError (or TimeoutError) when there is none."""

    def close(self) -> None:
        """End the connection."""


class Outbound:
    """Runs along the log of changes for every destination; pause, resume, replay."""

    def __init__(self, store: Store, clock: Callable[[], int], new_id: Callable[[], str]) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._lines: dict[str, _Line] = {}

    def start(self, destinations: Sequence[Destination]) -> None:
        """Serve these from now on; a new one is told of what changes after this."""
        for destination in destinations:
            line = _Line(destination, self._store, self._clock, self._new_id)
            self._lines[destination.name] = line
            line.start()

    def close(self) -> None:
        """Let the messages under way end."""
        for line in self._lines.values():
            line.close()

    def overview(self) -> list[dict[str, Any]]:
        """Every destination ever served: state, how many messages it was given and has done, its last failure."""
        items = self._store.items(CONTROL, limit=1000)
        return [{"name": item.id, "state": item.state, "served": item.id in self._lines, **item.data} for item in items]

    def set_state(self, name: str, state: str) -> dict[str, Any]:
        """Pause or resume. HubError("not-found")."""
        self._control(name)
        self._store.write(lambda tx: tx.settle(CONTROL, name, state, {}))
        return next(one for one in self.overview() if one["name"] == name)

    def messages(
        self, name: str, *, states: tuple[str, ...] = (), before: int | None = None, limit: int = 50
    ) -> list[Item]:
        """The messages of a destination, newest first."""
        self._control(name)
        return self._store.items(queue_of(name), states=states, before=before, limit=limit)

    def replay(self, name: str, first: int, last: int) -> int:
        """Send messages ``first`` to ``last`` (numbers) again after all others, bytes unchanged; how many."""
        self._control(name)
        if not 0 < first <= last or last - first >= MAX_REPLAYED:
            raise HubError("parameter-value", f"first and last must be a range of at most {MAX_REPLAYED} messages")

        def work(tx: Transaction) -> int:
            control = tx.item(CONTROL, name)
            assert control is not None
            made = int(control.data["made"])
            again = [item for number in range(first, min(last, made) + 1) if (item := _numbered(tx, name, number))]
            for number, item in enumerate(again, made + 1):
                data = {**item.data, "replays": item.key}
                tx.enqueue(Item(queue_of(name), self._new_id(), str(number), "", QUEUED, data, item.raw, self._clock()))
            tx.settle(CONTROL, name, control.state, {"made": made + len(again)})
            return len(again)

        return self._store.write(work)

    def _control(self, name: str) -> Item:
        item = self._store.item(CONTROL, name)
        if item is None:
            raise HubError("not-found", f"there is no destination {name!r}", name)
        return item


def queue_of(name: str) -> str:
    """The queue of a destination's messages."""
    return f"{CONTROL}:{name}"


def _numbered(tx: Transaction, name: str, number: int) -> Item | None:
    return tx.item_by_key(queue_of(name), str(number))


class _Line:
    """One destination at work, in a thread of its own."""

    def __init__(
        self, destination: Destination, store: Store, clock: Callable[[], int], new_id: Callable[[], str]
    ) -> None:
        self._destination = destination
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._name = destination.name
        self._failures = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"outbound-{destination.name}", daemon=True)

    def start(self) -> None:
        now = self._clock()
        data = {"cursor": self._store.last_seq(), "made": 0, "done": 0, "error": "", "leader": "", "until": 0}
        item = Item(CONTROL, self._name, self._name, "", ACTIVE, data, b"", now)
        self._store.write(lambda tx: tx.enqueue(item))
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        self._destination.close()

    def _run(self) -> None:
        me = self._new_id()
        while not self._ending.is_set():
            try:
                busy = self._step(me)
            except HubError:
                log.exception("outbound %s", self._name)
                busy = False
            except OSError as error:
                self._failed(error)
                busy = True
            if not busy:
                self._ending.wait(POLL)

    def _step(self, me: str) -> bool:
        """Collect what changed, send one message; whether there was anything to do."""
        control = self._store.item(CONTROL, self._name)
        if control is None or not self._leads(control, me):
            return False
        collected = control.data["cursor"] < self._store.last_seq() and self._collect(control)
        if control.state == PAUSED or control.data["done"] >= control.data["made"]:
            return collected
        self._send(control.data["done"] + 1)
        return True

    def _leads(self, control: Item, me: str) -> bool:
        """Whether this process serves the destination; it takes over when another's lease is over."""
        now = self._clock()
        if control.data["leader"] == me and control.data["until"] - now > LEASE // 2:
            return True
        if control.data["leader"] not in ("", me) and control.data["until"] > now and not self._store.local:
            return False

        def work(tx: Transaction) -> bool:
            tx.guard(f"{CONTROL}:{self._name}")
            current = tx.item(CONTROL, self._name)
            if current is None or (current.data["leader"], current.data["until"]) != (
                control.data["leader"],
                control.data["until"],
            ):
                return False
            tx.settle(CONTROL, self._name, current.state, {"leader": me, "until": now + LEASE})
            return True

        return self._store.write(work)

    def _collect(self, control: Item) -> bool:
        changes = self._store.changes(control.data["cursor"], BATCH)
        if not changes:
            return False
        found = [(version, one) for version in changes if not version.deleted for one in self._told(version)]

        def work(tx: Transaction) -> None:
            current = tx.item(CONTROL, self._name)
            assert current is not None
            made = int(current.data["made"])
            for number, (version, one) in enumerate(found, made + 1):
                data = {"kind": one.kind, "about": one.about, "change": version.seq}
                tx.enqueue(
                    Item(queue_of(self._name), self._new_id(), str(number), "", QUEUED, data, one.raw, self._clock())
                )
            tx.settle(CONTROL, self._name, current.state, {"cursor": changes[-1].seq, "made": made + len(found)})

        self._store.write(work)
        return True

    def _told(self, version: Version) -> list[Outgoing]:
        try:
            return self._destination.messages(version, f"{self._name[:8]}{version.seq}")
        except HubError as error:
            log.warning("outbound %s cannot tell of %s/%s: %s", self._name, version.type, version.id, error)
            return []

    def _send(self, number: int) -> None:
        item = self._store.item_by_key(queue_of(self._name), str(number))
        state, data = REFUSED, {"answer": "", "sent": self._clock()}
        if item is not None and item.state != SENT:
            answered = self._destination.send(item.raw)
            state = SENT if answered.accepted else REFUSED
            data = {"answer": answered.answer.decode("utf-8", "replace"), "sent": self._clock()}

        def work(tx: Transaction) -> None:
            current = tx.item(CONTROL, self._name)
            assert current is not None
            if item is not None:
                tx.settle(queue_of(self._name), item.id, state, data)
            tx.settle(CONTROL, self._name, current.state, {"done": number, "error": ""})

        self._store.write(work)
        self._failures = 0

    def _failed(self, error: OSError) -> None:
        pause = min(FIRST_PAUSE * 2**self._failures, LONGEST_PAUSE)
        self._failures += 1
        text = f"{type(error).__name__}: {error}"[:500]
        if self._failures == 1:
            log.warning("outbound %s: %s; trying again", self._name, text)
            self._note(text)
        self._ending.wait(pause)

    def _note(self, text: str) -> None:
        def work(tx: Transaction) -> None:
            current = tx.item(CONTROL, self._name)
            if current is not None:
                tx.settle(CONTROL, self._name, current.state, {"error": text})

        try:
            self._store.write(work)
        except HubError:
            log.exception("outbound %s", self._name)

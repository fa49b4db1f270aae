"""The durable inbox: received, processed and acknowledged are three separate facts.

Every inbound message is a row before it is interpreted, and its answer is kept with it. The row's state is one of
``received`` (not settled yet), ``stored``, ``rejected`` (the sender must mend it) and ``quarantined`` (kept: the hub
cannot process it yet); so *received = stored + rejected + quarantined* once nothing is under way. The key is
channel, sender, kind and control id: the same message again gets the stored answer and changes nothing; the same key
with another body is refused, and kept as a row of its own. The kind is part of the key because senders exist that give
one control id to a series of messages of different types; those are different messages.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from hub.errors import HubError
from hub.services.amend import Statement
from hub.services.codes import Codes
from hub.services.context import Context
from hub.services.ingest import Ingest, Submitted
from hub.store.protocol import Blobs, Item, Store, Transaction

QUEUE = "inbox"
RECEIVED, STORED, REJECTED, QUARANTINED = "received", "stored", "rejected", "quarantined"
LEASE = 360_000_000
"""Microseconds for which the process that received a message is trusted to be working on it."""
WATCH_SECONDS = 30.0
INLINE_BYTES = 256 * 1024
"""A larger raw message is kept in the blob store (a MongoDB document ends at 16 MB)."""

log = logging.getLogger("hub.inbox")


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message as received: ``raw`` bytes, channel, sender and control id as claimed, time in microseconds."""

    id: str
    channel: str
    sender: str
    control_id: str
    raw: bytes
    peer: str
    received: int


@dataclass(frozen=True, slots=True)
class Interpretation:
    """What an adapter makes of a message: a transaction Bundle (None: nothing to store), its kind, facts to show.

    The facts ``event_time``, ``authority``, ``cleared`` and ``restores`` are a ``hub.services.amend.Statement``;
    ``valid`` says that the resources were found good by ``hub.fhir.validate.quick``.
    """

    bundle: dict[str, Any] | None
    kind: str
    facts: dict[str, Any] = field(default_factory=dict)
    valid: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """The fate of a message: its state, the error that decided it, and the references that were stored."""

    state: str
    error: HubError | None = None
    kind: str = ""
    references: tuple[str, ...] = ()


class Interpreter(Protocol):
    """An adapter's reading of its protocol; pure, so that a message can be run again."""

    def interpret(self, inbound: Inbound) -> Interpretation:
        """Raises HubError, located in the protocol's own notation."""

    def answer(self, inbound: Inbound, settled: Settled) -> bytes:
        """The acknowledgement to send, b"" for none. Never raises, whatever the message."""


class Inbox:
    """Accepts, processes and settles inbound messages of every channel."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        ingest: Ingest,
        codes: Codes,
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._ingest = ingest
        self._codes = codes
        self._clock = clock
        self._new_id = new_id
        self._interpreters: dict[str, Interpreter] = {}
        self._settling = threading.Condition()
        self._closing = threading.Event()
        self._forget: Callable[[], object] = bool
        self._watcher = threading.Thread(target=self._watch, name="inbox", daemon=True)

    def register(self, channel: str, interpreter: Interpreter) -> None:
        """Make ``interpreter`` the reader of a channel."""
        self._interpreters[channel] = interpreter

    # --- receive ------------------------------------------------------------------------------------------------------

    def receive(
        self,
        *,
        channel: str,
        sender: str,
        control_id: str,
        raw: bytes,
        kind: str = "",
        peer: str = "",
        replays: str = "",
    ) -> bytes:
        """Accept a message durably, process it, and give the answer to send back once all of it is on disk.

        Without a control id (none could be read) the content itself is the key. Raises HubError only when the store
        cannot accept (``no-store``, ``timeout``): then nothing was received. ``replays`` is the id of the message that
        this is a mended copy of.
        """
        now = self._clock()
        digest = hashlib.sha256(raw).hexdigest()
        key = "\x1f".join((channel, sender, kind, control_id or f"sha256:{digest}"))
        data: dict[str, Any] = {"channel": channel, "sender": sender, "control_id": control_id, "peer": peer}
        if replays:
            data["replays"] = replays
        item = self._row(key, digest, raw, now, data)
        known = self._store.write(lambda tx: tx.enqueue(item))
        if known.id == item.id:
            return self._process(item, raw)
        if known.digest == digest:
            return self._repeat(known, raw)
        return self._refuse_other_body(item, known, raw)

    def _row(self, key: str, digest: str, raw: bytes, now: int, data: dict[str, Any]) -> Item:
        if len(raw) > INLINE_BYTES:
            data["blob"] = self._blobs.put(raw)
        inline = b"" if "blob" in data else raw
        data["size"] = len(raw)
        return Item(QUEUE, self._new_id(), key, digest, RECEIVED, data, inline, now, leased_until=now + LEASE)

    def _repeat(self, known: Item, raw: bytes) -> bytes:
        """The same message again: the stored answer; if the first copy is still under way, wait for its answer."""
        if known.state == RECEIVED and known.leased_until > self._clock():
            with self._settling:
                self._settling.wait_for(lambda: self._state(known.id) != RECEIVED, timeout=LEASE / 1e6)
            known = self._store.item(QUEUE, known.id) or known
        if known.state == RECEIVED:
            return self._process(known, raw)
        return stored_answer(known)

    def _state(self, id: str) -> str:
        item = self._store.item(QUEUE, id)
        return item.state if item else ""

    def _refuse_other_body(self, item: Item, first: Item, raw: bytes) -> bytes:
        key = f"{item.key}\x1f{item.digest}"
        second = Item(
            QUEUE,
            item.id,
            key,
            item.digest,
            RECEIVED,
            {**item.data, "conflicts_with": first.id},
            item.raw,
            item.created,
            leased_until=item.leased_until,
        )
        known = self._store.write(lambda tx: tx.enqueue(second))
        if known.id != second.id:
            return self._repeat(known, raw)
        return self._process(second, raw)

    # --- process ------------------------------------------------------------------------------------------------------

    def _process(self, item: Item, raw: bytes) -> bytes:
        inbound = _inbound(item, raw)
        interpreter = self._interpreters[inbound.channel]
        try:
            if "conflicts_with" in item.data:
                raise HubError(
                    "duplicate",
                    f"control id {inbound.control_id!r} was already used by {inbound.sender!r} for another body"
                    f" (inbox item {item.data['conflicts_with']}); send a changed message under a new control id",
                )
            return self._interpret(inbound, interpreter)
        except HubError as error:
            return self._refuse(inbound, interpreter, error)
        except Exception as error:  # a fault of ours must lose neither the message nor the connection
            log.exception("inbox item %s could not be processed", item.id)
            fault = HubError(
                "exception", f"the hub failed on this message ({type(error).__name__}); it is kept as {item.id}"
            )
            return self._refuse(inbound, interpreter, fault)
        finally:
            with self._settling:
                self._settling.notify_all()

    def _interpret(self, inbound: Inbound, interpreter: Interpreter) -> bytes:
        interpretation = interpreter.interpret(inbound)
        answer = b""

        def settle(tx: Transaction, submitted: Submitted) -> None:
            nonlocal answer
            settled = Settled(STORED, kind=interpretation.kind, references=submitted.references)
            answer = interpreter.answer(inbound, settled)
            facts = {
                "kind": interpretation.kind,
                "facts": interpretation.facts,
                "references": list(submitted.references),
            }
            tx.settle(QUEUE, inbound.id, STORED, {**facts, "answer": encode(answer), "settled": self._clock()})
            self._codes.note(tx, unmapped)

        context = Context(
            door=inbound.channel, actor=inbound.sender, peer=inbound.peer, origin=inbound.id, request=inbound.id
        )
        bundle, unmapped = self._codes.standardised(interpretation.bundle or {"entry": []}, context)
        self._ingest.submit(
            bundle, context, valid=interpretation.valid, statement=Statement.of(interpretation.facts), then=settle
        )
        return answer

    def _refuse(self, inbound: Inbound, interpreter: Interpreter, error: HubError) -> bytes:
        settled = Settled(error.row.inbound, error)
        answer = interpreter.answer(inbound, settled)
        if error.row.retry == "transient":
            log.warning("inbox item %s waits: %s", inbound.id, error)
            return answer
        data = {
            "error": error.name,
            "reason": error.diagnostics,
            "at": error.at,
            "issues": list(error.issues),
            "answer": encode(answer),
            "settled": self._clock(),
        }
        self._store.write(lambda tx: tx.settle(QUEUE, inbound.id, settled.state, data))
        return answer

    # --- run again ----------------------------------------------------------------------------------------------------

    def recover(self, *, alone: bool = False, limit: int = 100) -> int:
        """Run the messages that were received and not settled, once nobody is working on them any more; how many.

        ``alone`` says that no other process can be: leases of one that was killed do not count then.
        """
        done = 0
        ahead = LEASE if alone else 0
        while items := self._store.claim(QUEUE, (RECEIVED,), self._clock() + ahead, LEASE, limit):
            for item in items:
                if item.data["channel"] in self._interpreters:
                    self._process(item, self.raw(item))
                    done += 1
            if len(items) < limit:
                break
        return done

    def watch(self, forget: Callable[[], object]) -> None:
        """Start the thread that runs again what a passing failure, or a killed process, left unsettled, and then calls
        ``forget``, which drops what need not be kept any longer."""
        self._forget = forget
        self._watcher.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        if self._watcher.is_alive():
            self._watcher.join()

    def _watch(self) -> None:
        while not self._closing.wait(WATCH_SECONDS):
            try:
                self.recover()
                self._forget()
            except HubError:
                log.exception("the inbox could not be looked through")

    def rerun(self, id: str) -> Item:
        """Process a settled message again, as after a table was mended; nothing is sent. HubError("not-found")."""
        item = self.get(id)
        if item.data["channel"] not in self._interpreters:
            raise HubError("configuration", f"no listener of channel {item.data['channel']!r} is installed", id)
        self._process(item, self.raw(item))
        return self.get(id)

    def interpreted(self, item: Item) -> tuple[Inbound, Interpretation]:
        """A message as its channel reads it now. HubError as at its receipt."""
        interpreter = self._interpreters.get(item.data["channel"])
        if interpreter is None:
            raise HubError("configuration", f"no listener of channel {item.data['channel']!r} is installed", item.id)
        inbound = _inbound(item, self.raw(item))
        return inbound, interpreter.interpret(inbound)

    # --- look ---------------------------------------------------------------------------------------------------------

    def get(self, id: str) -> Item:
        """One row. HubError("not-found")."""
        item = self._store.item(QUEUE, id)
        if item is None:
            raise HubError("not-found", f"the inbox has no item {id!r}", id)
        return item

    def raw(self, item: Item) -> bytes:
        """The bytes as received, wherever they are kept."""
        return self._blobs.get(item.data["blob"]) if "blob" in item.data else item.raw

    def list(self, *, states: tuple[str, ...] = (), before: int | None = None, limit: int = 50) -> list[Item]:
        """Rows, newest first."""
        return self._store.items(QUEUE, states=states, before=before, limit=limit)

    def counts(self) -> dict[str, int]:
        """State -> number of messages, every state named."""
        return {RECEIVED: 0, STORED: 0, REJECTED: 0, QUARANTINED: 0, **self._store.item_counts(QUEUE)}


def _inbound(item: Item, raw: bytes) -> Inbound:
    data = item.data
    return Inbound(item.id, data["channel"], data["sender"], data["control_id"], raw, data["peer"], item.created)


def encode(answer: bytes) -> str:
    """Bytes as JSON text."""
    return base64.b64encode(answer).decode("ascii")


def stored_answer(item: Item) -> bytes:
    """The answer that was sent when the message was settled."""
    return base64.b64decode(item.data.get("answer", ""))

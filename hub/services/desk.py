"""The message desk: find messages, see what became of them and why, mend and process them again.

A search looks at rows from the newest on, at most ``MAX_SCANNED`` a call; ``next`` says where to go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir.diff import fhirpath_patch
from hub.services.amend import Statement
from hub.services.codes import Codes
from hub.services.context import Context
from hub.services.inbox import QUARANTINED, REJECTED, Inbox, stored_answer
from hub.services.ingest import Ingest, Submitted
from hub.store.protocol import Item, Store, Transaction

PAGE, MAX_SCANNED = 500, 20_000
MAX_REPLAYED = 1000
CODECS = ("utf-8", "gb18030")


class Layout(Protocol):
    """What an adapter can tell of a raw message of its channel; never raises but HubError."""

    def keys(self, raw: bytes) -> dict[str, frozenset[str]]:
        """The identifiers a message is looked for by: ``patient``, ``order``."""

    def tree(self, raw: bytes) -> list[dict[str, Any]]:
        """Every valued piece: ``at``, ``name``, ``value``."""

    def address(self, raw: bytes) -> tuple[str, str, str]:
        """Sender, kind and control id, as the inbox keys them."""

    def renewed(self, raw: bytes, control_id: str) -> bytes:
        """The message under another control id."""


@dataclass(frozen=True, slots=True)
class Sought:
    """What is looked for; "" and 0 mean anything. ``text`` is part of the content; times in microseconds."""

    state: str = ""
    kind: str = ""
    sender: str = ""
    control_id: str = ""
    error: str = ""
    patient: str = ""
    order: str = ""
    text: str = ""
    since: int = 0
    until: int = 0


class _Undone(Exception):
    """Ends a trial, so that nothing of it is kept."""


class Desk:
    """The desk over the inbox."""

    def __init__(self, store: Store, inbox: Inbox, ingest: Ingest, codes: Codes, databases: Databases) -> None:
        self._store = store
        self._inbox = inbox
        self._ingest = ingest
        self._codes = codes
        self._decode = databases.decode
        self._layouts: dict[str, Layout] = {}

    def register(self, channel: str, layout: Layout) -> None:
        """Make ``layout`` the reader of a channel's raw messages."""
        self._layouts[channel] = layout

    # --- find ---------------------------------------------------------------------------------------------------------

    def search(self, sought: Sought, before: int | None = None, limit: int = 50) -> tuple[list[Item], int | None]:
        """The newest messages that match, and the ``seq`` to go on before (None: that was all)."""
        found: list[Item] = []
        last = before
        for scanned, item in enumerate(self._rows((sought.state,) if sought.state else (), before), 1):
            last = item.seq
            if sought.since and item.created < sought.since:
                return found, None
            if self._matches(item, sought):
                found.append(item)
            if len(found) >= limit or scanned >= MAX_SCANNED:
                return found, last
        return found, None

    def _rows(self, states: tuple[str, ...], before: int | None) -> Iterator[Item]:
        while page := self._inbox.list(states=states, before=before, limit=PAGE):
            yield from page
            before = page[-1].seq

    def _matches(self, item: Item, sought: Sought) -> bool:
        data = item.data
        if sought.until and item.created > sought.until:
            return False
        kind = data.get("kind") or item.key.split("\x1f")[2]
        for asked, said in ((sought.sender, data["sender"]), (sought.kind, kind)):
            if asked and not said.startswith(asked):
                return False
        for asked, said in ((sought.control_id, data["control_id"]), (sought.error, data.get("error", ""))):
            if asked and asked != said:
                return False
        return self._holds(item, sought)

    def _holds(self, item: Item, sought: Sought) -> bool:
        """Whether the content has the text and the identifiers."""
        if not (sought.text or sought.patient or sought.order):
            return True
        raw = self._inbox.raw(item)
        for text in (sought.text, sought.patient, sought.order):
            if text and not any(text.encode(codec) in raw for codec in CODECS):
                return False
        layout = self._layouts.get(item.data["channel"])
        if not (sought.patient or sought.order) or layout is None:
            return not (sought.patient or sought.order)
        keys = layout.keys(raw)
        return all(
            not asked or asked in keys[name] for name, asked in (("patient", sought.patient), ("order", sought.order))
        )

    def errors(self) -> list[dict[str, Any]]:
        """What kept messages from being stored: state, error, kind, how many, the newest of them; the most first."""
        counts: Counter[tuple[str, str, str]] = Counter()
        newest: dict[tuple[str, str, str], Item] = {}
        for scanned, item in enumerate(self._rows((REJECTED, QUARANTINED), None)):
            key = (item.state, item.data.get("error", ""), item.key.split("\x1f")[2])
            counts[key] += 1
            newest.setdefault(key, item)
            if scanned >= MAX_SCANNED:
                break
        return [
            {
                "state": key[0], "error": key[1], "kind": key[2], "count": count, "newest": newest[key].id,
                "reason": newest[key].data.get("reason", ""),
            }
            for key, count in counts.most_common()
        ]  # fmt: skip

    # --- look ---------------------------------------------------------------------------------------------------------

    def view(self, id: str) -> dict[str, Any]:
        """Raw bytes, parsed tree, what it maps to now, outcome and answer side by side. HubError("not-found")."""
        item = self._inbox.get(id)
        raw = self._inbox.raw(item)
        layout = self._layouts.get(item.data["channel"])
        seen: dict[str, Any] = {
            "item": item, "raw": raw, "answer": stored_answer(item), "tree": [], "bundle": None, "fault": None,
        }  # fmt: skip
        try:
            if layout is not None:
                seen["tree"] = layout.tree(raw)
            seen["bundle"] = self._inbox.interpreted(item)[1].bundle
        except HubError as error:
            seen["fault"] = {"error": error.name, "reason": error.diagnostics, "at": error.at}
        return seen

    # --- again --------------------------------------------------------------------------------------------------------

    def trial(self, id: str, targets: frozenset[str] = frozenset(), *, keep: bool = False) -> list[dict[str, Any]]:
        """What processing a message again changes: reference, ``create``, ``update`` or ``same``, and the difference
        as a FHIRPath Patch. Nothing is kept without ``keep``; with ``targets`` only those resources are touched.

        HubError as the message itself would get; ``not-found`` for a target that is not of the message.
        """
        inbound, interpretation = self._inbox.interpreted(self._inbox.get(id))
        context = Context(inbound.channel, inbound.sender, inbound.peer, origin=inbound.id, request=inbound.id)
        bundle, _ = self._codes.standardised(interpretation.bundle or {"entry": []}, context)
        entries = [entry for entry in bundle.get("entry", ()) if not targets or _reference(entry) in targets]
        missing = targets - {_reference(entry) for entry in entries}
        if missing:
            raise HubError("not-found", f"the message does not make {', '.join(sorted(missing))}", id)
        before = {_reference(entry): self._stored(self._store, _reference(entry)) for entry in entries}
        changes: list[dict[str, Any]] = []

        def compare(tx: Transaction, submitted: Submitted) -> None:
            changes[:] = [_change(one, before.get(one), self._stored(tx, one)) for one in submitted.references]
            if not keep:
                raise _Undone

        try:
            statement = Statement.of(interpretation.facts)
            self._ingest.submit({**bundle, "entry": entries}, context, statement=statement, then=compare)
        except _Undone:
            pass
        return changes

    def _stored(self, reader: Any, reference: str) -> dict[str, Any] | None:
        version = reader.read(*reference.split("/", 1))
        return None if version is None or version.deleted else self._decode(version)

    def replay(self, ids: list[str], *, dry: bool, targets: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
        """Process messages again, oldest first; each one's state, or (dry, or with targets) its changes.

        HubError("parameter-value") for more than 1,000.
        """
        if len(ids) > MAX_REPLAYED:
            raise HubError("parameter-value", f"at most {MAX_REPLAYED} messages can be replayed at once")
        items = sorted((self._inbox.get(id) for id in ids), key=lambda item: item.seq)
        return [self._again(item, dry, targets) for item in items]

    def _again(self, item: Item, dry: bool, targets: frozenset[str]) -> dict[str, Any]:
        told: dict[str, Any] = {"id": item.id, "state_before": item.state}
        try:
            if dry or targets:
                told["changes"] = self.trial(item.id, targets, keep=not dry)
            else:
                done = self._inbox.rerun(item.id)
                told |= {"state": done.state, "reason": done.data.get("reason", "")}
        except HubError as error:
            told |= {"error": error.name, "reason": error.diagnostics}
        return told

    def edit(self, id: str, raw: bytes, control_id: str) -> Item:
        """A mended copy as a new message, under ``control_id`` unless it has one of its own; the new row.

        HubError("configuration") without a reader of the channel.
        """
        item = self._inbox.get(id)
        layout = self._layouts.get(item.data["channel"])
        if layout is None:
            raise HubError("configuration", f"no reader of channel {item.data['channel']!r} is installed", id)
        if layout.address(raw)[2] in ("", item.data["control_id"]):
            raw = layout.renewed(raw, control_id)
        sender, kind, own = layout.address(raw)
        self._inbox.receive(
            channel=item.data["channel"], sender=sender, control_id=own, kind=kind, raw=raw, peer="desk", replays=id
        )
        return next(one for one in self._rows((), None) if one.data.get("replays") == id)


def _reference(entry: dict[str, Any]) -> str:
    return f"{entry['resource']['resourceType']}/{entry['resource']['id']}"


def _change(reference: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any]:
    if after is None or before == after:
        return {"reference": reference, "change": "same"}
    if before is None:
        return {"reference": reference, "change": "create"}
    patch = fhirpath_patch(before, after)
    if not patch.get("parameter"):
        return {"reference": reference, "change": "same"}
    return {"reference": reference, "change": "update", "patch": patch}

"""Sending a log: every message over its wire, at its time, and the account of what was sent and answered.

Every institution has a lane: its messages leave in order, one after the other. Lanes run beside each other.
"""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from simulators.clock import Clock
from simulators.record import Sending
from simulators.senders import Fhir, Mllp, acknowledgement, store

MAX_REFUSALS = 50
DIMSE_SUCCESS = 0x0000
DIMSE_WARNINGS = range(0xB000, 0xC000)
LINKS = {"mllp": "hl7v2", "dicom": "instances", "http": "fhir"}


@dataclass(frozen=True, slots=True)
class Targets:
    """Where to send: (host, port) of MLLP and DIMSE, base URL of FHIR; None leaves that link out."""

    mllp: tuple[str, int] | None = None
    dicom: tuple[str, int] | None = None
    http: str | None = None
    ae_title: str = "HUB"


@dataclass(slots=True)
class Account:
    """What was sent, answered as expected and left out, by link and kind; the other answers with the peer's words."""

    sent: Counter[str] = field(default_factory=Counter)
    acknowledged: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    studies: set[str] = field(default_factory=set)
    refusals: list[dict[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, sending: Sending, accepted: bool, answer: str) -> None:
        """One answer."""
        name = f"{sending.link} {sending.kind}"
        fine = sending.expect == "any" or accepted == (sending.expect == "accept")
        with self._lock:
            self.sent[name] += 1
            self.acknowledged[name] += fine
            self.faults[sending.how] += bool(sending.how)
            if sending.link == "dicom":
                self.studies.add(sending.control_id)
            if not fine and len(self.refusals) < MAX_REFUSALS:
                refusal = {
                    "hospital": sending.hospital,
                    "kind": name,
                    "control_id": sending.control_id,
                    "answer": answer,
                }
                self.refusals.append(refusal)

    def leave_out(self, group: Sequence[Sending]) -> None:
        """Messages of a link without a target."""
        with self._lock:
            self.left_out[f"{group[0].link} {group[0].kind}"] += len(group)

    def summary(self) -> dict[str, Any]:
        """The account as JSON-able data."""
        return {
            "sent": {**_by_link(self.sent), "studies": len(self.studies)},
            "acks": _by_link(self.acknowledged),
            "kinds": {
                name: {"sent": count, "acknowledged": self.acknowledged[name]}
                for name, count in sorted(self.sent.items())
            },
            "faults": {name: count for name, count in sorted(self.faults.items()) if count},
            "left_out": dict(sorted(self.left_out.items())),
            "refused": self.refusals,
        }


def _by_link(counts: Counter[str]) -> dict[str, int]:
    return {
        name: sum(count for key, count in counts.items() if key.startswith(f"{link} ")) for link, name in LINKS.items()
    }


def send(
    log: Sequence[Sending],
    targets: Targets,
    progress: Callable[[int, int], None] = lambda done, total: None,
    clock: Clock | None = None,
    lanes: int = 1,
) -> Account:
    """Send a log; an institution keeps its MLLP connection, the images of a series go over one association.

    Raises OSError when a target cannot be reached.
    """
    account, done, lock = Account(), Counter[str](), threading.Lock()
    clock = clock or Clock(0)

    def count(number: int) -> None:
        with lock:
            done["done"] += number
            progress(done["done"], len(log))

    parts: list[list[Sending]] = [[] for _ in range(max(1, lanes))]
    for sending in log:
        parts[zlib.crc32(sending.hospital.encode()) % len(parts)].append(sending)
    with ThreadPoolExecutor(len(parts)) as pool:
        for future in [pool.submit(_lane, part, targets, account, clock, count) for part in parts if part]:
            future.result()
    return account


def _lane(
    log: Sequence[Sending], targets: Targets, account: Account, clock: Clock, count: Callable[[int], None]
) -> None:
    with ExitStack() as stack:
        lines: dict[str, Mllp] = {}
        fhir = stack.enter_context(Fhir(targets.http)) if targets.http else None
        for group in _groups(log):
            first = group[0]
            clock.wait(first.at)
            if getattr(targets, first.link) is None:
                account.leave_out(group)
            elif first.link == "dicom":
                _store(account, group, targets)
            elif first.link == "mllp":
                if first.hospital not in lines:
                    host, port = targets.mllp or ("", 0)
                    lines[first.hospital] = stack.enter_context(Mllp(host, port))
                _message(account, group, lines[first.hospital])
            elif fhir is not None:
                status, text = fhir.transaction(first.body, first.request)
                account.note(first, status < 300, f"{status} {text[:500]}")
            count(len(group))


def _groups(log: Sequence[Sending]) -> Iterator[list[Sending]]:
    """The images of one series together, a glued message with the next one of its line, everything else alone."""
    waiting: list[Sending] = []
    for _, group in groupby(enumerate(log), key=lambda row: row[1].control_id if row[1].link == "dicom" else row[0]):
        found = [sending for _, sending in group]
        if waiting and (found[0].link, found[0].hospital) == ("mllp", waiting[0].hospital) and not found[0].how:
            found, waiting = [*waiting, *found], []
        elif waiting:
            yield waiting
            waiting = []
        if found[0].how == "glued" and len(found) == 1:
            waiting = found
        else:
            yield found
    if waiting:
        yield waiting


def _store(account: Account, group: Sequence[Sending], targets: Targets) -> None:
    host, port = targets.dicom or ("", 0)
    statuses = store(host, port, targets.ae_title, [sending.body for sending in group])
    for sending, status in zip(group, statuses, strict=True):
        account.note(sending, status == DIMSE_SUCCESS or status in DIMSE_WARNINGS, f"0x{status:04X}")


def _message(account: Account, group: Sequence[Sending], line: Mllp) -> None:
    if len(group) > 1:
        answers = line.send_glued([sending.body for sending in group])
    else:
        answers = [line.send(group[0].body, group[0].how)]
    for sending, answer in zip(group, answers, strict=True):
        code, control = acknowledgement(answer)
        accepted = code in ("AA", "CA") and control == sending.control_id
        account.note(sending, accepted, answer.decode("utf-8", "replace").replace("\r", "\n")[:500])

"""Sending a scenario: every message over its wire, in order, and the account of what was sent and answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from simulators.dialect import dialects
from simulators.region import Sending
from simulators.senders import Fhir, Mllp, acknowledgement, store

MAX_REFUSALS = 50
DIMSE_SUCCESS = 0x0000
DIMSE_WARNINGS = range(0xB000, 0xC000)


@dataclass(frozen=True, slots=True)
class Targets:
    """Where to send: (host, port) of MLLP and DIMSE, base URL of FHIR; None leaves that link out."""

    mllp: tuple[str, int] | None = None
    dicom: tuple[str, int] | None = None
    http: str | None = None
    ae_title: str = "HUB"


@dataclass(slots=True)
class Account:
    """What was sent, acknowledged positively and left out, by link and kind; refusals with the peer's words."""

    sent: Counter[str] = field(default_factory=Counter)
    acknowledged: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    studies: set[str] = field(default_factory=set)
    refusals: list[dict[str, str]] = field(default_factory=list)

    def note(self, sending: Sending, accepted: bool, answer: str) -> None:
        """One answer."""
        name = f"{sending.link} {sending.kind}"
        self.sent[name] += 1
        self.acknowledged[name] += accepted
        if sending.link == "dicom":
            self.studies.add(sending.control_id)
        if not accepted and len(self.refusals) < MAX_REFUSALS:
            refusal = {"hospital": sending.hospital, "kind": name, "control_id": sending.control_id, "answer": answer}
            self.refusals.append(refusal)

    def summary(self) -> dict[str, Any]:
        """The account as JSON-able data."""
        return {
            "sent": {**_by_link(self.sent), "studies": len(self.studies)},
            "acks": _by_link(self.acknowledged),
            "kinds": {
                name: {"sent": count, "acknowledged": self.acknowledged[name]}
                for name, count in sorted(self.sent.items())
            },
            "left_out": dict(sorted(self.left_out.items())),
            "refused": self.refusals,
        }


LINKS = {"mllp": "hl7v2", "dicom": "instances", "http": "fhir"}


def _by_link(counts: Counter[str]) -> dict[str, int]:
    return {
        name: sum(count for key, count in counts.items() if key.startswith(f"{link} ")) for link, name in LINKS.items()
    }


def send(
    log: Sequence[Sending], targets: Targets, progress: Callable[[int, int], None] = lambda done, total: None
) -> Account:
    """Send a log in order; a hospital keeps its MLLP connection, a study goes over one association.

    Raises OSError when a target cannot be reached.
    """
    account = Account()
    done = 0
    with ExitStack() as stack:
        lines: dict[str, Mllp] = {}
        fhir = stack.enter_context(Fhir(targets.http)) if targets.http else None
        for group in _groups(log):
            first = group[0]
            if getattr(targets, first.link) is None:
                account.left_out[f"{first.link} {first.kind}"] += len(group)
            elif first.link == "dicom":
                _store(account, group, targets)
            elif first.link == "mllp":
                if first.hospital not in lines:
                    host, port = targets.mllp or ("", 0)
                    lines[first.hospital] = stack.enter_context(Mllp(host, port))
                _message(account, first, lines[first.hospital])
            elif fhir is not None:
                status, text = fhir.transaction(first.body)
                account.note(first, status == 200, f"{status} {text[:500]}")
            done += len(group)
            progress(done, len(log))
    return account


def _groups(log: Sequence[Sending]) -> Iterator[list[Sending]]:
    """The images of one study together, everything else alone."""
    for _, group in groupby(enumerate(log), key=lambda row: row[1].control_id if row[1].link == "dicom" else row[0]):
        yield [sending for _, sending in group]


def _store(account: Account, group: Sequence[Sending], targets: Targets) -> None:
    host, port = targets.dicom or ("", 0)
    calling = dialects()[group[0].hospital].ae_title
    statuses = store(host, port, calling, targets.ae_title, [sending.body for sending in group])
    for sending, status in zip(group, statuses, strict=True):
        account.note(sending, status == DIMSE_SUCCESS or status in DIMSE_WARNINGS, f"0x{status:04X}")


def _message(account: Account, sending: Sending, line: Mllp) -> None:
    answer = line.send(sending.body)
    code, control = acknowledgement(answer)
    accepted = code in ("AA", "CA") and control == sending.control_id
    account.note(sending, accepted, answer.decode("utf-8", "replace").replace("\r", "\n")[:500])

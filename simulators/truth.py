"""The truth: the final state that a hub must reach after a log, folded from what the messages say (the oracle).

Facts hold by the time of their event, whatever the order in which they arrive: the latest event that says something
about
an element decides it. The file of a truth is JSON.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulators.record import Fact, Sending

FORMAT = "region-hub-truth/1"
Key = tuple[str, ...]
UNREADABLE = {"delimiters"}
"""Faults that leave no control id to read: the refusal is seen in the acknowledgement only."""


@dataclass(slots=True)
class Truth:
    """``resources``: (type, key) -> values that must be there (None: must not); ``refused``: control id -> fault.

    A value ``subject`` is the index of the resident the resource is about; a Patient's ``sure`` says that a hub can
    and must
    know who it is.
    """

    resources: dict[tuple[str, Key], dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    messages: int = 0

    def persons(self) -> dict[int, dict[Key, bool]]:
        """Resident -> the Patients (facility, number) that are this person, and whether each must be known as it."""
        found: dict[int, dict[Key, bool]] = defaultdict(dict)
        for (kind, key), values in self.resources.items():
            if kind == "Patient":
                found[values["subject"]][key] = bool(values.get("sure"))
        return found

    def write(self, path: Path, **facts: Any) -> None:
        """Write the oracle file."""
        rows = [[kind, list(key), values] for (kind, key), values in sorted(self.resources.items())]
        whole = {"format": FORMAT, **facts, "messages": self.messages, "refused": self.refused, "resources": rows}
        path.write_text(json.dumps(whole, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def read(path: Path) -> Truth:
    """The truth of an oracle file. ValueError when it is not one."""
    whole = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise ValueError(f"{path} is not a truth of the format {FORMAT}")
    resources = {(kind, tuple(key)): values for kind, key, values in whole["resources"]}
    return Truth(resources, whole["refused"], whole["messages"])


def of(log: Iterable[Sending]) -> Truth:
    """The truth of a log."""
    truth = Truth()
    facts: list[Fact] = []
    for sending in log:
        truth.messages += 1
        facts += sending.facts
        if sending.expect == "refuse" and sending.how not in UNREADABLE:
            truth.refused[sending.control_id] = sending.how
    for fact in sorted(facts, key=lambda fact: fact.at):
        truth.resources.setdefault((fact.type, fact.key), {}).update(fact.values)
    return truth

"""Review tasks: what the master patient index must not decide, put before a human as a FHIR Task."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hub.mpi.rules import Key

TASKS = uuid.UUID("0d2f2b0e-2d57-5c0f-8f0b-1c5a0a3f9e42")
CODES = "https://region-hub.example/fhir/CodeSystem/identity-review"
REASONS = {
    "two-documents": (
        "两个不同的有效证件号，不能是同一人",
        "two different valid document numbers are never one person",
    ),
    "shared-document": ("证件号相同，但姓名和出生日期都不同", "the same document, but name and birth date both differ"),
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """One reason (a key of ``REASONS``) why a Patient was not linked to a Person, and the identifiers it is about."""

    reason: str
    person: str
    keys: tuple[Key, ...] = ()


def tasks(patient: str, conflicts: Iterable[Conflict]) -> list[dict[str, Any]]:
    """A Task for each conflict of a Patient (``Patient/id``); the same conflict again is the same Task."""
    return [_task(patient, conflict) for conflict in conflicts]


def _task(patient: str, conflict: Conflict) -> dict[str, Any]:
    zh, en = REASONS[conflict.reason]
    person = f"Person/{conflict.person}"
    return {
        "resourceType": "Task",
        "id": str(uuid.uuid5(TASKS, f"{conflict.reason}|{patient}|{person}")),
        "status": "requested",
        "intent": "proposal",
        "code": {"coding": [{"system": CODES, "code": conflict.reason, "display": en}], "text": f"{zh} / {en}"},
        "focus": {"reference": patient},
        "for": {"reference": patient},
        "input": [{"type": {"text": "candidate"}, "valueReference": {"reference": person}}],
    }

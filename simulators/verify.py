"""The truth to check a hub against: what it must hold after a scenario, asked through its public API only.

Every fact is counted from what was sent, by resident. A resident whose registrations are not one person is missed
(recall); a person with registrations of two residents is wrong (precision); resources of a record are lost or doubled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from simulators.dialect import dialects
from simulators.population import Resident, table
from simulators.region import Sending

MAX_FINDINGS = 200


@dataclass(slots=True)
class Truth:
    """What must be there of one resident: numbers by hospital (the merged ones too), resources by type."""

    resident: Resident
    numbers: set[tuple[str, str]] = field(default_factory=set)
    resources: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Findings:
    """How a hub differs from the truth; all empty when it does not."""

    residents: int = 0
    facts: int = 0
    missed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether the hub holds exactly the truth."""
        return not (self.missed or self.wrong or self.lost or self.doubled)

    def summary(self) -> dict[str, Any]:
        """As JSON-able data."""
        recall = 1 - len(self.missed) / self.residents if self.residents else 1.0
        precision = 1 - len(self.wrong) / self.residents if self.residents else 1.0
        return {
            "sound": self.sound,
            "residents": self.residents,
            "facts": self.facts,
            "identity": {"precision": round(precision, 6), "recall": round(recall, 6)},
            **{name: getattr(self, name)[:MAX_FINDINGS] for name in ("missed", "wrong", "lost", "doubled")},
        }


def truths(residents: Sequence[Resident], log: Iterable[Sending]) -> list[Truth]:
    """The truth of every resident who was sent, from the log alone."""
    by_index = {resident.index: resident for resident in residents}
    found: dict[int, Truth] = {}
    studies: set[str] = set()
    for sending in log:
        if sending.resident is None:
            continue
        truth = found.setdefault(sending.resident, Truth(by_index[sending.resident]))
        if sending.number:
            truth.numbers.add((dialects()[sending.hospital].system, sending.number))
        if sending.link == "dicom" and sending.control_id in studies:
            continue
        studies.add(sending.control_id)
        truth.resources.update(_resources(sending))
    return list(found.values())


def _resources(sending: Sending) -> dict[str, int]:
    """The resources that a message makes, beside those that an earlier message of the visit made."""
    if sending.link == "dicom":
        return {"ImagingStudy": 1}
    return {
        "ADT^A01": {"Encounter": 1},
        "ADT^A04": {"Encounter": 1},
        "ADT^A04:unknown": {"Encounter": 1},
        "ADT^A03": {"Condition": 1},
        "ORM^O01:lab": {"ServiceRequest": 1},
        "ORM^O01:imaging": {"ServiceRequest": 1},
        "ORU^R01:lab": {"DiagnosticReport": 1, "Observation": len(table("laboratory"))},
        "ORU^R01:imaging": {"DiagnosticReport": 1, "Observation": 1},
        "FHIR:visit": {"MedicationRequest": 1, "Observation": 1},
    }.get(sending.kind, {})


def verify(base: str, expected: Sequence[Truth]) -> Findings:
    """Compare a running hub with the truth. OSError when it does not answer."""
    findings = Findings(residents=len(expected))
    owners: dict[str, str] = {}
    try:
        with httpx.Client(base_url=base.rstrip("/"), timeout=60, trust_env=False) as client:
            for truth in expected:
                persons = _persons(client, truth)
                name = f"{truth.resident.name} {truth.resident.number}"
                if len(persons) != 1:
                    findings.missed.append(f"{name}: {len(persons)} persons for {sorted(truth.numbers)}")
                for person in persons:
                    if (owner := owners.setdefault(person, name)) != name:
                        findings.wrong.append(f"{name} and {owner} are one person, {person}")
                _compare(client, truth, persons, name, findings)
    except httpx.HTTPError as error:
        raise ConnectionError(f"{base}: {error}") from error
    return findings


def _persons(client: httpx.Client, truth: Truth) -> list[str]:
    """The ids of the persons that the resident's numbers find."""
    found: dict[str, None] = {}
    for system, number in sorted(truth.numbers):
        answer = client.get("/api/persons", params={"identifier": f"{system}|{number}"})
        answer.raise_for_status()
        found.update(dict.fromkeys(person["id"] for person in answer.json()["persons"]))
    return list(found)


def _compare(client: httpx.Client, truth: Truth, persons: list[str], name: str, findings: Findings) -> None:
    held: Counter[str] = Counter()
    for person in persons:
        answer = client.get(f"/api/persons/{person}/record")
        answer.raise_for_status()
        held.update(item["type"] for item in answer.json()["items"])
    findings.facts += truth.resources.total()
    for kind, count in sorted((truth.resources - held).items()):
        findings.lost.append(f"{name}: {count} {kind}")
    for kind, count in sorted((held - truth.resources).items()):
        findings.doubled.append(f"{name}: {count} {kind}")

"""Compare a hub with the truth, through its public APIs only: identity, lost, doubled and wrong facts, refusals."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from simulators import facts
from simulators.region import Institution
from simulators.truth import Key, Truth

MAX_FINDINGS = 200
PAGE = 500
PROVIDERS = ("Organization", "Location", "Practitioner", "Device")
ORDER = (
    "Patient", "Encounter", "ServiceRequest", "MedicationRequest", "Condition", "DiagnosticReport", "Observation",
    "MedicationDispense", "Appointment", "ChargeItem", "DocumentReference", "Immunization", "ImagingStudy",
    "EpisodeOfCare",
)  # fmt: skip
"""Types of one patient's resources; those that others point to come first."""
SECONDS = 120.0


@dataclass(slots=True)
class Findings:
    """How a hub differs from the truth; all lists empty when it does not."""

    residents: int = 0
    facts: int = 0
    pairs: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether the hub holds exactly the truth."""
        return not (self.missed or self.wrong or self.lost or self.doubled)

    def summary(self) -> dict[str, Any]:
        """As JSON-able data. Recall and precision count pairs of registrations of one person."""
        found, made = self.pairs["found"], self.pairs["made"]
        return {
            "sound": self.sound,
            "residents": self.residents,
            "facts": self.facts,
            "identity": {
                "recall": round(found / self.pairs["true"], 6) if self.pairs["true"] else 1.0,
                "precision": round(found / made, 6) if made else 1.0,
            },
            "counts": {name: len(getattr(self, name)) for name in ("missed", "wrong", "lost", "doubled")},
            **{name: getattr(self, name)[:MAX_FINDINGS] for name in ("missed", "wrong", "lost", "doubled")},
        }


class Hub:
    """A hub's public APIs as the comparison needs them. OSError when it does not answer."""

    def __init__(self, base: str, sites: Iterable[Institution]) -> None:
        self._client = httpx.Client(base_url=base.rstrip("/"), timeout=SECONDS, trust_env=False)
        self._facilities = {site.system: site.facility for site in sites}
        self._keys: dict[str, Key] = {}

    def resources(self, kind: str) -> Iterator[dict[str, Any]]:
        """Every current resource of a type, page by page (one snapshot)."""
        url = f"/fhir/{kind}?_count={PAGE}"
        while url:
            bundle = self._json(url)
            yield from (entry["resource"] for entry in bundle.get("entry", ()))
            url = next((link["url"] for link in bundle.get("link", ()) if link["relation"] == "next"), "")

    def _json(self, url: str) -> Any:
        answer = self._client.get(url, headers={"Accept": "application/json"})
        answer.raise_for_status()
        return json.loads(answer.text, parse_float=str)

    def held(self) -> Iterator[tuple[str, str, Key, Key, dict[str, Any]]]:
        """What the hub has: (reference, type, key, the patient's key, values)."""
        for kind in ORDER:
            for resource in self.resources(kind):
                reference = f"{kind}/{resource['id']}"
                owner = self._patient(resource) if kind == "Patient" else self._keys.get(facts.subject(resource), ())
                rest, values = facts.READERS[kind](resource, self._resolve)
                key = owner if kind == "Patient" else (*owner[:1], *rest)
                self._keys[reference] = key
                yield reference, kind, key, owner, values
        for kind in PROVIDERS:
            for resource in self.resources(kind):
                number = facts.identifier(resource)
                yield f"{kind}/{resource['id']}", kind, (number.partition("-")[0], number), (), {}

    def _resolve(self, reference: str) -> Key:
        return self._keys.get(reference, ())

    def _patient(self, resource: dict[str, Any]) -> Key:
        for one in resource.get("identifier", ()):
            if one.get("system") in self._facilities:
                return self._facilities[one["system"]], str(one.get("value", ""))
        return ()

    def persons(self) -> Iterator[set[Key]]:
        """The Patients of every Person, as keys."""
        for person in self.resources("Person"):
            links = {self._resolve(facts.reference(link, "target")) for link in person.get("link", ())}
            yield {key for key in links if key}

    def refused(self) -> set[str]:
        """Control ids of messages that were rejected or quarantined."""
        found: set[str] = set()
        for state in ("rejected", "quarantined"):
            before = ""
            while True:
                items = self._json(f"/api/inbox?state={state}&limit=500{before}")["items"]
                found |= {item["control_id"] for item in items}
                if len(items) < 500:
                    break
                before = f"&before={items[-1]['seq']}"
        return found

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def verify(base: str, truth: Truth, sites: Iterable[Institution]) -> Findings:
    """Compare a running hub with the truth. OSError when it does not answer."""
    hub = Hub(base, sites)
    try:
        findings = Findings(residents=len(truth.persons()))
        _compare(hub, truth, findings)
        _identity(hub, truth, findings)
        for control in sorted(set(truth.refused) - hub.refused()):
            findings.wrong.append(f"message {control} ({truth.refused[control]}) should have been refused")
        return findings
    except httpx.HTTPError as error:
        raise ConnectionError(f"{base}: {error}") from error
    finally:
        hub.close()


def _compare(hub: Hub, truth: Truth, findings: Findings) -> None:
    owners = {key: values["subject"] for (kind, key), values in truth.resources.items() if kind == "Patient"}
    held: dict[tuple[str, Key], list[str]] = defaultdict(list)
    for reference, kind, key, owner, values in hub.held():
        expected = truth.resources.get((kind, key))
        name = f"{kind} {' '.join(key)}"
        held[kind, key].append(reference)
        if expected is None:
            if kind in ORDER:
                findings.doubled.append(f"{name} ({reference}) is nobody's")
            continue
        if kind in ORDER and owners.get(owner) != expected["subject"]:
            findings.wrong.append(f"{name}: of {' '.join(owner) or 'nobody'}, not of resident {expected['subject']}")
        for element, value in expected.items():
            if element not in ("subject", "sure") and not _same(values.get(element), value):
                findings.wrong.append(f"{name}: {element} is {values.get(element)!r}, not {value!r}")
    for (kind, key), values in truth.resources.items():
        findings.facts += 1 + len(values)
        references = held.get((kind, key), [])
        if not references:
            findings.lost.append(f"{kind} {' '.join(key)}")
        if len(references) > 1:
            findings.doubled.append(f"{kind} {' '.join(key)}: {', '.join(references)}")


def _same(held: Any, expected: Any) -> bool:
    if held is None or expected is None or isinstance(expected, bool):
        return bool(held == expected)
    return facts.number(held) == facts.number(expected) if str(held) != str(expected) else True


def _identity(hub: Hub, truth: Truth, findings: Findings) -> None:
    """Persons against residents: who must be one is one; nobody is two residents."""
    owners = {key: values["subject"] for (kind, key), values in truth.resources.items() if kind == "Patient"}
    where: dict[Key, int] = {}
    for place, members in enumerate(hub.persons()):
        residents = {owners[key] for key in members if key in owners}
        if len(residents) > 1:
            findings.wrong.append(f"residents {sorted(residents)} are one person: {sorted(members)}")
        count = Counter(owners.get(key) for key in members)
        findings.pairs["made"] += len(members) * (len(members) - 1) // 2
        findings.pairs["found"] += sum(number * (number - 1) // 2 for who, number in count.items() if who is not None)
        where.update(dict.fromkeys(members, place))
    for resident, registrations in truth.persons().items():
        number = len(registrations)
        findings.pairs["true"] += number * (number - 1) // 2
        sure = {where.get(key) for key, certain in registrations.items() if certain}
        if len(sure) > 1 or None in sure:
            findings.missed.append(f"resident {resident} is {len(sure)} persons: {sorted(registrations)}")

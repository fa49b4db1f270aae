"""The simulated hospitals against a hub in a process of its own, and the truth checked; planted faults are found."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import httpx
import pytest

from simulators import scenario, traffic, truth, verify
from simulators.record import Sending
from simulators.scenario import Scenario
from simulators.truth import Truth
from simulators.verify import Findings
from terminology import identifiers
from tests.running import Process

RESIDENT_ID = "urn:oid:2.16.840.1.113883.2.23.1.19.1"
PLAN = Scenario("demo", 3, households=8)


@pytest.fixture(scope="module")
def log() -> list[Sending]:
    return scenario.log(PLAN)


@pytest.fixture(scope="module")
def expected(log: list[Sending]) -> Truth:
    return truth.of(log)


def compare(process: Process, expected: Truth) -> Findings:
    return verify.verify(process.base, expected, PLAN.sites.values())


@pytest.fixture(scope="module")
def filled(running: Process, log: list[Sending], expected: Truth) -> Process:
    account = traffic.send(log, traffic.Targets(running.mllp, running.dicom, running.base))
    assert account.refusals == []
    studies = sum(kind == "ImagingStudy" for kind, _ in expected.resources)
    end = time.monotonic() + 30
    while total(running, "ImagingStudy") < studies and time.monotonic() < end:
        time.sleep(0.2)
    return running


def total(process: Process, kind: str) -> int:
    return int(httpx.get(f"{process.base}/fhir/{kind}?_summary=count").json()["total"])


def test_the_hub_holds_exactly_the_truth(filled: Process, expected: Truth) -> None:
    findings = compare(filled, expected)
    assert findings.sound, json.dumps(findings.summary(), ensure_ascii=False, indent=1)
    assert findings.residents == len(expected.persons()) >= 6
    assert findings.facts > 400


def test_sending_everything_again_changes_nothing(filled: Process, log: list[Sending], expected: Truth) -> None:
    before = total(filled, "Observation"), total(filled, "Patient"), total(filled, "Person")
    account = traffic.send(log, traffic.Targets(filled.mllp, filled.dicom, filled.base))
    assert account.refusals == []
    assert (total(filled, "Observation"), total(filled, "Patient"), total(filled, "Person")) == before
    assert compare(filled, expected).sound


def test_no_file_of_the_hub_tells_an_identity_number(filled: Process) -> None:
    """Privacy at rest: 18 characters with a right check character, whose they are, in no file of the data directory."""
    shape = re.compile(rb"(?<![0-9])[0-9]{17}[0-9X](?![0-9])")
    files = [file for file in filled.data.rglob("*") if file.is_file()]
    found = {match.decode() for file in files for match in shape.findall(file.read_bytes())}
    assert [number for number in found if identifiers.resident_id(number)] == []
    patients = httpx.get(f"{filled.base}/fhir/Patient?identifier={RESIDENT_ID}|&_count=50").text.encode()
    assert any(identifiers.resident_id(match.decode()) for match in shape.findall(patients)), "they are stored"


def lose(process: Process, client: httpx.Client) -> None:
    found = client.get("/fhir/Observation?_count=1").json()["entry"][0]["resource"]
    assert client.delete(f"/fhir/Observation/{found['id']}").status_code in (200, 204)


def double(process: Process, client: httpx.Client) -> None:
    found = client.get("/fhir/Encounter?_count=1").json()["entry"][0]["resource"]
    copy = {name: value for name, value in found.items() if name not in ("id", "meta", "identifier")}
    headers = {"Content-Type": "application/fhir+json"}
    assert client.post("/fhir/Encounter", content=json.dumps(copy), headers=headers).status_code == 201


def join(process: Process, client: httpx.Client) -> None:
    """Two Patients with the ID numbers of two people."""
    found = client.get(f"/fhir/Patient?identifier={RESIDENT_ID}|&_count=50").json()["entry"]
    by_number = {
        identifier["value"]: entry["resource"]["id"]
        for entry in found
        for identifier in entry["resource"]["identifier"]
        if identifier.get("system") == RESIDENT_ID
    }
    one, other = list(by_number.values())[:2]
    assert decide(client, f"Patient/{one}", f"Patient/{other}", same=True) == 200


def part(process: Process, client: httpx.Client) -> None:
    persons = client.get("/fhir/Person?_count=50").json()["entry"]
    links = next(entry["resource"]["link"] for entry in persons if len(entry["resource"].get("link", ())) > 1)
    one, other = (link["target"]["reference"] for link in links[:2])
    assert decide(client, one, other, same=False) == 200


def decide(client: httpx.Client, one: str, other: str, same: bool) -> int:
    body = {"a": one, "b": other, "same": same, "actor": "a fault"}
    return client.post("/api/mpi/decisions", json=body).status_code


@pytest.mark.parametrize(("fault", "kind"), [(lose, "lost"), (double, "doubled"), (part, "missed")])
def test_a_planted_fault_is_found(
    filled: Process,
    expected: Truth,
    fault: Callable[[Process, httpx.Client], None],
    kind: str,
) -> None:
    with httpx.Client(base_url=filled.base, timeout=30) as client:
        fault(filled, client)
    findings = compare(filled, expected)
    assert getattr(findings, kind), findings.summary()


def test_no_decision_passes_the_guard_of_two_documents(filled: Process, expected: Truth) -> None:
    with httpx.Client(base_url=filled.base, timeout=30) as client:
        join(filled, client)
    assert compare(filled, expected).wrong == []


def test_a_person_with_numbers_of_two_residents_is_wrong(filled: Process, expected: Truth) -> None:
    strange = {key: dict(values) for key, values in expected.resources.items()}
    patients = [values for (kind, _), values in strange.items() if kind == "Patient"]
    for values in patients:
        values["subject"] = min(one["subject"] for one in patients) if values["sure"] else values["subject"]
    findings = compare(filled, Truth(strange))
    assert findings.missed, "two residents that are taken for one are two persons"
    halves = {key: values | {"subject": place} for place, (key, values) in enumerate(strange.items())}
    found = compare(filled, Truth(halves))
    assert found.wrong
    assert found.summary()["identity"]["precision"] < 1

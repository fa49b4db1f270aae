"""Races that other servers lose (HAPI #3141, Microsoft #1382): every one has one winner."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import BACK_ENDS

FHIR = {"Content-Type": "application/fhir+json"}
CALLERS = 64


@pytest.fixture(scope="module", params=BACK_ENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def together(server: str, send: object) -> list[httpx.Response]:
    def one(number: int) -> httpx.Response:
        with httpx.Client(base_url=server, timeout=60, verify=False) as client:
            return send(client, number)  # type: ignore[operator,no-any-return]

    with ThreadPoolExecutor(CALLERS) as callers:
        return list(callers.map(one, range(CALLERS)))


def test_conditional_creates_make_one(server: str, client: httpx.Client) -> None:
    criteria = "identifier=urn:oid:1.2.9|race"
    body = {"resourceType": "Patient", "identifier": [{"system": "urn:oid:1.2.9", "value": "race"}]}

    def create(caller: httpx.Client, _: int) -> httpx.Response:
        return caller.post("/fhir/Patient", json=body, headers={**FHIR, "If-None-Exist": criteria})

    answers = together(server, create)
    assert sorted(answer.status_code for answer in answers) == [200] * (CALLERS - 1) + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert client.get(f"/fhir/Patient?{criteria}").json()["total"] == 1


def test_conditional_updates_make_one(server: str, client: httpx.Client) -> None:
    criteria = "identifier=urn:oid:1.2.9|race-2"
    body = {"resourceType": "Patient", "identifier": [{"system": "urn:oid:1.2.9", "value": "race-2"}]}

    def update(caller: httpx.Client, number: int) -> httpx.Response:
        return caller.put(f"/fhir/Patient?{criteria}", json={**body, "birthDate": f"19{number + 10}"}, headers=FHIR)

    answers = together(server, update)
    assert sorted(answer.status_code for answer in answers) == [200] * (CALLERS - 1) + [201]
    found = client.get(f"/fhir/Patient?{criteria}").json()
    assert found["total"] == 1
    assert found["entry"][0]["resource"]["meta"]["versionId"] == str(CALLERS)


def test_transactions_with_a_conditional_create_make_one(server: str, client: httpx.Client) -> None:
    criteria = "identifier=urn:oid:1.2.9|race-3"
    subject = "urn:uuid:6f1f0a52-4c22-4b8e-9a3c-0d0c0f6c0001"
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:oid:1.2.9", "value": "race-3"}]}
    observation = {
        "resourceType": "Observation", "status": "final", "code": {"text": "c"}, "subject": {"reference": subject}
    }  # fmt: skip
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": subject,
                "resource": patient,
                "request": {"method": "POST", "url": "Patient", "ifNoneExist": criteria},
            },
            {"resource": observation, "request": {"method": "POST", "url": "Observation"}},
        ],
    }

    answers = together(server, lambda caller, _: caller.post("/fhir", json=bundle, headers=FHIR))
    assert {answer.status_code for answer in answers} == {200}
    found = client.get(f"/fhir/Patient?{criteria}").json()
    assert found["total"] == 1
    id = found["entry"][0]["resource"]["id"]
    assert client.get(f"/fhir/Observation?subject=Patient/{id}&_summary=count").json()["total"] == CALLERS


def test_updates_with_if_match_have_one_winner(server: str, client: httpx.Client) -> None:
    body = {"resourceType": "Patient", "id": "race-4"}
    client.put("/fhir/Patient/race-4", json=body, headers=FHIR).raise_for_status()

    def update(caller: httpx.Client, number: int) -> httpx.Response:
        changed = {**body, "birthDate": f"19{number + 10}"}
        return caller.put("/fhir/Patient/race-4", json=changed, headers={**FHIR, "If-Match": 'W/"1"'})

    codes = sorted(answer.status_code for answer in together(server, update))
    assert codes == [200] + [412] * (CALLERS - 1)


def test_updates_without_if_match_lose_no_version(server: str, client: httpx.Client) -> None:
    def update(caller: httpx.Client, number: int) -> httpx.Response:
        body = {"resourceType": "Patient", "id": "race-5", "birthDate": f"19{number + 10}"}
        return caller.put("/fhir/Patient/race-5", json=body, headers=FHIR)

    together(server, update)
    history = client.get("/fhir/Patient/race-5/_history?_count=100").json()
    assert [entry["response"]["etag"] for entry in history["entry"]] == [f'W/"{n}"' for n in range(CALLERS, 0, -1)]

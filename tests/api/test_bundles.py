"""transaction and batch (R4 3.1.0.11), on both stores."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from tests.conftest import BACK_ENDS

FHIR = {"Content-Type": "application/fhir+json"}
SYSTEM = "urn:oid:1.2.840.11"
UUID = "urn:uuid:6f1f0a52-4c22-4b8e-9a3c-0d0c0f6c000"


@pytest.fixture(scope="module", params=BACK_ENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def entry(
    method: str, url: str, resource: dict[str, Any] | None = None, full_url: str = "", **more: str
) -> dict[str, Any]:
    made: dict[str, Any] = {"request": {"method": method, "url": url, **more}}
    if resource is not None:
        made["resource"] = resource
    return made | ({"fullUrl": full_url} if full_url else {})


def send(client: httpx.Client, kind: str, *entries: dict[str, Any], **headers: str) -> httpx.Response:
    bundle = {"resourceType": "Bundle", "type": kind, "entry": list(entries)}
    return client.post("/fhir", json=bundle, headers=FHIR | headers)


def patient(value: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": value}], **more}


def observation(subject: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "c"},
        "subject": {"reference": subject},
        **more,
    }


def statuses(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [one["response"]["status"][:3] for one in response.json()["entry"]]


def test_a_transaction_spans_the_four_databases(client: httpx.Client) -> None:
    encounter = {
        "resourceType": "Encounter",
        "status": "finished",
        "class": {"code": "IMP"},
        "subject": {"reference": UUID + "1"},
    }
    response = send(
        client,
        "transaction",
        entry("POST", "Observation", observation(UUID + "1", performer=[{"reference": UUID + "2"}])),
        entry("POST", "Patient", patient("a"), UUID + "1"),
        entry("POST", "Organization", {"resourceType": "Organization", "name": "Xinhe No. 1"}, UUID + "2"),
        entry("POST", "Encounter", encounter),
        entry("POST", "Immunization", {
            "resourceType": "Immunization", "status": "completed", "vaccineCode": {"text": "v"},
            "patient": {"reference": UUID + "1"}, "occurrenceDateTime": "2026-11-20",
        }),
    )  # fmt: skip
    assert statuses(response) == ["201"] * 5
    places = [one["response"]["location"].split("/fhir/")[1].split("/_history")[0] for one in response.json()["entry"]]
    stored = client.get(f"/fhir/{places[0]}").json()
    assert stored["subject"]["reference"] == places[1]
    assert stored["performer"] == [{"reference": places[2]}]
    databases = client.get("/api/status").json()["databases"]
    assert {name for name, types in databases.items() if types} == {"population", "resources", "emr", "ehr"}


def test_all_or_nothing(client: httpx.Client) -> None:
    response = send(
        client,
        "transaction",
        entry("POST", "Patient", patient("never")),
        entry("PUT", "Patient/never-2", patient("never", id="never-2"), ifMatch='W/"7"'),
    )
    assert response.status_code == 412
    assert response.json()["issue"][0]["expression"][0].startswith("Bundle.entry[1]")
    assert client.get(f"/fhir/Patient?identifier={SYSTEM}|never").json()["total"] == 0


def test_deletes_come_first_and_reads_last(client: httpx.Client) -> None:
    client.put("/fhir/Patient/order", json=patient("order", id="order"), headers=FHIR).raise_for_status()
    response = send(
        client,
        "transaction",
        entry("GET", f"Patient?identifier={SYSTEM}|order"),
        entry("POST", "Patient", patient("order")),
        entry("DELETE", "Patient/order"),
    )
    assert statuses(response) == ["200", "201", "204"]
    found = response.json()["entry"][0]["resource"]
    assert found["total"] == 1 and found["entry"][0]["resource"]["id"] != "order"


def test_conditional_references_are_resolved(client: httpx.Client) -> None:
    client.put("/fhir/Patient/known", json=patient("known", id="known"), headers=FHIR).raise_for_status()
    response = send(
        client, "transaction", entry("POST", "Observation", observation(f"Patient?identifier={SYSTEM}|known"))
    )
    place = response.json()["entry"][0]["response"]["location"].split("/fhir/")[1]
    assert client.get(f"/fhir/{place}").json()["subject"]["reference"] == "Patient/known"
    absent = send(
        client, "transaction", entry("POST", "Observation", observation(f"Patient?identifier={SYSTEM}|nobody"))
    )
    assert absent.status_code == 412


def test_two_entries_about_one_resource_are_refused(client: httpx.Client) -> None:
    twice = send(
        client,
        "transaction",
        entry("PUT", "Patient/twice", patient("t", id="twice")),
        entry("PUT", "Patient/twice", patient("t", id="twice", gender="male")),
    )
    assert twice.status_code == 409
    both = send(
        client,
        "transaction",
        entry("PUT", f"Patient?identifier={SYSTEM}|known", patient("known")),
        entry("PUT", f"Patient?identifier={SYSTEM}|known", patient("known", gender="male")),
    )
    assert both.status_code == 409


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_two_entries_that_would_create_the_same_are_refused(client: httpx.Client, method: str) -> None:
    query = f"identifier={SYSTEM}|same"
    url, more = (f"Patient?{query}", {}) if method == "PUT" else ("Patient", {"ifNoneExist": query})
    response = send(client, "transaction", *[entry(method, url, patient("same"), **more) for _ in range(2)])
    assert response.status_code == 409
    assert client.get(f"/fhir/Patient?{query}").json()["total"] == 0


def test_conditional_create_of_an_existing_one_is_referred_to(client: httpx.Client) -> None:
    response = send(
        client,
        "transaction",
        entry("POST", "Patient", patient("known"), UUID + "1", ifNoneExist=f"identifier={SYSTEM}|known"),
        entry("POST", "Observation", observation(UUID + "1")),
        Prefer="return=representation",
    )
    assert statuses(response) == ["200", "201"]
    assert response.json()["entry"][1]["resource"]["subject"]["reference"] == "Patient/known"


@pytest.mark.parametrize("kind", ["transaction", "batch"])
def test_patches_among_the_entries(client: httpx.Client, kind: str) -> None:
    client.put("/fhir/Patient/patched", json=patient("patched", id="patched"), headers=FHIR).raise_for_status()
    operation = [{"op": "add", "path": "/birthDate", "value": f"200{len(kind) % 10}"}]
    data = base64.b64encode(json.dumps(operation).encode()).decode()
    binary = {"resourceType": "Binary", "contentType": "application/json-patch+json", "data": data}
    response = send(client, kind, entry("PATCH", f"Patient?identifier={SYSTEM}|patched", binary))
    assert statuses(response) == ["200"]
    assert client.get("/fhir/Patient/patched").json()["birthDate"] == f"200{len(kind) % 10}"
    wrong = send(client, kind, entry("PATCH", "Patient/patched", patient("x")))
    assert wrong.status_code == 422 or statuses(wrong) == ["422"]


def test_a_batch_goes_on_after_an_error(client: httpx.Client) -> None:
    response = send(
        client,
        "batch",
        entry("POST", "Patient", patient("batch")),
        entry("POST", "Patient", patient("batch", gender="red")),
        entry("GET", "Patient/absent"),
        entry("GET", "/Patient/known"),
        entry("GET", "metadata"),
        entry("DELETE", "Patient/known", ifMatch='W/"9"'),
        entry("PUT", "Patient/by-batch", patient("by-batch", id="by-batch")),
    )
    assert statuses(response) == ["201", "422", "404", "200", "200", "412", "201"]
    failed = response.json()["entry"][1]
    assert failed["response"]["outcome"]["issue"][0]["code"] == "code-invalid"
    assert response.json()["type"] == "batch-response"


def test_a_read_that_fails_fails_the_transaction(client: httpx.Client) -> None:
    response = send(client, "transaction", entry("GET", "Patient/absent"))
    assert response.status_code == 404
    assert response.json()["issue"][0]["expression"] == ["Bundle.entry[0]"]


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("POST", "http://evil.example/Patient"),
        ("PUT", "Patient"),
        ("BREW", "Patient"),
        ("POST", ""),
        ("PUT", "Patient/1/2"),
    ],
)
def test_requests_that_are_none_are_refused(client: httpx.Client, method: str, url: str) -> None:
    assert send(client, "transaction", entry(method, url, patient("x"))).status_code in (400, 422)


def test_the_base_decides_what_may_be_written(client: httpx.Client) -> None:
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry("POST", "Patient", patient("x"))]}
    assert client.post("/emr", json=bundle, headers=FHIR).status_code == 422
    gone = {"resourceType": "Bundle", "type": "transaction", "entry": [entry("DELETE", "Patient/by-batch")]}
    assert client.post("/emr", json=gone, headers=FHIR).status_code == 200
    assert client.get("/fhir/Patient/by-batch").status_code == 200
    assert client.post("/population", json=bundle, headers=FHIR).status_code == 200

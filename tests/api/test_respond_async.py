"""Prefer: respond-async (R4 3.1.6): 202, status, manifest, file; what is refused; what is not deferred."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

FHIR = {"Content-Type": "application/fhir+json"}
LATER = {"Prefer": "respond-async"}


@pytest.fixture(scope="module", autouse=True)
def patients(client: httpx.Client) -> None:
    for number in range(3):
        patient = {"resourceType": "Patient", "id": f"later-{number}", "gender": "male"}
        client.put(f"/fhir/Patient/later-{number}", json=patient, headers=FHIR).raise_for_status()


def manifest(client: httpx.Client, path: str, **headers: str) -> dict[str, Any]:
    kicked = client.get(path, headers={"Prefer": ", ".join(["respond-async", *headers.values()])})
    assert kicked.status_code == 202
    assert kicked.headers["preference-applied"] == "respond-async"
    until = time.monotonic() + 20
    while (answer := client.get(kicked.headers["content-location"])).status_code == 202:
        assert time.monotonic() < until
        time.sleep(0.05)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return {**found, "status": kicked.headers["content-location"]}


def only(client: httpx.Client, files: list[dict[str, Any]]) -> Any:
    (file,) = files
    answer = client.get(file["url"]).raise_for_status()
    assert answer.headers["content-type"] == "application/fhir+ndjson"
    resource = json.loads(answer.text)
    assert resource["resourceType"] == file["type"]
    return resource


@pytest.mark.parametrize(
    "path",
    ["Patient?_sort=_id", "Patient/later-1/_history", "Patient/later-0/$everything", "Patient/later-0/Observation"],
)
def test_the_answer_is_that_of_the_request_itself(client: httpx.Client, path: str) -> None:
    found = manifest(client, f"/fhir/{path}")
    assert found["error"] == []
    assert found["request"].endswith(path.partition("?")[0]) or "?" in path
    later, now = only(client, found["output"]), client.get(f"/fhir/{path}").raise_for_status().json()
    assert later["type"] == now["type"]
    assert later.get("entry") == now.get("entry")


def test_a_refusal_is_in_error(client: httpx.Client) -> None:
    found = manifest(client, "/fhir/Patient?nonsense=1", handling="handling=strict")
    assert found["output"] == []
    assert only(client, found["error"])["issue"][0]["severity"] == "error"


def test_what_is_deleted_is_gone(client: httpx.Client) -> None:
    found = manifest(client, "/fhir/Patient")
    assert client.delete(found["status"]).status_code == 202
    assert client.get(found["status"]).status_code == 404
    assert client.get(found["output"][0]["url"]).status_code == 404


def test_reads_and_writes_are_answered_at_once(client: httpx.Client) -> None:
    assert client.get("/fhir/Patient/later-0", headers=LATER).status_code == 200
    patient = {"resourceType": "Patient", "id": "later-0", "gender": "male"}
    answer = client.put("/fhir/Patient/later-0", json=patient, headers=FHIR | LATER)
    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers

"""Every status code the FHIR API gives, as a table (tests/conformance/http_interactions.csv)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import BACK_ENDS

TABLE = Path(__file__).parents[1] / "conformance" / "http_interactions.csv"
FHIR = {"Content-Type": "application/fhir+json"}


@pytest.fixture(scope="module", params=BACK_ENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def rows() -> list[dict[str, str]]:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def patient(id: str | None = None, value: str = "x", **more: Any) -> dict[str, Any]:
    identity = {"id": id} if id else {}
    return {"resourceType": "Patient", **identity, "identifier": [{"system": "urn:oid:1.2.3", "value": value}], **more}


LABORATORY = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]
}
SURVEY = [{"coding": [{"system": LABORATORY["coding"][0]["system"], "code": "survey"}]}]
OBSERVATION = {
    "resourceType": "Observation", "id": "seen", "status": "final", "category": [LABORATORY],
    "code": {"text": "c"}, "subject": {"reference": "Patient/known"},
}  # fmt: skip
REPLACE_GENDER = {
    "name": "operation",
    "part": [
        {"name": "type", "valueCode": "replace"},
        {"name": "path", "valueString": "Patient.gender"},
        {"name": "value", "valueCode": "other"},
    ],
}
BODIES: dict[str, Any] = {
    "patient": patient(),
    "patient-made": patient("made", "made"),
    "patient-made-changed": patient("made", "made", gender="female"),
    "patient-conditional": patient(value="made", gender="male"),
    "patient-fresh": patient(value="fresh"),
    "observation": OBSERVATION,
    "observation-elsewhere": {**OBSERVATION, "category": SURVEY},
    "broken": b'{"resourceType": "Patient", "id": ',
    "list": b"[]",
    "xml": b'<Patient xmlns="http://hl7.org/fhir"><name><family value="\xe7\x8e\x8b"/></name></Patient>',
    "doctype": b'<!DOCTYPE x [<!ENTITY e "x">]><Patient xmlns="http://hl7.org/fhir"/>',
    "untyped": {"id": "1"},
    "unknown-element": patient(colour="red"),
    "wrong-code": patient(gender="red"),
    "parameters": {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": patient()}]},
    "json-patch": [{"op": "add", "path": "/birthDate", "value": "1985-03-07"}],
    "json-patch-again": [{"op": "add", "path": "/birthDate", "value": "1985-03-08"}],
    "json-patch-lost": [{"op": "remove", "path": "/name/0"}],
    "json-patch-wrong": [{"op": "add", "path": "/gender", "value": "red"}],
    "json-patch-id": [{"op": "replace", "path": "/id", "value": "x"}],
    "fhirpath-patch": {"resourceType": "Parameters", "parameter": [REPLACE_GENDER]},
    "form": b"family=Zwilling",
    "batch-empty": {"resourceType": "Bundle", "type": "batch"},
    "collection": {"resourceType": "Bundle", "type": "collection"},
}


@pytest.fixture(scope="module")
def prepared(client: httpx.Client) -> httpx.Client:
    for gender in ("male", "female"):
        client.put(
            "/fhir/Patient/known", json=patient("known", "known", gender=gender), headers=FHIR
        ).raise_for_status()
    client.put("/fhir/Patient/gone", json=patient("gone", "gone"), headers=FHIR).raise_for_status()
    client.delete("/fhir/Patient/gone").raise_for_status()
    for id in ("twin-1", "twin-2"):
        body = patient(id, id, name=[{"family": "Zwilling"}])
        client.put(f"/fhir/Patient/{id}", json=body, headers=FHIR).raise_for_status()
    client.put("/fhir/Observation/seen", json=OBSERVATION, headers=FHIR).raise_for_status()
    return client


def send(client: httpx.Client, row: dict[str, str]) -> httpx.Response:
    headers = dict(pair.split("=", 1) for pair in row["headers"].split(" & ")) if row["headers"] else {}
    body = BODIES[row["body"]] if row["body"] else None
    if isinstance(body, bytes):
        return client.request(row["method"], row["path"], content=body, headers=FHIR | headers)
    return client.request(row["method"], row["path"], json=body, headers=(FHIR if body else {}) | headers)


def test_status_codes(prepared: httpx.Client) -> None:
    wrong = []
    for row in rows():
        response = send(prepared, row)
        said = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        whole = f"{said}\n{response.text}"
        body = response.json() if row["issue"] and response.text.startswith("{") else {}
        issue = body["issue"][0]["code"] if "issue" in body else ""
        if (
            str(response.status_code) != row["status"]
            or issue != row["issue"]
            or row["shows"].lower() not in whole.lower()
        ):
            wrong.append(f"{row['name']}: {response.status_code} {issue} {response.text[:300]}")
    assert not wrong, "\n".join(wrong)


def test_names_are_unique() -> None:
    names = [row["name"] for row in rows()]
    assert len(names) == len(set(names)) > 90

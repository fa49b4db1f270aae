"""The terminology operations over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

GENDER = "http://hl7.org/fhir/ValueSet/administrative-gender"
COLOURS: dict[str, Any] = {
    "resourceType": "CodeSystem", "url": "https://hospital.example/colours", "version": "1", "status": "active",
    "content": "complete", "valueSet": "https://hospital.example/colours/vs",
    "concept": [{"code": "red", "display": "Red"}, {"code": "blue", "display": "Blue"}],
}  # fmt: skip


def result(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["parameter"][0]["valueBoolean"]


@pytest.mark.parametrize(
    ("path", "pairs", "resource"),
    [
        ("CodeSystem/$lookup", {"system": "http://hl7.org/fhir/administrative-gender", "code": "male"}, "Parameters"),
        ("CodeSystem/$validate-code", {"url": "http://unitsofmeasure.org", "code": "mmol/L"}, "Parameters"),
        ("ValueSet/$validate-code", {"url": GENDER, "code": "male"}, "Parameters"),
        ("ValueSet/$expand", {"url": GENDER, "filter": "fem", "count": "5"}, "ValueSet"),
        ("ValueSet/administrative-gender/$expand", {}, "ValueSet"),
        ("ConceptMap/$translate", {"system": "https://region-hub.example/fhir/CodeSystem/gbt2261-1-sex", "code": "1"},
         "Parameters"),
        ("CodeSystem/$subsumes", {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "codeA": "AMB",
                                  "codeB": "IMP"}, "Parameters"),
    ],
)  # fmt: skip
def test_an_operation_answers_get_and_post_alike(
    client: httpx.Client, path: str, pairs: dict[str, str], resource: str
) -> None:
    got = client.get(f"/fhir/{path}", params=pairs)
    assert (got.status_code, got.json()["resourceType"]) == (200, resource), got.text
    if "count" not in pairs:
        parameter = [{"name": name, "valueString": value} for name, value in pairs.items()]
        posted = client.post(f"/fhir/{path}", json={"resourceType": "Parameters", "parameter": parameter})
        for answer in (got.json(), posted.json()):
            answer.get("expansion", {}).pop("timestamp", None)
        assert posted.json().get("parameter") == got.json().get("parameter")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("ValueSet/$expand?url=http://nowhere.example/vs", 404, "not-found"),
        ("ValueSet/$expand", 422, "required"),
        ("ValueSet/$expand?url=http://hl7.org/fhir/ValueSet/mimetypes", 422, "too-costly"),
        (f"ValueSet/$expand?url={GENDER}&count=-1", 400, "value"),
        ("CodeSystem/$lookup?system=http://loinc.org&code=none", 404, "not-found"),
        ("Patient/$expand", 404, "not-found"),
    ],
)
def test_a_refusal_is_an_operation_outcome(client: httpx.Client, path: str, status: int, code: str) -> None:
    answer = client.get(f"/fhir/{path}")
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (status, code)


def test_a_stored_code_system_is_used_at_once_and_no_longer_when_deleted(client: httpx.Client) -> None:
    url = "/fhir/ValueSet/$validate-code"
    pairs = {"url": COLOURS["valueSet"], "code": "red"}
    assert client.get(url, params=pairs).status_code == 404
    created = client.post("/fhir/CodeSystem", json=COLOURS)
    assert created.status_code == 201, created.text
    id = created.headers["location"].split("/CodeSystem/")[1].split("/")[0]
    assert result(client.get(url, params=pairs)) is True
    assert result(client.get(f"/fhir/CodeSystem/{id}/$validate-code", params={"code": "blue"})) is True
    changed = {**COLOURS, "id": id, "concept": [{"code": "green"}]}
    assert client.put(f"/fhir/CodeSystem/{id}", json=changed).status_code == 200
    assert result(client.get(url, params=pairs)) is False
    assert client.delete(f"/fhir/CodeSystem/{id}").status_code in (200, 204)
    assert client.get(url, params=pairs).status_code == 404


def test_closure_at_the_system_level(client: httpx.Client) -> None:
    body = {"resourceType": "Parameters", "parameter": [{"name": "name", "valueString": "mine"}]}
    answer = client.post("/fhir/$closure", json=body)
    assert (answer.status_code, answer.json()["resourceType"]) == (200, "ConceptMap"), answer.text


def test_operations_in_a_batch(client: httpx.Client) -> None:
    entries = [
        {"request": {"method": "GET", "url": f"ValueSet/$validate-code?url={GENDER}&code={code}"}}
        for code in ("male", "man")
    ]
    answer = client.post("/fhir", json={"resourceType": "Bundle", "type": "batch", "entry": entries})
    rows = answer.json()["entry"]
    assert [row["resource"]["parameter"][0]["valueBoolean"] for row in rows] == [True, False]

"""Identity over the platform API and $match of a whole hub: lookups, the record of all hospitals, cards, decisions."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

MALE, FEMALE = "109901198503070013", "109901198503070021"
RESIDENT_ID = "urn:oid:2.16.840.1.113883.2.23.1.19.1"
HOSPITALS = {"urn:oid:2.999.1": "第一医院", "urn:oid:2.999.2": "第二医院"}
Resource = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def hospitals(client: httpx.Client) -> None:
    for system, hospital in HOSPITALS.items():
        fill(client, system, hospital)


def put(client: httpx.Client, resource: Resource) -> None:
    response = client.put(
        f"/fhir/{resource['resourceType']}/{resource['id']}",
        content=json.dumps(resource),
        headers={"Content-Type": "application/fhir+json"},
    )
    assert response.status_code in (200, 201), response.text


def fill(client: httpx.Client, system: str, hospital: str) -> None:
    """A hospital with one patient, everywhere the same man, and two things about him."""
    code = system.rpartition(".")[2]
    naming = {
        "resourceType": "NamingSystem", "id": f"n{code}", "name": f"H{code}", "status": "active", "kind": "identifier",
        "date": "2026-11-01", "responsible": hospital, "uniqueId": [{"type": "uri", "value": system}],
    }  # fmt: skip
    patient = {
        "resourceType": "Patient", "id": f"p{code}", "name": [{"text": "王小明"}], "gender": "male",
        "birthDate": "1985-03-07",
        "identifier": [{"system": system, "value": "00000001"}, {"system": RESIDENT_ID, "value": MALE}],
    }  # fmt: skip
    about = {"subject": {"reference": f"Patient/p{code}"}}
    encounter = {
        "resourceType": "Encounter", "id": f"e{code}", "status": "finished",
        "class": {"code": "AMB", "display": "门诊"},
        "period": {"start": f"2026-11-0{code}T08:00:00+08:00"}, **about,
    }  # fmt: skip
    observation = {
        "resourceType": "Observation", "id": f"o{code}", "status": "final", "code": {"text": "葡萄糖"},
        "effectiveDateTime": f"2026-11-0{code}T00:30:00Z", "valueQuantity": {"value": 6.34, "unit": "mmol/L"},
        "interpretation": [{"coding": [{"code": "H"}]}], **about,
    }  # fmt: skip
    for resource in (naming, patient, encounter, observation):
        put(client, resource)


def persons(client: httpx.Client, **asked: str) -> list[Resource]:
    found = client.get("/api/persons", params=asked)
    assert found.status_code == 200, found.text
    return list(found.json()["persons"])


@pytest.mark.parametrize(
    "asked",
    [
        {"identifier": MALE},
        {"identifier": "109901850307001"},
        {"identifier": f"{RESIDENT_ID}|{MALE}"},
        {"identifier": "urn:oid:2.999.1|00000001"},
        {"identifier": "00000001"},
        {"name": "王小明"},
        {"name": "王"},
    ],
)
def test_a_person_is_found(client: httpx.Client, asked: dict[str, str]) -> None:
    (person,) = persons(client, **asked)
    assert (person["name"], person["gender"], person["birth_date"]) == ("王小明", "male", "1985-03-07")
    assert sorted(person["patients"]) == ["Patient/p1", "Patient/p2"]
    assert {row["assigner"] for row in person["identifiers"]} >= set(HOSPITALS.values())


@pytest.mark.parametrize("asked", [{"identifier": FEMALE}, {"name": "李"}, {"id": "nobody"}, {"card": "AB" * 32}])
def test_nobody_is_an_empty_answer(client: httpx.Client, asked: dict[str, str]) -> None:
    assert persons(client, **asked) == []


def test_the_record_is_of_all_hospitals_newest_first_with_its_origin(client: httpx.Client) -> None:
    (person,) = persons(client, identifier=MALE)
    record = client.get(f"/api/persons/{person['id']}/record").json()
    items = record["items"]
    assert [item["reference"] for item in items] == ["Observation/o2", "Encounter/e2", "Observation/o1", "Encounter/e1"]
    assert items[0]["title"] == "葡萄糖 6.34 mmol/L ↑"
    assert {item["hospital"] for item in items} == set(HOSPITALS.values())
    assert len({item["lane"] for item in items}) == 2
    assert {item["source"] for item in items} == {"FHIR"}


def test_a_record_of_nobody_is_404(client: httpx.Client) -> None:
    assert client.get("/api/persons/nobody/record").status_code == 404


def test_a_card_finds_the_person_and_its_code_works_once(client: httpx.Client) -> None:
    issued = client.post("/api/cards", json={"number": MALE, "name": "王小明"})
    assert issued.status_code == 201, issued.text
    index = issued.json()["index"]
    (person,) = persons(client, card=index)
    assert person["card"] == index
    code = client.post(f"/api/cards/{index}/code").json()["code"]
    use = {"code": code, "institution": "H1", "terminal": "T1", "step": "10101"}
    verified = client.post("/api/cards/verify", json=use)
    assert verified.status_code == 200
    assert verified.json()["person"]["name"] == "王小明"
    again = client.post("/api/cards/verify", json=use)
    assert again.status_code == 409
    assert again.json()["issue"][0]["code"] == "duplicate"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/cards", {"number": "1", "name": "x"}, 422),
        ("/api/cards/verify", {"code": "x"}, 422),
        ("/api/cards/nothing/state", {"action": "suspend"}, 404),
        ("/api/mpi/decisions", {"a": "Patient/p1", "b": "Patient/no", "same": True, "actor": "Li"}, 404),
    ],
)
def test_what_cannot_be_done_is_refused(client: httpx.Client, path: str, body: Resource, status: int) -> None:
    assert client.post(path, json=body).status_code == status


def match(client: httpx.Client, patient: Resource, **parameters: bool) -> Resource:
    rows = [{"name": "resource", "resource": {"resourceType": "Patient", **patient}}]
    rows += [{"name": name, "valueBoolean": value} for name, value in parameters.items()]
    response = client.post(
        "/fhir/Patient/$match",
        content=json.dumps({"resourceType": "Parameters", "parameter": rows}),
        headers={"Content-Type": "application/fhir+json"},
    )
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_match_by_number_is_certain(client: httpx.Client) -> None:
    """ITI-119: score 0..1 and match-grade, ordered."""
    bundle = match(client, {"identifier": [{"system": RESIDENT_ID, "value": MALE}]}, onlyCertainMatches=True)
    assert {entry["resource"]["id"] for entry in bundle["entry"]} == {"p1", "p2"}
    assert {entry["search"]["score"] for entry in bundle["entry"]} == {1.0}
    assert {entry["search"]["extension"][0]["valueCode"] for entry in bundle["entry"]} == {"certain"}


def test_match_by_name_and_birth_date_is_probable_and_not_certain(client: httpx.Client) -> None:
    asked = {"name": [{"text": "王小明"}], "birthDate": "1985-03-07"}
    bundle = match(client, asked)
    assert {entry["search"]["extension"][0]["valueCode"] for entry in bundle["entry"]} == {"probable"}
    assert all(0 < entry["search"]["score"] < 1 for entry in bundle["entry"])
    assert match(client, asked, onlyCertainMatches=True).get("entry", []) == []


def test_explain_and_decide(client: httpx.Client) -> None:
    for id, name in (("tom", "周大宝"), ("tim", "周小宝")):
        put(client, {
            "resourceType": "Patient", "id": id, "name": [{"text": name}], "birthDate": "2015-01-02", "gender": "male",
            "identifier": [{"system": f"urn:oid:2.999.7{len(name)}{ord(id[1])}", "value": "9"}],
            "telecom": [{"system": "phone", "value": "13900007777"}], "address": [{"text": "信和市安平县青年路7号"}],
        })  # fmt: skip
    explained = client.get("/api/mpi/explain", params={"a": "Patient/tom", "b": "Patient/tim"}).json()
    assert explained["decision"] == "review"
    reviews = client.get("/api/mpi/reviews").json()["reviews"]
    assert [{row["one"], row["other"]} for row in reviews] == [{"Patient/tom", "Patient/tim"}]
    same = {"a": "Patient/tom", "b": "Patient/tim", "same": True, "actor": "Dr Li", "note": "phoned the mother"}
    assert client.post("/api/mpi/decisions", json=same).status_code == 200
    assert client.get("/api/mpi/reviews").json()["reviews"] == []
    explained = client.get("/api/mpi/explain", params={"a": "Patient/tom", "b": "Patient/tim"}).json()
    assert explained["decision"] == "linked"


def cross(client: httpx.Client, **asked: str) -> httpx.Response:
    return client.get("/fhir/Patient/$ihe-pix", params=asked)


def test_cross_references(client: httpx.Client) -> None:
    """ITI-83: the identifiers of the other domains, and the Patients."""
    answer = cross(client, sourceIdentifier="urn:oid:2.999.1|00000001").json()
    found = {(row["valueIdentifier"]["system"], row["valueIdentifier"]["value"])
             for row in answer["parameter"] if row["name"] == "targetIdentifier"}  # fmt: skip
    assert {(RESIDENT_ID, MALE), ("urn:oid:2.999.2", "00000001")} <= found
    assert ("urn:oid:2.999.1", "00000001") not in found
    assert {row["valueReference"]["reference"] for row in answer["parameter"] if row["name"] == "targetId"} == {
        "Patient/p1", "Patient/p2",
    }  # fmt: skip


def test_cross_references_of_one_domain(client: httpx.Client) -> None:
    answer = cross(client, sourceIdentifier="urn:oid:2.999.1|00000001", targetSystem="urn:oid:2.999.2").json()
    assert [row["name"] for row in answer["parameter"]] == ["targetIdentifier", "targetId"]
    assert answer["parameter"][1]["valueReference"]["reference"] == "Patient/p2"


@pytest.mark.parametrize(
    ("source", "status"), [("urn:oid:2.999.1|999", 404), ("urn:oid:2.999.77|1", 400), ("00000001", 400), ("", 422)]
)
def test_cross_references_of_nobody(client: httpx.Client, source: str, status: int) -> None:
    answer = cross(client, sourceIdentifier=source) if source else cross(client)
    assert answer.status_code == status
    assert answer.json()["resourceType"] == "OperationOutcome"

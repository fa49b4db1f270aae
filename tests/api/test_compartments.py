"""Compartments: search, $everything, and both the same set (R4 3.1.0.9.2, Patient-everything)."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import BACK_ENDS

FHIR = {"Content-Type": "application/fhir+json"}
TYPES = (
    "Patient",
    "Observation",
    "Encounter",
    "Condition",
    "AllergyIntolerance",
    "RelatedPerson",
    "Provenance",
    "List",
)
PEOPLE = 6


@pytest.fixture(scope="module", params=BACK_ENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def resources(people: int = PEOPLE) -> Iterator[dict[str, Any]]:
    """People with records, some of whom perform on others, and two institutions all refer to."""
    chance = random.Random(7)
    for number in range(2):
        yield {"resourceType": "Organization", "id": f"org-{number}", "name": f"Xinhe {number}"}
        yield {"resourceType": "Practitioner", "id": f"doc-{number}", "name": [{"family": "李"}]}
    for number in range(people):
        me = {"reference": f"Patient/c{number}"}
        other = {"reference": f"Patient/c{chance.randrange(people)}"}
        organization = {"reference": f"Organization/org-{number % 2}"}
        yield {"resourceType": "Patient", "id": f"c{number}", "managingOrganization": organization}
        yield {
            "resourceType": "Encounter", "id": f"e{number}", "status": "finished", "class": {"code": "IMP"},
            "subject": me, "period": {"start": f"20{10 + number % 16}-01-01", "end": f"20{10 + number % 16}-01-02"},
        }  # fmt: skip
        for line in range(chance.randrange(6)):
            yield {
                "resourceType": "Observation", "id": f"o{number}-{line}", "status": "final", "code": {"text": "c"},
                "subject": me, "effectiveDateTime": f"20{10 + line}-06-01",
                "performer": [other, {"reference": f"Practitioner/doc-{line % 2}"}],
            }  # fmt: skip
        yield {"resourceType": "Condition", "id": f"k{number}", "subject": me, "code": {"text": "x"}, "asserter": other}
        yield {"resourceType": "AllergyIntolerance", "id": f"a{number}", "patient": me, "recorder": other}
        yield {"resourceType": "RelatedPerson", "id": f"r{number}", "patient": me}


def load(client: httpx.Client, people: int) -> None:
    """Store them, 200 entries a transaction."""
    entries = [
        {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
        for one in resources(people)
    ]
    for start in range(0, len(entries), 200):
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries[start : start + 200]}
        response = client.post("/fhir", json=bundle, headers=FHIR)
        assert response.status_code == 200, response.text


@pytest.fixture(scope="module")
def loaded(client: httpx.Client) -> httpx.Client:
    load(client, PEOPLE)
    return client


def collect(client: httpx.Client, url: str) -> tuple[list[str], set[str]]:
    """References of the matches in order, and of the included ones, over all pages."""
    matches, included = [], set()
    following: str | None = url
    while following:
        response = client.get(following)
        assert response.status_code == 200, response.text
        bundle = response.json()
        for entry in bundle.get("entry", []):
            reference = f"{entry['resource']['resourceType']}/{entry['resource']['id']}"
            if entry["search"]["mode"] == "match":
                matches.append(reference)
            else:
                included.add(reference)
        following = next((one["url"] for one in bundle["link"] if one["relation"] == "next"), None)
    return matches, included


def test_everything_is_the_compartment(loaded: httpx.Client) -> None:
    for number in range(PEOPLE):
        by_type = {
            reference for type in TYPES for reference in collect(loaded, f"/fhir/Patient/c{number}/{type}?_count=3")[0]
        }
        whole = collect(loaded, f"/fhir/Patient/c{number}/*")[0]
        paged, included = collect(loaded, f"/fhir/Patient/c{number}/$everything?_count=4")
        unpaged, _ = collect(loaded, f"/fhir/Patient/c{number}/$everything")
        assert len(paged) == len(set(paged))
        assert f"Patient/c{number}" in by_type
        persons = {reference for reference in paged if reference.startswith("Person/")}
        assert set(paged) == set(unpaged) == set(whole) == by_type | persons
        assert all(reference.startswith(("Organization/", "Practitioner/")) for reference in included)
        assert f"Organization/org-{number % 2}" in included


def test_what_others_assert_about_others_is_not_included(loaded: httpx.Client) -> None:
    matches, included = collect(loaded, "/fhir/Patient/c1/$everything")
    assert not any(reference.startswith("Patient/") for reference in included)
    assert [reference for reference in matches if reference.startswith("Patient/")] == ["Patient/c1"]


def test_everything_by_type_date_and_change(loaded: httpx.Client) -> None:
    observations = collect(loaded, "/fhir/Patient/c1/Observation")[0]
    assert collect(loaded, "/fhir/Patient/c1/$everything?_type=Observation")[0] == observations
    late = collect(loaded, "/fhir/Patient/c1/Observation?date=ge2012-01-01")[0]
    assert collect(loaded, "/fhir/Patient/c1/$everything?_type=Observation&start=2012-01-01")[0] == late
    assert collect(loaded, "/fhir/Patient/c1/$everything?_since=2100-01-01")[0] == []
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "_type", "valueCode": "Condition"}]}
    posted = loaded.post("/fhir/Patient/c1/$everything", json=parameters, headers=FHIR).json()
    assert {entry["resource"]["resourceType"] for entry in posted["entry"]} >= {"Condition"}


def test_the_base_narrows_the_compartment(loaded: httpx.Client) -> None:
    matches = collect(loaded, "/population/Patient/c1/*")[0]
    assert "Patient/c1" in matches and not any(one.startswith("Encounter/") for one in matches)


def test_other_compartments(loaded: httpx.Client) -> None:
    mine, _ = collect(loaded, "/fhir/Practitioner/doc-1/Observation")
    assert mine and set(mine) == set(collect(loaded, "/fhir/Observation?performer=Practitioner/doc-1")[0])
    assert collect(loaded, "/fhir/Encounter/e1/*")[0] == ["Encounter/e1"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("Organization/org-1/Observation", 404),
        ("Patient/c1/Organization", 200),
        ("Patient/c1/*?code=x", 400),
        ("Patient/c1/Observation?_count=0", 200),
        ("Patient/c1/$everything?colour=red", 400),
        ("Patient/c1/$everything?_type=Colour", 400),
        ("Patient/c1/$everything?_count=none", 400),
        ("Patient/c1/$everything?_cursor=x", 400),
        ("Observation/o1-0/$everything", 404),
    ],
)
def test_what_is_refused(loaded: httpx.Client, path: str, status: int) -> None:
    assert loaded.get(f"/fhir/{path}").status_code == status


def test_nothing_is_in_a_compartment_that_has_no_members(loaded: httpx.Client) -> None:
    assert loaded.get("/fhir/Patient/c1/Organization").json()["total"] == 0
    assert loaded.get("/fhir/Patient/nobody/Observation").json()["total"] == 0


def export(client: httpx.Client, path: str) -> dict[str, list[str]]:
    """A whole bulk export: type -> ids in the file's order."""
    kicked = client.get(path, headers={"Prefer": "respond-async"})
    assert kicked.status_code == 202, kicked.text
    status = kicked.headers["content-location"]
    for _ in range(200):
        answer = client.get(status)
        if answer.status_code != 202:
            break
        time.sleep(0.05)
    assert answer.status_code == 200, answer.text
    manifest = answer.json()
    found = {}
    for output in manifest["output"]:
        file = client.get(output["url"])
        assert file.headers["content-type"] == "application/fhir+ndjson"
        lines = [json.loads(line) for line in file.text.splitlines()]
        assert len(lines) == output["count"] and {line["resourceType"] for line in lines} == {output["type"]}
        found[output["type"]] = [line["id"] for line in lines]
    assert client.delete(status).status_code == 202
    assert client.get(status).status_code == 404
    return found


def references(exported: dict[str, list[str]]) -> list[str]:
    return [f"{type}/{id}" for type, ids in exported.items() for id in ids]


def test_an_export_of_all_patients_is_all_their_compartments(loaded: httpx.Client) -> None:
    exported = references(export(loaded, "/fhir/Patient/$export"))
    assert len(exported) == len(set(exported))
    whole = {one for number in range(PEOPLE) for one in collect(loaded, f"/fhir/Patient/c{number}/$everything")[0]}
    assert set(exported) == whole


def test_an_export_of_one_patient_or_a_group(loaded: httpx.Client) -> None:
    one = references(export(loaded, "/fhir/Patient/$export?patient=Patient/c1"))
    assert set(one) == set(collect(loaded, "/fhir/Patient/c1/$everything")[0])
    member = [{"entity": {"reference": f"Patient/c{number}"}} for number in (1, 2)]
    group = {"resourceType": "Group", "id": "g", "type": "person", "actual": True, "member": member}
    loaded.put("/fhir/Group/g", json=group, headers=FHIR).raise_for_status()
    two = references(export(loaded, "/fhir/Group/g/$export"))
    assert set(two) == {one for n in (1, 2) for one in collect(loaded, f"/fhir/Patient/c{n}/$everything")[0]}
    empty = {"resourceType": "Group", "id": "empty", "type": "person", "actual": True}
    loaded.put("/fhir/Group/empty", json=empty, headers=FHIR).raise_for_status()
    assert export(loaded, "/fhir/Group/empty/$export") == {}


def test_an_export_of_the_system_is_narrowed(loaded: httpx.Client) -> None:
    system = export(loaded, "/fhir/$export?_type=Observation,Organization")
    assert sorted(system["Organization"]) == ["org-0", "org-1"]
    assert len(system["Observation"]) == loaded.get("/fhir/Observation?_summary=count").json()["total"]
    some = export(loaded, "/fhir/$export?_type=Observation&_typeFilter=Observation%3Fdate%3Dge2012-01-01")
    late = loaded.get("/fhir/Observation?date=ge2012-01-01&_summary=count").json()["total"]
    assert 0 < len(some["Observation"]) == late < len(system["Observation"])
    assert export(loaded, "/fhir/$export?_since=2100-01-01T00:00:00Z") == {}
    assert "Patient" not in export(loaded, "/emr/$export")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("$export?_outputFormat=csv", 400),
        ("$export?_type=Colour", 400),
        ("$export?colour=red", 400),
        ("$export?_typeFilter=Observation", 400),
        ("$export?_typeFilter=Observation%3Fcolour%3Dred", 400),
        ("$export?_since=soon", 400),
        ("Group/absent/$export", 404),
        ("Group/$export", 404),
        ("Patient/c1/$export", 404),
        ("Observation/$export", 404),
        ("_export/none", 404),
        ("_export/none/Patient.ndjson", 404),
        ("_export/../x", 404),
    ],
)
def test_what_is_not_exported(loaded: httpx.Client, path: str, status: int) -> None:
    assert loaded.get(f"/fhir/{path}").status_code == status


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_three_ways_to_a_thousand_records(loaded: httpx.Client) -> None:
    load(loaded, 1000)
    exported = set(references(export(loaded, "/fhir/Patient/$export")))
    whole = set()
    for number in range(1000):
        everything = set(collect(loaded, f"/fhir/Patient/c{number}/$everything")[0])
        assert everything == set(collect(loaded, f"/fhir/Patient/c{number}/*")[0])
        whole |= everything
    assert exported == whole

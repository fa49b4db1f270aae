"""Operations beside $everything: $meta*, $lastn, $document, and where operations may be called."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

FHIR = {"Content-Type": "application/fhir+json"}
TAG = {"system": "urn:oid:1.2.3", "code": "t"}


@pytest.fixture(scope="module")
def record(client: httpx.Client) -> httpx.Client:
    def put(resource: dict[str, Any]) -> None:
        path = f"/fhir/{resource['resourceType']}/{resource['id']}"
        client.put(path, json=resource, headers=FHIR).raise_for_status()

    put({"resourceType": "Organization", "id": "op-org", "name": "Xinhe"})
    put({
        "resourceType": "Practitioner", "id": "op-doc", "name": [{"family": "李"}],
        "qualification": [{"code": {"text": "q"}, "issuer": {"reference": "Organization/op-org"}}],
    })  # fmt: skip
    put({"resourceType": "Patient", "id": "op", "meta": {"tag": [{"code": "old"}]}})
    put({"resourceType": "Patient", "id": "other"})
    for number in range(6):
        for code in ("718-7", "2093-3"):
            put({
                "resourceType": "Observation", "id": f"op-{code}-{number}", "status": "final",
                "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
                "subject": {"reference": "Patient/op"}, "effectiveDateTime": f"2026-0{number + 1}-01",
            })  # fmt: skip
    put({
        "resourceType": "Composition", "id": "op-c", "status": "final", "type": {"text": "discharge"},
        "subject": {"reference": "Patient/op"}, "date": "2026-11-20", "title": "出院小结",
        "author": [{"reference": "Practitioner/op-doc"}],
        "section": [
            {"title": "s", "entry": [{"reference": "Observation/op-718-7-1"}, {"reference": "Observation/lost"}]}
        ],
    })  # fmt: skip
    return client


def call(client: httpx.Client, path: str, meta: dict[str, Any]) -> dict[str, Any]:
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": meta}]}
    response = client.post(path, json=parameters, headers=FHIR)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["parameter"][0]["valueMeta"]
    return found


def test_meta(record: httpx.Client) -> None:
    assert record.get("/fhir/Patient/op/$meta").json()["parameter"][0]["valueMeta"]["tag"] == [{"code": "old"}]
    added = call(
        record, "/fhir/Patient/op/$meta-add", {"tag": [TAG, {"code": "old"}], "profile": ["http://x.example/p"]}
    )
    assert added["tag"] == [{"code": "old"}, TAG] and added["profile"] == ["http://x.example/p"]
    assert added["versionId"] == "2"
    assert call(record, "/fhir/Patient/op/$meta-add", {"tag": [TAG]})["versionId"] == "2"
    assert record.get("/fhir/Patient?_tag=urn:oid:1.2.3|t").json()["total"] == 1
    left = call(record, "/fhir/Patient/op/$meta-delete", {"tag": [TAG], "profile": ["http://x.example/p"]})
    assert left["tag"] == [{"code": "old"}] and "profile" not in left
    assert record.get("/fhir/Patient?_tag=urn:oid:1.2.3|t").json()["total"] == 0


def test_operations_that_change_are_posted(record: httpx.Client) -> None:
    response = record.get("/fhir/Patient/op/$meta-add")
    assert response.status_code == 405 and response.headers["allow"] == "POST"
    assert (
        record.post("/fhir/Patient/op/$meta-add", json={"resourceType": "Parameters"}, headers=FHIR).status_code == 422
    )


def test_lastn(record: httpx.Client) -> None:
    newest = record.get("/fhir/Observation/$lastn?patient=Patient/op&max=2").json()
    ids = [entry["resource"]["id"] for entry in newest["entry"]]
    assert sorted(ids) == ["op-2093-3-4", "op-2093-3-5", "op-718-7-4", "op-718-7-5"]
    one = record.get("/fhir/Observation/$lastn?patient=Patient/op&code=718-7").json()
    assert [entry["resource"]["id"] for entry in one["entry"]] == ["op-718-7-5"]


@pytest.mark.parametrize(
    "query",
    ["", "?code=718-7", "?patient=Patient/op&max=0", "?patient=Patient/op&max=x", "?patient=Patient/op&colour=x"],
)
def test_lastn_refuses(record: httpx.Client, query: str) -> None:
    assert record.get(f"/fhir/Observation/$lastn{query}").status_code in (400, 422)


def test_document(record: httpx.Client) -> None:
    document = record.get("/fhir/Composition/op-c/$document").json()
    references = [f"{entry['resource']['resourceType']}/{entry['resource']['id']}" for entry in document["entry"]]
    assert references[0] == "Composition/op-c"
    assert set(references) == {
        "Composition/op-c", "Patient/op", "Practitioner/op-doc", "Organization/op-org", "Observation/op-718-7-1"
    }  # fmt: skip
    assert document["type"] == "document" and document["identifier"]["value"].startswith("urn:uuid:")
    assert record.get("/fhir/Composition/op-c/$document?persist=true").status_code == 200
    stored = record.get("/fhir/Bundle?type=document").json()
    assert stored["total"] == 1 and len(stored["entry"][0]["resource"]["entry"]) == 5
    assert record.get("/fhir/Composition/absent/$document").status_code == 404


def test_match(record: httpx.Client) -> None:
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:oid:9", "value": "none"}]}
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": patient}]}
    response = record.post("/fhir/Patient/$match", json=parameters, headers=FHIR)
    assert response.status_code == 200 and response.json()["type"] == "searchset"
    assert record.post("/fhir/Patient/$match", json={"resourceType": "Parameters"}, headers=FHIR).status_code == 422


def test_diff(record: httpx.Client) -> None:
    patient = {"resourceType": "Patient", "id": "diff", "gender": "male", "name": [{"text": "李"}]}
    record.put("/fhir/Patient/diff", json=patient, headers=FHIR).raise_for_status()
    first = record.get("/fhir/Patient/diff/$diff")
    assert first.json() == {"resourceType": "Parameters"}
    changed = {**patient, "gender": "female", "birthDate": "1985-03-07", "name": [{"text": "李"}, {"text": "Li"}]}
    record.put("/fhir/Patient/diff", json=changed, headers=FHIR).raise_for_status()
    difference = record.get("/fhir/Patient/diff/$diff").json()
    assert [row["part"][0]["valueCode"] for row in difference["parameter"]] == ["insert", "replace", "add"]
    assert record.get("/fhir/Patient/diff/$diff?fromVersion=1&toVersion=2").json() == difference
    between = "/fhir/$diff?from=Patient/diff/_history/1&to=Patient/diff"
    assert record.get(between).json() == difference
    back = record.get("/fhir/Patient/diff/$diff?fromVersion=2&toVersion=1").json()
    for patch, expected in ((back, patient), (difference, changed)):
        patched = record.patch("/fhir/Patient/diff", json=patch, headers=FHIR).json()
        assert {name: value for name, value in patched.items() if name != "meta"} == expected


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/fhir/Patient/absent/$diff", 404),
        ("/fhir/Patient/op/$diff?fromVersion=99", 404),
        ("/fhir/Patient/op/$diff?fromVersion=x", 404),
        ("/emr/Patient/op/$diff", 404),
        ("/fhir/$diff?from=Patient/op", 422),
        ("/fhir/$diff?from=Patient/op&to=Patient/op&to=Patient/other", 422),
        ("/fhir/$diff?from=Patient/op&to=urn:x", 400),
        ("/fhir/$diff?from=Patient/op&to=http://elsewhere.example/Patient/op", 400),
        ("/fhir/$diff?from=Patient/op&to=Organization/op-org", 400),
        ("/fhir/Patient/$diff", 404),
    ],
)
def test_what_has_no_difference(record: httpx.Client, path: str, status: int) -> None:
    response = record.get(path)
    assert (response.status_code, response.json()["resourceType"]) == (status, "OperationOutcome"), response.text


def test_every_operation_is_declared(record: httpx.Client) -> None:
    rest = record.get("/fhir/metadata").json()["rest"][0]
    named = {row["name"] for one in rest["resource"] for row in one.get("operation", [])}
    assert named >= {"validate", "match", "everything", "meta", "meta-add", "meta-delete", "lastn", "document", "diff"}
    assert "diff" in {row["name"] for row in rest["operation"]}


def test_summary_of_a_person_from_two_hospitals(client: httpx.Client) -> None:
    resident = {"system": "https://region-hub.example/fhir/NamingSystem/resident-id", "value": "109901198503070013"}
    category = "http://terminology.hl7.org/CodeSystem/observation-category"
    resources: list[dict[str, Any]] = []
    for hospital in ("a", "b"):
        me = {"reference": f"Patient/sum-{hospital}"}
        laboratory = [{"coding": [{"system": category, "code": "laboratory"}]}]
        resources += [
            {"resourceType": "Organization", "id": f"sum-{hospital}", "name": f"Hospital {hospital}"},
            {
                "resourceType": "Patient", "id": f"sum-{hospital}", "identifier": [resident],
                "name": [{"family": "王", "given": ["伟"]}], "gender": "male", "birthDate": "1985-03-07",
            },
            {
                "resourceType": "Condition", "id": f"sum-{hospital}", "subject": me, "code": {"text": "高血压 <b>"},
                "onsetDateTime": "2020-01-01", "recorder": {"reference": "Practitioner/absent"},
            },
            {
                "resourceType": "Observation", "id": f"sum-{hospital}", "status": "final", "category": laboratory,
                "code": {"text": "Hb"}, "subject": me, "effectiveDateTime": "2026-01-01",
                "valueQuantity": {"value": 135, "unit": "g/L"},
                "performer": [{"reference": f"Organization/sum-{hospital}"}],
            },
        ]  # fmt: skip
    for one in resources:
        path = f"/fhir/{one['resourceType']}/{one['id']}"
        assert client.put(path, json=one, headers=FHIR).status_code == 201
    linked = client.get("/fhir/Person?link=Patient/sum-a").json()["entry"][0]["resource"]["link"]
    document = client.get("/fhir/Patient/sum-a/$summary", headers={"Accept-Language": "zh-CN"}).json()
    held = {f"{one['resource']['resourceType']}/{one['resource']['id']}": one["resource"] for one in document["entry"]}
    assert len({link["target"]["reference"] for link in linked}) == 2, "the two Patients are not one Person"
    assert {"Condition/sum-a", "Condition/sum-b", "Observation/sum-a", "Observation/sum-b"} <= set(held)
    assert {"Organization/sum-a", "Organization/sum-b", "Patient/sum-a"} <= set(held) and "Patient/sum-b" not in held
    assert held["Condition/sum-b"]["subject"]["reference"] == "Patient/sum-a"
    composition = document["entry"][0]["resource"]
    sections = {section["code"]["coding"][0]["code"]: section for section in composition["section"]}
    assert len(sections["11450-4"]["entry"]) == 2 and "emptyReason" in sections["48765-2"]
    assert "高血压 &lt;b&gt;" in sections["11450-4"]["text"]["div"] and "135 g/L" in sections["30954-2"]["text"]["div"]
    assert composition["title"] == "患者摘要"
    english = client.get("/fhir/Patient/sum-a/$summary").json()["entry"][0]["resource"]
    assert english["title"] == "Patient Summary"
    outcome = client.post("/fhir/Bundle/$validate", json=document, headers=FHIR).json()
    assert [issue for issue in outcome["issue"] if issue["severity"] in ("error", "fatal")] == []


@pytest.mark.parametrize("base", ["fhir", "population", "resources", "emr", "ehr"])
def test_the_capability_statement_is_valid_and_true(client: httpx.Client, base: str) -> None:
    statement = client.get(f"/{base}/metadata").json()
    outcome = client.post("/fhir/CapabilityStatement/$validate", json=statement, headers=FHIR).json()
    assert [issue for issue in outcome["issue"] if issue["severity"] in ("error", "fatal")] == []
    rest = statement["rest"][0]
    patient = next((one for one in rest["resource"] if one["type"] == "Patient"), None)
    assert (patient is not None) == (base in ("fhir", "population"))
    for one in rest["resource"][::9]:
        for parameter in one["searchParam"][::4]:
            value = {"number": "1", "date": "2026", "quantity": "1", "token": "x", "uri": "urn:x"}.get(
                parameter["type"], "x"
            )
            if parameter["type"] in ("composite", "special"):
                continue
            found = client.get(f"/{base}/{one['type']}", params={parameter["name"]: value, "_count": 1})
            assert found.status_code == 200, (one["type"], parameter, found.text)
            assert "outcome" not in {entry["search"]["mode"] for entry in found.json().get("entry", [])}


PROFILES = "https://region-hub.example/fhir/StructureDefinition/"
NAMED = {"resourceType": "Patient", "name": [{"family": "x"}]}


def errors(client: httpx.Client, profile: str, **asked: str) -> list[str]:
    answer = client.post("/fhir/Patient/$validate", params={"profile": profile, **asked}, json=NAMED, headers=FHIR)
    issues = answer.raise_for_status().json()["issue"]
    return [issue["details"]["coding"][0]["code"] for issue in issues if issue["severity"] == "error"]


def test_validate_knows_stored_profiles_as_they_are_now(client: httpx.Client) -> None:
    url = "https://hospital-1.example/fhir/StructureDefinition/named"
    profile = {
        "resourceType": "StructureDefinition", "id": "named", "url": url, "name": "Named", "status": "active",
        "kind": "resource", "abstract": False, "type": "Patient", "derivation": "constraint",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Patient",
    }  # fmt: skip

    def store(path: str) -> None:
        differential = {"element": [{"id": path, "path": path, "min": 1}]}
        sent = {**profile, "differential": differential}
        client.put("/fhir/StructureDefinition/named", json=sent, headers=FHIR).raise_for_status()

    assert errors(client, url) == ["profile-unknown"]
    store("Patient.gender")
    assert errors(client, url) == ["profile-minimum"]
    store("Patient.name")
    assert errors(client, url) == []
    client.delete("/fhir/StructureDefinition/named").raise_for_status()
    assert errors(client, url) == ["profile-unknown"]


def test_validate_knows_the_profiles_of_the_region(client: httpx.Client) -> None:
    assert set(errors(client, PROFILES + "resident-patient")) == {"profile-minimum"}

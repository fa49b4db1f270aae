"""The access policy over HTTP: labels, opt-out of a person with all their records, break-glass, no other way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub import bootstrap
from hub.api.server import HttpServer
from hub.consent import policy
from hub.errors import HubError
from hub.services.doors import Doors
from hub.settings import load

FHIR = {"Content-Type": "application/fhir+json"}
RESTRICTED = {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]}
POLICY = """
[[rule]]
name = "administration"
institutions = ["region"]

[[rule]]
name = "break the glass"
purposes = ["BTG"]
reason = true

[[rule]]
name = "no billing"
purposes = ["HPAYMT"]
types = ["Observation"]
deny = true

[[rule]]
name = "treatment"
purposes = ["TREAT", "HPAYMT"]
hide = ["R", "V"]
opt_out = true
"""


def asking(institution: str = "h1", purpose: str = "TREAT", **more: str) -> dict[str, str]:
    claims = {"institution": institution, "purpose": purpose, **more}
    return {f"X-Hub-{name}": value for name, value in claims.items()}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("mongo", marks=pytest.mark.mongo)])
def doors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    data: Path = tmp_path_factory.mktemp("access")
    (data / "policy.toml").write_text(POLICY, encoding="utf-8")
    store = "sqlite"
    if request.param == "mongo":
        store = request.getfixturevalue("mongod").replace("/?", "/testaccess?")
    access = {"policy": str(data / "policy.toml"), "claims": True}
    built = bootstrap.build(load(data=data, store=store, access=access))
    yield built
    bootstrap.close(built)


@pytest.fixture(scope="module")
def client(doors: Doors) -> Iterator[httpx.Client]:
    listener = HttpServer(doors, port=0)
    listener.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.address[1]}/fhir", timeout=30) as made:
        fill(made)
        yield made
    listener.stop()


def fill(client: httpx.Client) -> None:
    """Person anna: two records in two hospitals, opted out on the first. Ben: one, with a restricted result."""

    def put(type: str, id: str, **members: Any) -> None:
        resource = {"resourceType": type, "id": id, **members}
        client.put(f"/{type}/{id}", json=resource, headers=FHIR | asking("region")).raise_for_status()

    for id in ("anna-1", "anna-2", "ben"):
        put("Patient", id, identifier=[{"system": "https://mrn.example", "value": id}], name=[{"text": id}])
        subject = {"reference": f"Patient/{id}"}
        for code in ("718-7", "68961-2"):
            more = {"meta": RESTRICTED} if (id, code) == ("ben", "68961-2") else {}
            coded = {"coding": [{"system": "http://loinc.org", "code": code}]}
            put("Observation", f"{id}-{code}", status="final", subject=subject, code=coded, **more)
        put("Encounter", f"{id}-visit", status="finished", subject=subject, **{"class": {"code": "AMB"}})
    records = [{"target": {"reference": f"Patient/anna-{number}"}} for number in (1, 2)]
    put("Person", "anna", link=records)
    put(
        "Consent", "anna-no", status="active", patient={"reference": "Patient/anna-1"}, provision={"type": "deny"},
        scope={"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
        category=[{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        policyRule={"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTOUT"}]},
    )  # fmt: skip


def found(client: httpx.Client, path: str, **claims: str) -> tuple[set[str], int | None]:
    bundle = client.get(path, headers=asking(**claims)).raise_for_status().json()
    rows = [entry["resource"] for entry in bundle.get("entry", ())]
    kept = {
        f"{row['resourceType']}/{row['id']}"
        for row in rows
        if row["resourceType"] not in ("OperationOutcome", "Person")
    }
    return kept, bundle.get("total")


def test_labels_and_opt_out_are_part_of_the_query(client: httpx.Client) -> None:
    assert found(client, "/Observation") == ({"Observation/ben-718-7"}, 1)
    assert found(client, "/Patient?_summary=count") == (set(), 1)
    assert found(client, "/Encounter") == ({"Encounter/ben-visit"}, 1)
    everything, total = found(client, "/Observation", institution="region")
    assert (len(everything), total) == (6, 6)


@pytest.mark.parametrize(
    "path", ["/Patient/anna-1", "/Patient/anna-2", "/Observation/anna-2-718-7", "/Observation/ben-68961-2"]
)
def test_what_is_hidden_does_not_exist(client: httpx.Client, path: str) -> None:
    hidden = client.get(path, headers=asking())
    never = client.get(f"{path.rsplit('/', 1)[0]}/never", headers=asking())
    assert hidden.status_code == never.status_code == 404
    assert client.get(f"{path}/_history/1", headers=asking()).status_code == 404
    assert client.get(f"{path}/_history", headers=asking()).status_code == 404
    assert client.get(path, headers=asking("region")).status_code == 200


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/Encounter?subject:Patient.identifier=anna-1", set()),
        ("/Encounter?subject:Patient.identifier=ben", {"Encounter/ben-visit"}),
        ("/Patient?_has:Observation:subject:code=68961-2", set()),
        ("/Patient?_has:Observation:subject:code=718-7", {"Patient/ben"}),
        ("/Patient?_id=ben&_revinclude=Observation:subject", {"Patient/ben", "Observation/ben-718-7"}),
        ("/Observation?_id=ben-718-7&_include=Observation:subject", {"Observation/ben-718-7", "Patient/ben"}),
        ("/Patient/ben/$everything", {"Patient/ben", "Observation/ben-718-7", "Encounter/ben-visit"}),
        ("/Patient/ben/Observation", {"Observation/ben-718-7"}),
        ("/Patient/ben/*", {"Patient/ben", "Observation/ben-718-7", "Encounter/ben-visit"}),
        ("/Observation/$lastn?patient=Patient/ben", {"Observation/ben-718-7"}),
    ],
)
def test_no_other_way_leads_to_it(client: httpx.Client, path: str, seen: set[str]) -> None:
    assert found(client, path)[0] == seen


def test_a_history_tells_no_number_of_what_is_hidden(client: httpx.Client) -> None:
    rows, total = found(client, "/Observation/_history?_count=100")
    assert (rows, total) == ({"Observation/ben-718-7"}, None)


def test_a_denied_type_is_empty(client: httpx.Client) -> None:
    assert found(client, "/Observation", purpose="HPAYMT") == (set(), 0)
    assert found(client, "/Patient", purpose="HPAYMT") == ({"Patient/ben"}, 1)
    assert found(client, "/Patient?_has:Observation:subject:code=718-7", purpose="HPAYMT") == (set(), 0)
    assert found(client, "/Patient", purpose="HMARKT") == (set(), 0)


def test_break_glass_needs_a_reason_and_leaves_it_in_the_trail(client: httpx.Client) -> None:
    refused = client.get("/Observation", headers=asking(purpose="BTG"))
    assert (refused.status_code, refused.json()["issue"][0]["code"]) == (403, "forbidden")
    assert len(found(client, "/Observation", purpose="BTG", reason="%E6%8A%A2%E6%95%91")[0]) == 6
    trail = client.get("/AuditEvent?_count=1000&_sort=-date", headers=asking("region")).json()
    reasons = [purpose.get("text") for entry in trail["entry"] for purpose in entry["resource"]["purposeOfEvent"]]
    assert "抢救" in reasons


def test_an_export_shows_what_its_asker_may_see(client: httpx.Client) -> None:
    kicked = client.get("/$export?_type=Patient,Observation", headers=asking() | {"Prefer": "respond-async"})
    while (answer := client.get(kicked.headers["content-location"])).status_code == 202:
        pass
    lines = [line for row in answer.json()["output"] for line in client.get(row["url"]).text.splitlines()]
    rows = [json.loads(line) for line in lines]
    assert {f"{row['resourceType']}/{row['id']}" for row in rows} == {"Patient/ben", "Observation/ben-718-7"}


def test_a_withdrawn_opt_out_works_at_once(client: httpx.Client) -> None:
    consent = client.get("/Consent/anna-no", headers=asking("region")).json()
    for status, number in (("inactive", 3), ("active", 1)):
        client.put("/Consent/anna-no", json={**consent, "status": status}, headers=FHIR | asking("region"))
        assert found(client, "/Patient")[1] == number


WRONG = ["", "[[rule]]", "[[rule]]\nname = 1", "[[rule]]\nname = 'x'\nnonsense = true", "rule = 1", "[[rule"]


@pytest.mark.parametrize("text", [*WRONG, "[[rule]]\nname = 'x'\nhide = [1]"])
def test_a_wrong_policy_stops_the_start(tmp_path: Path, text: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(HubError) as caught:
        policy.load(str(file))
    assert caught.value.name == "configuration"


def test_the_shipped_policy_permits_everything() -> None:
    (rule,) = policy.load()
    assert rule.fits("", "", "TREAT", "Patient")
    assert not (rule.deny or rule.hide or rule.opt_out or rule.reason)

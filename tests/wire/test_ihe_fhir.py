"""PIXm, PDQm and PMIR against a served hub: every row of the table, the subscriber's side, and fhirpy as a client."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fhirpy import SyncFHIRClient

from hub import bootstrap
from hub.api.server import HttpServer
from hub.fhir import paths
from hub.settings import load
from tests.api.test_subscriptions import Subscriber

Resource = dict[str, Any]
TABLE = Path(__file__).parent.parent / "conformance" / "ihe_fhir.csv"
ROWS = list(csv.DictReader(line for line in TABLE.read_text(encoding="utf-8").splitlines() if line[:1] != "#"))
SYSTEMS = {"a": "urn:oid:2.999.51", "b": "urn:oid:2.999.52", "c": "urn:oid:2.999.53", "x": "urn:oid:2.999.59"}
NATIONAL = {"system": "urn:oid:2.16.840.1.113883.2.23.1.19.1", "value": "109901198503070013"}
MOTHER = "http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName"
FEED = "urn:ihe:iti:pmir:2019:patient-feed"
SOURCE = "https://source.example/fhir"


def number(letter: str, value: str) -> Resource:
    return {"system": SYSTEMS[letter], "value": value}


def patient(*identifiers: Resource, family: str, given: str, **more: Any) -> Resource:
    name = [{"family": family, "given": [given]}]
    return {"resourceType": "Patient", "identifier": list(identifiers), "name": name, **more}


ZHANG = {"family": "张", "given": "三", "gender": "male", "birthDate": "1985-03-07"}
KNOWN = [
    patient(number("a", "1"), NATIONAL, **ZHANG, id="pa1", telecom=[{"system": "phone", "value": "13900000041"}],
            address=[{"city": "信和市", "line": ["中山路1号"]}]),
    patient(number("b", "7"), NATIONAL, **ZHANG, id="pb7"),
    patient(number("a", "2"), family="李", given="四", gender="female", birthDate="1985-03-07", id="pa2",
            extension=[{"url": MOTHER, "valueString": "赵"}]),
    patient(number("c", "30"), family="周", given="五", birthDate="1970-01-01", id="pc30"),
    patient(number("c", "31"), family="周", given="五", birthDate="1970-01-01", id="pc31"),
    patient(number("c", "40"), family="吴", given="六", birthDate="1971-01-01", id="pc40"),
]  # fmt: skip


def parameters(**values: Any) -> Resource:
    return {"resourceType": "Parameters", "parameter": [{"name": name, **value} for name, value in values.items()]}


def feed(id: str, *entries: Resource, event: str = FEED) -> Resource:
    history = {"resourceType": "Bundle", "type": "history", "entry": list(entries)}
    header = {
        "resourceType": "MessageHeader", "id": id, "eventUri": event, "source": {"endpoint": SOURCE},
        "focus": [{"reference": "urn:uuid:6b8b4567-327b-23c6-643c-986966334873"}],
    }  # fmt: skip
    return {
        "resourceType": "Bundle", "type": "message",
        "entry": [
            {"fullUrl": "urn:uuid:74b0dc51-1949-5e7a-b4f3-1f1f1f1f1f1f", "resource": header},
            {"fullUrl": header["focus"][0]["reference"], "resource": history},
        ],
    }  # fmt: skip


def told(method: str, resource: Resource) -> Resource:
    place = f"Patient/{resource['id']}"
    entry = {"fullUrl": f"{SOURCE}/{place}", "request": {"method": method, "url": place}, "response": {"status": "200"}}
    return entry if method == "DELETE" else {**entry, "resource": resource}


FED = [
    patient(number("c", "50"), NATIONAL, **ZHANG, id="1"),
    patient(number("c", "51"), family="郑", given="七", birthDate="1960-01-01", id="2"),
    patient(number("c", "52"), family="郑", given="八", birthDate="1961-01-01", id="3"),
]
REPLACED = {
    **FED[1], "active": False,
    "link": [{"other": {"reference": f"{SOURCE}/Patient/1"}, "type": "replaced-by"}],
}  # fmt: skip
LOOKED_FOR = patient(NATIONAL, **ZHANG)
BODIES: dict[str, Resource] = {
    "pix_parameters": parameters(
        sourceIdentifier={"valueString": f"{SYSTEMS['a']}|1"}, targetSystem={"valueUri": SYSTEMS["b"]}
    ),
    "fed": patient(number("c", "20"), NATIONAL, **ZHANG),
    "fed_other": patient(number("c", "20"), NATIONAL, **{**ZHANG, "family": "不"}),
    "merged": {
        **KNOWN[4], "active": False, "link": [{"other": {"reference": "Patient/pc30"}, "type": "replaced-by"}],
    },
    "person": LOOKED_FOR,
    "match_parameters": parameters(resource={"resource": LOOKED_FOR}, count={"valueInteger": 1}),
    "only_certain": parameters(
        resource={"resource": {"resourceType": "Patient", "name": [{"text": "周五"}], "birthDate": "1970-01-01"}},
        onlyCertainMatches={"valueBoolean": True},
    ),
    "stranger": patient(number("c", "999"), family="钱", given="九", birthDate="1901-01-01"),
    "no_patient": parameters(count={"valueInteger": 1}),
    "feed": feed("feed-1", *(told("POST", one) for one in FED)),
    "feed_merge": feed("feed-2", told("PUT", REPLACED)),
    "feed_delete": feed("feed-3", told("DELETE", FED[2])),
    "other_event": feed("feed-4", event="urn:example:else"),
    "feed_without_request": feed("feed-5", {"resource": FED[0]}),
    "feed_of_devices": feed("feed-6", told("PUT", {"resourceType": "Device", "id": "d"})),
    "subscription": {
        "resourceType": "Subscription", "status": "requested", "reason": "ITI-94", "criteria": "Patient?active=true",
        "channel": {"type": "message", "endpoint": "http://203.0.113.9/feed", "payload": "application/fhir+json"},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    allowed = {"allowed_hosts": ["127.0.0.1", "203.0.113.9"]}
    doors = bootstrap.build(load(data=tmp_path_factory.mktemp("hub"), subscriptions=allowed))
    server = HttpServer(doors, port=0)
    server.start()
    doors.subscriptions.start()
    base = f"http://127.0.0.1:{server.address[1]}/fhir/"
    with httpx.Client(base_url=base, timeout=30, headers={"Content-Type": "application/fhir+json"}) as made:
        for one in KNOWN:
            made.put(f"Patient/{one['id']}", content=json.dumps(one)).raise_for_status()
        yield made
    server.stop()
    bootstrap.close(doors)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["case"])
def test_the_table(client: httpx.Client, row: dict[str, str]) -> None:
    """In the order of the file: a feed is known to what is asked after it."""
    path = row["path"].format(**SYSTEMS)
    body = json.dumps(BODIES[row["body"]]) if row["body"] else None
    answer = client.request(row["method"], path, content=body, headers={"Prefer": "return=representation"})
    assert answer.status_code == int(row["status"]), answer.text
    if row["issue"]:
        (issue, *_) = answer.json()["issue"]
        code, _, text = row["issue"].partition(" ")
        assert (issue["severity"], issue["code"]) == ("error", code)
        assert text in issue["diagnostics"]
    if row["holds"]:
        resource = answer.json()
        assert paths.compile(row["holds"], resource["resourceType"])(resource) == [True], answer.text


def test_a_subscriber_is_told_in_messages(client: httpx.Client) -> None:
    """ITI-94, then ITI-93 from the hub: the message a subscriber gets is one that another hub would take."""
    subscriber = Subscriber()
    try:
        subscription = json.loads(json.dumps(BODIES["subscription"]))
        subscription["criteria"] = "Patient?identifier=urn:oid:2.999.54|"
        subscription["channel"]["endpoint"] = subscriber.url
        made = client.post("Subscription", content=json.dumps(subscription)).json()
        until = time.monotonic() + 10
        while client.get(f"Subscription/{made['id']}").json()["status"] != "active" and time.monotonic() < until:
            time.sleep(0.05)
        one = patient({"system": "urn:oid:2.999.54", "value": "1"}, family="冯", given="十", id="pd1")
        client.put("Patient/pd1", content=json.dumps(one)).raise_for_status()
        while not subscriber.received and time.monotonic() < until:
            time.sleep(0.05)
        (method, _, _, sent) = subscriber.received[0]
        message = json.loads(sent)
    finally:
        subscriber.close()
    assert (method, message["type"]) == ("POST", "message")
    header, history = (entry["resource"] for entry in message["entry"])
    assert (header["eventUri"], history["type"]) == (FEED, "history")
    assert history["entry"][0]["resource"]["id"] == "pd1"
    taken = client.post("$process-message", content=sent)
    assert taken.status_code == 200, taken.text


def test_fhirpy_asks(client: httpx.Client) -> None:
    """An outside client: fhirpy for ITI-78, ITI-83 and ITI-119."""
    outside = SyncFHIRClient(str(client.base_url).rstrip("/"))
    found = outside.resources("Patient").search(identifier=f"{SYSTEMS['a']}|2").get()
    assert found["name"][0]["family"] == "李"
    pix = outside.execute(
        "Patient/$ihe-pix", method="get", params={"sourceIdentifier": f"{SYSTEMS['b']}|7", "targetSystem": SYSTEMS["a"]}
    )
    assert pix["parameter"][0]["valueIdentifier"]["value"] == "1"
    matched = outside.execute("Patient/$match", method="post", data=BODIES["match_parameters"])
    assert matched["entry"][0]["search"]["score"] == 1

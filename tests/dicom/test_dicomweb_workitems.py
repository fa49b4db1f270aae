"""UPS-RS: workitems are created, found, claimed, worked on and finished, each also a FHIR Task."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from .conftest import Hub

UID = "1.2.826.7.1"


def item(**changed: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
        "00741200": {"vr": "CS", "Value": ["HIGH"]},
        "00741204": {"vr": "LO", "Value": ["Read chest CT"]},
        "00404005": {"vr": "DT", "Value": ["20261121083000"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Wang^Fang", "Ideographic": "王^芳"}]},
        "00100020": {"vr": "LO", "Value": ["10086"]},
        "00404025": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["READ1"]}}]},
    }
    return {tag: element for tag, element in (attributes | changed).items() if element}


def send(hub: Hub, method: str, url: str, body: Any = None) -> httpx.Response:
    content = json.dumps([body]).encode() if body is not None else b""
    return hub.web.request(method, url, content=content, headers={"Content-Type": "application/dicom+json"})


def state(name: str, transaction: str = "2.25.7") -> dict[str, Any]:
    return {"00741000": {"vr": "CS", "Value": [name]}, "00081195": {"vr": "UI", "Value": [transaction]}}


@pytest.fixture
def created(hub: Hub) -> Hub:
    answer = send(hub, "POST", f"/workitems?{UID}", item())
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"].endswith(f"/dicom-web/workitems/{UID}")
    return hub


def task(hub: Hub) -> dict[str, Any]:
    (found,) = hub.resources("Task")
    return found


def test_from_scheduled_to_completed(created: Hub) -> None:
    hub, url = created, f"/workitems/{UID}"
    assert (task(hub)["status"], task(hub)["priority"]) == ("ready", "stat")
    (read,) = hub.web.get(url).json()
    assert read["00080018"]["Value"] == [UID] and "00081195" not in read
    assert send(hub, "PUT", f"{url}/state", state("IN PROGRESS")).status_code == 200
    assert task(hub)["status"] == "in-progress"
    progress = {"00741002": {"vr": "SQ", "Value": [{"00741004": {"vr": "DS", "Value": ["50"]}}]}}
    assert send(hub, "POST", f"{url}?transaction-uid=2.25.8", progress).status_code == 400
    assert send(hub, "POST", f"{url}?transaction-uid=2.25.7", progress).status_code == 200
    assert send(hub, "PUT", f"{url}/state", state("COMPLETED")).status_code == 409
    performed = {"00741216": {"vr": "SQ", "Value": [{"00404050": {"vr": "DT", "Value": ["20261121090000"]}}]}}
    assert send(hub, "POST", f"{url}?transaction-uid=2.25.7", performed).status_code == 200
    assert send(hub, "PUT", f"{url}/state", state("COMPLETED")).status_code == 200
    assert task(hub)["status"] == "completed" and task(hub)["for"]["reference"].startswith("Patient/")
    again = send(hub, "PUT", f"{url}/state", state("COMPLETED"))
    assert again.status_code == 200 and "already in the requested state" in again.headers["Warning"]
    assert send(hub, "POST", url, progress).status_code == 409
    assert send(hub, "POST", f"{url}/cancelrequest").status_code == 409


@pytest.mark.parametrize(
    ("asked", "transaction", "status"),
    [("COMPLETED", "2.25.7", 409), ("SCHEDULED", "2.25.7", 409), ("IN PROGRESS", "", 400), ("NONSENSE", "2.25.7", 409)],
)
def test_states_change_in_order_only(created: Hub, asked: str, transaction: str, status: int) -> None:
    assert send(created, "PUT", f"/workitems/{UID}/state", state(asked, transaction)).status_code == status
    assert created.web.get(f"/workitems/{UID}").json()[0]["00741000"]["Value"] == ["SCHEDULED"]


def test_one_of_two_claims_wins(created: Hub) -> None:
    url = f"/workitems/{UID}/state"
    assert send(created, "PUT", url, state("IN PROGRESS", "2.25.1")).status_code == 200
    assert send(created, "PUT", url, state("IN PROGRESS", "2.25.2")).status_code == 409
    assert send(created, "PUT", url, state("CANCELED", "2.25.2")).status_code == 400
    assert send(created, "PUT", url, state("CANCELED", "2.25.1")).status_code == 200
    assert task(created)["status"] == "cancelled"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", True),
        ("ProcedureStepState=SCHEDULED", True),
        ("00741000=COMPLETED", False),
        ("PatientName=Wang*", True),
        ("ScheduledStationNameCodeSequence.CodeValue=READ1", True),
        ("00404025.00080100=READ2", False),
        ("ScheduledProcedureStepPriority=HIGH&PatientID=10086", True),
        ("limit=0", False),
    ],
)
def test_search(created: Hub, query: str, found: bool) -> None:
    answer = created.web.get(f"/workitems?{query}")
    assert answer.status_code == (200 if found else 204)
    assert not found or answer.json()[0]["00080018"]["Value"] == [UID]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"00741000": {"vr": "CS", "Value": ["IN PROGRESS"]}}, 422),
        ({"00081195": {"vr": "UI", "Value": ["2.25.1"]}}, 422),
        ({"00741200": None}, 422),
        ({"00404005": None}, 422),
    ],
)
def test_a_wrong_workitem_is_refused(hub: Hub, changed: dict[str, Any], status: int) -> None:
    assert send(hub, "POST", "/workitems", item(**changed)).status_code == status


def test_the_same_uid_again_is_a_conflict(created: Hub) -> None:
    assert send(created, "POST", f"/workitems?{UID}", item()).status_code == 409


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"x"', b'{"00741000": 1}'])
def test_a_body_that_is_no_data_set_is_refused(hub: Hub, body: bytes) -> None:
    assert hub.web.request("POST", "/workitems", content=body).status_code == 400


@pytest.mark.parametrize(
    ("method", "url"), [("GET", "/workitems/9"), ("PUT", "/workitems/9/state"), ("POST", "/workitems/9/cancelrequest")]
)
def test_what_is_not_there_is_not_found(hub: Hub, method: str, url: str) -> None:
    assert send(hub, method, url, state("IN PROGRESS") if method == "PUT" else None).status_code == 404


def test_subscribers_hear_of_states_and_cancel_requests_once(created: Hub) -> None:
    assert send(created, "POST", f"/workitems/{UID}/subscribers/READER").status_code == 201
    send(created, "PUT", f"/workitems/{UID}/state", state("IN PROGRESS"))
    assert send(created, "POST", f"/workitems/{UID}/cancelrequest").status_code == 202
    events = created.web.get("/subscribers/READER").json()
    assert [event["00741000"]["Value"] for event in events] == [["IN PROGRESS"], ["IN PROGRESS"]]
    assert events[1]["00001002"]["Value"] == [2]
    assert created.web.get("/subscribers/READER").json() == []
    send(created, "DELETE", f"/workitems/{UID}/subscribers/READER")
    send(created, "PUT", f"/workitems/{UID}/state", state("CANCELED"))
    assert created.web.get("/subscribers/READER").json() == []


def test_a_scheduled_workitem_is_cancelled_on_request(created: Hub) -> None:
    assert send(created, "POST", f"/workitems/{UID}/cancelrequest").status_code == 202
    assert created.web.get(f"/workitems/{UID}").json()[0]["00741000"]["Value"] == ["CANCELED"]

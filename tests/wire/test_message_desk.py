"""The message desk over a running hub: find, see, mend, process again."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from hub.bench.mllp import END, START
from hub.desk_cli import messages
from tests.running import Process

PATIENT = "PID|1||{id}^^^DESK^MR||王^五^^^^^L||{born}|M"


def message(id: str, *segments: str, kind: str = "ADT^A04^ADT_A01") -> bytes:
    head = f"MSH|^~\\&|DESK|H1|HUB|R|20261120083000+0800||{kind}|{id}|P|2.5.1||||||UNICODE UTF-8"
    return ("\r".join([head, *segments]) + "\r").encode()


def give(process: Process, raw: bytes) -> str:
    with socket.create_connection(process.mllp, timeout=60) as connection:
        connection.sendall(START + raw + END)
        answer = b""
        while not answer.endswith(END):
            answer += connection.recv(65536)
    return answer.decode()


@pytest.fixture(scope="module")
def desk(running: Process) -> httpx.Client:
    give(running, message("D1", "EVN|A04|20261120083000+0800", PATIENT.format(id="P1", born="19850307"), "PV1|1|O"))
    order = ("ORC|NW|ORD77^DESK", "OBR|1|ORD77^DESK||CBC^血常规^L")
    give(running, message("D2", PATIENT.format(id="P2", born="19860307"), *order, kind="ORM^O01^ORM_O01"))
    give(running, message("D3", PATIENT.format(id="P3", born="19870307"), kind="XXX^Y99"))
    give(running, message("D4", "PID|1||P4^^^DESK^MR", kind=""))
    return httpx.Client(base_url=f"{running.base}/api/messages", timeout=60, follow_redirects=True)


def ids(desk: httpx.Client, **sought: Any) -> list[str]:
    return [one["control_id"] for one in desk.get("", params=sought).json()["messages"]]


@pytest.mark.parametrize(
    ("sought", "found"),
    [
        ({}, ["D4", "D3", "D2", "D1"]),
        ({"patient": "P2"}, ["D2"]),
        ({"order": "ORD77"}, ["D2"]),
        ({"order": "P2"}, []),
        ({"text": "血常规"}, ["D2"]),
        ({"kind": "ADT"}, ["D1"]),
        ({"kind": "ORM^O01"}, ["D2"]),
        ({"control_id": "D3"}, ["D3"]),
        ({"sender": "DESK|H1", "state": "stored"}, ["D2", "D1"]),
        ({"state": "quarantined"}, ["D3"]),
        ({"error": "event-unknown"}, ["D3"]),
        ({"until": 1}, []),
        ({"since": 1, "patient": "P1"}, ["D1"]),
        ({"text": "no such text"}, []),
    ],
)
def test_search(desk: httpx.Client, sought: dict[str, Any], found: list[str]) -> None:
    assert [one for one in ids(desk, **sought) if len(one) == 2] == found


def test_pages(desk: httpx.Client) -> None:
    first = desk.get("", params={"limit": 1, "state": "stored"}).json()
    second = desk.get("", params={"limit": 1, "state": "stored", "before": first["next"]}).json()
    assert first["messages"][0]["seq"] > second["messages"][0]["seq"]
    assert desk.get("", params={"state": "none"}).status_code == 422


def test_errors_lead_to_the_messages(desk: httpx.Client) -> None:
    rows = desk.get("/errors").json()["errors"]
    row = next(one for one in rows if one["kind"] == "XXX^Y99")
    assert (row["state"], row["error"], row["count"]) == ("quarantined", "event-unknown", 1)
    assert desk.get(f"/{row['newest']}").json()["control_id"] == "D3"
    assert "D3" in ids(desk, state=row["state"], error=row["error"])


def one(desk: httpx.Client, control_id: str) -> dict[str, Any]:
    (found,) = desk.get("", params={"control_id": control_id}).json()["messages"]
    return dict(desk.get(f"/{found['id']}").json())


def test_a_message_side_by_side(desk: httpx.Client) -> None:
    seen = one(desk, "D1")
    assert seen["raw"].startswith("MSH|^~\\&|DESK|H1|")
    assert {"at": "PID[1]-5.1", "name": "Patient name: Family name", "value": "王"} in seen["tree"]
    kinds = {entry["resource"]["resourceType"] for entry in seen["bundle"]["entry"]}
    assert {"Patient", "Encounter", "Provenance"} <= kinds
    assert any(reference.startswith("Patient/") for reference in seen["references"])
    assert "MSA|AA|D1" in seen["answer"]
    why = one(desk, "D3")
    assert (why["state"], why["error"], why["fault"]["error"]) == ("quarantined", "event-unknown", "event-unknown")
    assert why["reason"]
    assert desk.get("/nothing").status_code == 404


def test_a_mended_copy_is_a_new_message(desk: httpx.Client) -> None:
    seen = one(desk, "D3")
    mended = seen["raw"].replace("XXX^Y99", "ADT^A04^ADT_A01")
    made = desk.post(f"/{seen['id']}/edit", json={"raw": mended}).json()
    assert made["state"] == "stored"
    assert made["id"] != seen["id"]
    assert made["control_id"] not in ("", "D3")
    assert desk.get(f"/{made['id']}").json()["replays"] == seen["id"]
    assert one(desk, "D3")["state"] == "quarantined"
    again = desk.post(f"/{seen['id']}/edit", json={"raw": mended.replace("|D3|", "|D3b|")}).json()
    assert again["control_id"] == "D3b"


def test_replay_says_first_what_it_would_change(running: Process, desk: httpx.Client) -> None:
    seen = one(desk, "D1")
    patient = next(one for one in seen["references"] if one.startswith("Patient/"))
    encounter = next(one for one in seen["references"] if one.startswith("Encounter/"))
    with httpx.Client(base_url=f"{running.base}/fhir", timeout=60) as fhir:
        assert fhir.delete(f"/{encounter}").status_code in (200, 204)

        def replay(**asked: Any) -> dict[str, str]:
            (told,) = desk.post("/replay", json={"ids": [seen["id"]], **asked}).json()["results"]
            return {one["reference"]: one["change"] for one in told["changes"]}

        dry = replay()
        assert (dry[encounter], dry[patient]) == ("create", "same")
        assert fhir.get(f"/{encounter}").status_code == 410
        assert list(replay(targets=[patient], dry_run=False)) == [patient]
        assert fhir.get(f"/{encounter}").status_code == 410
        assert replay(targets=[encounter], dry_run=False) == {encounter: "create"}
        assert fhir.get(f"/{encounter}").status_code == 200
    wrong = {"ids": [seen["id"]], "targets": ["Patient/other"]}
    assert desk.post("/replay", json=wrong).json()["results"][0]["error"] == "not-found"


def test_bulk_replay_of_what_a_search_finds(desk: httpx.Client) -> None:
    told = desk.post("/replay", json={"search": {"sender": "DESK|H1", "state": "stored"}, "dry_run": False}).json()
    assert len(told["results"]) >= 2
    assert {one["state"] for one in told["results"]} == {"stored"}


def test_the_desk_on_the_command_line(running: Process, desk: httpx.Client, tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, Any]:
        done = CliRunner().invoke(messages, [*words, "--url", running.base, "--json"])
        return done.exit_code, json.loads(done.output)

    assert [one["control_id"] for one in run("search", "--patient", "P2")[1]["messages"]] == ["D2"]
    assert any(one["error"] == "event-unknown" for one in run("errors")[1]["errors"])
    assert run("transport")[1]["findings"] == []
    id = one(desk, "D2")["id"]
    assert any(row["name"].startswith("Patient name") for row in run("show", id)[1]["tree"])
    (told,) = run("replay", id)[1]["results"]
    assert {change["change"] for change in told["changes"]} == {"same"}
    (tmp_path / "mended.hl7").write_text(one(desk, "D1")["raw"].replace("|D1|", "|D9|"), encoding="utf-8")
    code, made = run("edit", one(desk, "D1")["id"], str(tmp_path / "mended.hl7"))
    assert (code, made["control_id"], made["state"]) == (0, "D9", "stored")

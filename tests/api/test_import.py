"""$import: NDJSON from the import directory or a Binary, with a report of what was refused."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub import bootstrap
from hub.services.doors import Doors
from hub.services.imports import Imports
from hub.services.jobs import ACCEPTED, COMPLETE
from hub.settings import load
from hub.store.protocol import Item

FHIR = {"Content-Type": "application/fhir+json"}
NDJSON = "application/fhir+ndjson"


def lines(*resources: Any) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in resources)


def patient(id: str, **members: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id, **members}


def asking(*inputs: tuple[str, str]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [{"name": "inputFormat", "valueCode": NDJSON}]
    for type, url in inputs:
        part = [{"name": "type", "valueCode": type}] if type else []
        rows.append({"name": "input", "part": [*part, {"name": "url", "valueUri": url}]})
    return {"resourceType": "Parameters", "parameter": rows}


def imported(client: httpx.Client, *inputs: tuple[str, str], base: str = "fhir") -> dict[str, Any]:
    kicked = client.post(f"/{base}/$import", json=asking(*inputs), headers={**FHIR, "Prefer": "respond-async"})
    assert kicked.status_code == 202, kicked.text
    for _ in range(200):
        answer = client.get(kicked.headers["content-location"])
        if answer.status_code != 202:
            break
        time.sleep(0.05)
    assert answer.status_code == 200, answer.text
    manifest: dict[str, Any] = answer.json()
    return manifest


def binary(client: httpx.Client, content: bytes) -> str:
    made = client.post("/fhir/Binary", content=content, headers={"Content-Type": NDJSON})
    assert made.status_code == 201, made.text
    return f"Binary/{made.json()['id']}"


def test_a_file_and_a_binary_are_imported_and_again_changes_nothing(client: httpx.Client, doors: Doors) -> None:
    folder = doors.data / "imports" / "monday"
    folder.mkdir(parents=True)
    (folder / "patients.ndjson").write_bytes(lines(*(patient(f"i{number}") for number in range(250))))
    seen = {
        "resourceType": "Observation", "id": "io", "status": "final", "code": {"text": "x"},
        "subject": {"reference": "Patient/i7"},
    }  # fmt: skip
    sources = ("Patient", "monday/patients.ndjson"), ("", binary(client, lines(seen, b"", patient("i250"))))
    manifest = imported(client, *sources)
    assert manifest["error"] == []
    assert [(row["type"], row["count"]) for row in manifest["output"]] == [
        ("Patient", 250), ("Observation", 1), ("Patient", 1),
    ]  # fmt: skip
    assert client.get("/fhir/Observation?patient.identifier:missing=true&_id=io").json()["total"] == 1
    assert imported(client, *sources)["error"] == []
    for id in ("i0", "i249", "i250"):
        assert client.get(f"/fhir/Patient/{id}").headers["etag"] == 'W/"1"'


def test_refused_lines_are_reported_and_the_others_stored(client: httpx.Client) -> None:
    content = lines(
        patient("r1"), b"{", patient("r2", gender="blue"), {"resourceType": "Patient"},
        {"resourceType": "Group", "id": "r3"}, patient("r_4"), patient("r5"), b"[]",
        patient("r6"), patient("r7"),
    )  # fmt: skip
    manifest = imported(client, ("Patient", binary(client, content)))
    (row,) = manifest["error"]
    assert (row["type"], row["count"], manifest["output"][0]["count"]) == ("OperationOutcome", 6, 4)
    report = client.get(row["url"])
    assert report.headers["content-type"] == NDJSON
    found = [json.loads(line)["issue"][0] for line in report.text.splitlines()]
    assert sorted(one["diagnostics"].partition(" line ")[2].partition(":")[0] for one in found) == list("234568")
    assert {"structure", "code-invalid", "required"} <= {one["code"] for one in found}
    assert client.get("/fhir/Patient/r7").status_code == 200
    assert client.get("/fhir/Patient/r2").status_code == 404


def test_a_long_line_of_a_file_is_refused_and_skipped(client: httpx.Client, doors: Doors) -> None:
    (doors.data / "imports").mkdir(exist_ok=True)
    long = b'{"resourceType":"Patient","id":"l1","x":"' + b"x" * 3_000_000 + b'"}'
    (doors.data / "imports" / "long.ndjson").write_bytes(lines(long, patient("l2")).rstrip(b"\n"))
    manifest = imported(client, ("Patient", "long.ndjson"))
    assert (manifest["error"][0]["count"], manifest["output"][0]["count"]) == (1, 1)
    assert client.get("/fhir/Patient/l2").status_code == 200


def test_a_base_takes_only_what_is_its_own(client: httpx.Client, doors: Doors) -> None:
    (doors.data / "imports").mkdir(exist_ok=True)
    (doors.data / "imports" / "own.ndjson").write_bytes(lines(patient("p1")))
    assert imported(client, ("", "own.ndjson"), base="emr")["error"][0]["count"] == 1
    assert imported(client, ("", "own.ndjson"), base="population")["output"][0]["count"] == 1


@pytest.mark.parametrize(
    ("inputs", "status"),
    [
        ([], 422),
        ([("Patient", "http://127.0.0.1:1/x.ndjson")], 403),
        ([("Patient", "https://example.org/Binary/1")], 403),
        ([("Patient", "file:///etc/passwd")], 403),
        ([("Patient", "../../../../etc/passwd")], 403),
        ([("Patient", "/etc/passwd")], 403),
        ([("Patient", "absent.ndjson")], 404),
        ([("Patient", ".")], 404),
        ([("Patient", "x" * 400)], 404),
        ([("Patient", "x" * 600)], 400),
        ([("Patient", "\0")], 400),
        ([("Colour", "absent.ndjson")], 400),
        ([("Patient", "Binary/absent")], 404),
        ([("Patient", "Binary/a b")], 404),
        ([("Patient", "a")] * 101, 422),
    ],
)
def test_what_is_not_imported(client: httpx.Client, inputs: list[tuple[str, str]], status: int) -> None:
    response = client.post("/fhir/$import", json=asking(*inputs), headers=FHIR)
    assert response.status_code == status, response.text
    assert response.json()["resourceType"] == "OperationOutcome"


def test_an_import_is_posted_and_forgotten_when_deleted(client: httpx.Client, doors: Doors) -> None:
    assert client.get("/fhir/$import").status_code == 405
    assert client.get("/fhir/_import/none").status_code == 404
    (doors.data / "imports").mkdir(exist_ok=True)
    (doors.data / "imports" / "gone.ndjson").write_bytes(lines(patient("g1")))
    kicked = client.post("/fhir/$import", json=asking(("", "gone.ndjson")), headers=FHIR)
    status = kicked.headers["content-location"]
    assert client.delete(status).status_code == 202
    assert client.get(status).status_code == 404


def test_an_import_that_a_stop_interrupted_is_done_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "imports").mkdir()
    (tmp_path / "imports" / "some.ndjson").write_bytes(lines(patient("s1"), patient("s2")))
    doors = bootstrap.build(load(data=tmp_path))
    data = {"actor": "", "purpose": "", "url": "x", "inputs": [["", "some.ndjson"]], "databases": []}
    job = Item(Imports.queue, "j", "j", "", ACCEPTED, data, b"", doors.clock())
    doors.store.write(lambda tx: tx.enqueue(job))
    bootstrap.close(doors)
    again = bootstrap.build(load(data=tmp_path))
    for _ in range(200):
        if again.imports.status("j").state == COMPLETE:
            break
        time.sleep(0.05)
    found = again.store.read("Patient", "s2")
    bootstrap.close(again)
    assert found is not None and found.version == 1

"""The command as users run it: verbs, exit codes, and the messages that say what to do next."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub.bench.mllp import END, START, adt
from tests.running import Process

PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "multipleBirthInteger": 2,
    "extension": [{"url": "urn:x", "valueDecimal": 1}],
}


def hub(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hub.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, cwd=cwd, env={**os.environ, **environment}
    )


def as_json(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_init_makes_a_data_directory_that_only_the_owner_can_read(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert hub("init", "--data", str(data), cwd=tmp_path).returncode == 0
    secrets = list((data / "secrets").iterdir())
    assert secrets
    assert {file.stat().st_mode & 0o077 for file in secrets} == {0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('stroe = "sqlite"', "stroe"),
        ("[http]\nport = 70000", "http.port"),
        ('bind = "0.0.0.0"', "insecure_bind"),
        ('store = "oracle://x"', "mongodb"),
    ],
)
def test_wrong_settings_stop_the_start_with_code_2(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "hub.toml").write_text(text, encoding="utf-8")
    done = hub("init", cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text("[http]\nport = 1234", encoding="utf-8")
    shown = as_json(hub("config", "show", "--json", cwd=tmp_path, HUB_HTTP__PORT="4321"))
    assert shown["http"]["port"] == 4321


def test_load_and_export_keep_every_digit(tmp_path: Path) -> None:
    text = json.dumps(PATIENT).replace('"valueDecimal": 1', '"valueDecimal":1.10')
    (tmp_path / "in").mkdir()
    (tmp_path / "in/patient.json").write_text(text, encoding="utf-8")
    (tmp_path / "in/more.ndjson").write_text(
        '{"resourceType":"Basic","code":{"text":"x"}}\n{"no":1}\n', encoding="utf-8"
    )
    data = str(tmp_path / "data")
    report = as_json(hub("load", str(tmp_path / "in"), "--data", data, "--json"))
    assert (report["read"], report["stored"], len(report["skipped"]), report["rejected"]) == (2, 2, 1, [])
    assert as_json(hub("export", str(tmp_path / "out"), "--type", "Patient", "--data", data, "--json")) == {
        "Patient": 1
    }
    assert '"valueDecimal":1.10' in (tmp_path / "out/Patient.ndjson").read_text(encoding="utf-8")


def test_load_says_what_is_rejected_and_keeps_the_rest(tmp_path: Path) -> None:
    rows = ['{"resourceType":"Patient","gender":"manly"}', '{"resourceType":"Patient","gender":"male"}']
    (tmp_path / "in.ndjson").write_text("\n".join(rows), encoding="utf-8")
    done = hub("load", str(tmp_path / "in.ndjson"), "--data", str(tmp_path / "data"), "--json")
    report = as_json(done)
    assert (done.returncode, report["stored"], len(report["rejected"])) == (1, 1, 1)
    assert "manly" in report["rejected"][0]["diagnostics"]


def test_doctor_finds_nothing_in_a_fresh_directory(tmp_path: Path) -> None:
    ports = {f"HUB_{name}__PORT": "0" for name in ("HTTP", "MLLP", "DICOM")}
    done = hub("doctor", "--data", str(tmp_path / "data"), "--json", cwd=tmp_path, **ports)
    rows = as_json(done)
    assert (done.returncode, [row["check"] for row in rows if not row["ok"]]) == (0, [])


def test_inbox_verbs_on_a_running_hub(running: Process) -> None:
    with socket.create_connection(running.mllp, timeout=30) as connection:
        connection.sendall(START + adt(7, "CLI") + END)
        assert b"MSA|AA" in connection.recv(65536)
    listed = as_json(hub("inbox", "list", "--url", running.base, "--json"))
    (item,) = [row for row in listed["items"] if row["control_id"] == "CLIA7"]
    assert item["state"] == "stored"
    shown = as_json(hub("inbox", "show", item["id"], "--url", running.base, "--json"))
    assert "MSA|AA|CLIA7" in shown["answer"]
    again = hub("inbox", "rerun", item["id"], "--url", running.base, "--json")
    assert (again.returncode, as_json(again)["state"]) == (0, "stored")
    patients = httpx.get(running.base + "/fhir/Patient", params={"identifier": "CLI7"}).json()
    assert (patients["total"], patients["entry"][0]["resource"]["meta"]["versionId"]) == (1, "1")


def test_a_second_hub_on_the_same_file_is_refused(running: Process) -> None:
    done = hub("init", "--data", str(running.data))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_hub_that_is_not_there(tmp_path: Path) -> None:
    done = hub("inbox", "list", "--url", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "cannot be reached" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize("verb", ["nothing", "serve --http-port x"])
def test_usage_errors_have_code_2(verb: str) -> None:
    assert hub(*verb.split()).returncode == 2

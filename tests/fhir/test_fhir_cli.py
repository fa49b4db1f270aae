"""``hub validate`` and ``hub fhirpath``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hub.conformance.cli import app

RUN = CliRunner()
GOOD = {"resourceType": "Patient", "gender": "male", "name": [{"given": ["A", "B"]}]}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "good.json").write_text(json.dumps(GOOD), encoding="utf-8")
    (tmp_path / "bad.json").write_text(json.dumps(GOOD | {"gender": "foo"}), encoding="utf-8")
    profile = {
        "resourceType": "StructureDefinition",
        "url": "https://region-hub.example/fhir/StructureDefinition/card",
        "type": "Patient",
        "derivation": "constraint",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Patient",
        "differential": {"element": [{"path": "Patient.identifier", "min": 1}]},
    }
    (tmp_path / "card.json").write_text(json.dumps(profile), encoding="utf-8")
    return tmp_path


def test_one_object_a_file_and_exit_code_1_on_errors(files: Path) -> None:
    done = RUN.invoke(app, ["validate", "--json", str(files / "good.json"), str(files / "bad.json")])
    good, bad = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert (good["valid"], bad["valid"]) == (True, False)
    (error,) = [issue for issue in bad["issues"] if issue["severity"] == "error"]
    assert (error["rule"], error["expression"], error["line"]) == ("binding-required", "Patient.gender", 1)


def test_definitions_takes_every_file_up_to_the_next_option(files: Path) -> None:
    given = ["--definitions", str(files / "card.json"), str(files / "good.json"), "--json"]
    done = RUN.invoke(app, ["validate", str(files / "good.json"), *given])
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == [str(files / "good.json")]


def test_grace_of_an_institution_is_heeded(files: Path) -> None:
    settings = 'grace = [{rule = "binding-required", institution = "h1", severity = "warning", until = 2999-01-01}]'
    (files / "hub.toml").write_text(settings, encoding="utf-8")
    given = ["validate", str(files / "bad.json"), "--config", str(files / "hub.toml")]
    assert RUN.invoke(app, given).exit_code == 1
    assert RUN.invoke(app, [*given, "--institution", "h2"]).exit_code == 1
    assert RUN.invoke(app, [*given, "--institution", "h1"]).exit_code == 0


def test_a_profile_from_a_file_is_enforced(files: Path) -> None:
    url = "https://region-hub.example/fhir/StructureDefinition/card"
    given = ["--definitions", str(files / "card.json"), "--profile", url]
    assert RUN.invoke(app, ["validate", str(files / "good.json")]).exit_code == 0
    done = RUN.invoke(app, ["validate", *given, str(files / "good.json")])
    assert done.exit_code == 1
    assert "Patient.identifier" in done.stdout


def test_the_report_is_read_in_chinese(files: Path) -> None:
    done = RUN.invoke(app, ["validate", "--language", "zh", str(files / "bad.json")])
    assert "必需值集" in done.stdout


def test_what_cannot_be_read_is_a_usage_error(files: Path) -> None:
    assert RUN.invoke(app, ["validate", str(files / "none.json")]).exit_code == 2


def test_fhirpath_answers_values_types_and_errors(files: Path) -> None:
    done = RUN.invoke(app, ["fhirpath", "Patient.name.given", str(files / "good.json")])
    assert json.loads(done.stdout) == {"result": ["A", "B"], "types": ["string", "string"], "error": None}
    assert RUN.invoke(app, ["fhirpath", "Patient.nothing", str(files / "good.json")]).exit_code == 1


def test_fhirpath_batch_answers_line_by_line(files: Path) -> None:
    lines = [{"expression": "name.given.count()", "file": str(files / "good.json")}, {"expression": "1 +", "file": "x"}]
    done = RUN.invoke(app, ["fhirpath", "--batch", "-"], input="\n".join(map(json.dumps, lines)))
    first, second = [json.loads(line) for line in done.stdout.splitlines()]
    assert first == {"result": [2], "types": ["integer"], "error": None}
    assert second["error"]

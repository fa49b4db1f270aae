"""``hub terminology ...`` as a user types it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from terminology.cli import app

SEX = "https://region-hub.example/fhir/CodeSystem/gbt2261-1-sex"


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result.output


def test_load_then_ask(tmp_path: Path) -> None:
    table = tmp_path / "icd.csv"
    table.write_text("诊断编码,诊断名称\nI10,原发性高血压\nI10.x00x002,高血压病2级\n", "utf-8")
    data = ("--data", str(tmp_path / "data"))
    assert "2 codes in" in run("load", "icd-10-clinical", str(table), "--version", "2.0", *data)
    assert "icd-10-clinical\t2.0\t2" in run("loaded", *data)
    url = "https://region-hub.example/fhir/CodeSystem/icd-10-clinical"
    assert "高血压病2级" in run("lookup", url, "I10.x00x002", *data)
    assert "I10.x00x002\t高血压病2级" in run("expand", f"{url}?fhir_vs=isa/I10", "--filter", "2级", *data)


def test_ask_without_anything_loaded(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    answer = json.loads(run("translate", SEX, "1", *data))
    assert answer["parameter"][0]["valueBoolean"] is True
    gender = "http://hl7.org/fhir/ValueSet/administrative-gender"
    assert json.loads(run("validate-code", "male", "--url", gender, *data))
    run("validate-code", "man", "--url", gender, *data, code=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("load", "foo", "x"), "known are snomed"),
        (("load", "loinc", "no-such-file"), "there is no file or folder"),
        (("lookup", "http://nowhere.example", "x"), "not-found: code system http://nowhere.example"),
        (("expand", "http://nowhere.example/vs"), "not-found: value set"),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_1(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    output = run(*arguments, "--data", str(tmp_path), code=1)
    assert words in output
    assert "Traceback" not in output


def test_bench_prints_rates() -> None:
    assert "$validate-code:" in run("bench", "--seconds", "0.05")

"""Every value set R4 binds as required, and every HL7 v2 table, answers from what is shipped."""

import csv
from pathlib import Path

import pytest

from terminology.errors import TerminologyError
from terminology.registry import Registry
from terminology.service import Terminology

REQUIRED = [
    row["canonical"]
    for row in csv.DictReader((Path(__file__).parent / "required_value_sets.csv").read_text("utf-8").splitlines())
]
BY_RULE = {
    "http://hl7.org/fhir/ValueSet/currencies|4.0.1": ("CNY", "XYZ"),
    "http://hl7.org/fhir/ValueSet/mimetypes|4.0.1": ("application/fhir+json; charset=utf-8", "application"),
    "http://hl7.org/fhir/ValueSet/ucum-units|4.0.1": ("umol/L", "umol per litre"),
    "http://loinc.org/vs/LL379-9|4.0.1": ("LA6692-3", "LA1-1"),
}
V2 = "http://terminology.hl7.org/CodeSystem/v2-"


@pytest.fixture(scope="module")
def terminology() -> Terminology:
    return Terminology(lambda: 0)


def result(parameters: dict) -> bool:
    return parameters["parameter"][0]["valueBoolean"]


def test_there_are_as_many_required_value_sets_as_r4_has() -> None:
    assert len(REQUIRED) == len(set(REQUIRED)) == 225  # 224 sets, one of them in two versions


@pytest.mark.parametrize("canonical", [c for c in REQUIRED if c not in BY_RULE])
def test_a_required_value_set_expands_and_holds_its_codes(terminology: Terminology, canonical: str) -> None:
    members = terminology.members(canonical)
    assert members
    for system, code in members[:50]:
        assert result(terminology.validate_code(canonical, system=system, code=code, abstract=True)), code
    assert not result(terminology.validate_code(canonical, system=members[0][0], code="no-such-code"))


@pytest.mark.parametrize("canonical", BY_RULE)
def test_a_value_set_that_needs_a_rule_validates(terminology: Terminology, canonical: str) -> None:
    right, wrong = BY_RULE[canonical]
    assert result(terminology.validate_code(canonical, code=right))
    assert not result(terminology.validate_code(canonical, code=wrong))


def test_every_v2_table_answers_lookup(terminology: Terminology) -> None:
    registry = Registry()
    tables = {url for url, _ in registry.canonicals("CodeSystem") if url.startswith(V2)}
    codes = 0
    for url in sorted(tables):
        for version in registry.versions("CodeSystem", url):
            system = registry.system(f"{url}|{version}")
            assert system is not None, url
            for concept in system.concepts():
                codes += 1
                answer = terminology.lookup(url, concept.code, version=version)
                assert {"display", "name"} <= {p["name"] for p in answer["parameter"]}
    assert len(tables) == 440
    assert codes > 6500


@pytest.mark.parametrize(
    ("table", "code", "display"),
    [("0001", "F", "Female"), ("0203", "MR", "Medical record number"), ("0357", "207", "Application error")],
)
def test_a_v2_code_has_the_display_of_the_newest_table(
    terminology: Terminology, table: str, code: str, display: str
) -> None:
    parameters = terminology.lookup(V2 + table, code)["parameter"]
    assert next(p["valueString"] for p in parameters if p["name"] == "display").lower() == display.lower()


def test_an_unknown_value_set_is_an_error_and_says_which(terminology: Terminology) -> None:
    with pytest.raises(TerminologyError, match=r"not-found: value set http://nowhere\.example/vs"):
        terminology.validate_code("http://nowhere.example/vs", code="x")

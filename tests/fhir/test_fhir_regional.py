"""The region's profiles: shipped, sound, and what each demands (``regional_cases.ndjson``)."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from hub.conformance import cli, grace, regional
from hub.errors import HubError
from hub.fhir import json
from hub.fhir.validate import Validator
from hub.settings import Grace

ROWS = (Path(__file__).parents[1] / "conformance" / "regional_cases.ndjson").read_bytes().splitlines()
CASES = [json.decode(row) for row in ROWS]


@pytest.fixture(scope="module")
def validator() -> Validator:
    return cli.build((), lambda: 0)


def errors(validator: Validator, resource: dict[str, Any], *profiles: str) -> list[list[str]]:
    findings = validator.check(resource, profiles).findings
    return [[one.rule.rule, one.expression] for one in findings if one.severity == "error"]


@pytest.mark.parametrize("structure", regional.structures(), ids=lambda one: str(one["id"]))
def test_a_profile_is_ours_and_a_good_differential(structure: dict[str, Any], validator: Validator) -> None:
    assert structure["url"] == regional.BASE + structure["id"]
    assert "ours" in structure["publisher"]
    assert "snapshot" not in structure
    assert errors(validator, structure) == []


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_the_case_is_judged_as_the_table_says(case: dict[str, Any], validator: Validator) -> None:
    found = errors(validator, case["resource"], regional.BASE + case["profile"])
    assert found[:1] == ([case["finds"]] if case["finds"] else [])


def test_every_profile_has_a_good_and_a_bad_case() -> None:
    profiles = {one["id"] for one in regional.structures() if one["type"] != "Extension"}
    assert {case["profile"] for case in CASES if not case["finds"]} == profiles
    assert {case["profile"] for case in CASES if case["finds"]} == profiles


def test_birth_date_and_sex_are_compared_with_the_resident_id(validator: Validator) -> None:
    good = next(case for case in CASES if case["profile"] == "resident-patient")["resource"]
    for change, key in (({"birthDate": "1985-03-08"}, "rh-pat-4"), ({"gender": "female"}, "rh-pat-5")):
        found = validator.check({**good, **change}, [regional.BASE + "resident-patient"]).findings
        assert key in [one.facts.get("key") for one in found if one.severity == "warning"]
    assert validator.check(good, [regional.BASE + "resident-patient"]).findings == []


TODAY = date(2026, 11, 21)
AGREED = (
    Grace(rule="invariant:rh-pat-2", institution="h1", until=date(2026, 12, 31)),
    Grace(rule="profile-minimum:identifier", until=date(2026, 12, 31)),
    Grace(rule="profile-minimum:identifier", institution="h2", severity="error", until=date(2026, 12, 31)),
    Grace(rule="invariant:rh-pat-1", institution="h1", until=date(2026, 11, 20)),
)


def test_grace_is_of_an_institution_until_a_day() -> None:
    assert grace.severities(AGREED, "h1", TODAY) == {
        "invariant:rh-pat-2": "warning", "profile-minimum:identifier": "warning",
    }  # fmt: skip
    assert grace.severities(AGREED, "h2", TODAY) == {"profile-minimum:identifier": "error"}
    assert grace.severities(AGREED, "h1", date(2027, 1, 1)) == {}


def test_grace_eases_the_rule_and_no_other(validator: Validator) -> None:
    wrong = next(case for case in CASES if "wrong check" in case["case"])["resource"]
    profiles = [regional.BASE + "resident-patient"]
    assert validator.check(wrong, profiles).failed
    assert not validator.check(wrong, profiles, grace.severities(AGREED, "h1", TODAY)).failed
    assert validator.check(wrong, profiles, grace.severities(AGREED, "h2", TODAY)).failed


def test_a_rule_that_does_not_exist_stops_the_start() -> None:
    with pytest.raises(HubError, match="no rule"):
        grace.check([Grace(rule="nonsense", until=TODAY)])

"""The validator's table of cases: what is good passes, and of what is not the first error is the one meant.

``tests/conformance/validator_cases.ndjson``: ``finds`` is [rule, place] of the first error, [] for a good resource;
``resource``, or ``text`` for JSON or XML as it was sent; ``definitions`` are loaded, ``profiles`` asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hub.fhir import definitions, json
from hub.fhir.validate import Library, Validator, located
from hub.fhir.validate.terminology import ServiceCodes
from terminology.service import Terminology

TABLE = Path(__file__).parents[1] / "conformance" / "validator_cases.ndjson"
CASES = [json.decode(line) for line in TABLE.read_bytes().splitlines()]
BASE = Validator(definitions.load(), terminology=ServiceCodes(Terminology(lambda: 0)), strict=True)


def validator(structures: list[dict[str, Any]]) -> Validator:
    if not structures:
        return BASE
    library, codes = Library(definitions.load()), Terminology(lambda: 0)
    for one in structures:
        if one["resourceType"] in ("StructureDefinition", "Questionnaire"):
            library.add(one)
        else:
            codes.put(one)
    return Validator(definitions.load(), library=library, terminology=ServiceCodes(codes), strict=True)


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_the_case_is_judged_as_the_table_says(case: dict[str, Any]) -> None:
    data = case["text"].encode() if "text" in case else json.encode(case["resource"])
    findings = located.check(data, validator(case.get("definitions", [])), case.get("profiles", ()))
    errors = [[one.rule, one.expression] for one in findings if one.severity in ("fatal", "error")]
    assert errors[:1] == ([case["finds"]] if case["finds"] else [])


def test_the_table_has_good_and_bad_cases() -> None:
    assert sum(case["finds"] == [] for case in CASES) > 30
    assert len({case["finds"][0] for case in CASES if case["finds"]}) > 50

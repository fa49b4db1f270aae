"""What a search finds, row by row of the tables in tests/conformance."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from hub.fhir import definitions, json, temporal
from hub.search.index import Indexer
from hub.search.parameters import Registry
from hub.search.parse import Parser
from hub.settings import Search as Limits
from tests.naive import holds

TABLES = Path(__file__).parent.parent / "conformance"
BASE = "http://hub.test/fhir"
UCUM = "http://unitsofmeasure.org"

registry = Registry(definitions.load())
indexer = Indexer(registry, (BASE,))
parser = Parser(registry, Limits(), clock=lambda: temporal.interval("2026-11-20")[0])


def rows(name: str) -> list[Any]:
    lines = (TABLES / name).read_text(encoding="utf-8").splitlines()
    table = csv.DictReader(line for line in lines if not line.startswith("#"))
    return [pytest.param(row, id="-".join(row.values())[:100]) for row in table]


def found(resource: dict[str, Any], name: str, value: str) -> str:
    whole = json.decode(json.encode({"id": "x", **resource}))
    type, id = whole["resourceType"], whole["id"]
    search = parser.parse((type,), [(name, value)], strict=True, base=BASE)
    return "yes" if holds(search.query.where, type, id, {(type, id): indexer.entries(whole)}) else "no"


@pytest.mark.parametrize("row", rows("search_dates.csv"))
def test_date(row: dict[str, str]) -> None:
    start, slash, end = row["target"].partition("/")
    period = {name: text for name, text in (("start", start), ("end", end)) if text}
    effective = {"effectivePeriod": period} if slash else {"effectiveDateTime": start}
    assert found({"resourceType": "Observation", **effective}, "date", row["search"]) == row["matches"]


@pytest.mark.parametrize("row", rows("search_numbers.csv"))
def test_number(row: dict[str, str]) -> None:
    low, dots, high = row["target"].partition("..")
    ends = {name: {"value": json.Decimal(text)} for name, text in (("low", low), ("high", high)) if text}
    probability = {"probabilityRange": ends} if dots else {"probabilityDecimal": json.Decimal(low)}
    resource = {"resourceType": "RiskAssessment", "prediction": [probability]}
    assert found(resource, "probability", row["search"]) == row["matches"]


@pytest.mark.parametrize("row", rows("search_quantities.csv"))
def test_quantity(row: dict[str, str]) -> None:
    number = row["value"].lstrip("<>=")
    comparator = row["value"].removesuffix(number)
    members = {name: row[name].replace("UCUM", UCUM) for name in ("unit", "system", "code") if row[name]}
    quantity = {"value": json.Decimal(number), **({"comparator": comparator} if comparator else {}), **members}
    resource = {"resourceType": "Observation", "valueQuantity": quantity}
    assert found(resource, "value-quantity", row["search"].replace("UCUM", UCUM)) == row["matches"]


@pytest.mark.parametrize("row", rows("search_strings.csv"))
def test_string(row: dict[str, str]) -> None:
    name = f"address-city:{row['modifier']}" if row["modifier"] else "address-city"
    resource = {"resourceType": "Patient", "address": [{"city": row["target"]}]}
    assert found(resource, name, row["search"]) == row["matches"]


@pytest.mark.parametrize("row", rows("search_cases.csv"))
def test_case(row: dict[str, str]) -> None:
    name, value = row["query"].split("=", 1)
    assert found(json.decode(row["resource"].encode()), name, value) == row["matches"]

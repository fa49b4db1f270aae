"""Every R4 resource has exactly one owner among the four master databases."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

import pytest

from hub.databases.router import DATABASES, Router
from hub.errors import HubError
from hub.fhir import definitions

TYPES = definitions.load().resource_types
router = Router(TYPES)


def table(name: str) -> dict[str, Any]:
    return tomllib.loads(files("hub.databases").joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def test_every_resource_type_has_an_owner() -> None:
    assert len(TYPES) == 146
    assert {type for type in TYPES if router.owners(type)} == TYPES
    assert {router.owner({"resourceType": type}) for type in TYPES} == set(DATABASES)


def test_every_database_has_a_title_in_both_languages_and_a_reason_for_each_group() -> None:
    assert tuple(router.descriptions) == DATABASES
    for name, one in router.descriptions.items():
        assert set(one.title) == {"zh", "en"} and all(one.title.values())
        assert one.retention_years >= 0
        assert all(row["why"] for row in table(name)["group"] + table(name).get("shared", []))


def category(code: str) -> list[dict[str, Any]]:
    return [{"text": "other"}, {"coding": [{"code": "x"}, {"code": code}]}]


@pytest.mark.parametrize(
    ("resource", "owner"),
    [
        ({"resourceType": "Patient"}, "population"),
        ({"resourceType": "Organization"}, "resources"),
        ({"resourceType": "Encounter"}, "emr"),
        ({"resourceType": "Immunization"}, "ehr"),
        ({"resourceType": "Observation"}, "emr"),
        ({"resourceType": "Observation", "category": category("laboratory")}, "emr"),
        ({"resourceType": "Observation", "category": category("social-history")}, "ehr"),
        ({"resourceType": "Condition"}, "ehr"),
        ({"resourceType": "Condition", "category": category("encounter-diagnosis")}, "emr"),
        ({"resourceType": "Condition", "category": "encounter-diagnosis"}, "ehr"),
        ({"resourceType": "Condition", "category": [None, {"coding": [None]}]}, "ehr"),
    ],
)
def test_owner(resource: dict[str, Any], owner: str) -> None:
    assert router.owner(resource) == owner
    assert owner in router.owners(resource["resourceType"])


def test_unknown_type_is_refused() -> None:
    with pytest.raises(HubError, match="type-unknown"):
        router.owner({"resourceType": "Nothing"})


@pytest.mark.parametrize(
    "change",
    [
        lambda tables: tables["emr"]["group"][0]["types"].remove("Encounter"),
        lambda tables: tables["emr"]["group"][0]["types"].append("Nothing"),
        lambda tables: tables["ehr"]["group"][0]["types"].append("Patient"),
        lambda tables: tables["ehr"]["shared"][0].pop("otherwise"),
        lambda tables: tables["ehr"]["shared"][1].update(otherwise=True),
        lambda tables: tables["emr"]["shared"].append({"type": "Observation", "codes": ["survey"], "path": "category"}),
    ],
)
def test_a_wrong_table_does_not_start(change: Any) -> None:
    tables = {name: table(name) for name in DATABASES}
    change(tables)
    with pytest.raises(HubError, match="configuration"):
        Router(TYPES, tables.__getitem__)

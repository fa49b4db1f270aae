"""China's tables and the shipped sections: sound in themselves and with one another."""

import csv
from importlib.resources import files
from pathlib import Path

import pytest

from terminology import china, sections, ucum
from terminology.expand import Options
from terminology.registry import Registry
from terminology.service import Terminology
from terminology.system import ListedSystem

SERVICE = Terminology(lambda: 0)
REGISTRY = Registry()
SYSTEMS = china.rows("systems")
EQUIVALENCES = set(SERVICE.members("http://hl7.org/fhir/ValueSet/concept-map-equivalence") or ())


@pytest.mark.parametrize("row", SYSTEMS, ids=lambda row: row["name"])
def test_a_table_has_unique_codes_names_and_says_what_is_verified(row: dict[str, str]) -> None:
    table = china.rows(row["name"])
    codes = [line["code"] for line in table]
    assert len(set(codes)) == len(codes) > 0
    assert all(line["display"] and line["verified"] in ("yes", "no") for line in table)
    assert {line.get("parent", "") for line in table} <= {*codes, ""}
    assert row["content"] in ("complete", "fragment")
    system = REGISTRY.system(row["url"])
    assert system is not None
    assert [concept.code for concept in system.concepts()] == codes


def test_every_table_is_listed() -> None:
    names = {
        Path(str(file)).stem for file in files("terminology").joinpath("china").iterdir() if str(file).endswith("csv")
    }
    assert names == {row["name"] for row in SYSTEMS} | {"systems", "maps", "translations"}


@pytest.mark.parametrize(
    "row", china.rows("maps"), ids=lambda row: f"{row['source']}-{row['code']}-{row['target_code']}"
)
def test_a_mapping_leads_from_a_code_to_a_code(row: dict[str, str]) -> None:
    assert SERVICE.find(china.url(row["source"]), row["code"]) is not None
    assert SERVICE.find(row["target"], row["target_code"]) is not None
    assert row["equivalence"] in {code for _, code in EQUIVALENCES}


@pytest.mark.parametrize("row", china.rows("translations"), ids=lambda row: f"{row['system']}-{row['code']}")
def test_a_translation_is_of_a_known_code(row: dict[str, str]) -> None:
    found = SERVICE.find(row["system"], row["code"])
    assert found is not None
    assert row["zh"] in found.displays("zh")


def test_units_of_the_tables_are_ucum() -> None:
    units = {row["unit"] for name in ("recognition-item", "loinc") for row in china.rows(name) if row["unit"]}
    assert [unit for unit in units if ucum.name(unit) is None] == []


def test_there_are_40_notifiable_diseases_with_deadlines() -> None:
    rows = [row for row in china.rows("notifiable-disease") if not row["parent"]]
    classes = [row["class"] for row in rows]
    assert (classes.count("甲"), classes.count("乙"), classes.count("丙")) == (2, 27, 11)
    assert {row["code"] for row in china.rows("notifiable-disease") if row["deadline_hours"] == "2"} == {
        "A01", "A02", "B02", "B13-1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("code", "name"),
    [("511002", "市中区"), ("370112", "历城区"), ("320506", "吴中区"), ("310116", "金山区"), ("440402", "香洲区")],
)
def test_divisions_of_the_regions_are_there(code: str, name: str) -> None:
    url = "https://region-hub.example/fhir/CodeSystem/gbt-2260-divisions"
    found = SERVICE.find(url, code)
    assert found is not None
    assert found.display == name
    assert SERVICE.related(url, code, "above") == [code, f"{code[:4]}00", f"{code[:2]}0000"]


@pytest.mark.parametrize("name", sections.NAMES)
def test_a_section_says_where_it_is_from_and_its_records_are_what_the_header_says(name: str) -> None:
    section = sections.section(name)
    assert section.source
    assert section.licence
    for entry in section.entries[:: max(1, len(section.entries) // 50)]:
        record = section.record(entry.number)
        assert (record["resourceType"], record["url"], record.get("version", "")) == (
            entry.type, entry.url, entry.version,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("oid", "url"),
    [
        ("2.16.840.1.113883.6.1", "http://loinc.org"),
        ("2.16.840.1.113883.6.8", "http://unitsofmeasure.org"),
        ("2.16.840.1.113883.12.203", "http://terminology.hl7.org/CodeSystem/v2-0203"),
        ("2.16.840.1.113883.5.4", "http://terminology.hl7.org/CodeSystem/v3-ActCode"),
        ("1.2.3", "urn:oid:1.2.3"),
    ],
)
def test_an_oid_names_its_code_system(oid: str, url: str) -> None:
    assert REGISTRY.url(f"urn:oid:{oid}") == url


def test_most_value_sets_of_hl7_expand_and_the_rest_say_what_is_missing() -> None:
    lists = {"listed": 0, "missing": 0}
    for url, version in REGISTRY.canonicals("ValueSet"):
        lists["missing" if SERVICE.members(f"{url}|{version}") is None else "listed"] += 1
    assert lists["listed"] > 3400
    assert lists["missing"] < 130


def test_every_option_of_expand_is_an_operation_parameter() -> None:
    shown = Path(__file__).parents[2].joinpath("terminology", "operations.py").read_text("utf-8")
    assert [name for name in Options.__dataclass_fields__ if f"{name}=" not in shown] == []


def test_required_value_sets_are_listed_once() -> None:
    rows = list(csv.DictReader((Path(__file__).parent / "required_value_sets.csv").read_text("utf-8").splitlines()))
    assert len({row["canonical"] for row in rows}) == len(rows)


def test_no_code_of_r4_was_lost_by_taking_newer_code_systems() -> None:
    section, lost = sections.section("r4-code-systems"), []
    for entry in section.entries:
        resource, newest = section.record(entry.number), REGISTRY.system(entry.url)
        if resource.get("content") == "complete" and newest is not None:
            lost += [c.code for c in ListedSystem(resource).concepts() if newest.find(c.code) is None]
    assert not lost

"""The engine on the HL7 v2 tables: identity, groups, references, what is left out, and the lint."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from adapters.hl7v2.interpret import engine, translate
from adapters.hl7v2.message import parse
from adapters.mapping.check import lint
from adapters.mapping.engine import Engine
from adapters.mapping.tables import Authority, Cancel, Row
from hub.errors import HubError

HEAD = "MSH|^~\\&|HIS|{facility}|HUB|R|20261120083000||{kind}|1|P|2.5.1"


def mapped(kind: str, *segments: str, facility: str = "H1") -> dict[str, list[dict[str, Any]]]:
    raw = "\r".join((HEAD.format(kind=kind, facility=facility), *segments)) + "\r"
    found: dict[str, list[dict[str, Any]]] = {}
    for resource in translate(parse(raw.encode()), "Asia/Shanghai").mapped.resources:
        found.setdefault(resource["resourceType"], []).append(resource)
    return found


def test_the_tables_are_sound() -> None:
    assert lint(engine()) == []


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (Row("PID-8", "", "sex", "code", "", "", "", 9), "R4 has no Patient.sex"),
        (Row("PID-5", "", "name", "HumanName", "XPN[HumanName]", "", "", 9), "a list"),
        (Row("PID-8", "", "gender[1]", "code", "", "", "", 9), "no list"),
    ],
)
def test_the_lint_finds_faults(row: Row, fault: str) -> None:
    tables = engine().tables
    segments = {**tables.segments, "PID[Patient]": (*tables.segments["PID[Patient]"], row)}
    faults = lint(Engine(dataclasses.replace(tables, segments=segments), engine().compiler.reader))
    assert any(fault in one and "line 9" in one for one in faults)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"authority": (Authority("", ("Patient",), (), "shouts", 9),)}, "authority.csv line 9: 'shouts'"),
        ({"authority": (Authority("", ("Patience",), (), "states", 9),)}, "nothing of Patience"),
        ({"cancels": (Cancel("ADT^A13", ("ADT^X03",), "Encounter", ("status",), 9),)}, "serves ADT^X03"),
        ({"defaults": {"Encounter": {"state": "x"}}}, "R4 has no Encounter.state"),
    ],
)
def test_the_lint_knows_the_tables_of_meaning(changed: dict[str, Any], fault: str) -> None:
    faults = lint(Engine(dataclasses.replace(engine().tables, **changed), engine().compiler.reader))
    assert any(fault in one for one in faults)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (Row("PID-8", "PID-8 ~", "gender", "code", "", "", "", 9), "condition"),
        (Row("PID-8", "", "gender", "code", "", "NoSuch", "", 9), "no code table"),
        (Row("PID-8", "", "gender", "", "XX[Code]", "", "", 9), "no data type table"),
        (Row("PID-8", "", "gender", "enum", "", "", "", 9), "no conversion"),
        (Row("PID-8", "", "a..b", "code", "", "", "", 9), "not an element path"),
        (Row("PID-8", "", "gender", "", "", "", "male", 9), "not an assignment"),
    ],
)
def test_a_wrong_row_keeps_the_hub_from_starting(row: Row, fault: str) -> None:
    tables = engine().tables
    segments = {**tables.segments, "PID[Patient]": (*tables.segments["PID[Patient]"], row)}
    with pytest.raises(ValueError, match=rf"PID\[Patient\].csv line 9: .*{fault}"):
        Engine(dataclasses.replace(tables, segments=segments), engine().compiler.reader)


def test_the_order_of_identifiers_does_not_change_who_it_is() -> None:
    one = mapped("ADT^A01", "PID|1||A^^^H^MR~B^^^N^NI||X")["Patient"][0]
    two = mapped("ADT^A01", "PID|1||B^^^N^NI~A^^^H^MR||Y")["Patient"][0]
    other = mapped("ADT^A01", "PID|1||A^^^H^MR||X", facility="H2")["Patient"][0]
    assert one["id"] == two["id"] != other["id"]


def test_the_order_of_segments_does_not_change_ids() -> None:
    segments = ["OBX|1|NM|1^a^LN||1||||||F", "OBX|2|NM|2^b^LN||2||||||F"]
    lead = ["PID|1||7", "OBR|1|P^H|F^L|3^c^LN"]
    one = {obs["code"]["coding"][0]["code"]: obs["id"] for obs in mapped("ORU^R01", *lead, *segments)["Observation"]}
    two = {
        obs["code"]["coding"][0]["code"]: obs["id"] for obs in mapped("ORU^R01", *lead, *segments[::-1])["Observation"]
    }
    assert one == two


def test_an_order_and_its_result_are_about_the_same_request() -> None:
    order = mapped("OML^O21", "PID|1||7", "ORC|NW|P1^HIS", "OBR|1|P1^HIS||3^c^LN")["ServiceRequest"][0]
    result = mapped("ORU^R01", "PID|1||7", "OBR|1|P1^HIS|F9^LIS|3^c^LN")
    assert result["DiagnosticReport"][0]["basedOn"] == [{"reference": f"ServiceRequest/{order['id']}"}]


def test_admission_and_discharge_are_one_encounter() -> None:
    first = mapped("ADT^A01", "PID|1||7", "PV1|1|I|||||||||||||||||V1")["Encounter"][0]
    last = mapped("ADT^A03", "PID|1||7", "PV1|1|I|||||||||||||||||V1" + "|" * 26 + "20261121")["Encounter"][0]
    assert first["id"] == last["id"]
    assert (first["status"], last["status"]) == ("in-progress", "finished")


def test_groups_keep_orders_apart() -> None:
    found = mapped(
        "ORU^R01", "PID|1||7", "ORC|RE|P1", "OBR|1|P1|F1|1^a^LN", "OBX|1|NM|11^x^LN||1||||||F",
        "OBX|2|NM|12^x^LN||2||||||F",
        "SPM|1|S1||BLD", "OBR|2|P2|F2|2^b^LN", "OBX|1|NM|21^x^LN||3||||||F", "ORC|RE|P3", "OBR|3|P3|F3|3^c^LN",
    )  # fmt: skip
    reports = found["DiagnosticReport"]
    assert [len(report.get("result", ())) for report in reports] == [2, 1, 0]
    assert [bool(report.get("specimen")) for report in reports] == [True, False, False]
    assert len({report["basedOn"][0]["reference"] for report in reports}) == 3
    assert [bool(one.get("specimen")) for one in found["Observation"]] == [True, True, False]


def test_two_patients_in_one_result_message() -> None:
    found = mapped(
        "ORU^R01", "PID|1||7||A", "PV1|1|I|||||||||||||||||V1", "OBR|1|P1|F1|1^a^LN", "OBX|1|NM|1^x^LN||1||||||F",
        "PID|2||8||B", "OBR|1|P2|F2|1^a^LN", "OBX|1|NM|1^x^LN||2||||||F",
    )  # fmt: skip
    patients = [f"Patient/{patient['id']}" for patient in found["Patient"]]
    assert [one["subject"]["reference"] for one in found["Observation"]] == patients
    assert ["encounter" in one for one in found["Observation"]] == [True, False]


def test_a_value_that_is_none_is_left_out_and_told() -> None:
    raw = (
        HEAD.format(kind="ORU^R01", facility="H1")
        + "\rPID|1||7||||1 May\rOBR|1||F|1^a^LN\rOBX|1|NM|1^x^LN||<5||||||F\r"
    )
    outcome = translate(parse(raw.encode()), "Asia/Shanghai").mapped
    assert [(one.at, one.value) for one in outcome.problems] == [("PID-7", "1 May")]
    assert all("birthDate" not in one for one in outcome.resources)


def test_what_nothing_identifies_belongs_to_its_message() -> None:
    raw = HEAD.format(kind="ORU^R01", facility="H1") + "\rPID|1||||X^Y\rOBX|1|ST|1^a^LN||x||||||F\r"
    one, again, other = (
        [resource["id"] for resource in translate(parse(text.encode()), "Asia/Shanghai").mapped.resources]
        for text in (raw, raw, raw.replace("|1|P|", "|2|P|"))
    )
    assert one == again
    assert not set(one) & set(other)


def test_null_is_a_deletion_not_a_value() -> None:
    raw = HEAD.format(kind="ADT^A08", facility="H1") + '\rPID|1||7||X|||""||||||""\r'
    outcome = translate(parse(raw.encode()), "Asia/Shanghai").mapped
    reference = f"Patient/{outcome.resources[0]['id']}"
    assert outcome.cleared == {reference: ["gender", "telecom:work"]}
    assert not {"gender", "telecom"} & outcome.resources[0].keys()


def test_segments_without_a_row_are_named() -> None:
    raw = HEAD.format(kind="ADT^A01", facility="H1") + "\rPID|1||7\rZPI|x\rXYZ|y\rACC|1\r"
    assert translate(parse(raw.encode()), "Asia/Shanghai").mapped.unmapped[-3:] == ["ZPI", "XYZ", "ACC"]


def test_an_event_without_a_table_is_named() -> None:
    with pytest.raises(HubError) as refused:
        mapped("XXX^Y99", "PID|1||7")
    assert (refused.value.name, refused.value.at) == ("event-unknown", "MSH-9")


def test_few_delimiters_are_enough() -> None:
    raw = "MSH|^|HIS|H1|||20261120||ADT^A01|1|P|2.3\rPID|1||7||X^Y|||M\r"
    patient = translate(parse(raw.encode()), "Asia/Shanghai").mapped.resources[0]
    assert (patient["name"], patient["gender"]) == ([{"family": "X", "given": ["Y"]}], "male")


def test_of_two_types_of_a_choice_the_first_stays() -> None:
    found = mapped("ORU^R01", "PID|1||7", "OBR|1|P|F|1^a^LN||20261120", "TQ1|1||||||20261121|20261122")[
        "ServiceRequest"
    ][0]
    assert found["occurrenceDateTime"] == "2026-11-20"
    assert "occurrencePeriod" not in found


@pytest.mark.parametrize(
    ("sent", "element", "value"),
    [
        ("<5", "valueQuantity", {"comparator": "<", "value": 5, "unit": "g"}),
        (">= 7", "valueQuantity", {"comparator": ">=", "value": 7, "unit": "g"}),
        ("haemolysed", "valueString", "haemolysed"),
        ("1~2", "component", 2),
    ],
)
def test_a_number_that_is_none_is_kept(sent: str, element: str, value: object) -> None:
    found = mapped("ORU^R01", "PID|1||7", "OBR|1||F|1^a^LN", f"OBX|1|NM|1^x^LN||{sent}|g|||||F")["Observation"][0]
    got = found[element]
    assert (len(got) if isinstance(got, list) else got) == value
    assert sum(name.startswith("value") for name in found) <= 1

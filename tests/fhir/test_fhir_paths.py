"""FHIRPath: values and types, the direct route against the general one, and the guards."""

from __future__ import annotations

from typing import Any

import pytest

from hub.errors import HubError
from hub.fhir import definitions, json, paths
from hub.fhir.paths.compile import closure
from hub.fhir.paths.parse import parse
from hub.fhir.paths.scope import Env, Scope, resource_node, system
from hub.fhir.paths.values import Node, Temporal

PATIENT = json.decode(
    b"""{"resourceType":"Patient","id":"p","active":true,
    "identifier":[{"system":"urn:oid:1.2.156.1","value":"109901198503070013"}],
    "name":[{"use":"official","family":"\xe5\xbc\xa0","given":["\xe4\xb8\x89","A"],
             "_given":[null,{"extension":[{"url":"http://example.org/x","valueString":"y"}]}]},
            {"use":"usual","text":"San"}],
    "telecom":[{"system":"phone","value":"1"},{"system":"email","value":"a@b.example"}],
    "birthDate":"1985-03-07","_birthDate":{"extension":[{"url":"http://example.org/t","valueTime":"10:00:00"}]},
    "deceasedBoolean":false,"multipleBirthInteger":2,
    "generalPractitioner":[{"reference":"Practitioner/1"},{"reference":"#o"},{"type":"Practitioner","display":"x"}],
    "contained":[{"resourceType":"Organization","id":"o","name":"N"}],
    "contact":[{"name":{"family":"\xe6\x9d\x8e"},"gender":"female"}]}"""
)
NOW = Temporal.parse("2026-11-20T10:00:00.000Z", "dateTime")

CASES: list[tuple[str, list[Any], list[str]]] = [
    ("Patient.name.given", ["三", "A"], ["string", "string"]),
    ("Patient.birthDate", ["1985-03-07"], ["date"]),
    ("(Patient.deceased as boolean)", [False], ["boolean"]),
    ("Patient.deceased.ofType(dateTime)", [], []),
    ("Patient.multipleBirth", [2], ["integer"]),
    ("name.where(use = 'official').given.first()", ["三"], ["string"]),
    ("Patient.telecom.where(system='email').value", ["a@b.example"], ["string"]),
    ("name.given[1].extension('http://example.org/x').value", ["y"], ["string"]),
    ("birthDate.extension.value", ["10:00:00"], ["time"]),
    ("Patient.contact.name.family | Person.name.family", ["李"], ["string"]),
    ("generalPractitioner.where(resolve() is Practitioner).count()", [2], ["integer"]),
    ("generalPractitioner.where(resolve() is Organization).reference", ["#o"], ["string"]),
    ("generalPractitioner.resolve().name", ["N"], ["string"]),
    ("contained.name", ["N"], ["string"]),
    ("birthDate + 1 month", ["1985-04-07"], ["date"]),
    ("today() - 41 years > birthDate", [True], ["boolean"]),
    ("@2012-04-15T15:00:00Z = @2012-04-15T10:00:00", [], []),
    ("@2012 < @2012-05", [], []),
    ("1.0 ~ 1.01", [True], ["boolean"]),
    ("4 'g' = 4000 'mg'", [True], ["boolean"]),
    ("name.given.combine(name.family).count()", [3], ["integer"]),
    ("(1 | 2 | 2).count()", [2], ["integer"]),
    ("name.all(family.exists())", [False], ["boolean"]),
    ("'abc'.replaceMatches('b(c)', '$1')", ["ac"], ["string"]),
    ("iif(active, 'yes', 1/0)", ["yes"], ["string"]),
    ("(1|2|3).aggregate($this + $total, 0)", [6], ["integer"]),
    ("descendants().where($this is Reference).count()", [3], ["integer"]),
    ("7 div 2 + 7 mod 2", [4], ["integer"]),
    ("name.family.hasValue()", [True], ["boolean"]),
    ("%resource.id & %ucum.substring(0, 4)", ["phttp"], ["string"]),
    ("1.587.lowBoundary(2)", ["1.58"], ["decimal"]),
    ("active and {}", [], []),
    ("Patient.type().name", ["Patient"], ["string"]),
]


@pytest.mark.parametrize(("expression", "values", "types"), CASES)
def test_an_expression_gives_values_with_types(expression: str, values: list[Any], types: list[str]) -> None:
    found = paths.compile(expression, "Patient").typed(PATIENT, now=NOW)
    assert [str(value) if name == "decimal" else value for value, name in found] == values
    assert [name for _, name in found] == types


WRONG = [
    "name.",
    "name..given",
    "1 +",
    "name.where(",
    "nothing()",
    "name.first(1)",
    "active is Nonsense",
    "@2012-13",
    "'open",
    "%unknown",
    "name.given.single()",
    "'a' - 'b'",
    "(1|2).not()",
]


@pytest.mark.parametrize("expression", WRONG)
def test_a_wrong_expression_is_an_error_not_a_crash(expression: str) -> None:
    with pytest.raises(HubError) as refusal:
        paths.compile(expression, "Patient")(PATIENT)
    assert refusal.value.name == "value"


@pytest.mark.parametrize(
    "expression", ["name.given1", "Encounter.status", "Patient.deceasedBoolean", "name.matches('x')"]
)
def test_strict_refuses_what_no_patient_can_have(expression: str) -> None:
    assert isinstance(
        paths.compile(expression.replace("matches", "count").replace("'x'", ""), "Patient")(PATIENT), list
    )
    with pytest.raises(HubError):
        paths.compile(expression, "Patient", strict=True)


COSTLY = [
    "a" * 20_000,
    "(" * 2000 + "1" + ")" * 2000,
    "(1|2|3|4|5|6|7|8|9).select(" * 9 + "$this" + ")" * 9,
    "descendants().select(%resource.descendants().select(%resource.descendants().select(%resource.descendants())))",
]


@pytest.mark.parametrize("expression", COSTLY, ids=range(len(COSTLY)))
def test_what_costs_too_much_is_refused(expression: str) -> None:
    with pytest.raises(HubError) as refusal:
        paths.compile(expression).items(PATIENT)
    assert refusal.value.name in ("too-costly", "value")


def test_a_regular_expression_that_could_run_away_is_refused() -> None:
    with pytest.raises(HubError, match="too long"):
        paths.compile("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!'.matches('^(a+)+$')")({})


def expressions() -> list[tuple[str, str]]:
    found = {
        (base, item["expression"])
        for item in definitions.load().search_parameters
        if "expression" in item
        for base in item["base"]
    }
    return sorted(found)


def test_every_search_parameter_compiles_and_nearly_all_run_on_the_direct_route() -> None:
    compiled = [paths.compile(expression, base) for base, expression in expressions()]
    direct = sum(path._direct is not None for path in compiled)
    assert len(compiled) > 1500
    assert direct / len(compiled) > 0.99


def test_the_direct_route_gives_what_the_general_one_gives() -> None:
    compared = 0
    for base, expression in expressions():
        path = paths.compile(expression, base)
        if base not in ("Patient", "Resource", "DomainResource") or path._direct is None:
            continue
        general = closure(parse(expression))(Scope(Env(resource_node(PATIENT)), [resource_node(PATIENT)]))
        values = [item.value if isinstance(item, Node) else system(item) for item in general]
        assert path(PATIENT) == [value for value in values if value is not None], expression
        compared += 1
    assert compared > 15


def test_member_of_asks_the_terminology() -> None:
    class Codes:
        def validate_code(self, value_set: str, system: str, code: str) -> bool | None:
            return {"http://example.org/vs": code == "female"}.get(value_set)

    run = paths.compile("contact.gender.memberOf('http://example.org/vs')", "Patient")
    assert run(PATIENT, terminology=Codes()) == [True]
    unknown = paths.compile("contact.gender.memberOf('http://example.org/none')", "Patient")
    assert unknown(PATIENT, terminology=Codes()) == []

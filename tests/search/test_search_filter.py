"""The _filter language (R4 3.1.3)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import HubError
from hub.fhir import definitions
from hub.search.expression import And, Equals, Expression, In, Match, Not, Or, Prefix
from hub.search.index import Indexer
from hub.search.parameters import Registry
from hub.search.parse import Parser
from hub.settings import Search as Limits
from tests.naive import holds

registry = Registry(definitions.load())
parser = Parser(registry, Limits(), clock=lambda: 0)
indexer = Indexer(registry)

CODE = Match("code", Equals("1234-5", "http://loinc.org"))
FINAL = Match("status", Equals("final"))
DRAFT = Match("status", Equals("draft"))


def where(type: str, text: str) -> Expression:
    return parser.parse((type,), [("_filter", text)], strict=True).query.where


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("code eq http://loinc.org|1234-5", CODE),
        ('code eq "http://loinc.org|1234-5"', CODE),
        (
            'code eq http://loinc.org|1234-5 and subject:Patient.name co "peter"',
            And((CODE, parser.expression(("Observation",), "subject:Patient.name:contains", "peter"))),
        ),
        ("status eq final or status eq draft and code eq http://loinc.org|1234-5", And((Or((FINAL, DRAFT)), CODE))),
        ("status eq final or (status eq draft and code eq http://loinc.org|1234-5)", Or((FINAL, And((DRAFT, CODE))))),
        ("not(status eq final)", Not(FINAL)),
        ("not (status eq final) and status eq draft", And((Not(FINAL), DRAFT))),
        ("_id eq a", parser.expression(("Observation",), "_id", "a")),
        ("date ge 2010-10-01", parser.expression(("Observation",), "date", "ge2010-10-01")),
        ("value-quantity gt 5.4", parser.expression(("Observation",), "value-quantity", "gt5.4")),
        ("subject re Patient/1", parser.expression(("Observation",), "subject", "Patient/1")),
        ("code pr true", parser.expression(("Observation",), "code:missing", "false")),
        ('value-string sw "Pos,"', Match("value-string", Prefix("pos"))),
        ('value-string eq "Positive"', Match("value-string", Equals("positive"))),
        ("code eq a,b", Match("code", Equals("a,b"))),
        ("_has:Provenance:target:agent eq Device/1", parser.expression(
            ("Observation",), "_has:Provenance:target:agent", "Device/1")),
    ],
)  # fmt: skip
def test_filter(text: str, expected: Expression) -> None:
    assert where("Observation", text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "code", "code eq", "code is 1", "(code eq 1", "code eq 1)", "code eq 1 code eq 2", "not code eq 1", "and",
        'code eq "open', 'name[use eq "official"].family eq "x"', "code ne 1", "code gt 1", "foo eq 1",
        "status:not eq final", "value-string ew x", "value-string eq !!!", "date po gt2010", "_id ne a",
        '"code" eq 1', "subject.foo eq 1", "(" * 40 + "code eq 1" + ")" * 40, "code eq 1 and " * 300 + "code eq 1",
        'value-string eq "\\ud800"',
    ],
)  # fmt: skip
def test_what_is_not_a_filter_is_refused(text: str) -> None:
    with pytest.raises(HubError) as caught:
        where("Observation", text)
    assert caught.value.name in ("parameter-value", "parameter-unknown")


def test_periods_that_overlap() -> None:
    resource: dict[str, Any] = {
        "resourceType": "Observation",
        "effectivePeriod": {"start": "2020-01-31", "end": "2020-02-02"},
    }
    world = {("Observation", "o"): indexer.entries(resource)}
    assert holds(where("Observation", "date po 2020-01"), "Observation", "o", world)
    assert not holds(where("Observation", "date po 2019"), "Observation", "o", world)
    assert holds(where("Observation", "date pr true"), "Observation", "o", world)


def test_several_types() -> None:
    found = parser.parse((), [("_type", "Observation,Condition"), ("_filter", "patient eq Patient/1")], strict=True)
    assert found.query.where == Match("patient", Equals("Patient/1"))
    assert isinstance(where("Observation", "subject eq 1"), Match)
    assert isinstance(where("Observation", "subject eq 1").test, In)  # type: ignore[union-attr]


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet='code eq 1and or not()"subject.name|\\,pr[]', max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        where("Observation", text)
    except HubError as error:
        assert error.diagnostics

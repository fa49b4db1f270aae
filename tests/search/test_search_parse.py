"""Query strings to searches: names, modifiers, chains, result parameters, limits (R4 3.1.1)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import HubError
from hub.fhir import definitions
from hub.search import criteria, parse
from hub.search.expression import ALL, And, Chain, Equals, Ids, In, Match, Not, Or, Order, Prefix, Reverse
from hub.search.parameters import Registry
from hub.search.parse import Include, Parser, Search
from hub.settings import Search as Limits

registry = Registry(definitions.load())
parser = Parser(registry, Limits(), clock=lambda: 0)


def search(type: str, query: str, strict: bool = True) -> Search:
    pairs = [(name, value) for name, _, value in (pair.partition("=") for pair in query.split("&"))]
    return parser.parse((type,) if type else (), pairs, strict)


def refusal(type: str, query: str) -> HubError:
    with pytest.raises(HubError) as caught:
        search(type, query)
    return caught.value


def test_repeated_parameters_are_an_and_and_commas_an_or() -> None:
    where = search("Patient", "language=FR,NL&language=EN").query.where
    assert where.parts == (  # type: ignore[union-attr]
        Match("language", In(("FR", "NL"))),
        Match("language", Equals("EN")),
    )


def test_chain_joins_the_target_types_that_know_the_rest() -> None:
    where = search("DiagnosticReport", "subject.name=peter").query.where
    types = ("Patient", "Location")  # Group has no parameter name, Device has device-name
    assert where == Or(
        (
            Chain("subject", types, Match("name", Prefix("peter"))),
            And((Match("subject.", In(types)), Match("subject.name", Prefix("peter")))),  # a contained subject
        )
    )


def test_typed_chain_of_two_links() -> None:
    where = search("Observation", "subject:Patient.organization.name=x").query.where
    named = Match("name", Prefix("x"))
    contained = And((Match("organization.", In(("Organization",))), Match("organization.name", Prefix("x"))))
    organization = Or((Chain("organization", ("Organization",), named), contained))
    assert where == Or(
        (
            Chain("subject", ("Patient",), organization),
            And((Match("subject.", In(("Patient",))), Chain("subject.organization", ("Organization",), named))),
        )
    )


def test_has_can_be_nested() -> None:
    assert search("Patient", "_has:Observation:patient:_has:AuditEvent:entity:action=R").query.where == Reverse(
        "Observation", "patient", Reverse("AuditEvent", "entity", Match("action", Equals("R")))
    )


def test_ids_and_lists() -> None:
    assert search("Patient", "_id=a,b").query.where == Ids(("a", "b"))
    assert search("Patient", "_id:not=a").query.where == Not(Ids(("a",)))
    assert search("Patient", "_list=42").query.where == Reverse("List", "item", Ids(("42",)))


def test_bare_id_of_a_reference_may_be_of_any_target_type() -> None:
    where = search("Observation", "subject=1").query.where
    assert isinstance(where, Match) and isinstance(where.test, In)
    assert set(where.test.values) == {"Patient/1", "Group/1", "Device/1", "Location/1"}


def test_union_parameters_ask_their_parts() -> None:
    assert search("Observation", "combo-code=1").query.where == Or(
        (Match("code", Equals("1")), Match("component-code", Equals("1")))
    )


def test_result_parameters() -> None:
    found = search(
        "Observation",
        "_sort=-date,code,_id&_count=5&_total=accurate&_summary=data&_elements=code,subject"
        "&_include=Observation:subject:Patient&_include:iterate=Patient:organization&_revinclude=Provenance:target",
    )
    assert found.query.order == (Order("date", True, "range"), Order("code"), Order("_id"))
    assert (found.count, found.query.limit, found.total, found.summary) == (5, 5, "accurate", "data")
    assert found.elements == ("code", "subject")
    assert found.includes == (
        Include("Observation", "subject", "Patient"),
        Include("Patient", "organization", "", True),
    )
    assert found.revincludes == (Include("Provenance", "target"),)
    assert found.query.where == ALL
    assert len(found.used_pairs) == 8 and not found.issues


def test_count_is_kept_below_the_limit_and_may_be_zero() -> None:
    assert search("Patient", "_count=0").count == 0
    assert search("Patient", "_count=999999").count == Limits().max_count


def test_unknown_parameter_is_reported_or_refused() -> None:
    found = search("Patient", "foo=1&gender=male", strict=False)
    assert found.used_pairs == (("gender", "male"),)
    assert [issue["expression"] for issue in found.issues] == [["http.foo"]]
    assert refusal("Patient", "foo=1").name == "parameter-unknown"


def test_unsupported_parameter_gives_its_reason() -> None:
    assert "full-text" in refusal("Patient", "_text=bone").diagnostics


@pytest.mark.parametrize(
    ("type", "query", "name"),
    [
        ("Patient", "name:foo=1", "parameter-unknown"),
        ("Patient", "gender:exact=male", "parameter-unknown"),
        ("Patient", "birthdate=yesterday", "parameter-value"),
        ("Patient", "birthdate=2020-02-30", "parameter-value"),
        ("Patient", "birthdate=zz2020", "parameter-value"),
        ("Patient", "name=", "parameter-value"),
        ("Patient", "name=!!!", "parameter-value"),
        ("Patient", "identifier=a|b|c", "parameter-value"),
        ("Patient", "identifier=|", "parameter-value"),
        ("Patient", "identifier:of-type=a|b", "parameter-value"),
        ("Patient", r"name=xx\xx", "parameter-value"),
        ("Patient", "name=x\\", "parameter-value"),
        ("Patient", "gender:missing=maybe", "parameter-value"),
        ("Patient", "_id=a b", "parameter-value"),
        ("Patient", "_count=-1", "parameter-value"),
        ("Patient", "_count=ten", "parameter-value"),
        ("Patient", "_total=all", "parameter-value"),
        ("Patient", "_summary=yes", "parameter-value"),
        ("Patient", "_elements=", "parameter-value"),
        ("Patient", "_include=Patient", "parameter-value"),
        ("Patient", "_include=Patient:name", "parameter-value"),
        ("Patient", "_include=Nothing:name", "parameter-value"),
        ("Patient", "_include=Patient:organization:Patient", "parameter-value"),
        ("Patient", "_include:foo=Patient:organization", "parameter-unknown"),
        ("Patient", "_revinclude=*", "parameter-value"),
        ("Patient", "_contained=true", "parameter-unknown"),
        ("Patient", "_sort=foo", "parameter-unknown"),
        ("Patient", "_has:Nothing:patient:code=1", "parameter-unknown"),
        ("Patient", "_has:Observation:code:code=1", "parameter-unknown"),
        ("Patient", "_has:Observation=1", "parameter-unknown"),
        ("Patient", "gender.name=x", "parameter-unknown"),
        ("Patient", "organization:Patient.name=x", "parameter-unknown"),
        ("Patient", "organization.foo=x", "parameter-unknown"),
        ("QuestionnaireResponse", "questionnaire.title=x", "parameter-unknown"),
        ("Patient", "_type=Observation", "parameter-value"),
        ("", "_type=Nothing", "parameter-value"),
        ("", "name=x", "parameter-unknown"),
        ("Observation", "value-quantity=5|mg", "parameter-value"),
        ("Observation", "value-quantity=five", "parameter-value"),
        ("Observation", "value-quantity=NaN", "parameter-value"),
        ("Observation", "value-quantity=1e999", "parameter-value"),
        ("Observation", "component-code-value-quantity=1", "parameter-value"),
        ("Observation", "component-code-value-quantity=1$2$3", "parameter-value"),
        ("Observation", "component-code-value-quantity:missing=true", "parameter-unknown"),
        ("Observation", "code:in=http://x.test/vs", "parameter-value"),
        ("Location", "near=1", "parameter-value"),
        ("Location", "near=91|0", "parameter-value"),
        ("Location", "near=1|2|3|parsec", "parameter-value"),
        ("ValueSet", "url:below=urn:oid:1.2", "parameter-value"),
    ],
)
def test_refused(type: str, query: str, name: str) -> None:
    error = refusal(type, query)
    assert error.name == name
    assert error.at or error.diagnostics


def test_limits() -> None:
    deep = ".".join(["partof"] * 6) + ".name=x"
    assert refusal("Organization", deep).name == "too-costly"
    assert refusal("Patient", "&".join(["gender=male"] * (parse.MAX_PARAMETERS + 1))).name == "too-costly"
    assert refusal("Patient", "name=" + "x" * (parse.MAX_LENGTH + 1)).name == "too-costly"
    assert refusal("Patient", "name=" + "x" * (criteria.MAX_VALUE + 1)).name == "parameter-value"
    assert refusal("Patient", "name=" + "x," * criteria.MAX_ALTERNATIVES).name == "parameter-value"


def test_system_search_knows_common_parameters_only() -> None:
    assert search("", "_lastUpdated=gt2020&_tag=x").query.types == ()
    found = search("", "_type=Observation,Condition&code=1&patient=2")
    assert found.query.types == ("Observation", "Condition")
    assert refusal("", "_type=Observation,Condition&value-quantity=1").name == "parameter-unknown"


class Codes:
    """A terminology of one value set and one hierarchy."""

    def members(self, value_set: str) -> list[tuple[str, str]] | None:
        return [("s", "1"), ("s", "2")] if value_set == "http://x.test/vs" else None

    def related(self, system: str, code: str, direction: str) -> list[str] | None:
        return {("s", "1", "below"): ["1", "11"], ("s", "11", "above"): ["11", "1"]}.get((system, code, direction))


def test_terminology_modifiers() -> None:
    asking = Parser(registry, Limits(), terminology=Codes(), clock=lambda: 0)
    within = Match("code", In(("1", "2"), "s"))
    assert asking.expression(("Condition",), "code:in", "http://x.test/vs") == within
    assert asking.expression(("Condition",), "code:not-in", "http://x.test/vs") == Not(within)
    assert asking.expression(("Condition",), "code:below", "s|1") == Match("code", In(("1", "11"), "s"))
    assert asking.expression(("Condition",), "code:above", "s|11") == Match("code", In(("11", "1"), "s"))
    only = Match("code", In(("1", "11"), "s"))
    assert asking.expression(("Condition",), "code:below", "s|1,s|1") == Or((only, only))
    with pytest.raises(HubError, match="not known"):
        asking.expression(("Condition",), "code:in", "http://x.test/other")


NAMES = st.one_of(
    st.sampled_from(
        [
            "name",
            "identifier",
            "birthdate",
            "_id",
            "_has",
            "_sort",
            "_include",
            "_count",
            "_lastUpdated",
            "near",
            "_list",
        ]
    ),
    st.sampled_from(["code-value-quantity", "component-code-value-quantity", "value-quantity", "subject", "status"]),
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["subject", "name", "code", "_has:Observation", "organization", "url"]),
        st.sampled_from([":", ".", ":Patient.", ":missing", ":not", ":below", ":of-type", ":iterate", "::", ".."]),
        st.text(max_size=8),
    ),
    st.text(max_size=20),
)
VALUES = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="\\|,$:./-+0123456789eE Tgtlneab", max_size=30),
    st.builds(
        "{}{}|{}|{}".format,
        st.sampled_from(["", "eq", "ap", "ne", "sa"]),
        st.floats(),
        st.sampled_from(["", "http://unitsofmeasure.org", "x"]),
        st.text(max_size=5),
    ),
)


@settings(deadline=None, max_examples=100)
@given(
    type=st.sampled_from(["", "Patient", "Observation", "Location", "ValueSet", "MolecularSequence", "Encounter"]),
    pairs=st.lists(st.tuples(NAMES, VALUES), max_size=4),
    strict=st.booleans(),
)
def test_whatever_is_asked_is_parsed_or_refused(type: str, pairs: list[tuple[str, str]], strict: bool) -> None:
    try:
        found = parser.parse((type,) if type else (), pairs, strict)
    except HubError as error:
        assert error.diagnostics
        return
    assert len(found.used_pairs) + len(found.issues) == len(pairs)
    assert not (strict and found.issues)
    hash(found.query)

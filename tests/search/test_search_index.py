"""Index entries: every declared parameter, the shapes of entries, values of every data type."""

from __future__ import annotations

import time
import unicodedata
from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import HubError
from hub.fhir import definitions, elements, json, temporal
from hub.search.criteria import modifiers
from hub.search.entries import EMITTERS, MAX_ENTRIES, MAX_TERM
from hub.search.expression import Range, Term
from hub.search.index import Indexer
from hub.search.parameters import Registry
from hub.search.parse import Parser
from hub.search.text import normalised
from hub.settings import Search as Limits
from tests.naive import holds

registry = Registry(definitions.load())
indexer = Indexer(registry)
parser = Parser(registry, Limits(), clock=lambda: 0)

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p",
    "meta": {"lastUpdated": "2026-01-01T00:00:00Z"},
    "identifier": [{"system": "urn:mrn", "value": "7"}],
    "active": True,
    "name": [{"family": "张", "given": ["三"], "text": "张三"}],
    "gender": "male",
    "birthDate": "1985-03-07",
    "managingOrganization": {"reference": "Organization/h", "display": "First Hospital"},
}


def test_entries_of_a_patient_are_exactly_these() -> None:
    found = indexer.entries(PATIENT)
    assert set(found.terms) == {
        Term("identifier", "7", "urn:mrn"),
        Term("active", "true"),
        Term("name", "张", "张"),
        Term("name", "三", "三"),
        Term("name", "张三", "张三"),
        Term("name", "张三"),
        Term("family", "张", "张"),
        Term("given", "三", "三"),
        Term("gender", "male"),
        Term("deceased", "false"),
        Term("organization", "Organization/h"),
        Term("organization:text", "first hospital"),
    }
    assert found.ranges == (Range("birthdate", *temporal.interval("1985-03-07")),)
    assert len(found.terms) == len(set(found.terms))


def test_every_declared_parameter_of_every_type_compiles() -> None:
    """Each has entries of its own, or is told by others, or is a property of the version."""
    for type in sorted(registry.types):
        assert indexer.entries({"resourceType": type, "id": "x"}).ranges == ()
        for code, parameter in registry.of(type).items():
            assert parameter.code == code
            assert parameter.expression or parameter.union or code == "_filter", f"{type}.{code} finds nothing"
            assert parameter.type in EMITTERS or parameter.components


def test_every_element_type_of_a_parameter_is_indexed() -> None:
    """What the definitions say a parameter can find has a rule; exceptions are the ones R4 prints by mistake."""
    without = {
        (parameter.type, kind)
        for type in registry.types
        for parameter in registry.of(type).values()
        for kind in parameter.elements
        if parameter.type in EMITTERS and elements.type_of(kind) not in EMITTERS[parameter.type]
    }
    assert without <= {("date", "Age"), ("date", "Range")}


def test_every_parameter_can_be_asked_for() -> None:
    values = {
        "token": "x", "string": "x", "reference": "x", "uri": "http://x.test", "date": "2020", "number": "1",
        "quantity": "1", "special": "1|2",
    }  # fmt: skip
    for type in sorted(registry.types):
        for code, parameter in registry.of(type).items():
            if code == "_filter":
                continue
            parts = [values[part.type] for part in parameter.components] or [values[parameter.type]]
            search = parser.parse((type,), [(code, "$".join(parts))], strict=True)
            world = {(type, "y"): indexer.entries({"resourceType": type, "id": "y"})}
            assert not holds(search.query.where, type, "y", world), f"{type}.{code}"
            if "missing" in modifiers(parameter):
                search = parser.parse((type,), [(f"{code}:missing", "true")], strict=True)
                always = code == "_id" or (type, code) == ("Patient", "deceased")
                assert holds(search.query.where, type, "y", world) is not always, f"{type}.{code}:missing"


def test_registry_has_all_official_parameters_or_a_reason() -> None:
    official = {
        (base, item["code"]) for item in definitions.load().search_parameters for base in item.get("base", ())
    } - {("Patient", "part-agree")}  # the specification's example of an extension
    declared = {(base, code) for base in registry.types for code in registry.of(base)}
    declared |= {(base, code) for base in ("Resource", "DomainResource") for code in registry.of(base)}
    assert official - declared - registry.unsupported.keys() == set()
    assert all(registry.unsupported.values())


def test_server_time_zone_is_that_of_dates_without_one() -> None:
    zone = timezone(timedelta(hours=8))
    observation = {"resourceType": "Observation", "id": "o", "effectiveDateTime": "2026-11-20T02:00:00+08:00"}
    world = {("Observation", "o"): Indexer(registry, zone=zone).entries(observation)}
    local = Parser(registry, Limits(), clock=lambda: 0, zone=zone)
    assert holds(local.expression(("Observation",), "date", "2026-11-20"), "Observation", "o", world)
    assert not holds(parser.expression(("Observation",), "date", "2026-11-20"), "Observation", "o", world)


def test_long_text_is_found_by_its_beginning() -> None:
    found = indexer.entries({"resourceType": "ValueSet", "status": "draft", "description": "long " * 10_000})
    assert max(len(term.value) for term in found.terms) <= MAX_TERM


def test_too_many_entries_are_refused() -> None:
    codings = [{"system": "s", "code": str(number)} for number in range(MAX_ENTRIES + 1)]
    with pytest.raises(HubError, match="too-costly"):
        indexer.entries({"resourceType": "Observation", "code": {"coding": codings}})


def test_a_resource_within_many_references_is_indexed_once() -> None:
    entry = [{"item": {"reference": "#p"}}] * 20_000
    contained = [{"resourceType": "Patient", "id": "p", "name": [{"family": str(number)} for number in range(500)]}]
    started = time.process_time()
    found = indexer.entries({"resourceType": "List", "entry": entry, "contained": contained})
    assert Term("item.family", "499", "499") in found.terms
    assert time.process_time() - started < 2


def test_bundles_in_bundles_end() -> None:
    nested: dict[str, Any] = {"resourceType": "Composition", "title": "x"}
    for _ in range(20):
        nested = {"resourceType": "Bundle", "type": "document", "entry": [{"resource": nested}]}
    assert len(indexer.entries(nested).terms) < 10


def test_only_the_type_of_element_that_is_there_counts() -> None:
    text = {"resourceType": "Observation", "status": "final", "valueString": "positive"}
    assert {term.param for term in indexer.entries(text).terms} == {"status", "value-string"}


def test_references_of_one_parameter() -> None:
    assert indexer.references(PATIENT, "organization") == [Term("organization", "Organization/h")]


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once
    assert normalised(unicodedata.normalize("NFD", text)) == normalised(unicodedata.normalize("NFC", text))
    assert normalised(text.replace(" ", "\t  ")) == once


@settings(deadline=None, max_examples=100)
@given(st.text(min_size=1, max_size=40).filter(lambda text: "\x00" not in text))
def test_what_is_stored_is_found_exactly_and_by_its_start(text: str) -> None:
    resource = {"resourceType": "Patient", "id": "p", "address": [{"city": text}]}
    world = {("Patient", "p"): indexer.entries(json.decode(json.encode(resource)))}
    escaped = "".join("\\" + char if char in "\\,|$" else char for char in text)
    assert holds(parser.expression(("Patient",), "address-city:exact", escaped), "Patient", "p", world)
    if normalised(text):
        assert holds(parser.expression(("Patient",), "address-city", escaped), "Patient", "p", world)


@settings(deadline=None, max_examples=100)
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-1_000_000, max_value=1_000_000, places=4))
def test_a_number_equals_itself(number: Any) -> None:
    quantity = {"value": json.Decimal(f"{number:f}"), "system": "http://unitsofmeasure.org", "code": "mg"}
    world = {("Observation", "o"): indexer.entries({"resourceType": "Observation", "valueQuantity": quantity})}
    for value in (f"{number:f}", f"{number:f}|http://unitsofmeasure.org|mg", f"{number:f}||mg", f"ge{number:f}"):
        assert holds(parser.expression(("Observation",), "value-quantity", value), "Observation", "o", world), value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["2020-01-01", "Patient/1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["coding", "code", "system", "value", "reference", "identifier", "start", "low", "family", "given",
                 "id", "resourceType", "event", "repeat", "data", "origin", "component", "type", "contained", "url"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip
MEMBERS = sorted(
    {name for type in ("Patient", "Observation", "Bundle", "Group") for name in elements.json_members(type)}
)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(["Patient", "Observation", "Bundle", "Group", "MolecularSequence", "Location"]),
    st.dictionaries(
        st.sampled_from(MEMBERS) | st.sampled_from(["position", "referenceSeq", "variant"]), JSON, max_size=5
    ),
)
def test_what_has_no_structure_is_indexed_or_refused(type: str, members: dict[str, Any]) -> None:
    try:
        indexer.entries({"resourceType": type, **members})
    except HubError as error:
        assert error.name in ("structure", "value", "too-costly")

"""The difference of two resources: the patch that makes one of the other."""

from __future__ import annotations

import json as standard
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hub.errors import HubError
from hub.fhir import definitions, diff, json, patch
from hub.fhir.validate.quick import QuickValidator

Json = dict[str, Any]
TEXT = st.sampled_from(["a", "b", "李", "c d"])
DECIMAL = st.sampled_from(["1.0", "1.00", "2"]).map(json.Decimal)
EXTENSION = st.fixed_dictionaries(
    {"url": st.sampled_from(["http://x.example/1", "http://x.example/2"])},
    optional={"valueString": TEXT, "extension": st.just([{"url": "in", "valueQuantity": {"code": "mm"}}])},
).filter(lambda one: len(one) > 1)
EXTRA = st.fixed_dictionaries({}, optional={"id": TEXT, "extension": st.lists(EXTENSION, min_size=1, max_size=2)})
GIVEN = st.lists(st.tuples(TEXT, st.none() | EXTRA.filter(bool)), min_size=1, max_size=3)


@st.composite
def names(draw: st.DrawFn) -> Json:
    name: Json = draw(st.fixed_dictionaries({}, optional={"family": TEXT, "use": st.just("official")}))
    given_names = draw(st.none() | GIVEN)
    if given_names:
        name["given"] = [text for text, _ in given_names]
        if any(extra for _, extra in given_names):
            name["_given"] = [extra for _, extra in given_names]
    return name or {"text": "nobody"}


CONTACT = st.fixed_dictionaries({"gender": st.sampled_from(["male", "female"])}, optional={"name": names()})
ORGANIZATION = st.fixed_dictionaries({"resourceType": st.just("Organization"), "name": TEXT}, optional={"id": TEXT})
PATIENT = st.fixed_dictionaries(
    {"resourceType": st.just("Patient")},
    optional={
        "id": TEXT,
        "meta": st.fixed_dictionaries({}, optional={"versionId": TEXT, "tag": st.just([{"code": "t"}])}).filter(bool),
        "text": TEXT.map(lambda text: {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{text}</div>'}),
        "contained": st.lists(ORGANIZATION, min_size=1, max_size=2),
        "extension": st.lists(EXTENSION, min_size=1, max_size=3),
        "name": st.lists(names(), min_size=1, max_size=4),
        "birthDate": st.just("1985-03-07"),
        "_birthDate": EXTRA.filter(bool),
        "contact": st.lists(CONTACT, min_size=1, max_size=3),
    },
)  # fmt: skip
DECEASED = st.sampled_from([{}, {"deceasedBoolean": True}, {"deceasedDateTime": "2020"}, {"deceasedBoolean": False}])
CONCEPT: st.SearchStrategy[Json] = st.recursive(
    st.fixed_dictionaries({"code": TEXT}),
    lambda inner: st.fixed_dictionaries({"code": TEXT, "contains": st.lists(inner, min_size=1, max_size=3)}),
    max_leaves=6,
)
VALUE_SET = st.fixed_dictionaries(
    {
        "resourceType": st.just("ValueSet"),
        "status": st.just("draft"),
        "expansion": st.fixed_dictionaries(
            {"timestamp": st.just("2026-11-20"), "contains": st.lists(CONCEPT, min_size=1, max_size=3)}
        ),
    }
)
OBSERVATION = st.fixed_dictionaries(
    {"resourceType": st.just("Observation"), "status": st.just("final"), "code": st.just({"text": "x"})},
    optional={"valueQuantity": st.fixed_dictionaries({"value": DECIMAL})},
)
PATIENTS = st.builds(lambda one, other: {**one, **other}, PATIENT, DECEASED)
PAIRS = st.one_of(*(st.tuples(one, one) for one in (PATIENTS, VALUE_SET, OBSERVATION)))

VALID = QuickValidator(definitions.load())


def content(resource: Json) -> Json:
    """What a patch can change, numbers as they are written."""
    left = {name: value for name, value in resource.items() if name not in ("id", "meta")}
    meta = {name: value for name, value in resource.get("meta", {}).items() if name != "versionId"}
    return {**left, "meta": meta} if meta else left


def written(resource: Any) -> Any:
    return standard.loads(json.encode(resource), parse_float=str)


@settings(deadline=None, max_examples=100)
@given(PAIRS)
def test_the_difference_applied_to_one_gives_the_other(pair: tuple[Json, Json]) -> None:
    source, target = (json.decode(json.encode(one)) for one in pair)  # no part in two places
    assume(not VALID(source) and not VALID(target))
    difference = diff.fhirpath_patch(source, target)
    assert written([source, target]) == written(pair), "what is compared stays as it is"
    assert VALID(difference) == []
    assert written(content(patch.fhirpath_patch(source, difference))) == written(content(target))
    assert ("parameter" in difference) == (written(content(source)) != written(content(target)))


def operations(source: Json, target: Json) -> list[Json]:
    rows = diff.fhirpath_patch({"resourceType": "Patient", **source}, {"resourceType": "Patient", **target})
    return [
        {one["name"]: next(value for key, value in one.items() if key != "name") for one in row["part"]}
        for row in rows.get("parameter", [])
    ]


CASES: list[tuple[Json, Json, list[Json]]] = [
    ({"id": "1", "meta": {"versionId": "1"}}, {"id": "2", "meta": {"versionId": "2"}}, []),
    (
        {"birthDate": "1985-03-07"},
        {"birthDate": "1985-03-08"},
        [{"type": "replace", "path": "Patient.birthDate", "value": "1985-03-08"}],
    ),
    (
        {"name": [{"family": "李", "given": ["a", "b"]}, {"text": "x"}]},
        {"name": [{"family": "李", "given": ["a", "c", "b"]}, {"text": "x"}]},
        [{"type": "insert", "path": "Patient.name[0].given", "index": 1, "value": "c"}],
    ),
    (
        {"name": [{"text": "x"}, {"text": "y"}]},
        {"name": [{"text": "y"}]},
        [{"type": "delete", "path": "Patient.name[0]"}],
    ),
    (
        {"deceasedBoolean": True},
        {"deceasedDateTime": "2020"},
        [
            {"type": "delete", "path": "Patient.deceased"},
            {"type": "add", "path": "Patient", "name": "deceased", "value": "2020"},
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target", "expected"), CASES)
def test_the_difference_is_as_small_as_it_reads(source: Json, target: Json, expected: list[Json]) -> None:
    assert operations(source, target) == expected


def test_two_types_have_no_difference() -> None:
    with pytest.raises(HubError) as caught:
        diff.fhirpath_patch({"resourceType": "Patient"}, {"resourceType": "Group"})
    assert caught.value.name == "parameter-value"

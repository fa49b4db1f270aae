"""Whatever is wrong with a resource, the validator answers; nothing crashes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import HubError
from hub.fhir import definitions, json, paths
from hub.fhir.validate import Validator, located
from hub.fhir.validate.quick import QuickValidator
from hub.fhir.validate.terminology import ServiceCodes
from terminology.service import Terminology

VALIDATOR = Validator(definitions.load(), terminology=ServiceCodes(Terminology(lambda: 0)), strict=True)
QUICK = QuickValidator(definitions.load())
DIV = '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'
OBSERVATION = {
    "resourceType": "Observation",
    "id": "o",
    "meta": {"profile": ["http://hl7.org/fhir/StructureDefinition/bp"]},
    "text": {"status": "generated", "div": DIV},
    "contained": [{"resourceType": "Patient", "id": "p", "name": [{"given": ["A"], "_given": [{"id": "g"}]}]}],
    "extension": [{"url": "http://x.cn/e", "extension": [{"url": "a", "valueQuantity": {"value": 1}}]}],
    "identifier": [{"system": "urn:ietf:rfc:3986", "value": "urn:uuid:x"}],
    "status": "final",
    "category": [
        {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "exam"}]}
    ],
    "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}]},
    "subject": {"reference": "#p"},
    "effectivePeriod": {"start": "2020-01-01", "end": "2020-01-02"},
    "component": [{"code": {"coding": [{"code": "8480-6"}]}, "valueQuantity": {"value": 1, "code": "mm[Hg]"}}],
}
RESPONSE = {
    "resourceType": "QuestionnaireResponse",
    "status": "completed",
    "questionnaire": "#q",
    "contained": [
        {
            "resourceType": "Questionnaire",
            "id": "q",
            "status": "active",
            "item": [{"linkId": "1", "type": "choice", "answerOption": [{"valueCoding": {"code": "a"}}]}],
        }
    ],
    "item": [{"linkId": "1", "answer": [{"valueCoding": {"code": "a"}}]}],
}
BUNDLE = {
    "resourceType": "Bundle",
    "type": "document",
    "link": [{"relation": "self", "url": "http://x.cn/Patient?a=b"}],
    "entry": [
        {"fullUrl": "http://x.cn/fhir/Observation/o", "resource": OBSERVATION, "search": {"mode": "match"}},
        {"fullUrl": "urn:uuid:1", "resource": RESPONSE},
    ],
}
JUNK = st.sampled_from(
    [None, True, -1, "", " ", "#", "#p", "http://x.cn/Patient/1", [], {}, [None], [{}], [[]], {"a": 1}, "2020", "[",
     {"reference": 1}, {"reference": "Patient/1"}, {"coding": "x"}, {"resourceType": "Patient"}, json.Decimal("1.0")]
)  # fmt: skip


def spots(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in rows:
        yield (*above, key)
        yield from spots(item, (*above, key))


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A resource with one to three values replaced by something else."""
    resource = copy.deepcopy(draw(st.sampled_from([OBSERVATION, RESPONSE, BUNDLE])))
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(list(spots(resource))))
        target: Any = resource
        for step in above:
            target = target[step]
        target[last] = copy.deepcopy(draw(JUNK))
    return resource


@settings(deadline=None, max_examples=100)
@given(damaged())
def test_a_damaged_resource_is_answered(resource: dict[str, Any]) -> None:
    findings = located.check(json.encode(resource), VALIDATOR)
    assert all(finding.severity in ("fatal", "error", "warning", "information") for finding in findings)
    assert isinstance(QUICK(resource), list)


EXPRESSIONS = [
    paths.compile(item["expression"], "Observation")
    for item in definitions.load().search_parameters
    if "expression" in item and "Observation" in item["base"]
]


@settings(deadline=None, max_examples=100)
@given(damaged())
def test_search_expressions_survive_a_damaged_resource(resource: dict[str, Any]) -> None:
    for path in EXPRESSIONS:
        try:
            assert isinstance(path.typed(resource), list)
        except HubError as refusal:
            assert refusal.name in ("value", "too-costly")

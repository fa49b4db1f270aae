"""_summary and _elements (R4 3.1.1.5.8, 3.1.1.5.9)."""

from typing import Any

import pytest

from hub.api import subset
from hub.errors import HubError
from hub.fhir import definitions, json

DEFINITIONS = definitions.load()
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "o",
    "meta": {"versionId": "1", "tag": [{"code": "t"}]},
    "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'},
    "status": "final",
    "_status": {"extension": [{"url": "http://example.org/e", "valueBoolean": True}]},
    "code": {"text": "c"},
    "valueQuantity": {"value": 1.5},
    "interpretation": [{"text": "high"}],
    "note": [{"text": "n"}],
    "component": [{"code": {"text": "k"}, "valueString": "v", "interpretation": [{"text": "high"}]}],
}


def asked(summary: str = "", *elements: str) -> dict[str, Any]:
    return json.decode(subset.of_text(DEFINITIONS, json.encode(OBSERVATION), summary, elements))


def test_summary_true_keeps_summary_elements_at_every_depth() -> None:
    found = asked("true")
    assert set(found) == {
        "resourceType", "id", "meta", "status", "_status", "code", "valueQuantity", "component"
    }  # fmt: skip
    assert found["component"] == [{"code": {"text": "k"}, "valueString": "v"}]


def test_summary_text_and_data() -> None:
    assert set(asked("text")) == {"resourceType", "id", "meta", "text", "status", "_status", "code"}
    assert set(asked("data")) == set(OBSERVATION) - {"text"}


def test_elements_bring_the_mandatory_ones_too() -> None:
    assert set(asked("", "note", "Observation.value")) == {
        "resourceType", "id", "meta", "note", "status", "_status", "code", "valueQuantity"
    }  # fmt: skip
    assert "valueQuantity" in asked("", "value[x]")


def test_a_subset_is_tagged_beside_other_tags() -> None:
    assert asked("true")["meta"] == {"versionId": "1", "tag": [{"code": "t"}, subset.SUBSETTED]}


def test_the_whole_is_the_stored_text() -> None:
    text = b'{"resourceType":"Patient" , "id":"1"}'
    assert subset.of_text(DEFINITIONS, text, "false", ()) is text


def test_an_unknown_summary_is_refused() -> None:
    with pytest.raises(HubError):
        asked("all")

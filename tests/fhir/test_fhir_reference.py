"""References taken apart, found and rewritten."""

from __future__ import annotations

import pytest

from hub.fhir import reference

PARTS = [
    ("Patient/1", "Patient", "1", "", ""),
    ("Patient/1/_history/2", "Patient", "1", "2", ""),
    ("http://h.example/fhir/Patient/a.b-c#x", "Patient", "a.b-c", "", "http://h.example/fhir/"),
    ("Nonsense/1", "", "", "", ""),
    ("urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0", "", "", "", ""),
    ("#p", "", "", "", ""),
    ("Patient?identifier=1", "", "", "", ""),
]


@pytest.mark.parametrize(("text", "type", "id", "version", "base"), PARTS)
def test_a_reference_is_taken_apart(text: str, type: str, id: str, version: str, base: str) -> None:
    found = reference.parse(text)
    assert (found.type, found.id, found.version, found.base) == (type, id, version, base)


def test_rewriting_leaves_the_original_and_reaches_everywhere() -> None:
    old = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"
    resource = {
        "resourceType": "List",
        "text": {
            "status": "generated",
            "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="{old}">p</a></div>',
        },
        "subject": {"reference": old},
        "entry": [{"item": {"reference": f"{old}/_history/3"}}, {"item": {"reference": "Patient/other"}}],
        "title": old,
    }
    changed = reference.rewrite(resource, {old: "Patient/9"})
    assert changed["subject"]["reference"] == "Patient/9"
    assert changed["entry"][0]["item"]["reference"] == "Patient/9"
    assert changed["entry"][1] == resource["entry"][1]
    assert 'href="Patient/9"' in changed["text"]["div"]
    assert changed["title"] == old
    assert resource["subject"] == {"reference": old}


def test_conditional_references_are_found_once() -> None:
    item = {"reference": "Patient?identifier=1|2"}
    resource = {
        "resourceType": "List",
        "subject": item,
        "entry": [{"item": item}, {"item": {"reference": "Patient/1"}}],
    }
    assert reference.conditional(resource) == ["Patient?identifier=1|2"]

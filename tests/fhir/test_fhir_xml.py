"""FHIR XML: the same resources as JSON, without document types and entities."""

from __future__ import annotations

import pytest

from hub.errors import HubError
from hub.fhir import json, xml

PATIENT = json.decode(
    b"""{"resourceType":"Patient","id":"p","language":"zh","text":{"status":"generated",
    "div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\"><p>A &amp; B</p><br/></div>"},
    "contained":[{"resourceType":"Organization","id":"o","name":"\\"N\\" <1>"}],
    "extension":[{"id":"e","url":"http://example.org/x","valueDecimal":1.10}],
    "active":true,"name":[{"given":["a",null,"c"],"_given":[null,{"extension":[{"url":"u:x","valueCode":"z"}]},null]}],
    "_birthDate":{"extension":[{"url":"u:y","valueBoolean":false}]},
    "multipleBirthInteger":2,"managingOrganization":{"reference":"#o"}}"""
)


def test_a_resource_survives_the_way_through_xml() -> None:
    again = xml.decode(xml.encode(PATIENT))
    assert json.encode(again) == json.encode(PATIENT)


@pytest.mark.parametrize(
    "div", ["<div>open", "no markup & more", '<!DOCTYPE x><div xmlns="http://www.w3.org/1999/xhtml"/>']
)
def test_a_div_that_is_no_xml_leaves_the_document_well_formed(div: str) -> None:
    again = xml.decode(xml.encode({"resourceType": "Patient", "text": {"status": "generated", "div": div}}))
    assert "&lt;" in again["text"]["div"] or "&amp;" in again["text"]["div"]


def test_html_entities_become_characters() -> None:
    div = '<div xmlns="http://www.w3.org/1999/xhtml">a&nbsp;b</div>'
    again = xml.decode(xml.encode({"resourceType": "Patient", "text": {"status": "generated", "div": div}}))
    assert again["text"]["div"] == div.replace("&nbsp;", "\u00a0")


REFUSED = [
    (b'<!DOCTYPE Patient [<!ENTITY a "b">]><Patient xmlns="http://hl7.org/fhir"/>', "document type"),
    (b'<!DOCTYPE Patient SYSTEM "file:///etc/passwd"><Patient xmlns="http://hl7.org/fhir"/>', "document type"),
    (b'<Patient xmlns="http://hl7.org/fhir"><active value="true"/>', "well-formed"),
    (b'<Patient xmlns="http://hl7.org/fhir">&xxe;</Patient>', "well-formed"),
    (b"<Patient/>", "namespace"),
    (b'<Nothing xmlns="http://hl7.org/fhir"/>', "not a resource type"),
    (b'<Patient xmlns="http://hl7.org/fhir"><nothing value="1"/></Patient>', "no element"),
    (b'<Patient xmlns="http://hl7.org/fhir">text</Patient>', "Text"),
    (b'<Patient xmlns="http://hl7.org/fhir"><active value="true"/><active value="true"/></Patient>', "repeat"),
    (b'<Patient xmlns="http://hl7.org/fhir">' + b"<extension>" * 500, "deeper"),
]


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_a_bad_text_is_refused_with_its_place(text: bytes, says: str) -> None:
    with pytest.raises(HubError) as refusal:
        xml.decode(text)
    assert refusal.value.name == "structure"
    assert says in refusal.value.diagnostics
    assert refusal.value.at.startswith("line ")


def test_places_are_those_of_the_elements() -> None:
    name = b"<name>\n  <given value='a'/>\n  <given value='b'/>\n </name>"
    text = b'<Patient xmlns="http://hl7.org/fhir">\n ' + name + b"</Patient>"
    assert xml.places(text)[("name", 0, "given", 1)] == (4, 3)

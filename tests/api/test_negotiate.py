"""Headers: what is accepted, what a body is, versions and dates (R4 3.1.0.1, RFC 9110)."""

import pytest

from hub.api import negotiate
from hub.errors import HubError


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/*",
        "application/json",
        "application/fhir+json; fhirVersion=4.0",
        "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
        "text/plain;q=0.9, application/fhir+json;q=0.1",
    ],
)
def test_json_is_accepted(accept: str) -> None:
    assert negotiate.accepted(accept) == "json"


@pytest.mark.parametrize(
    "accept", ["text/plain", "application/fhir+json; fhirVersion=5.0", "application/json;q=0", "image/*", "a;q=x"]
)
def test_what_we_cannot_answer_in_is_406(accept: str) -> None:
    with pytest.raises(HubError) as raised:
        negotiate.accepted(accept)
    assert raised.value.row.http == 406


@pytest.mark.parametrize(
    "name", ["json", "application/fhir+json", "application/fhir json", "text/json", "APPLICATION/JSON"]
)
def test_format_parameter(name: str) -> None:
    assert negotiate.named(name) == "json"


@pytest.mark.parametrize("name", ["turtle", "", "text/csv"])
def test_unknown_format_parameter_is_406(name: str) -> None:
    with pytest.raises(HubError) as raised:
        negotiate.named(name)
    assert raised.value.row.http == 406


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("application/fhir+json", "json"),
        ('application/json; charset="UTF-8"', "json"),
        ("application/fhir+json; charset=utf-8; fhirVersion=4.0", "json"),
        ("application/x-www-form-urlencoded", negotiate.FORM),
    ],
)
def test_content_type(content_type: str, kind: str) -> None:
    assert negotiate.content(content_type) == kind


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/fhir+json; charset=gb18030", "application/fhir+json; fhirVersion=3.0"],
)
def test_other_content_is_415(content_type: str) -> None:
    with pytest.raises(HubError) as raised:
        negotiate.content(content_type)
    assert raised.value.row.http == 415


def test_prefer() -> None:
    asked = negotiate.prefer("return=minimal; wait=10, handling=Strict, respond-async")
    assert asked == negotiate.Prefer("minimal", strict=True, later=True)
    assert negotiate.prefer("return=everything") == negotiate.Prefer()


@pytest.mark.parametrize(("tag", "version"), [('W/"3"', 3), ('"3"', 3), ("3", 3), (' W/"12" ', 12)])
def test_if_match(tag: str, version: int) -> None:
    assert negotiate.version_tag({"if-match": tag}) == version


@pytest.mark.parametrize("tag", ['W/"a"', "*", 'W/"1", W/"2"', "９", '"99999999999999"'])
def test_if_match_that_is_no_version(tag: str) -> None:
    with pytest.raises(HubError):
        negotiate.version_tag({"if-match": tag})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"if-none-match": 'W/"2"'}, True),
        ({"if-none-match": 'W/"1"'}, False),
        ({"if-none-match": 'W/"1", W/"2"'}, True),
        ({"if-none-match": "*"}, True),
        ({"if-modified-since": "Fri, 20 Nov 2026 00:00:00 GMT"}, True),
        ({"if-modified-since": "Thu, 19 Nov 2026 23:59:59 GMT"}, False),
        ({"if-modified-since": "yesterday"}, False),
        ({"if-none-match": 'W/"1"', "if-modified-since": "Fri, 20 Nov 2026 00:00:00 GMT"}, False),
    ],
)
def test_conditional_read(headers: dict[str, str], expected: bool) -> None:
    midnight = 1_795_132_800
    assert negotiate.http_date(midnight) == "Fri, 20 Nov 2026 00:00:00 GMT"
    assert negotiate.not_modified(headers, 2, midnight * 1_000_000 + 900_000) is expected

"""_text and _content (R4 3.1.1.4.23): what they find, in step with every write."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import HubError
from hub.store.fulltext import expression, words

FHIR = {"Content-Type": "application/fhir+json", "Prefer": "handling=strict"}
DIV = '<div xmlns="http://www.w3.org/1999/xhtml"><p>{}</p></div>'
TEXTS = {
    "t-1": ("社区获得性<b>肺炎</b>，建议复查", "双肺纹理增多"),
    "t-2": ("Metastases in bone &amp; liver", "Résumé of the café"),
    "t-3": ("高血压病 2 级", "bone"),
}


@pytest.fixture(scope="module", autouse=True)
def reports(client: httpx.Client) -> None:
    for id, (narrative, conclusion) in TEXTS.items():
        report = {
            "resourceType": "DiagnosticReport", "id": id, "status": "final", "code": {"text": "x"},
            "text": {"status": "generated", "div": DIV.format(narrative)}, "conclusion": conclusion,
        }  # fmt: skip
        client.put(f"/fhir/DiagnosticReport/{id}", json=report, headers=FHIR).raise_for_status()


def found(client: httpx.Client, query: str) -> set[str]:
    bundle = client.get(f"/fhir/{query}", headers=FHIR).raise_for_status().json()
    return {entry["resource"]["id"] for entry in bundle.get("entry", ())}


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("_text=bone", {"t-2"}),
        ("_content=bone", {"t-2", "t-3"}),
        ("_text=bone liver", {"t-2"}),
        ("_text=bone OR 高血压", {"t-2", "t-3"}),
        ("_text=(bone OR liver) AND metastases", {"t-2"}),
        ("_content=bone NOT liver", {"t-3"}),
        ('_text="bone liver"', {"t-2"}),
        ('_text="liver bone"', set()),
        ("_text=肺炎", {"t-1"}),
        ("_text=肺", {"t-1"}),
        ("_text=获得性肺炎", {"t-1"}),
        ("_content=双肺纹理", {"t-1"}),
        ("_text=双肺纹理", set()),
        ("_content=resume", {"t-2"}),
        ("_content=级", {"t-3"}),
        ("_content=bone&status=final&_id=t-3", {"t-3"}),
        ("_text=div", set()),
    ],
)
def test_the_words_are_found(client: httpx.Client, query: str, ids: set[str]) -> None:
    assert found(client, f"DiagnosticReport?{query}") == ids


def test_a_change_is_found_at_once_and_a_deletion_is_not(client: httpx.Client) -> None:
    note = {"resourceType": "Basic", "id": "note", "code": {"text": "first"}}
    client.put("/fhir/Basic/note", json=note, headers=FHIR).raise_for_status()
    assert found(client, "Basic?_content=first") == {"note"}
    client.put("/fhir/Basic/note", json={**note, "code": {"text": "second"}}, headers=FHIR).raise_for_status()
    assert found(client, "Basic?_content=first") == set()
    assert found(client, "Basic?_content=second") == {"note"}
    client.delete("/fhir/Basic/note").raise_for_status()
    assert found(client, "Basic?_content=second") == set()


@pytest.mark.parametrize("query", ["_text=(bone", "_text=AND", "_text=", "_text=NOT x", "_content=bone)"])
def test_what_is_no_expression_is_refused(client: httpx.Client, query: str) -> None:
    assert client.get(f"/fhir/DiagnosticReport?{query}", headers=FHIR).status_code == 400


def test_one_type_at_a_time(client: httpx.Client) -> None:
    assert client.get("/fhir?_type=Patient,Basic&_content=x", headers=FHIR).status_code == 400
    assert client.get("/fhir/AuditEvent?_content=x", headers=FHIR).status_code == 400


def test_it_is_declared_where_it_is_offered(client: httpx.Client) -> None:
    rest = client.get("/fhir/metadata").json()["rest"][0]
    offered = {one["type"]: {row["name"] for row in one["searchParam"]} for one in rest["resource"]}
    assert {"_text", "_content"} <= offered["DiagnosticReport"]
    assert not {"_text", "_content"} & offered["AuditEvent"]


@given(st.text(max_size=60))
def test_any_text_makes_words_and_an_expression_or_is_refused(text: str) -> None:
    assert isinstance(words(text), str)
    try:
        assert expression(text)
    except HubError as error:
        assert error.name == "parameter-value"

"""A Binary as its content: sent and read as it is (R4 Binary)."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest

FHIR = {"Content-Type": "application/fhir+json"}
PDF = b"%PDF-1.7\n\x00\xff" + bytes(range(256))


def stored(client: httpx.Client, content: bytes, media: str, **headers: str) -> dict[str, Any]:
    response = client.post("/fhir/Binary", content=content, headers={"Content-Type": media, **headers})
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


def test_content_is_sent_and_read_as_it_is(client: httpx.Client) -> None:
    made = stored(client, PDF, "application/pdf", **{"X-Security-Context": "Patient/1"})
    assert made["contentType"] == "application/pdf" and base64.b64decode(made["data"]) == PDF
    assert made["securityContext"] == {"reference": "Patient/1"}
    for accept in ("application/pdf", "application/*", "*/*", "image/png, application/pdf;q=0.5"):
        read = client.get(f"/fhir/Binary/{made['id']}", headers={"Accept": accept})
        assert (read.status_code, read.headers["content-type"], read.content) == (200, "application/pdf", PDF)
        assert read.headers["etag"] == 'W/"1"' and read.headers["content-disposition"] == "attachment"
    assert client.get(f"/fhir/Binary/{made['id']}/_history/1").content == PDF
    again = client.get(f"/fhir/Binary/{made['id']}", headers={"Accept": "application/pdf", "If-None-Match": 'W/"1"'})
    assert again.status_code == 304


@pytest.mark.parametrize("asked", [{"headers": {"Accept": "application/fhir+json"}}, {"params": {"_format": "json"}}])
def test_the_resource_is_read_when_it_is_asked_for(client: httpx.Client, asked: dict[str, Any]) -> None:
    made = stored(client, PDF, "application/pdf")
    read = client.get(f"/fhir/Binary/{made['id']}", **asked)
    assert read.json() == made and read.headers["content-type"].startswith("application/fhir+json")


def test_another_type_than_it_is_is_not_acceptable(client: httpx.Client) -> None:
    made = stored(client, b"\x89PNG", "image/png")
    refused = client.get(f"/fhir/Binary/{made['id']}", headers={"Accept": "application/pdf"})
    assert refused.status_code == 406 and refused.json()["resourceType"] == "OperationOutcome"
    assert client.get("/fhir/Binary/absent", headers={"Accept": "application/pdf"}).status_code == 404
    assert client.get("/fhir/Patient/absent", headers={"Accept": "application/pdf"}).status_code == 406
    assert client.get("/fhir/Binary", headers={"Accept": "application/pdf"}).status_code == 406


def test_an_update_keeps_the_id_and_a_resource_stays_one(client: httpx.Client) -> None:
    put = client.put("/fhir/Binary/b1", content=b"one", headers={"Content-Type": "text/plain; charset=utf-8"})
    assert put.status_code == 201 and put.json()["id"] == "b1"
    assert client.get("/fhir/Binary/b1").text == "one"
    resource = {"resourceType": "Binary", "id": "b1", "contentType": "text/csv", "data": "MSwy"}
    assert client.put("/fhir/Binary/b1", json=resource, headers=FHIR).status_code == 200
    assert client.get("/fhir/Binary/b1").content == b"1,2"
    assert client.get("/fhir/Binary/b1/_history/1").content == b"one"


@pytest.mark.parametrize("content", [b'{"resourceType":"Patient"}', b"[1,2]", b"{"])
def test_json_that_is_no_binary_is_content(client: httpx.Client, content: bytes) -> None:
    made = stored(client, content, "application/json")
    assert client.get(f"/fhir/Binary/{made['id']}").content == content


def test_what_is_refused(client: httpx.Client) -> None:
    form = {"Content-Type": "text/plain", "Sec-Fetch-Site": "cross-site"}
    assert client.post("/fhir/Binary", content=b"x", headers=form).status_code == 403
    assert client.post("/fhir/Binary", headers={"Content-Type": "image/png"}).status_code == 400
    assert client.post("/emr/Binary", content=b"x", headers={"Content-Type": "image/png"}).status_code == 422
    assert client.post("/fhir/Patient", content=b"x", headers={"Content-Type": "image/png"}).status_code == 415
    assert client.put("/fhir/Binary/b2", content=b"x", headers={"Content-Type": "a  b"}).status_code in (400, 422)

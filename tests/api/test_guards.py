"""Hostile requests: a located 4xx, never a 500, never a hang (bodies, bombs, headers, slow peers)."""

from __future__ import annotations

import gzip
import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest

from hub.api import server as http_server

FHIR = {"Content-Type": "application/fhir+json"}


def outcome(response: httpx.Response) -> dict[str, object]:
    assert response.headers["content-type"].startswith("application/fhir+json")
    assert response.headers["x-content-type-options"] == "nosniff"
    body = response.json()
    assert body["resourceType"] == "OperationOutcome"
    issue: dict[str, object] = body["issue"][0]
    return issue


def test_a_body_over_the_limit_is_refused_by_its_length(client: httpx.Client) -> None:
    response = client.post("/fhir/Patient", content=b" " * 1_000_001, headers=FHIR)
    assert response.status_code == 413
    assert outcome(response)["code"] == "too-long"


def test_a_chunked_body_over_the_limit_is_refused_while_it_comes(client: httpx.Client) -> None:
    response = client.post("/fhir/Patient", content=(b" " * 65_536 for _ in range(20)), headers=FHIR)
    assert response.status_code == 413


def test_a_gzip_bomb_is_refused(client: httpx.Client) -> None:
    bomb = gzip.compress(b" " * 200_000_000, 9)
    assert len(bomb) < 1_000_000
    begin = time.perf_counter()
    response = client.post("/fhir/Patient", content=bomb, headers={**FHIR, "Content-Encoding": "gzip"})
    assert response.status_code == 413
    assert time.perf_counter() - begin < 2


def test_a_gzip_body_is_taken(client: httpx.Client) -> None:
    body = gzip.compress(json.dumps({"resourceType": "Patient", "active": True}).encode())
    assert client.post("/fhir/Patient", content=body, headers={**FHIR, "Content-Encoding": "gzip"}).status_code == 201
    cut = client.post("/fhir/Patient", content=body[:-9], headers={**FHIR, "Content-Encoding": "gzip"})
    assert cut.status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"{" * 100_000,
        b'{"a":' * 100_000,
        b'{"resourceType":"Patient","resourceType":"Patient"}',
        b'{"resourceType":"Patient","multipleBirthInteger":NaN}',
        b'{"resourceType":"Patient","multipleBirthInteger":' + b"9" * 20_000 + b"}",
        b'{"resourceType":"Patient","gender":"\\ud800"}',
        b'{"resourceType":"Patient","gender":"a\\u0000"}',
        b'{"resourceType":"Patient","gender":"\xff"}',
        b'{"resourceType":"Patient","extension":' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"resourceType":["Patient"]}',
        b'{"resourceType":"Patient","name":{"family":1}}',
        b"null",
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_bombs_of_json_are_refused(client: httpx.Client, body: bytes) -> None:
    response = client.post("/fhir/Patient", content=body, headers=FHIR)
    assert 400 <= response.status_code < 500, response.text
    assert outcome(response)["severity"] == "error"


@pytest.mark.parametrize("entry", [None, 1, "x", [], {}, {"request": 1}, {"request": {"method": 1, "url": 2}}])
@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_bundles_that_are_none_are_refused(client: httpx.Client, entry: object, kind: str) -> None:
    bundle = {"resourceType": "Bundle", "type": kind, "entry": [entry]}
    response = client.post("/fhir", json=bundle, headers=FHIR)
    assert 400 <= response.status_code < 500, response.text


def test_too_many_entries_are_refused(client: httpx.Client) -> None:
    entry = {"request": {"method": "GET", "url": "Patient/1"}}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry] * 201}
    response = client.post("/fhir", json=bundle, headers=FHIR)
    assert response.status_code == 422
    assert outcome(response)["code"] == "too-costly"


@pytest.mark.parametrize(
    "path",
    [
        "/fhir/Patient?" + "&".join(f"_id={n}" for n in range(2000)),
        "/fhir/Patient?" + "_has:Observation:subject:" * 20 + "code=1",
        "/fhir/Observation?" + "subject:Patient.link:Patient." * 20 + "name=x",
        "/fhir/Patient?name:contains=%25",
        "/fhir/Patient?name=';DROP TABLE x;--",
        "/fhir/Patient?_sort=" + ",".join(["name"] * 500),
        "/fhir/Patient?identifier=" + "|" * 500,
        "/fhir/Patient?_include=" + "*:" * 300,
        "/fhir/Patient/..%2f..%2fetc%2fpasswd",
        "/fhir/%00",
        "/fhir/Patient?_count=-1",
        "/fhir/Patient?_lastUpdated=gt9999999999",
        "/fhir/Observation?value-quantity=1e999999",
    ],
    ids=lambda path: path[:50],
)
def test_hostile_addresses_are_answered(client: httpx.Client, path: str) -> None:
    begin = time.perf_counter()
    response = client.get(path)
    assert response.status_code < 500, response.text
    assert response.json()["resourceType"] in ("OperationOutcome", "Bundle")
    assert time.perf_counter() - begin < 5


def test_links_are_not_built_on_the_host_header(client: httpx.Client, server: str) -> None:
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    response = client.get("/fhir/Patient?_count=1", headers=headers)
    assert "evil.example" not in response.text
    assert response.json()["link"][0]["url"].startswith(server)


def test_the_request_id_is_answered_if_it_is_one(client: httpx.Client) -> None:
    assert client.get("/fhir/metadata", headers={"X-Request-Id": "abc-1.2"}).headers["x-request-id"] == "abc-1.2"
    other = client.get("/fhir/metadata", headers={"X-Request-Id": "a b<script>"}).headers["x-request-id"]
    assert "<" not in other and other


def raw(server: str, data: bytes, wait: float = 5) -> bytes:
    parts = urlsplit(server)
    with socket.create_connection((parts.hostname, parts.port), timeout=wait) as peer:
        peer.sendall(data)
        received = b""
        while chunk := peer.recv(65_536):
            received += chunk
        return received


def test_a_header_without_end_is_cut(server: str) -> None:
    try:
        answer = raw(server, b"GET /fhir/metadata HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100_000)
    except ConnectionError:
        answer = b""
    assert b"200 OK" not in answer


def test_length_and_chunks_together_are_refused(server: str) -> None:
    head = b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    smuggled = head + b"0\r\n\r\nGET "
    assert raw(server, smuggled).startswith(b"HTTP/1.1 4")


def test_a_slow_header_is_cut(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEADER_SECONDS", 0.3)
    begin = time.perf_counter()
    assert raw(server, b"GET /fhir/metadata HTTP/1.1\r\nHo") == b""
    assert time.perf_counter() - begin < 3

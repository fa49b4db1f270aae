"""The dispatcher by itself: time limits, back-pressure, failures that nobody foresaw."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import Any

import pytest

from hub.api.dispatch import Dispatcher, Handler
from hub.api.exchange import Answer, Request
from hub.api.pool import Pool
from hub.api.routes import Router
from hub.settings import Http


def ask(
    handler: Handler, pool: Pool, method: str = "GET", pieces: list[bytes] | None = None
) -> tuple[int, Any, dict[str, str]]:
    """One request for Patient/1 to a dispatcher; status, outcome and headers. ``pieces`` None: the body never ends."""
    handlers = dict.fromkeys(("read", "create", "update"), handler)
    dispatcher = Dispatcher(
        "/fhir", (), Router(frozenset({"Patient"})), handlers, pool, Http(request_seconds=0.2), lambda: "r1"
    )
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not pieces:
            await asyncio.sleep(30)
        return {"type": "http.request", "body": pieces.pop(0) if pieces else b"", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": "/fhir/Patient/1", "query_string": b"", "server": ("127.0.0.1", 1),
        "client": ("127.0.0.1", 2), "headers": [(b"content-type", b"application/fhir+json")],
    }  # fmt: skip
    asyncio.run(dispatcher(scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], json.loads(sent[1]["body"]), headers


def test_a_body_that_does_not_come_is_given_up() -> None:
    pool = Pool(1)
    status, outcome, headers = ask(lambda request: Answer(200, [b"{}"]), pool, "PUT", [b"{"])
    assert (status, outcome["issue"][0]["code"]) == (503, "timeout") and headers["retry-after"]
    pool.close()


def test_work_that_does_not_end_is_given_up_but_counted() -> None:
    pool, end = Pool(1, waiting=0), threading.Event()

    def slow(request: Request) -> Answer:
        end.wait(5)
        raise ValueError("nobody waits for this any more")

    assert ask(slow, pool)[0] == 503
    status, outcome, headers = ask(lambda request: Answer(200, [b"{}"]), pool)
    assert status == 503 and "busy" in outcome["issue"][0]["diagnostics"] and headers["retry-after"]
    end.set()
    pool.close()


def test_what_nobody_foresaw_is_answered_with_the_id_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def broken(request: Request) -> Answer:
        raise KeyError("secret detail")

    pool = Pool(1)
    with caplog.at_level(logging.ERROR, "hub.api"):
        status, outcome, headers = ask(broken, pool)
    pool.close()
    text = json.dumps(outcome)
    assert status == 500 and "r1" in text and "secret" not in text and headers["x-request-id"] == "r1"
    assert "request r1 failed" in caplog.text and "secret detail" in caplog.text

"""Subscriptions: rest-hook and topic-based, delivered in order, numbered, through failures; endpoints guarded."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub import bootstrap
from hub.api.server import HttpServer
from hub.errors import HubError
from hub.services import endpoint, subscriptions
from hub.services.notification import TOPIC
from hub.settings import load
from tests.conftest import BACK_ENDS

FHIR = {"Content-Type": "application/fhir+json"}
BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-"


class Subscriber:
    """A subscriber's own server: what it was sent, and whether it answers."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str, dict[str, str], bytes]] = []
        self.refuse = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _take(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if outer.refuse:
                    outer.refuse -= 1
                    self.send_response(503)
                else:
                    outer.received.append((self.command, self.path, dict(self.headers), body))
                    self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_PUT = _take

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module", params=BACK_ENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def hub(store_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    data: Path = tmp_path_factory.mktemp("hub")
    hosts = {"allowed_hosts": ["127.0.0.1"]}
    doors = bootstrap.build(load(data=data, store=store_address, subscriptions=hosts))
    doors.subscriptions.start()
    listener = HttpServer(doors, port=0)
    listener.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.address[1]}", timeout=30) as client:
        yield client
    listener.stop()
    bootstrap.close(doors)


@pytest.fixture
def subscriber() -> Iterator[Subscriber]:
    made = Subscriber()
    yield made
    made.close()


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def put(hub: httpx.Client, resource: dict[str, Any]) -> None:
    path = f"/fhir/{resource['resourceType']}/{resource['id']}"
    hub.put(path, json=resource, headers=FHIR).raise_for_status()


def observation(id: str, code: str, value: int = 0) -> dict[str, Any]:
    coding = [{"system": "http://loinc.org", "code": code}]
    return {
        "resourceType": "Observation", "id": id, "status": "final", "code": {"coding": coding}, "valueInteger": value
    }  # fmt: skip


def subscription(id: str, criteria: str, url: str, **channel: Any) -> dict[str, Any]:
    return {
        "resourceType": "Subscription", "id": id, "status": "requested", "reason": "test", "criteria": criteria,
        "channel": {"type": "rest-hook", "endpoint": url, "payload": "application/fhir+json", **channel},
    }  # fmt: skip


def topic(id: str, criterion: str, url: str, content: str, **more: int) -> dict[str, Any]:
    extensions = [{"url": BACKPORT + name.replace("_", "-"), "valuePositiveInt": value} for name, value in more.items()]
    channel: dict[str, Any] = {"_payload": {"extension": [{"url": BACKPORT + "payload-content", "valueCode": content}]}}
    if extensions:
        channel["extension"] = extensions
    made = subscription(id, TOPIC, url, **channel)
    return made | {"_criteria": {"extension": [{"url": BACKPORT + "filter-criteria", "valueString": criterion}]}}


def status(hub: httpx.Client, id: str) -> str:
    return str(hub.get(f"/fhir/Subscription/{id}").json()["status"])


def facts(body: bytes) -> dict[str, Any]:
    """The values of a notification's status, and its events' numbers."""
    rows = json.loads(body)["entry"][0]["resource"]["parameter"]
    found = {row["name"]: value for row in rows for name, value in row.items() if name.startswith("value")}
    events = [row["part"] for row in rows if row["name"] == "notificationEvent"]
    return found | {"numbers": [int(part[0]["valueString"]) for part in events], "parts": events}


def test_rest_hook_sends_each_version_in_order_through_failures(hub: httpx.Client, subscriber: Subscriber) -> None:
    put(hub, observation("before", "A"))
    put(hub, subscription("hook", "Observation?code=http://loinc.org|A", subscriber.url, header=["X-Key: abc"]))
    until(lambda: status(hub, "hook") == "active")
    subscriber.refuse = 2
    for value in range(1, 21):
        put(hub, observation("one", "A", value))
        put(hub, observation("other", "B", value))
    until(lambda: len(subscriber.received) >= 20)
    time.sleep(0.3)
    assert [json.loads(body)["valueInteger"] for _, _, _, body in subscriber.received] == list(range(1, 21))
    method, path, headers, _ = subscriber.received[0]
    assert (method, path, headers["X-Key"]) == ("PUT", "/hook/Observation/one", "abc")


def test_topic_sends_a_handshake_then_numbered_batches(hub: httpx.Client, subscriber: Subscriber) -> None:
    put(hub, topic("topic", "Observation?code=C", subscriber.url, "id-only", max_count=10))
    until(lambda: len(subscriber.received) == 1)
    assert facts(subscriber.received[0][3])["type"] == "handshake"
    for value in range(40):
        put(hub, observation(f"c{value}", "C", value))
    until(lambda: sum(len(facts(body)["numbers"]) for _, _, _, body in subscriber.received) == 40)
    told = [facts(body) for _, _, _, body in subscriber.received[1:]]
    assert [number for one in told for number in one["numbers"]] == list(range(1, 41))
    assert all(len(one["numbers"]) <= 10 and one["type"] == "event-notification" for one in told)
    assert told[0]["parts"][0][2]["valueReference"]["reference"].endswith("/fhir/Observation/c0")
    assert "resource" not in json.loads(subscriber.received[1][3])["entry"][1]
    asked = hub.get("/fhir/Subscription/topic/$status").json()
    assert {"name": "eventsSinceSubscriptionStart", "valueString": "40"} in asked["parameter"]
    again = hub.get("/fhir/Subscription/topic/$events?eventsSinceNumber=5&eventsUntilNumber=7").content
    assert facts(again)["numbers"] == [5, 6, 7] and facts(again)["type"] == "query-event"


def test_topic_shows_what_it_is_asked_to_show(hub: httpx.Client, subscriber: Subscriber) -> None:
    put(hub, topic("full", "Observation?code=F", subscriber.url, "full-resource"))
    put(hub, topic("empty", "Observation?code=F", subscriber.url, "empty", heartbeat_period=1))
    until(lambda: len(subscriber.received) >= 2)
    put(hub, observation("f", "F", 7))
    bodies = lambda: [json.loads(body) for _, _, _, body in subscriber.received]  # noqa: E731
    until(lambda: sum(facts(body)["type"] == "event-notification" for _, _, _, body in subscriber.received) == 2)
    shown = [one["entry"][1]["resource"]["valueInteger"] for one in bodies() if len(one["entry"]) > 1]
    assert shown == [7]
    until(lambda: any(facts(body)["type"] == "heartbeat" for _, _, _, body in subscriber.received))


def test_delivered_events_are_kept_for_a_while_only(
    hub: httpx.Client, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "KEPT_EVENTS", 3)
    put(hub, topic("kept", "Observation?code=kept", subscriber.url, "id-only"))
    until(lambda: status(hub, "kept") == "active")
    for number in range(8):
        put(hub, observation(f"kept-{number}", "kept"))

    def shown() -> list[int]:
        return list(facts(hub.get("/fhir/Subscription/kept/$events").content)["numbers"])

    until(lambda: shown() == [6, 7, 8])
    asked = hub.get("/fhir/Subscription/kept/$status").json()
    assert {"name": "eventsSinceSubscriptionStart", "valueString": "8"} in asked["parameter"]


def test_off_and_on_again_goes_on_where_it_stopped(hub: httpx.Client, subscriber: Subscriber) -> None:
    asked = topic("pause", "Observation?code=P", subscriber.url, "id-only")
    put(hub, asked)
    until(lambda: status(hub, "pause") == "active")
    put(hub, observation("p1", "P"))
    until(lambda: len(subscriber.received) == 2)
    put(hub, asked | {"status": "off"})
    put(hub, asked)
    until(lambda: status(hub, "pause") == "active")
    put(hub, observation("p2", "P"))
    until(lambda: facts(subscriber.received[-1][3])["numbers"] == [2])


@pytest.mark.parametrize(
    ("criteria", "endpoint"),
    [
        ("Observation?colour=red", ""),
        ("Observation?subject.name=x", ""),
        ("Colour?x=y", ""),
        ("Observation?code=x", "http://10.0.0.1/hook"),
        ("Observation?code=x", "http://[::1]/hook"),
        ("Observation?code=x", "http://localhost/hook"),
        ("Observation?code=x", "http://169.254.169.254/latest"),
        ("Observation?code=x", "http://2130706433/hook"),
        ("Observation?code=x", "ftp://example.org/hook"),
        ("Observation?code=x", "http://user@example.org/hook"),
    ],
)
def test_what_is_refused_says_why(hub: httpx.Client, subscriber: Subscriber, criteria: str, endpoint: str) -> None:
    put(hub, subscription("bad", criteria, endpoint or subscriber.url))
    until(lambda: status(hub, "bad") == "error")
    assert hub.get("/fhir/Subscription/bad").json()["error"]
    hub.delete("/fhir/Subscription/bad").raise_for_status()


@pytest.mark.parametrize("header", ["Host: evil.example", "X: a\r\nY: b", "no colon"])
def test_headers_are_checked(hub: httpx.Client, subscriber: Subscriber, header: str) -> None:
    put(hub, subscription("header", "Observation?code=x", subscriber.url, header=[header]))
    until(lambda: status(hub, "header") == "error")
    hub.delete("/fhir/Subscription/header").raise_for_status()


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "::1", "::ffff:10.0.0.1", "fe80::1%lo", "224.0.0.1", "0.0.0.0"]
)
def test_internal_addresses_are_not_called(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(HubError):
        endpoint.check(f"http://{host}/", frozenset())

"""A hub killed with -9 and a subscriber that dies, while changes come: every event is told, numbered, in order."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests import running

FHIR = {"Content-Type": "application/fhir+json"}
BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-"
TOPIC = "https://region-hub.example/fhir/SubscriptionTopic/resource-change"
BUNDLE = 100
Start = Callable[..., running.Process]


class Mortal:
    """A subscriber that can die and come back on its port; it remembers the numbers and ids it was told."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.told: list[tuple[int, str]] = []
        self.port = running.free_port()
        self._server: ThreadingHTTPServer | None = None

    def live(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for row in body["entry"][0]["resource"]["parameter"]:
                    if row["name"] == "notificationEvent":
                        number = int(row["part"][0]["valueString"])
                        outer.told.append((number, row["part"][2]["valueReference"]["reference"].rsplit("/", 1)[1]))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def die(self) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()


def subscription(port: int) -> dict[str, Any]:
    return {
        "resourceType": "Subscription", "id": "s", "status": "requested", "reason": "test", "criteria": TOPIC,
        "_criteria": {"extension": [{"url": BACKPORT + "filter-criteria", "valueString": "Basic?_tag=told"}]},
        "channel": {
            "extension": [{"url": BACKPORT + "max-count", "valuePositiveInt": 50}],
            "type": "rest-hook", "endpoint": f"http://127.0.0.1:{port}/hook", "payload": "application/fhir+json",
            "_payload": {"extension": [{"url": BACKPORT + "payload-content", "valueCode": "id-only"}]},
        },
    }  # fmt: skip


def bundle(number: int) -> dict[str, Any]:
    entries = []
    for line in range(BUNDLE):
        id = f"{number}-{line}"
        resource = {"resourceType": "Basic", "id": id, "meta": {"tag": [{"code": "told"}]}, "code": {"text": "c"}}
        entries.append({"resource": resource, "request": {"method": "PUT", "url": f"Basic/{id}"}})
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def campaign(start: Start, bundles: int, deaths: int) -> tuple[Mortal, list[str]]:
    """Write ``bundles`` of changes while hub and subscriber die ``deaths`` times each; what was told, what written."""
    subscriber = Mortal()
    subscriber.live()
    allowed = {"HUB_SUBSCRIPTIONS__ALLOWED_HOSTS": '["127.0.0.1"]'}
    hub = start(**allowed)
    httpx.put(f"{hub.base}/fhir/Subscription/s", json=subscription(subscriber.port), headers=FHIR).raise_for_status()
    written: list[str] = []
    for number in range(bundles):
        if deaths and number % (bundles // deaths) == bundles // deaths - 1:
            subscriber.die()
            hub.kill()
            hub = start(**allowed)
            subscriber.live()
        httpx.post(f"{hub.base}/fhir", json=bundle(number), headers=FHIR, timeout=60).raise_for_status()
        written += [f"{number}-{line}" for line in range(BUNDLE)]
    end = time.monotonic() + 60
    while len({number for number, _ in subscriber.told}) < len(written) and time.monotonic() < end:
        time.sleep(0.1)
    hub.stop()
    subscriber.die()
    return subscriber, written


def check(subscriber: Mortal, written: list[str]) -> None:
    first_told: dict[int, str] = {}
    for number, id in subscriber.told:
        assert first_told.setdefault(number, id) == id, "a number was given to two events"
    assert list(first_told) == sorted(first_told), "an event overtook another"
    assert [first_told[number] for number in sorted(first_told)] == written


def test_nothing_is_lost_by_a_death(start: Start) -> None:
    check(*campaign(start, bundles=3, deaths=1))


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_nothing_is_lost_by_five_deaths_in_ten_thousand_changes(start: Start) -> None:
    check(*campaign(start, bundles=100, deaths=5))

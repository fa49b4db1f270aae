"""FHIR load over HTTP/1.1 (RFC 9112, keep-alive, no pipelining): a client that costs less than the server."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from hub.bench.meter import Meter
from hub.errors import HubError

SYSTEM = "https://region-hub.example/fhir/NamingSystem/bench"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
FULL_URL = "urn:uuid:00000000-0000-4000-8000-{:012d}"
FAMILIES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林郑谢罗梁宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程"
GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰红玲梅建国文辉志斌宇浩凯健俊帆雪琳晨璐瑶佳欣怡子涵梓轩"
PATIENTS = 2000
BUNDLE = 100
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last one is whole."""

    def __init__(self, requests: Iterator[bytes], ends: float, answers: list[tuple[float, int]]) -> None:
        self._requests = requests
        self._ends = ends
        self._answers = answers
        self._buffer = b""
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(self._buffer, 0, head + 2)
        if len(self._buffer) < head + 4 + (int(length[1]) if length else 0):
            return
        self._answers.append((time.perf_counter() - self._sent, int(self._buffer[9:12])))
        self._buffer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _next(self) -> None:
        now = time.perf_counter()
        request = next(self._requests, None) if now < self._ends else None
        if request is None:
            self._transport.close()
            return
        self._sent = now
        self._transport.write(request)


async def load(
    host: str,
    port: int,
    make: Callable[[int], bytes],
    seconds: float,
    connections: int,
    meter: Meter,
    weight: int = 1,
) -> dict[str, float]:
    """The figures of answers of status 2xx, each worth ``weight``; ``make`` gives the request of each number."""
    answers: list[tuple[float, int]] = []
    requests = (make(number) for number in range(100_000_000))
    loop = asyncio.get_running_loop()
    meter.restart()
    ends = time.perf_counter() + seconds
    made = [
        await loop.create_connection(lambda: _Connection(requests, ends, answers), host, port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(connection.done for _, connection in made))
    good = sum(200 <= status < 300 for _, status in answers)
    return meter.figures([latency for latency, _ in answers], good, weight)


async def measure(host: str, port: int, run: str, seconds: float, meter: Meter) -> dict[str, dict[str, float]]:
    """Reads, indexed searches, creates and transactions, each for ``seconds``. Raises OSError without a server."""
    await _prepare(host, port, run)
    order = random.Random(run)
    ids = [f"{run}-{order.randrange(PATIENTS)}" for _ in range(10_007)]
    results = [_results(person) for person in range(BUNDLE // 20)]

    def read(number: int) -> bytes:
        return request("GET", f"/fhir/Patient/{ids[number % len(ids)]}")

    def search(number: int) -> bytes:
        return request("GET", f"/fhir/Patient?identifier={SYSTEM}%7C{ids[number % len(ids)]}")

    def create(number: int) -> bytes:
        return request("POST", "/fhir/Patient", encoded(patient(f"{run}c", number)))

    def transaction(number: int) -> bytes:
        return request("POST", "/fhir", _admission(f"{run}t{number}", results))

    return {
        "fhir_read_per_s": await load(host, port, read, seconds, 16, meter),
        "fhir_search_per_s": await load(host, port, search, seconds, 16, meter),
        "fhir_create_per_s": await load(host, port, create, seconds, 32, meter),
        "transaction_resources_per_s": await load(host, port, transaction, seconds, 4, meter, weight=BUNDLE),
    }


async def _prepare(host: str, port: int, run: str) -> None:
    """PATIENTS patients to read and search, by transactions. HubError("exception") when the server refuses them."""
    bundles = iter(
        encoded(_bundle([_entry(patient(run, number), "PUT") for number in range(first, first + BUNDLE)]))
        for first in range(0, PATIENTS, BUNDLE)
    )
    answers: list[tuple[float, int]] = []
    sent = (request("POST", "/fhir", body) for body in bundles)
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: _Connection(sent, math.inf, answers), host, port
    )
    await connection.done
    if [status for _, status in answers] != [200] * (PATIENTS // BUNDLE):
        raise HubError("exception", f"the server did not take the patients to measure with: {answers[-1:]}")


def request(method: str, target: str, content: bytes = b"") -> bytes:
    """One request as bytes."""
    head = f"{method} {target} HTTP/1.1\r\nHost: hub\r\nAccept: application/fhir+json\r\nPrefer: return=minimal\r\n"
    if content:
        head += f"Content-Type: application/fhir+json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


def encoded(resource: dict[str, Any]) -> bytes:
    """A resource as JSON."""
    return json.dumps(resource, ensure_ascii=False, separators=(",", ":")).encode()


def patient(run: str, number: int) -> dict[str, Any]:
    """A Patient of about 1 kB, unlike the others, as the residents of a region are."""
    key = f"{run}-{number}"
    chance = random.Random(key)
    family, given = chance.choice(FAMILIES), "".join(chance.choices(GIVEN, k=2))
    gender = "male" if number % 2 else "female"
    born = f"{chance.randrange(1930, 2021)}-{chance.randrange(1, 13):02d}-{chance.randrange(1, 29):02d}"
    street = "".join(chance.choices(GIVEN, k=2))
    return {
        "resourceType": "Patient",
        "id": key,
        "identifier": [{"use": "usual", "system": SYSTEM, "value": key}],
        "active": True,
        "name": [{"use": "official", "text": family + given, "family": family, "given": [given]}],
        "telecom": [{"system": "phone", "value": f"139{chance.randrange(10**8):08d}", "use": "mobile"}],
        "gender": gender,
        "birthDate": born,
        "address": [{"use": "home", "text": f"新河市{street}路{chance.randrange(1, 2000)}号", "city": "新河市"}],
        "managingOrganization": {"display": "Bench hospital"},
    }


def observation(number: int, subject: str) -> dict[str, Any]:
    """A numeric laboratory result about ``subject`` (a reference)."""
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [{"system": CATEGORY, "code": "laboratory"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}], "text": "血红蛋白"},
        "subject": {"reference": subject},
        "effectiveDateTime": f"2026-11-{1 + number % 28:02d}T08:{number % 60:02d}:00+08:00",
        "valueQuantity": {"value": 100 + number, "unit": "g/L", "system": "http://unitsofmeasure.org", "code": "g/L"},
    }  # fmt: skip


def _results(person: int) -> bytes:
    """19 entries of results about the ``person`` of an admission, as text: they are the same in every admission."""
    entries = [_entry(observation(line, FULL_URL.format(person)), "POST") for line in range(19)]
    return b",".join(encoded(entry) for entry in entries)


def _admission(run: str, results: list[bytes]) -> bytes:
    """A transaction with five new patients and 19 results each, BUNDLE entries in all."""
    entries: list[bytes] = []
    for person, lines in enumerate(results):
        entry = {**_entry(patient(run, person), "POST"), "fullUrl": FULL_URL.format(person)}
        entries += (encoded(entry), lines)
    return b'{"resourceType":"Bundle","type":"transaction","entry":[%b]}' % b",".join(entries)


def _entry(resource: dict[str, Any], method: str) -> dict[str, Any]:
    type = resource["resourceType"]
    return {
        "resource": resource,
        "request": {"method": method, "url": f"{type}/{resource['id']}" if method == "PUT" else type},
    }


def _bundle(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}

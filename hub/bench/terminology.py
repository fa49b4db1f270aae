"""Terminology load: ``$validate-code`` in process and over HTTP, ``$expand`` of 5,000 codes, ``$subsumes``."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from rich.console import Console

from hub.bench import http, run
from hub.bench.meter import Meter
from hub.errors import HubError
from terminology.service import Terminology

KEYS = ("validate_code_per_s", "validate_code_http_per_s", "expand_5000_first_ms", "expand_5000_ms", "subsumes_us")
SYSTEM = "https://region-hub.example/fhir/CodeSystem/bench"
CODES = 10_000
VALUE_SET = "http://terminology.hl7.org/ValueSet/v3-ActEncounterCode"
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"


def measure(seconds: float, *, url: str | None, store: str | None, console: Console) -> dict[str, Any]:
    """The figures, in-process ones of one core's CPU time."""
    console.print("in process ...")
    figures = in_process(seconds)
    console.print("over HTTP ...")
    target = f"/fhir/ValueSet/$validate-code?url={VALUE_SET}&system={ACT_CODE}&code=AMB"
    ask = http.request("GET", target)
    with run.target(url, None, None, store) as hub:
        meter = Meter(hub.pid)
        detail = asyncio.run(http.load(*hub.http, lambda _: ask, seconds, 8, meter))
    figures["validate_code_http_per_s"] = detail["per_s"]
    return {"figures": {key: figures[key] for key in KEYS}, "details": {"validate_code_http_per_s": detail}}


def in_process(seconds: float) -> dict[str, float]:
    """The figures that need no wire."""
    terminology = Terminology(lambda: time.time_ns() // 1000)
    terminology.put(code_system())
    every = f"{SYSTEM}?fhir_vs"

    def validate() -> Any:
        return terminology.validate_code(VALUE_SET, system=ACT_CODE, code="AMB")

    def expand() -> Any:
        return terminology.expand(every, filter="even", count=5000)

    def subsumes() -> Any:
        return terminology.subsumes(SYSTEM, "c0", f"c{CODES - 1}")

    begin = time.process_time()
    total = expand()["expansion"]["total"]
    first = time.process_time() - begin
    if total != CODES // 2:
        raise HubError("exception", f"$expand gives {total} codes, not {CODES // 2}")
    return {
        "validate_code_per_s": round(1 / timed(seconds, validate)),
        "expand_5000_first_ms": round(first * 1000, 2),
        "expand_5000_ms": round(timed(seconds, expand) * 1000, 2),
        "subsumes_us": round(timed(seconds, subsumes) * 1e6, 2),
    }


def timed(seconds: float, call: Any) -> float:
    """CPU seconds a call."""
    call()
    calls, begin = 0, time.process_time()
    while (took := time.process_time() - begin) < seconds:
        call()
        calls += 1
    return took / calls


def code_system() -> dict[str, Any]:
    """10,000 codes in a tree of ten children each, half of them called even."""
    nodes: list[dict[str, Any]] = [
        {"code": f"c{number}", "display": f"{'odd' if number % 2 else 'even'} concept {number}"}
        for number in range(CODES)
    ]
    for number in range(1, CODES):
        nodes[(number - 1) // 10].setdefault("concept", []).append(nodes[number])
    head = {"resourceType": "CodeSystem", "url": SYSTEM, "status": "active", "content": "complete"}
    return {**head, "hierarchyMeaning": "is-a", "concept": [nodes[0]]}

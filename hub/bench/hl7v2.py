"""``hub bench mllp``: parse and validation in process, then the wire, as fast as it goes and at a given rate."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from typing import Any

import httpx
from rich.console import Console

from hub.bench import mllp, run
from hub.bench.meter import Meter
from hub.errors import HubError

MESSAGES = (("adt", mllp.adt), ("oru50", partial(mllp.oru, results=50)))
SAMPLE = 50
"""Patients of the run that are searched for afterwards."""


def report(
    seconds: float, connections: int, *, url: str | None, at: str | None, store: str | None, console: Console
) -> dict[str, Any]:
    """Everything that ``hub bench mllp`` says. HubError("parameter-value") without an HL7 v2 listener."""
    console.print("in process ...")
    figures: dict[str, float | None] = {}
    for point in entry_points(group="hub.bench", name="mllp"):
        for key, make in MESSAGES:
            ours, peer = point.load()(seconds, partial(_numbered, make))
            figures[f"parse_validate_{key}_per_s"] = round(ours, 1)
            figures[f"hl7apy_parse_{key}_per_s"] = round(peer, 1)
            figures[f"ratio_to_hl7apy_{key}"] = round(ours / peer, 1)
    details: dict[str, Any] = {}
    with run.target(url, at, None, store) as hub:
        if hub.mllp is None:
            raise HubError("parameter-value", "say with --mllp where the running hub listens for HL7 v2")
        meter, name = Meter(hub.pid), secrets.token_hex(3)
        for key, make in MESSAGES:
            console.print(f"{key}, {connections} connections ...")
            details[key] = asyncio.run(mllp.measure(*hub.mllp, make, name, seconds, meter, connections))
            figures[f"{key}_per_s"] = details[key]["per_s"]
        console.print(f"{mllp.PACED_CONNECTIONS} connections at {mllp.PACED_RATE:g}/s ...")
        details["paced"] = asyncio.run(mllp.paced(*hub.mllp, f"{name}P", seconds, meter))
        figures["paced_p99_ms"] = details["paced"]["p99_ms"]
        figures["searchable"] = _searchable(hub.http, f"{name}P", int(mllp.PACED_RATE * seconds))
    return {"figures": figures, "details": details, "seconds": seconds, "connections": connections}


def _numbered(make: Callable[[int, str], bytes], number: int) -> bytes:
    return make(number, "B")


def _searchable(http: tuple[str, int], name: str, sent: int) -> float:
    """The share of a sample of acknowledged patients that a search finds at once."""
    with httpx.Client(base_url="http://{}:{}".format(*http), timeout=30) as client:
        found = 0
        numbers = range(0, sent - sent % 5, max(5, sent // SAMPLE // 5 * 5))
        for number in numbers:
            query = {"identifier": f"{name}{number}", "_summary": "count"}
            found += client.get("/fhir/Patient", params=query).json()["total"] == 1
    return found / len(numbers)

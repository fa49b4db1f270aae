"""``hub bench region``: the traffic of a region's peak hour and burst at its pace, and the city whose burst is held.

The model has 28.3 messages a second in the burst and 9.4 in the peak hour for a million inhabitants; it is a model, not
a measurement of a city.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any

from rich.console import Console

from hub.bench import run
from hub.bench.meter import Meter
from hub.bench.mllp import END, START
from hub.errors import HubError

BURST, PEAK_HOUR = 28.3, 9.4
"""Messages a second for a million inhabitants."""
RATES = (29.0, 88.0, 283.0)
"""The peak hour and the burst of 3.1 million inhabitants, the burst of 10 million."""
CONNECTIONS = 32
INTRODUCTIONS, WARM_UP = 50.0, 200
"""Messages a second before anything is measured, and how many at least."""
HELD, SLOWEST_MS = 0.99, 1000.0
"""A rate is held when so much of it is acknowledged positively, every message in the 99th percentile this fast."""
Item = tuple[int, str, bytes]
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


def report(
    seconds: float,
    rates: Sequence[float],
    seed: int,
    *,
    url: str | None,
    at: str | None,
    store: str | None,
    console: Console,
) -> dict[str, Any]:
    """Each rate for so many seconds, one after the other, and what city that is.

    HubError("parameter-value") without an HL7 v2 listener, HubError("exception") without the simulated region.
    """
    points = list(entry_points(group="hub.bench", name="region"))
    if not points:
        raise HubError("exception", "the simulated region is not installed")
    messages: Callable[..., tuple[list[Item], int]] = points[0].load()
    stages, block = [], 0
    with run.target(url, at, None, store) as hub:
        if hub.mllp is None:
            raise HubError("parameter-value", "say with --mllp where the running hub listens for HL7 v2")
        meter = Meter(hub.pid)
        asyncio.run(paced(hub.mllp, hub.http, messages(0, seed=seed)[0], INTRODUCTIONS, meter))
        items, block = messages(WARM_UP, block, seed)
        asyncio.run(paced(hub.mllp, hub.http, items, INTRODUCTIONS, meter))
        for rate in rates:
            count = max(1, int(rate * seconds))
            console.print(f"{rate:g}/s: writing {count} messages ...")
            items, block = messages(count, block, seed)
            console.print(f"{rate:g}/s for {seconds:g} s ...")
            stages.append(stage(rate, asyncio.run(paced(hub.mllp, hub.http, items[:count], rate, meter))))
            console.print(" ".join(f"{name}={value}" for name, value in stages[-1].items()))
        memory = run.rss_mb(hub.pid) if hub.pid else None
    return {
        "figures": figures(stages) | {"rss_mb": memory},
        "stages": stages,
        "seconds": seconds,
        "connections": CONNECTIONS,
        "store": store or "sqlite",
        "machine": f"{platform.machine()}, {os.cpu_count()} cpus, Python {platform.python_version()}",
        "load": [round(one, 2) for one in os.getloadavg()],
    }


def stage(rate: float, measured: dict[str, float]) -> dict[str, Any]:
    """One rate: what was acknowledged, how fast, and the hub's share of all CPUs (in percent)."""
    share = measured.get("cpu_us")
    cpus = os.cpu_count() or 1
    return {
        "rate": rate,
        **measured,
        "cpu_share": None if share is None else round(share * measured["per_s"] / 1e4 / cpus, 1),
        "held": measured["per_s"] >= rate * HELD and not measured["refused"] and measured["p99_ms"] <= SLOWEST_MS,
        "inhabitants_burst": inhabitants(rate, BURST),
        "inhabitants_peak_hour": inhabitants(rate, PEAK_HOUR),
    }


def inhabitants(rate: float, share: float) -> int:
    """Whose traffic a rate is, in inhabitants, rounded to a hundred thousand."""
    return round(rate / share * 10) * 100_000


def figures(stages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of the highest rate that was held, and the city that it is."""
    best: dict[str, Any] = max((one for one in stages if one["held"]), key=lambda one: float(one["rate"]), default={})
    names = ("per_s", "p50_ms", "p99_ms", "cpu_share", "inhabitants_burst", "inhabitants_peak_hour")
    shares = {f"cpu_share_at_{one['rate']:g}_per_s": one["cpu_share"] for one in stages}
    return {name: best.get(name) for name in names} | shares


async def paced(
    mllp: run.Address, http: run.Address, items: Sequence[Item], rate: float, meter: Meter
) -> dict[str, float]:
    """Messages at a rate, those of a lane in order over one connection; a latency counts from when one was due."""
    latencies: list[float] = []
    good = 0
    lanes: list[list[tuple[int, str, bytes]]] = [[] for _ in range(CONNECTIONS)]
    for number, (lane, link, body) in enumerate(items):
        lanes[lane % CONNECTIONS].append((number, link, body))
    wires = [(await asyncio.open_connection(*mllp), await asyncio.open_connection(*http)) for _ in lanes]
    meter.restart()
    begin = time.perf_counter()

    async def one(place: int) -> None:
        nonlocal good
        for number, link, body in lanes[place]:
            due = begin + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            send = acknowledged if link == "mllp" else transaction
            fine = await send(*wires[place][link == "http"], body)
            good += fine
            latencies.append(time.perf_counter() - due)

    try:
        await asyncio.gather(*map(one, range(CONNECTIONS)))
        await asyncio.sleep(max(0.0, begin + len(items) / rate - time.perf_counter()))
        return meter.figures(latencies, good)
    finally:
        for writer in (writer for pair in wires for _, writer in pair):
            writer.close()


async def acknowledged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> bool:
    """Whether an HL7 v2 message gets a positive acknowledgement."""
    writer.write(START + body + END)
    answer = await reader.readuntil(END)
    return re.search(rb"\rMSA.(?:AA|CA)", answer) is not None


async def transaction(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> bool:
    """Whether a transaction Bundle is taken (RFC 9112, keep-alive)."""
    head = "POST /fhir HTTP/1.1\r\nHost: hub\r\nContent-Type: application/fhir+json\r\nPrefer: return=minimal\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    if length := _LENGTH.search(answer):
        await reader.readexactly(int(length[1]))
        return answer.startswith(b"HTTP/1.1 200")
    raise HubError("exception", "the hub answered without Content-Length")

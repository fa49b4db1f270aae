"""One run of all measurements, on a hub started for it or on one that runs."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from hub.bench import dicom, http, mllp
from hub.bench.meter import Meter
from hub.errors import HubError

KEYS = (
    "mllp_adt_per_s",
    "mllp_oru_per_s",
    "fhir_read_per_s",
    "fhir_search_per_s",
    "fhir_create_per_s",
    "transaction_resources_per_s",
    "cstore_mb_per_s",
    "startup_s",
    "rss_mb",
)
VERSIONS = ("region-hub", "uvicorn", "fastapi", "pymongo", "pydicom", "pynetdicom")

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured; an address is None when that wire is not there."""

    http: Address
    mllp: Address | None
    dicom: Address | None
    startup: float | None
    pid: int | None


def address(text: str | None) -> Address | None:
    """HOST:PORT. HubError("parameter-value")."""
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise HubError("parameter-value", f"{text!r} is not of the form HOST:PORT")
    return host, int(port)


@contextmanager
def target(url: str | None, mllp_at: str | None, dicom_at: str | None, store: str | None) -> Iterator[Target]:
    """The running hub, or one in a process and a temporary directory of its own."""
    if url is not None:
        parts = urlsplit(url)
        yield Target((parts.hostname or "127.0.0.1", parts.port or 80), address(mllp_at), address(dicom_at), None, None)
        return
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as directory:
        begin = time.perf_counter()
        process = start(Path(directory), store)
        line = process.stdout.readline() if process.stdout else ""
        took = time.perf_counter() - begin
        bound = {name: (host, int(port)) for name, host, port in re.findall(r"(\w+)=([\w.:]+):(\d+)", line)}
        try:
            if "http" not in bound:
                raise HubError(
                    "exception", f"the hub to be measured did not start: {line.strip() or 'see its message above'}"
                )
            yield Target(bound["http"], bound.get("mllp"), bound.get("dicom"), round(took, 2), process.pid)
        finally:
            process.terminate()
            process.wait(30)


def start(directory: Path, store: str | None) -> subprocess.Popen[str]:
    """``hub serve`` on free ports."""
    ports = [free_port() for _ in range(3)]
    command = [sys.executable, "-m", "hub.cli", "serve", "--data", str(directory / "data")]
    command += ["--http-port", str(ports[0]), "--mllp-port", str(ports[1]), "--dicom-port", str(ports[2])]
    command += ["--store", store] if store else []
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rss_mb(pid: int) -> float | None:
    """Resident memory of a process on Linux."""
    status = Path(f"/proc/{pid}/status")
    match = re.search(r"VmRSS:\s+(\d+)", status.read_text()) if status.exists() else None
    return round(int(match[1]) / 1024, 1) if match else None


def measure(
    seconds: float, *, url: str | None, mllp: str | None, dicom: str | None, store: str | None, console: Console
) -> dict[str, Any]:
    """All figures; a key is None when its wire is not there."""
    with target(url, mllp, dicom, store) as hub:
        figures, details = wires(hub, seconds, console)
        figures["startup_s"] = hub.startup
        figures["rss_mb"] = rss_mb(hub.pid) if hub.pid else None
    return {
        "figures": {key: figures.get(key) for key in KEYS},
        "details": details,
        "seconds": seconds,
        "store": store or "sqlite",
        "machine": f"{platform.machine()}, {os.cpu_count()} cpus, Python {platform.python_version()}",
        "load": [round(one, 2) for one in os.getloadavg()],
        "versions": {name: version(name) for name in VERSIONS},
    }


def wires(hub: Target, seconds: float, console: Console) -> tuple[dict[str, float | None], dict[str, Any]]:
    """One measurement after the other; each has the machine to itself."""
    run = secrets.token_hex(3)
    digits = str(int(run, 16))
    meter = Meter(hub.pid)
    figures: dict[str, float | None] = {}
    details: dict[str, Any] = {}
    if hub.mllp:
        for key, make in (("mllp_adt_per_s", mllp.adt), ("mllp_oru_per_s", mllp.oru)):
            console.print(f"{key} ...")
            details[key] = asyncio.run(mllp.measure(*hub.mllp, make, run, seconds, meter))
            figures[key] = details[key]["per_s"]
    console.print("fhir ...")
    for key, detail in asyncio.run(http.measure(*hub.http, run, seconds, meter)).items():
        details[key], figures[key] = detail, detail["per_s"]
    if hub.dicom:
        console.print("cstore_mb_per_s ...")
        details["cstore_mb_per_s"] = dicom.measure(*hub.dicom, digits, seconds, meter)
        figures["cstore_mb_per_s"] = details["cstore_mb_per_s"]["mb_per_s"]
    return figures, details

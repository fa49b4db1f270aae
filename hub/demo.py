"""``hub demo``: three simulated hospitals talk to a hub over its wires; one resident's record is found by card."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from hub import bootstrap
from hub.bench.run import free_port
from hub.doctor import in_use
from hub.errors import HubError
from hub.settings import Settings

IMAGING_SECONDS = 20.0
"""How long to wait for the studies of the last association to become ImagingStudy resources."""


def run(settings: Settings, *, seed: int, once: bool, as_json: bool, console: Console) -> int:
    """Start, simulate, show; then serve until told to stop, unless ``once``. 0 when every expectation held."""
    begin = time.perf_counter()
    running = bootstrap.Running(bootstrap.build(with_free_ports(settings)))
    try:
        base = "http://{}:{}".format(*(running.address("http") or ("127.0.0.1", 0)))
        console.print(
            f"The hub is ready at {base} after {time.perf_counter() - begin:.1f} s. Three hospitals begin to send."
        )
        manifest = simulate(running, base, seed)
        report = {"manifest": manifest, **look(base, manifest, settled=manifest["sent"].get("studies", 0))}
        report["seconds"] = round(time.perf_counter() - begin, 1)
        if as_json:
            sys.stdout.write(json.dumps(report, ensure_ascii=False, indent=2) + "\n")
        else:
            show(report, base)
        ok = not report["problems"]
        if not once and ok:
            wait(console, base)
        return 0 if ok else 1
    finally:
        running.stop()


def with_free_ports(settings: Settings) -> Settings:
    """The settings, with another port for each one that is taken."""
    sections = {}
    for name in ("http", "mllp", "dicom"):
        section = getattr(settings, name)
        if section.port == 0 or in_use(settings.bind, section.port):
            section = section.model_copy(update={"port": free_port()})
        sections[name] = section
    return settings.model_copy(update=sections)


def simulate(running: bootstrap.Running, base: str, seed: int) -> dict[str, Any]:
    """The manifest of ``hub simulate demo``, run as an outside process that knows nothing but addresses."""
    command = [sys.executable, "-m", "hub.cli", "simulate", "demo", "--http", base, "--seed", str(seed), "--json"]
    for name in ("mllp", "dicom"):
        host, port = running.address(name) or ("127.0.0.1", 0)
        command += [f"--{name}", f"{host}:{port}"]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode != 0:
        raise HubError(
            "exception", f"the simulated hospitals ended with code {process.returncode}; see their message above"
        )
    return json.loads(process.stdout)  # type: ignore[no-any-return]


def look(base: str, manifest: dict[str, Any], settled: int) -> dict[str, Any]:
    """What the hub says of itself, and the record of the resident the manifest names, asked through its public APIs."""
    with httpx.Client(base_url=base, timeout=60) as client:
        end = time.monotonic() + IMAGING_SECONDS
        while client.get("/fhir/ImagingStudy?_summary=count").json()["total"] < settled and time.monotonic() < end:
            time.sleep(0.2)
        status = client.get("/api/status").json()
        card = manifest["lookup"]["card"]
        found = client.get("/api/persons", params={"card": card}).json()["persons"]
        record = client.get(f"/api/persons/{found[0]['id']}/record").json() if found else {"items": []}
    return {"status": status, "persons": found, "record": record, "problems": problems(status, found, record, manifest)}


def problems(
    status: dict[str, Any], found: list[dict[str, Any]], record: dict[str, Any], manifest: dict[str, Any]
) -> list[str]:
    """Where what is there differs from what was sent."""
    wrong = [f"refused: {one}" for one in manifest.get("refused", ())]
    inbox = status["inbox"]
    if inbox["received"]:
        wrong.append(f"{inbox['received']} messages are not settled")
    if len(found) != 1:
        wrong.append(f"the card {manifest['lookup']['card']} finds {len(found)} persons, not 1")
    hospitals = {item["hospital"] for item in record["items"] if item.get("hospital")}
    if found and len(hospitals) < 3:
        wrong.append(f"the record comes from {len(hospitals)} hospitals, not 3: {', '.join(sorted(hospitals))}")
    return wrong


def show(report: dict[str, Any], base: str) -> None:
    """The report for a person at a terminal."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    sent = Table("what", "number", title="Sent and acknowledged")
    for group in ("sent", "acks"):
        for name, number in report["manifest"][group].items():
            sent.add_row(f"{group}: {name}", str(number))
    console.print(sent)
    stored = Table("database", "resources", "of which", title="Stored")
    for database, types in report["status"]["databases"].items():
        top = ", ".join(f"{type} {number}" for type, number in sorted(types.items(), key=lambda one: -one[1])[:6])
        stored.add_row(database, str(sum(types.values())), top)
    console.print(stored)
    console.print("inbox:", ", ".join(f"{state} {number}" for state, number in report["status"]["inbox"].items()))
    record = Table(
        "time", "what", "content", "hospital", "came by", title="One resident's record, found by e-health card"
    )
    for item in report["record"]["items"]:
        when = str(item.get("time") or "")[:16].replace("T", " ")
        record.add_row(when, *(str(item.get(name) or "") for name in ("type", "title", "hospital", "source")))
    console.print(record)
    person = (report["persons"] or [{}])[0]
    console.print(f"{person.get('name', '')} is one person with {len(person.get('patients', []))} patient records.")
    console.print(f"Page: {base}/person?card={report['manifest']['lookup']['card']}", soft_wrap=True)
    for problem in report["problems"]:
        console.print(f"PROBLEM: {problem}", style="red")
    console.print(f"Done in {report['seconds']} s.")


def wait(console: Console, base: str) -> None:
    """Serve on until Ctrl-C or SIGTERM."""
    console.print(f"Serving on at {base}. Ctrl-C ends.")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()

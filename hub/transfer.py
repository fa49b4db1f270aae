"""Resources in and out by FHIR over HTTP, for ``hub load``, ``hub export`` and the other verbs that ask a hub.

The hub is one that runs (``url``), or the data directory opened in this process and spoken to through the same HTTP
API without a socket; so there is one way in.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import Progress

from hub.errors import HubError
from hub.fhir import json as fhir_json
from hub.settings import Settings

FHIR = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
BATCH = 100


@asynccontextmanager
async def connect(url: str | None, settings: Callable[[], Settings]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running hub, or of one opened in this process."""
    if url is not None:
        async with httpx.AsyncClient(base_url=url.rstrip("/"), timeout=120) as client:
            yield client
        return
    from hub import bootstrap
    from hub.api.app import create

    doors = bootstrap.build(settings())
    try:
        transport = httpx.ASGITransport(create(doors))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=None) as client:
            yield client
    finally:
        bootstrap.close(doors)


def answer_of(response: httpx.Response) -> Any:
    """The JSON of an answer; a refusal becomes the HubError it carries."""
    try:
        body = response.json()
    except json.JSONDecodeError:
        raise HubError("exception", f"{response.request.url} answered {response.status_code} without JSON") from None
    if response.is_success:
        return body
    issue = (body.get("issue") or [{}])[0] if isinstance(body, dict) else {}
    text = issue.get("diagnostics") or str(body)[:500]
    raise HubError("not-found" if response.status_code == 404 else "precondition", text, str(response.request.url.path))


def get(path: str, parameters: dict[str, Any], url: str | None, settings: Callable[[], Settings]) -> Any:
    """GET of the platform API."""

    async def ask() -> Any:
        async with connect(url, settings) as client:
            present = {name: value for name, value in parameters.items() if value is not None}
            return answer_of(await client.get(path, params=present))

    return asyncio.run(reach(ask()))


def post(path: str, url: str | None, settings: Callable[[], Settings], body: Any = None) -> Any:
    """POST to the platform API, with a JSON body or none."""

    async def ask() -> Any:
        async with connect(url, settings) as client:
            return answer_of(await client.post(path, json=body))

    return asyncio.run(reach(ask()))


async def reach(work: Any) -> Any:
    """A hub that cannot be reached is a HubError that says so."""
    try:
        return await work
    except httpx.TransportError as error:
        raise HubError(
            "configuration", f"the hub cannot be reached: {error}; is it running, and is --url right?"
        ) from error


# --- load -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """One resource as found: where, its type and id, its text unchanged."""

    file: str
    type: str
    id: str | None
    text: bytes
    perform: bool


def sources(paths: Sequence[Path], skipped: list[dict[str, Any]]) -> Iterator[Source]:
    """Every resource below the paths; what is not JSON or has no resourceType is reported in ``skipped``."""
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and (file.suffix in (".json", ".ndjson") or not path.is_dir()):
                yield from read_file(file, skipped)


def read_file(file: Path, skipped: list[dict[str, Any]]) -> Iterator[Source]:
    data = file.read_bytes().removeprefix(b"\xef\xbb\xbf")
    parts = [line for line in data.split(b"\n") if line.strip()] if file.suffix == ".ndjson" else [data]
    for number, text in enumerate(parts, 1):
        name = f"{file}:{number}" if file.suffix == ".ndjson" else str(file)
        try:
            value = json.loads(text)
        except ValueError as error:
            skipped.append({"file": name, "diagnostics": f"not JSON: {error}"})
            continue
        if not isinstance(value, dict) or "resourceType" not in value:
            skipped.append({"file": name, "diagnostics": "no resourceType"})
            continue
        type, id = str(value["resourceType"]), value.get("id")
        perform = type == "Bundle" and id is None and value.get("type") in ("transaction", "batch")
        yield Source(name, type, id if isinstance(id, str) else None, text, perform)


def load(paths: Sequence[Path], url: str | None, settings: Callable[[], Settings], console: Console) -> dict[str, Any]:
    """Store what is found; the report counts ``read``, ``stored``, ``performed``, lists ``skipped``, ``rejected``."""
    return asyncio.run(reach(_load(paths, url, settings, console)))


async def _load(
    paths: Sequence[Path], url: str | None, settings: Callable[[], Settings], console: Console
) -> dict[str, Any]:
    report: dict[str, Any] = {"read": 0, "stored": 0, "performed": 0, "skipped": [], "rejected": []}
    begin = time.perf_counter()
    async with connect(url, settings) as client:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("load", total=None)
            group: list[Source] = []
            for source in sources(paths, report["skipped"]):
                report["read"] += 1
                if source.perform:
                    await _perform(client, source, report)
                else:
                    group.append(source)
                if len(group) == BATCH:
                    await _store(client, group, report)
                    group = []
                progress.update(task, advance=1, description=f"{report['stored']} stored")
            await _store(client, group, report)
    report["seconds"] = round(time.perf_counter() - begin, 2)
    return report


async def _perform(client: httpx.AsyncClient, source: Source, report: dict[str, Any]) -> None:
    response = await client.post("/fhir", content=source.text, headers=FHIR)
    if response.is_success:
        report["performed"] += 1
    else:
        report["rejected"].append({"file": source.file, **refusal(response.json())})


async def _store(client: httpx.AsyncClient, group: list[Source], report: dict[str, Any]) -> None:
    """A transaction of updates; when it is refused, each on its own, so that only the guilty are rejected."""
    if not group:
        return
    if (await client.post("/fhir", content=bundle_of("transaction", group), headers=FHIR)).is_success:
        report["stored"] += len(group)
        return
    response = await client.post("/fhir", content=bundle_of("batch", group), headers=FHIR)
    if not response.is_success:
        await _store_alone(client, group, report)
        return
    for source, entry in zip(group, response.json()["entry"], strict=True):
        if entry["response"]["status"].startswith("2"):
            report["stored"] += 1
        else:
            report["rejected"].append({"file": source.file, **refusal(entry["response"].get("outcome", {}))})


async def _store_alone(client: httpx.AsyncClient, group: list[Source], report: dict[str, Any]) -> None:
    """Text that cannot be part of a Bundle (not FHIR JSON at all) is found one request at a time."""
    for source in group:
        target = f"/fhir/{source.type}" + (f"/{source.id}" if source.id else "")
        response = await client.request("PUT" if source.id else "POST", target, content=source.text, headers=FHIR)
        if response.is_success:
            report["stored"] += 1
        else:
            report["rejected"].append({"file": source.file, **refusal(response.json())})


def bundle_of(kind: str, group: Sequence[Source]) -> bytes:
    """A Bundle of updates (creates for those without an id) around the unchanged texts."""
    entries = []
    for source in group:
        request = (
            {"method": "PUT", "url": f"{source.type}/{source.id}"}
            if source.id
            else {"method": "POST", "url": source.type}
        )
        entries.append(b'{"request":' + json.dumps(request).encode() + b',"resource":' + source.text + b"}")
    return b'{"resourceType":"Bundle","type":"' + kind.encode() + b'","entry":[' + b",".join(entries) + b"]}"


def refusal(outcome: dict[str, Any]) -> dict[str, Any]:
    """The first error of an OperationOutcome."""
    errors = [issue for issue in outcome.get("issue", []) if issue.get("severity") in ("error", "fatal")] or [{}]
    return {
        "code": errors[0].get("code", ""),
        "diagnostics": errors[0].get("diagnostics", "refused"),
        "at": (errors[0].get("expression") or [""])[0],
    }


# --- export -----------------------------------------------------------------------------------------------------------


def export(
    output: Path, types: Sequence[str], url: str | None, settings: Callable[[], Settings], console: Console
) -> dict[str, int]:
    """One NDJSON file a type below ``output``; type -> number of resources."""
    return asyncio.run(reach(_export(output, types, url, settings, console)))


async def _export(
    output: Path, types: Sequence[str], url: str | None, settings: Callable[[], Settings], console: Console
) -> dict[str, int]:
    written: dict[str, int] = {}
    output.mkdir(parents=True, exist_ok=True)
    async with connect(url, settings) as client:
        status = answer_of(await client.get("/api/status"))
        present = sorted({type for database in status["databases"].values() for type in database})
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("export", total=None)
            for type in types or present:
                with (output / f"{type}.ndjson").open("wb") as file:
                    async for entry in entries(client, f"/fhir/{type}?_count=500"):
                        file.write(fhir_json.encode(entry["resource"]) + b"\n")
                        written[type] = written.get(type, 0) + 1
                        progress.update(task, advance=1, description=type)
    return written


async def entries(client: httpx.AsyncClient, link: str) -> AsyncIterator[dict[str, Any]]:
    """The matches of a search, over all its pages."""
    next_link: str | None = link
    while next_link:
        response = await client.get(next_link)
        answer_of(response)
        bundle = fhir_json.decode(response.content, max_bytes=len(response.content))
        for entry in bundle.get("entry", []):
            if entry.get("search", {}).get("mode") != "outcome":
                yield entry
        next_link = next((one["url"] for one in bundle.get("link", []) if one["relation"] == "next"), None)

"""Bulk export (HL7 Bulk Data Access 2.0) and import over HTTP: kick-off, status, files, deletion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from hub.api.arguments import arguments, parameter
from hub.api.exchange import Answer, Handler, Request
from hub.errors import HubError
from hub.fhir import json, reference
from hub.services.doors import Doors
from hub.services.export import Scope, transaction_time
from hub.services.imports import Input
from hub.services.jobs import COMPLETE, FAILED, Jobs
from hub.store.protocol import Item

NDJSON = "application/fhir+ndjson"
_FORMATS = frozenset({NDJSON, "application/ndjson", "ndjson"})
MAX_INPUTS = 100
MAX_URL = 500
_PARAMETERS = frozenset({"_outputFormat", "_since", "_type", "_typeFilter", "patient"})


class Bulk:
    """The operations $export and $import and the addresses that follow from them."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def table(self) -> dict[str, Handler]:
        """Interaction -> handler."""
        return {
            "export_status": self.export_status,
            "export_delete": lambda request: cancelled(self._doors.exports, request),
            "export_file": lambda request: file(self._doors.exports, request),
            "import_status": self.import_status,
            "import_delete": lambda request: cancelled(self._doors.imports, request),
            "import_file": lambda request: file(self._doors.imports, request),
        }

    def export(self, request: Request) -> Answer:
        """$export of the system, of all patients, or of a Group's (kick-off): 202 with the status address."""
        asked = arguments(request)
        for name in asked:
            if name not in _PARAMETERS:
                raise HubError("parameter-unknown", f"$export has no parameter {name[:60]!r}", name[:60])
        for format in asked.get("_outputFormat", ()):
            if format.replace(" ", "+") not in _FORMATS:
                raise HubError("parameter-value", f"_outputFormat {format[:60]!r} is not {NDJSON}", "_outputFormat")
        level, owners = self._owners(request, asked)
        scope = Scope(
            level, owners, self._types(asked), next(iter(asked.get("_since", ())), ""), self._filters(asked),
            request.databases,
        )  # fmt: skip
        id = self._doors.exports.begin(request.context, scope, url(request))
        return accepted(request, "_export", id)

    def _owners(self, request: Request, asked: dict[str, list[str]]) -> tuple[str, tuple[str, ...]]:
        route = request.route
        if not route.type:
            return "system", ()
        if route.type == "Group" and route.id:
            version = self._doors.query.read(request.context, "Group", route.id, request.databases)
            group = self._doors.databases.decode(version)
            members = [one.get("entity", {}).get("reference", "") for one in group.get("member", ())]
            found = [reference.parse(text) for text in members]
            return "group", tuple(dict.fromkeys(one.id for one in found if one.type == "Patient"))
        if route.type == "Patient" and not route.id:
            found = [reference.parse(text) for text in asked.get("patient", ())]
            if any(one.type != "Patient" for one in found):
                raise HubError("parameter-value", "patient takes references such as Patient/1", "patient")
            return "patient", tuple(dict.fromkeys(one.id for one in found))
        raise HubError("not-found", "$export is defined on the base, on Patient and on one Group", request.path[:200])

    def _types(self, asked: dict[str, list[str]]) -> tuple[str, ...]:
        types = tuple(dict.fromkeys(name for value in asked.get("_type", ()) for name in value.split(",") if name))
        for type in types:
            if type not in self._doors.definitions.resource_types:
                raise HubError("parameter-value", f"{type[:60]!r} is not a resource type", "_type")
        return types

    def _filters(self, asked: dict[str, list[str]]) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
        filters = []
        for text in asked.get("_typeFilter", ()):
            type, mark, query = text.partition("?")
            if not mark or type not in self._doors.definitions.resource_types:
                raise HubError("parameter-value", f"_typeFilter {text[:80]!r} is not Type?criteria", "_typeFilter")
            filters.append((type, tuple(parse_qsl(query, keep_blank_values=True))))
        return tuple(filters)

    def export_status(self, request: Request) -> Answer:
        """202 while it is under way; then the manifest, or what went wrong."""
        item = self._doors.exports.status(request.route.id)
        return manifest(request, "_export", item, item.data.get("files", ()), ())

    # --- import -------------------------------------------------------------------------------------------------------

    def import_(self, request: Request) -> Answer:
        """$import of NDJSON (kick-off): 202 with the status address.

        Parameters: ``inputFormat`` (application/fhir+ndjson) and one ``input`` a source with the parts ``type`` and
        ``url``: a file of the hub's import directory, or ``Binary/id`` of this base. Other addresses are refused.
        """
        sent = request.resource()
        if parameter(sent, "inputFormat") not in (None, *_FORMATS):
            raise HubError("parameter-value", f"inputFormat is {NDJSON}", "inputFormat")
        rows = sent.get("parameter")
        inputs = [
            self._input(request, {"parameter": row.get("part")})
            for row in (rows if isinstance(rows, list) else [])
            if isinstance(row, dict) and row.get("name") == "input"
        ]
        if not 0 < len(inputs) <= MAX_INPUTS:
            raise HubError("required", f"$import needs 1 to {MAX_INPUTS} parameters input", "input")
        id = self._doors.imports.begin(request.context, inputs, request.databases, url(request))
        return accepted(request, "_import", id)

    def _input(self, request: Request, parts: dict[str, Any]) -> Input:
        type, url = parameter(parts, "type") or "", parameter(parts, "url")
        if not isinstance(type, str) or (type and type not in self._doors.definitions.resource_types):
            raise HubError("parameter-value", f"{str(type)[:60]!r} is not a resource type", "input.type")
        if not isinstance(url, str) or not url or len(url) > MAX_URL or "\0" in url:
            raise HubError("parameter-value", "an input has a url", "input.url")
        found = reference.parse(url.removeprefix(f"{request.root}/"))
        if found.type == "Binary" and not found.base:
            version = self._doors.query.read(request.context, "Binary", found.id, request.databases)
            return Input(type, f"Binary/{found.id}/_history/{version.version}")
        if "://" in url:
            said = "an input is a file of the hub's import directory or a Binary of this base; the hub fetches nothing"
            raise HubError("forbidden", said, "input.url")
        return Input(type, url)

    def import_status(self, request: Request) -> Answer:
        """202 while it is under way; then what was stored of each input, and the reports of refused lines."""
        item = self._doors.imports.status(request.route.id)
        if item.state != COMPLETE:
            return _unfinished(item)
        output, errors = [], []
        for row in item.data["files"]:
            entry = {"type": row["type"], "inputUrl": row["source"], "count": row["count"]}
            if "name" in row:
                errors.append({**entry, "url": f"{request.root}/_import/{item.id}/{row['name']}"})
            else:
                output.append(entry)
        manifest = {
            "transactionTime": transaction_time(item), "request": item.data["url"], "requiresAccessToken": False,
            "output": output, "error": errors,
        }  # fmt: skip
        return Answer(200, [json.encode(manifest)], media="application/json")


def manifest(
    request: Request, kind: str, item: Item, output: Sequence[dict[str, Any]], error: Sequence[dict[str, Any]]
) -> Answer:
    """The files of a complete job; 202 while it is under way. HubError("exception") when it failed."""
    if item.state != COMPLETE:
        return _unfinished(item)
    place = f"{request.root}/{kind}/{item.id}"

    def listed(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"type": row["type"], "url": f"{place}/{row['name']}", "count": row["count"]} for row in rows]

    made: dict[str, Any] = {
        "transactionTime": transaction_time(item), "request": item.data["url"], "requiresAccessToken": False,
        "output": listed(output), "deleted": [], "error": listed(error),
    }  # fmt: skip
    return Answer(200, [json.encode(made)], media="application/json")


def url(request: Request) -> str:
    """The address that was asked for, as a manifest names it."""
    return f"{request.root}/{request.path}" + (f"?{urlencode(request.pairs)}" if request.pairs else "")


def accepted(request: Request, kind: str, id: str) -> Answer:
    """202 with the status address of a job."""
    return Answer(202, headers=[(b"content-location", f"{request.root}/{kind}/{id}".encode())])


def _unfinished(item: Item) -> Answer:
    """How far it is. HubError("exception") when it failed."""
    if item.state == FAILED:
        raise HubError("exception", f"the {item.queue} failed: {item.data['error']}")
    return Answer(202, headers=[(b"x-progress", item.state.encode()), (b"retry-after", b"1")])


def cancelled(jobs: Jobs, request: Request) -> Answer:
    """Cancel it, or have its files removed."""
    jobs.cancel(request.route.id)
    return Answer(202)


def file(jobs: Jobs, request: Request) -> Answer:
    """One of its files."""
    return Answer(200, media=NDJSON, file=jobs.file(request.route.id, request.route.name))

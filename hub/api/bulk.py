"""Bulk export over HTTP (HL7 Bulk Data Access 2.0): kick-off, status, files, deletion."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

from hub.api.arguments import arguments
from hub.api.exchange import Answer, Handler, Request
from hub.errors import HubError
from hub.fhir import json, reference
from hub.services.doors import Doors
from hub.services.export import COMPLETE, FAILED, Scope, transaction_time

NDJSON = "application/fhir+ndjson"
_FORMATS = frozenset({NDJSON, "application/ndjson", "ndjson"})
_PARAMETERS = frozenset({"_outputFormat", "_since", "_type", "_typeFilter", "patient"})


class Bulk:
    """The operation $export and the addresses that follow from it."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    def table(self) -> dict[str, Handler]:
        """Interaction -> handler."""
        return {"export_status": self.status, "export_delete": self.delete, "export_file": self.file}

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
        url = f"{request.root}/{request.path}" + (f"?{urlencode(request.pairs)}" if request.pairs else "")
        id = self._doors.exports.begin(request.context, scope, url)
        return Answer(202, headers=[(b"content-location", f"{request.root}/_export/{id}".encode())])

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

    def status(self, request: Request) -> Answer:
        """202 while it is under way; then the manifest, or what went wrong."""
        item = self._doors.exports.status(request.route.id)
        if item.state == FAILED:
            raise HubError("exception", f"the export failed: {item.data['error']}")
        if item.state != COMPLETE:
            return Answer(202, headers=[(b"x-progress", item.state.encode()), (b"retry-after", b"1")])
        place = f"{request.root}/_export/{item.id}"
        manifest: dict[str, Any] = {
            "transactionTime": transaction_time(item),
            "request": item.data["url"],
            "requiresAccessToken": False,
            "output": [
                {"type": row["type"], "url": f"{place}/{row['name']}", "count": row["count"]}
                for row in item.data["files"]
            ],
            "deleted": [],
            "error": [],
        }
        return Answer(200, [json.encode(manifest)], media="application/json")

    def delete(self, request: Request) -> Answer:
        """Cancel it, or have its files removed."""
        self._doors.exports.cancel(request.route.id)
        return Answer(202)

    def file(self, request: Request) -> Answer:
        """One of its files."""
        path = self._doors.exports.file(request.route.id, request.route.name)
        return Answer(200, media=NDJSON, file=path)

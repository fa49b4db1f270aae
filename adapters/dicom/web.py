"""DICOMweb: QIDO-RS, WADO-RS and STOW-RS of the Studies service (PS3.18 10)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from adapters.dicom import frames, multipart, query, render, stow, study, worker
from adapters.dicom.multipart import DICOM, DICOM_JSON, OCTETS
from hub.errors import HubError
from hub.services.context import Context
from hub.services.doors import Doors
from hub.services.imaging import MAX_INSTANCES, Imaging
from hub.services.imaging_index import ATTRIBUTES, Level, Row

PREFIX = "/dicom-web"
THUMBNAIL = (128, 128)
MAX_RESULTS = 10_000
CONTROLS = frozenset(("limit", "offset", "includefield", "fuzzymatching", "accept"))
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-cache"}

log = logging.getLogger("hub.dicom")


def create(doors: Doors) -> tuple[str, ASGIApp]:
    """Entry point of the group ``hub.routes``: path prefix and ASGI application."""
    study.register(doors)
    web = Web(doors)
    whole, series = "/studies/{study}", "/studies/{study}/series/{series}"
    one = series + "/instances/{instance}"
    searches: dict[str, Level] = {
        "/studies": "study", "/series": "series", "/instances": "instance", whole + "/series": "series",
        whole + "/instances": "instance", series + "/instances": "instance",
    }  # fmt: skip
    routes = [Route(path, _search(web, level), methods=["GET"]) for path, level in searches.items()]
    for path in (whole, series, one):
        routes.append(Route(path, web.retrieve, methods=["GET"]))
        routes.append(Route(path + "/metadata", web.metadata, methods=["GET"]))
    routes.append(Route(one + "/bulkdata/{place}", web.bulk_data, methods=["GET"]))
    routes.append(Route(one + "/frames/{frames}", web.frames, methods=["GET"]))
    routes.append(Route(one + "/rendered", web.rendered, methods=["GET"]))
    routes.append(Route(one + "/frames/{frames}/rendered", web.rendered, methods=["GET"]))
    routes += [Route(path + "/thumbnail", web.thumbnail, methods=["GET"]) for path in (whole, series, one)]
    routes += [Route(path, web.store, methods=["POST"]) for path in ("/studies", whole)]
    application = Starlette(routes=routes, exception_handlers={HubError: _refuse})
    return PREFIX, application


def _search(web: Web, level: Level) -> Callable[[Request], Response]:
    def search(request: Request) -> Response:
        return web.search(request, level)

    return search


def _refuse(request: Request, error: Exception) -> Response:
    """A HubError as status and JSON."""
    assert isinstance(error, HubError)
    body = {"name": error.name, "diagnostics": error.diagnostics, "at": error.at}
    return JSONResponse(body, error.row.http, headers=HEADERS)


class Web:
    """The requests, over ``hub.services.imaging``."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._imaging: Imaging = doors.imaging
        self._base_url = doors.settings.http.base_url.rstrip("/")

    def _context(self, request: Request) -> Context:
        peer = request.client.host if request.client else ""
        return Context(door="dicom-web", actor="DICOMWEB", peer=peer)

    def _base(self, request: Request) -> str:
        return (self._base_url or f"{request.url.scheme}://{request.url.netloc}") + PREFIX

    # --- QIDO-RS (PS3.18 10.6) ----------------------------------------------------------------------------------------

    def search(self, request: Request, level: Level) -> Response:
        """Search transaction: studies, series or instances as application/dicom+json."""
        _acceptable(request, DICOM_JSON, "application/json")
        keys, include, limit, offset, warning = _parameters(request)
        keys += _keys(request.path_params)
        above = not request.path_params or "all" in include
        answers = query.search(
            self._imaging, self._context(request), level, keys, above=above, limit=limit, offset=offset
        )
        if level == "instance" and "all" not in include:
            parents = _PARENT_TAGS if above else frozenset(("0020000D", "0020000E", "00080056", "00083002"))
            wanted = {*query.INSTANCE_DEFAULTS, *parents, *include, *(_tag(key) for key, _ in keys)}
            answers = [{tag: element for tag, element in answer.items() if tag in wanted} for answer in answers]
        base = self._base(request)
        for answer in answers:
            answer["00081190"] = {"vr": "UR", "Value": [_url(base, level, answer)]}
        headers = HEADERS | ({"Warning": f'299 region-hub "{warning}"'} if warning else {})
        return Response(_json(answers), media_type=DICOM_JSON, headers=headers)

    # --- WADO-RS (PS3.18 10.4) ----------------------------------------------------------------------------------------

    def retrieve(self, request: Request) -> Response:
        """Retrieve transaction: the instances of a resource, data sets exactly as stored."""
        rows = self._rows(request)
        single = len(rows) == 1 and "instance" in request.path_params
        for wanted in multipart.accepted(request.headers.get("accept", "")):
            if wanted.media not in (DICOM, "*/*", "application/*"):
                continue
            if wanted.transfer_syntax not in ("", "*") and any(
                row["transferSyntax"] != wanted.transfer_syntax for row in rows
            ):
                continue
            if wanted.related or wanted.media != DICOM:
                return self._related(rows)
            if single:
                headers = HEADERS | {"Content-Disposition": f'attachment; filename="{rows[0]["id"]}.dcm"'}
                kind = f"{DICOM}; transfer-syntax={rows[0]['transferSyntax']}"
                return Response(self._imaging.file(rows[0]), media_type=kind, headers=headers)
        raise HubError(
            "not-acceptable",
            f'this resource can be had as {multipart.RELATED}; type="{DICOM}", in the transfer syntax it is stored in',
        )

    def _related(self, rows: list[Row]) -> Response:
        boundary = multipart.new_boundary()

        def parts() -> Iterator[tuple[str, bytes]]:
            for row in rows:
                yield f"{DICOM}; transfer-syntax={row['transferSyntax']}", self._imaging.file(row)

        kind = f'{multipart.RELATED}; type="{DICOM}"; boundary={boundary}'
        return StreamingResponse(multipart.encode(parts(), boundary), media_type=kind, headers=HEADERS)

    def metadata(self, request: Request) -> Response:
        """Retrieve metadata transaction: DICOM JSON, bulk data by reference."""
        _acceptable(request, DICOM_JSON, "application/json")
        path, context = request.path_params, self._context(request)
        if "instance" in path:
            self._imaging.instance(context, path["study"], path["series"], path["instance"])
        found = self._imaging.metadata(context, _keys(path))
        if not found:
            raise HubError("not-found", "there is nothing with this UID")
        body = b"[" + b",".join(found) + b"]"
        return Response(body, media_type=DICOM_JSON, headers=HEADERS)

    def bulk_data(self, request: Request) -> Response:
        """Retrieve bulk data: the bytes a BulkDataURI of the metadata refers to."""
        (row,) = self._rows(request)
        place = request.path_params["place"]
        data = self._imaging.file(row)[row["header"] :]
        try:
            if place == "pixels" and "pixel" in row:
                offset, length = row["pixel"][1], row["pixel"][2]
            else:
                offset, length = (int(part) for part in place.split("-"))
        except ValueError:
            raise HubError("not-found", f"{place!r} is no bulk data of this instance") from None
        if not 0 <= offset < len(data):
            raise HubError("not-found", f"{place!r} is no bulk data of this instance")
        content = data[offset : offset + length]
        boundary = multipart.new_boundary()
        if any(wanted.related for wanted in multipart.accepted(request.headers.get("accept", ""))):
            kind = f'{multipart.RELATED}; type="{OCTETS}"; boundary={boundary}'
            return StreamingResponse(multipart.encode([(OCTETS, content)], boundary), media_type=kind, headers=HEADERS)
        return Response(content, media_type=OCTETS, headers=HEADERS)

    def frames(self, request: Request) -> Response:
        """Retrieve frames: as encoded in the instance."""
        (row,) = self._rows(request)
        kind, found = frames.frames(row, self._imaging.file(row), frames.numbers(request.path_params["frames"]))
        media = kind.partition(";")[0]
        for wanted in multipart.accepted(request.headers.get("accept", "")):
            if wanted.media not in (media, OCTETS, DICOM, "*/*", "image/*", "application/*"):
                continue
            if not wanted.related and wanted.media == media and len(found) == 1:
                return Response(found[0], media_type=kind, headers=HEADERS)
            boundary = multipart.new_boundary()
            related = f'{multipart.RELATED}; type="{media}"; boundary={boundary}'
            parts = multipart.encode([(kind, frame) for frame in found], boundary)
            return StreamingResponse(parts, media_type=related, headers=HEADERS)
        raise HubError("not-acceptable", f'these frames can be had as {multipart.RELATED}; type="{media}"')

    def rendered(self, request: Request) -> Response:
        """Retrieve rendered: one frame as JPEG or PNG, with the window and viewport asked for (PS3.18 8.3.5)."""
        (row,) = self._rows(request)
        (frame,) = frames.numbers(request.path_params.get("frames", "1"))
        return self._render(request, row, frame, request.query_params)

    def thumbnail(self, request: Request) -> Response:
        """Retrieve thumbnail: of the middle instance with pixels (PS3.18 10.4.1.1.7)."""
        rows = [row for row in self._rows(request) if "pixel" in row]
        if not rows:
            raise HubError("not-found", "there are no pixels in this resource")
        return self._render(request, rows[len(rows) // 2], 1, {"viewport": "{},{}".format(*THUMBNAIL)})

    def _render(self, request: Request, row: Row, frame: int, parameters: Mapping[str, str]) -> Response:
        wanted = multipart.accepted(request.query_params.get("accept") or request.headers.get("accept", ""))
        names = [found.media for found in wanted]
        media = next((name for name in names if name in render.FORMATS), "image/jpeg")
        if not {media, "*/*", "image/*"}.intersection(names):
            raise HubError("not-acceptable", f"rendered resources can be had as {', '.join(render.FORMATS)}")
        view = render.view(media, parameters)
        image = worker.run(render.draw, frames.picture(row, self._imaging.file(row), frame), view)
        return Response(image, media_type=media, headers=HEADERS)

    # --- STOW-RS (PS3.18 10.5) ----------------------------------------------------------------------------------------

    async def store(self, request: Request) -> Response:
        """Store transaction: 200 all, 202 some, 409 none stored; the body says which and why."""
        _acceptable(request, DICOM_JSON, "application/json")
        limit = self._doors.settings.http.max_body_bytes
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                raise HubError("too-long", f"the body is longer than {limit} bytes; send the study in several requests")
        parts = stow.files(request.headers.get("content-type", ""), bytes(body))
        place, base = request.path_params.get("study", ""), self._base(request)
        status, report = await run_in_threadpool(stow.store, self._doors, self._context(request), parts, place, base)
        self._imaging.association_ended()
        return Response(_json(report), status, media_type=DICOM_JSON, headers=HEADERS)

    def _rows(self, request: Request) -> list[Row]:
        """The instance rows of the resource in the path. HubError("not-found")."""
        path, context = request.path_params, self._context(request)
        if "instance" in path:
            return [self._imaging.instance(context, path["study"], path["series"], path["instance"])]
        rows = self._imaging.find(context, "instance", _keys(path), limit=MAX_INSTANCES)
        if not rows:
            raise HubError("not-found", f"there is no {'series' if 'series' in path else 'study'} with this UID")
        return rows


_PARENT_TAGS = frozenset(attribute.tag for attribute in ATTRIBUTES) | {"00080056"}


def _keys(path: Mapping[str, str]) -> list[tuple[str, str]]:
    """Matching keys of the UIDs in a path."""
    names = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "instance": "SOPInstanceUID"}
    return [(names[name], uid) for name, uid in path.items() if name in names]


def _url(base: str, level: Level, answer: dict[str, Any]) -> str:
    study, series, instance = query.uids(answer)
    url = f"{base}/studies/{study}"
    if level != "study":
        url += f"/series/{series}"
    return url + (f"/instances/{instance}" if level == "instance" else "")


def _acceptable(request: Request, *media: str) -> None:
    wanted = multipart.accepted(request.query_params.get("accept") or request.headers.get("accept", ""))
    if not any(found.media in (*media, "*/*", "application/*") for found in wanted):
        raise HubError("not-acceptable", f"this resource can be had as {media[0]}")


def _parameters(request: Request) -> tuple[list[tuple[str, str]], set[str], int, int, str]:
    """Matching keys, included tags, limit, offset and a warning (PS3.18 8.3.4)."""
    keys: list[tuple[str, str]] = []
    include: set[str] = set()
    warning = ""
    numbers = {"limit": MAX_RESULTS, "offset": 0}
    for name, value in request.query_params.multi_items():
        low = name.lower()
        if low in numbers:
            if not value.isdecimal() or len(value) > 9:
                raise HubError("parameter-value", f"{name} is a number, not {value!r}", name)
            numbers[low] = min(int(value), MAX_RESULTS) if low == "limit" else int(value)
        elif low == "includefield":
            include.update("all" if field.lower() == "all" else _tag(field) for field in value.split(",") if field)
        elif low == "fuzzymatching":
            if value.lower() == "true":
                warning = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
        elif low not in CONTROLS:
            keys.append((_keyword(name), value))
    return keys, include, numbers["limit"], numbers["offset"], warning


def _keyword(name: str) -> str:
    """Keyword of a query parameter that is a keyword or a tag in hexadecimal."""
    return keyword_for_tag(int(name, 16)) or name if len(name) == 8 and _hexadecimal(name) else name


def _tag(name: str) -> str:
    """Tag in hexadecimal of a keyword or tag. HubError("parameter-unknown") when it is neither."""
    if len(name) == 8 and _hexadecimal(name):
        return name.upper()
    tag = tag_for_keyword(name)
    if tag is None:
        raise HubError("parameter-unknown", f"{name!r} is neither a DICOM keyword nor a tag", name)
    return f"{tag:08X}"


def _hexadecimal(text: str) -> bool:
    return all(letter in "0123456789abcdefABCDEF" for letter in text)


def _json(answer: Any) -> bytes:
    return msgspec.json.encode(answer)

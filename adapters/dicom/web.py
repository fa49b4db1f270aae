"""DICOMweb: the routes of the Studies service, QIDO-RS and STOW-RS (PS3.18 10); ``wado`` retrieves."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from adapters.dicom import capabilities, query, stow, study, wado, web_ups
from adapters.dicom.multipart import DICOM_JSON
from adapters.dicom.wado import HEADERS
from hub.errors import HubError
from hub.services.doors import Doors
from hub.services.imaging import Imaging
from hub.services.imaging_index import ATTRIBUTES, BY_KEYWORD, Level

PREFIX = "/dicom-web"
MAX_RESULTS = 10_000
NAMES = frozenset(keyword for keyword in BY_KEYWORD if dictionary_VR(keyword) == "PN")
CONTROLS = frozenset(("limit", "offset", "includefield", "fuzzymatching", "accept"))

log = logging.getLogger("hub.dicom")


def create(doors: Doors) -> tuple[str, ASGIApp]:
    """Entry point of the group ``hub.routes``: path prefix and ASGI application."""
    study.register(doors)
    web, retrieve = Web(doors), wado.Wado(doors)
    whole, series = "/studies/{study}", "/studies/{study}/series/{series}"
    one = series + "/instances/{instance}"
    searches: dict[str, Level] = {
        "/studies": "study", "/series": "series", "/instances": "instance", whole + "/series": "series",
        whole + "/instances": "instance", series + "/instances": "instance",
    }  # fmt: skip
    routes = [Route(path, _search(web, level), methods=["GET"]) for path, level in searches.items()]
    for path in (whole, series, one):
        routes += [
            Route(path, retrieve.retrieve, methods=["GET"]),
            Route(path, retrieve.delete, methods=["DELETE"]),
            Route(path + "/metadata", retrieve.metadata, methods=["GET"]),
            Route(path + "/rendered", retrieve.rendered, methods=["GET"]),
            Route(path + "/thumbnail", retrieve.thumbnail, methods=["GET"]),
        ]
    routes += [
        Route(one + "/bulkdata/{place}", retrieve.bulk_data, methods=["GET"]),
        Route(one + "/frames/{frames}", retrieve.frames, methods=["GET"]),
        Route(one + "/frames/{frames}/rendered", retrieve.rendered, methods=["GET"]),
        Route(one + "/frames/{frames}/thumbnail", retrieve.thumbnail, methods=["GET"]),
        Route("/wado", retrieve.uri, methods=["GET"]),
    ]
    routes += [Route(path, web.store, methods=["POST"]) for path in ("/studies", whole)]
    routes += web_ups.routes(doors)
    routes.append(Route("/", capabilities.retrieve, methods=["OPTIONS"]))
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

    def _base(self, request: Request) -> str:
        return (self._base_url or f"{request.url.scheme}://{request.url.netloc}") + PREFIX

    # --- QIDO-RS (PS3.18 10.6) ----------------------------------------------------------------------------------------

    def search(self, request: Request, level: Level) -> Response:
        """Search transaction: studies, series or instances as application/dicom+json."""
        wado.acceptable(request, DICOM_JSON, "application/json")
        asked = _parameters(request)
        keys = asked.keys + wado.keys(request.path_params)
        above = not request.path_params or "all" in asked.include
        answers = query.search(
            self._imaging, wado.context(request), level, keys, above=above, limit=asked.limit, offset=asked.offset
        )
        if level == "instance" and "all" not in asked.include:
            parents = _PARENT_TAGS if above else frozenset(("0020000D", "0020000E", "00080056", "00083002"))
            kept = {*query.INSTANCE_DEFAULTS, *parents, *asked.include, *(_tag(key) for key, _ in keys)}
            answers = [{tag: element for tag, element in answer.items() if tag in kept} for answer in answers]
        base = self._base(request)
        for answer in answers:
            answer["00081190"] = {"vr": "UR", "Value": [_url(base, level, answer)]}
        headers = dict(HEADERS)
        if len(answers) == MAX_RESULTS:
            headers["Warning"] = (
                '299 region-hub "The number of results exceeded the maximum supported by the server. '
                'Additional results can be requested."'
            )
        return Response(_json(answers), media_type=DICOM_JSON, headers=headers)

    # --- STOW-RS (PS3.18 10.5) ----------------------------------------------------------------------------------------

    async def store(self, request: Request) -> Response:
        """Store transaction: 200 all, 202 some, 409 none stored; the body says which and why."""
        wado.acceptable(request, DICOM_JSON, "application/json")
        limit = self._doors.settings.http.max_body_bytes
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                raise HubError("too-long", f"the body is longer than {limit} bytes; send the study in several requests")
        parts = stow.files(request.headers.get("content-type", ""), bytes(body))
        place, base = request.path_params.get("study", ""), self._base(request)
        status, report = await run_in_threadpool(stow.store, self._doors, wado.context(request), parts, place, base)
        self._imaging.association_ended()
        return Response(_json(report), status, media_type=DICOM_JSON, headers=HEADERS)


_PARENT_TAGS = frozenset(attribute.tag for attribute in ATTRIBUTES) | {"00080056"}


def _url(base: str, level: Level, answer: dict[str, Any]) -> str:
    study, series, instance = query.uids(answer)
    url = f"{base}/studies/{study}"
    if level != "study":
        url += f"/series/{series}"
    return url + (f"/instances/{instance}" if level == "instance" else "")


@dataclass(frozen=True, slots=True)
class Asked:
    """The query parameters of a search: matching keys, tags to include, limit and offset."""

    keys: list[tuple[str, str]]
    include: set[str]
    limit: int
    offset: int


def _parameters(request: Request) -> Asked:
    """PS3.18 8.3.4. HubError("parameter-value") and "parameter-unknown"."""
    keys: list[tuple[str, str]] = []
    include: set[str] = set()
    numbers = {"limit": MAX_RESULTS, "offset": 0}
    fuzzy = request.query_params.get("fuzzymatching", "").lower() == "true"
    for name, value in request.query_params.multi_items():
        low = name.lower()
        if low in numbers:
            if not value.isdecimal() or len(value) > 9:
                raise HubError("parameter-value", f"{name} is a number, not {value!r}", name)
            numbers[low] = min(int(value), MAX_RESULTS) if low == "limit" else int(value)
        elif low == "includefield":
            include.update("all" if field.lower() == "all" else _tag(field) for field in value.split(",") if field)
        elif low not in CONTROLS:
            keyword = _keyword(name)
            keys += _fuzzy(keyword, value) if fuzzy and keyword in NAMES else [(keyword, value)]
    return Asked(keys, include, numbers["limit"], numbers["offset"])


def _fuzzy(keyword: str, value: str) -> list[tuple[str, str]]:
    """Fuzzy semantic matching of person names (PS3.18 8.3.4.2): every word somewhere in the name, in any order."""
    words = [word.strip("*") for word in re.split(r"[\s,^=]+", value)]
    return [(keyword, f"*{word}*") for word in words if word]


def _keyword(name: str) -> str:
    """Keyword of a query parameter that is a keyword or a tag in hexadecimal."""
    return keyword_for_tag(int(name, 16)) or name if len(name) == 8 and _hexadecimal(name) else name


def _tag(name: str) -> str:
    """Tag in hexadecimal of a keyword, a tag, or the first step of a path of them. HubError("parameter-unknown")."""
    name = name.partition(".")[0]
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

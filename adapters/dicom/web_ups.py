"""UPS-RS: the Worklist service over HTTP (PS3.18 11)."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.dicom import ups, wado
from adapters.dicom.dataset import Attributes, text
from adapters.dicom.multipart import DICOM_JSON
from hub.errors import HubError
from hub.services.doors import Doors

MAX_BODY = 4 << 20
MAX_RESULTS = 1000
CONTROLS = frozenset(("limit", "offset", "includefield", "fuzzymatching", "accept"))


def routes(doors: Doors) -> list[Route]:
    """The routes below ``/workitems`` and ``/subscribers``."""
    web = Web(ups.Ups(doors))
    one, subscriber = "/workitems/{uid}", "/workitems/{uid}/subscribers/{ae}"
    return [
        Route("/workitems", web.search, methods=["GET"]),
        Route("/workitems", web.create, methods=["POST"]),
        Route(one, web.read, methods=["GET"]),
        Route(one, web.update, methods=["POST"]),
        Route(one + "/state", web.change_state, methods=["PUT"]),
        Route(one + "/cancelrequest", web.cancel, methods=["POST"]),
        Route(subscriber, web.subscribe, methods=["POST"]),
        Route(subscriber, web.unsubscribe, methods=["DELETE"]),
        Route("/subscribers/{ae}", web.events, methods=["GET"]),
    ]


class Web:
    """The requests, over ``ups``."""

    def __init__(self, service: ups.Ups) -> None:
        self._ups = service

    async def create(self, request: Request) -> Response:
        """201 with the workitem's address (PS3.18 11.4). The UID may be the query's only word."""
        attributes = await _body(request)
        uid = next((name for name, value in request.query_params.multi_items() if not value), "")
        made = await run_in_threadpool(self._ups.create, wado.context(request), uid, attributes)
        return _empty(201, Location=str(request.url.replace(query="")) + f"/{made}")

    def read(self, request: Request) -> Response:
        wado.acceptable(request, DICOM_JSON, "application/json")
        return _json([self._ups.read(request.path_params["uid"])])

    async def update(self, request: Request) -> Response:
        attributes = await _body(request)
        transaction = request.query_params.get("transaction-uid") or next(
            (name for name, value in request.query_params.multi_items() if not value), ""
        )
        uid = request.path_params["uid"]
        await run_in_threadpool(self._ups.update, wado.context(request), uid, attributes, transaction)
        return _empty(200)

    async def change_state(self, request: Request) -> Response:
        """200; with a Warning when the workitem was in this final state already (PS3.18 11.7)."""
        body = await _body(request)
        state, transaction = text(body, ups.STATE), text(body, ups.TRANSACTION)
        uid = request.path_params["uid"]
        changed = await run_in_threadpool(self._ups.change_state, wado.context(request), uid, state, transaction)
        if changed:
            return _empty(200)
        return _empty(200, Warning=f'299 region-hub "The UPS is already in the requested state of {state}."')

    async def cancel(self, request: Request) -> Response:
        reason = await _body(request, empty=True)
        await run_in_threadpool(self._ups.cancel, wado.context(request), request.path_params["uid"], reason)
        return _empty(202)

    def search(self, request: Request) -> Response:
        """200 with what matches, 204 with nothing (PS3.18 11.9)."""
        wado.acceptable(request, DICOM_JSON, "application/json")
        pairs = [(name, value) for name, value in request.query_params.multi_items() if name.lower() not in CONTROLS]
        numbers = [request.query_params.get("limit", str(MAX_RESULTS)), request.query_params.get("offset", "0")]
        if not all(number.isdecimal() and len(number) < 10 for number in numbers):
            raise HubError("parameter-value", "limit and offset are numbers")
        limit, offset = (int(number) for number in numbers)
        found = self._ups.search(ups.keys(pairs), min(limit, MAX_RESULTS), offset)
        return _json(found) if found else _empty(204)

    def subscribe(self, request: Request) -> Response:
        lock = request.query_params.get("deletionlock", "false").lower() == "true"
        self._ups.subscribe(wado.context(request), request.path_params["uid"], _title(request), lock)
        return _empty(201)

    def unsubscribe(self, request: Request) -> Response:
        self._ups.subscribe(wado.context(request), request.path_params["uid"], _title(request), None)
        return _empty(200)

    def events(self, request: Request) -> Response:
        """The event reports since the last call (ours: PS3.18 11.13 sends them over a WebSocket)."""
        return _json(self._ups.events(_title(request)))


def _title(request: Request) -> str:
    title = str(request.path_params["ae"])
    if not 1 <= len(title) <= 16 or not title.isascii():
        raise HubError("parameter-value", "an AE title has 1 to 16 ASCII characters", "aetitle")
    return title


async def _body(request: Request, *, empty: bool = False) -> Attributes:
    """The one data set of a request in the DICOM JSON Model. HubError("structure"), "too-long"."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise HubError("too-long", f"a workitem has at most {MAX_BODY} bytes")
    if empty and not body:
        return {}
    try:
        sets = msgspec.json.decode(bytes(body))
    except msgspec.DecodeError as error:
        raise HubError("structure", f"the body is not JSON: {error}") from None
    found = sets[0] if isinstance(sets, list) and len(sets) == 1 else sets
    if not isinstance(found, dict) or not all(isinstance(element, dict) for element in found.values()):
        raise HubError("structure", "the body is not one data set in the DICOM JSON Model (PS3.18 F.2)")
    return found


def _json(answer: Any) -> Response:
    return Response(msgspec.json.encode(answer), media_type=DICOM_JSON, headers=wado.HEADERS)


def _empty(status: int, **headers: str) -> Response:
    return Response(status_code=status, headers=wado.HEADERS | headers)

"""FHIR over HTTP: a raw ASGI application for one base (``/fhir``, ``/emr`` ...).

Bytes to a Request, an Answer to bytes, and nothing else. Reads run on the event loop when the store answers in
microseconds; everything else runs in the bounded pool. Whatever goes wrong leaves as an OperationOutcome.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from hub.api import exchange, negotiate
from hub.api.exchange import Answer, Handler, Pairs, Request, Route
from hub.api.pool import Pool
from hub.api.routes import Router
from hub.errors import HubError
from hub.services.context import Context
from hub.settings import Http

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_PARAMETERS = 1000
MAX_CLAIM = 200
_CLAIMS = ("institution", "role", "purpose", "reason")
READS = frozenset(
    "read vread search_type search_system history_instance history_type history_system capabilities".split()
)
FILE_PIECE = 256 * 1024
_REQUEST_ID = re.compile(r"[A-Za-z0-9\-._]{1,64}")
_SAFE = (b"x-content-type-options", b"nosniff")
_CACHE = (b"cache-control", b"private, no-cache")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_READS = frozenset({"GET", "HEAD"})
_BINARY = re.compile(r"Binary/[^/$_]+(?:/_history/[^/]+)?/?")

log = logging.getLogger("hub.api")


class Dispatcher:
    """The ASGI application of one base; ``databases`` is what the base may see, () all four."""

    def __init__(
        self,
        prefix: str,
        databases: tuple[str, ...],
        router: Router,
        handlers: dict[str, Handler],
        pool: Pool,
        settings: Http,
        new_id: Callable[[], str],
        on_loop: Callable[[Request], bool] = lambda request: False,
        defer: Callable[[Request], Answer | None] = lambda request: None,
        claims: bool = False,
    ) -> None:
        self._prefix = prefix
        self._databases = databases
        self._router = router
        self._handlers = handlers
        self._pool = pool
        self._settings = settings
        self._new_id = new_id
        self._on_loop = on_loop
        self._defer = defer
        self._claims = claims
        self._roots: dict[tuple[str, int], str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope["headers"])
        given = headers.get("x-request-id", "")
        request_id = given if given and _REQUEST_ID.fullmatch(given) else self._new_id()
        format, pretty = negotiate.JSON, False
        try:
            pairs, asked, pretty = _parameters(scope["query_string"])
            format = self._format(scope, asked, headers.get("accept", ""))
            request = await self._request(scope, receive, headers, pairs, request_id, format, pretty)
            if format == negotiate.JSON and not pretty and self._on_loop(request):
                answer = self._perform(request)
            else:
                run = self._pool.read if reads(request) else self._pool.run
                answer = await run(self._perform, request, self._settings.request_seconds)
        except HubError as error:
            answer = exchange.rendered(exchange.of_error(error), format, pretty)
            if error.name == "method-unknown":
                answer.headers.append((b"allow", error.at.encode()))
        except Exception:  # the edge: whatever it was, it is logged with the request's id and answered
            log.exception("request %s failed", request_id)
            said = f"the hub failed on this request; its log has it under {request_id}"
            answer = exchange.rendered(exchange.of_error(HubError("exception", said)), format, pretty)
        await _send(answer, scope["method"], request_id.encode(), send)

    def _format(self, scope: Scope, asked: str, accept: str) -> str:
        """The format of the answer; that of a Binary is its own when no FHIR format is asked for (R4 Binary)."""
        if asked:
            return negotiate.named(asked)
        if scope["method"] in _READS and not negotiate.asks_for_fhir(accept):
            path = scope["path"][len(self._prefix) + 1 :]
            if _BINARY.fullmatch(path):
                return negotiate.RAW
        return negotiate.accepted(accept)

    def _perform(self, request: Request) -> Answer:
        answer = self._defer(request) if request.prefer.later else None
        answer = answer or self._handlers[request.route.interaction](request)
        return exchange.rendered(answer, request.format, request.pretty)

    async def _request(
        self,
        scope: Scope,
        receive: Receive,
        headers: dict[str, str],
        pairs: Pairs,
        request_id: str,
        format: str,
        pretty: bool,
    ) -> Request:
        method, path = scope["method"], scope["path"][len(self._prefix) + 1 :].strip("/")
        route = self._router.find(method, path)
        client = scope.get("client")
        context = Context("fhir", "", client[0] if client else "", request=request_id)
        if self._claims:
            context = _claimed(context, headers)
        body, kind = b"", negotiate.JSON
        if method in _WITH_BODY:
            body = await self._body(receive, headers)
            kind, pairs = _content(route, headers, body, pairs)
        preference = headers.get("prefer")
        return Request(
            method, route, self._root(scope), path, self._databases, pairs, headers, context, body, kind,
            negotiate.prefer(preference) if preference else negotiate.NO_PREFERENCE, format, pretty,
        )  # fmt: skip

    async def _body(self, receive: Receive, headers: dict[str, str]) -> bytes:
        seconds = self._settings.request_seconds
        try:
            async with asyncio.timeout(seconds):
                return await _read(receive, headers, self._settings.max_body_bytes)
        except TimeoutError:
            raise HubError("timeout", f"the body did not arrive within {seconds:g} s") from None

    def _root(self, scope: Scope) -> str:
        """The base that links are built on: as configured, else the bound address; never the Host header."""
        bound = scope["server"]
        root = self._roots.get(bound)
        if root is None:
            host, port = bound
            origin = self._settings.base_url.rstrip("/") or f"http://{f'[{host}]' if ':' in host else host}:{port}"
            root = self._roots[bound] = origin + self._prefix
        return root


def _claimed(context: Context, headers: dict[str, str]) -> Context:
    """The context with what the trusted proxy says of who asks; texts are percent-encoded UTF-8."""
    given = {name: unquote(headers.get(f"x-hub-{name}", ""))[:MAX_CLAIM] for name in _CLAIMS}
    return replace(
        context, actor=given["institution"], role=given["role"], purpose=given["purpose"] or context.purpose,
        reason=given["reason"],
    )  # fmt: skip


def reads(request: Request) -> bool:
    """Whether an interaction only reads; an operation invoked by GET does (R4 3.2.0.2: it may not affect state)."""
    interaction = request.route.interaction
    return interaction in READS or (interaction == "operation" and request.method in ("GET", "HEAD"))


def _headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name; repeated ones are joined (RFC 9110 5.3)."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key = name.decode("latin-1")
        headers[key] = f"{headers[key]}, {value.decode('latin-1')}" if key in headers else value.decode("latin-1")
    return headers


def _content(route: Route, headers: dict[str, str], body: bytes, pairs: Pairs) -> tuple[str, Pairs]:
    """The kind of body, and the parameters with those of a form. HubError("format-unknown") for a form out of place."""
    form = route.interaction.startswith("search")
    if not body and (form or route.interaction == "operation"):
        return negotiate.JSON, pairs
    given = headers.get("content-type", "")
    if route.type == "Binary" and route.interaction in ("create", "update") and not negotiate.asks_for_fhir(given):
        return negotiate.RAW, pairs
    kind = negotiate.content(given)
    if form != (kind == negotiate.FORM):
        raise HubError(
            "format-unknown",
            f"this interaction takes {negotiate.FORM if form else negotiate.MEDIA[negotiate.JSON]}",
            "Content-Type",
        )
    return kind, pairs + _pairs(body) if form else pairs


def _pairs(query: bytes) -> Pairs:
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS, errors="strict")
    except ValueError as error:
        raise HubError("parameter-value", f"the query cannot be read: {error}"[:300]) from None


def _parameters(query: bytes) -> tuple[Pairs, str, bool]:
    """Query parameters without ``_format`` and ``_pretty``, and those two."""
    if not query:
        return [], "", False
    format, pretty, pairs = "", False, []
    for name, value in _pairs(query):
        if name == "_format":
            format = value
        elif name == "_pretty":
            pretty = value == "true"
        else:
            pairs.append((name, value))
    return pairs, format, pretty


async def _read(receive: Receive, headers: dict[str, str], limit: int) -> bytes:
    """The whole body, inflated, at most ``limit`` bytes of it either way. HubError("too-long")."""
    refusal = HubError("too-long", f"the body is longer than the {limit} bytes that are taken; split it")
    declared = headers.get("content-length", "0")
    if not declared.isdigit() or int(declared[:20]) > limit:
        raise refusal
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise HubError(
            "format-unknown", f"content encoding {encoding[:40]!r} is not taken; gzip is", "Content-Encoding"
        )
    inflate = zlib.decompressobj(31) if encoding == "gzip" else None
    pieces, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HubError("structure", "the connection ended before the body did")
        piece, more = message.get("body", b""), message.get("more_body", False)
        if inflate is not None:
            try:
                piece = inflate.decompress(piece, limit - size + 1)
            except zlib.error:
                raise HubError("structure", "the body is not gzip", "Content-Encoding") from None
        size += len(piece)
        if size > limit:
            raise refusal
        pieces.append(piece)
    if inflate is not None and not inflate.eof:
        raise HubError("structure", "the gzip body is cut off", "Content-Encoding")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _send(answer: Answer, method: str, request_id: bytes, send: Send) -> None:
    """Send a rendered answer."""
    if answer.file is not None:
        await _send_file(answer.file, answer, method, request_id, send)
        return
    body = answer.body[0]
    headers = [*answer.headers, _SAFE, _CACHE, (b"x-request-id", request_id)]
    if body:
        headers.append((b"content-type", answer.media.encode()))
    if answer.status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


async def _send_file(path: Path, answer: Answer, method: str, request_id: bytes, send: Send) -> None:
    """Send a file in pieces, so that its size does not matter."""
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        headers = [*answer.headers, _SAFE, _CACHE, (b"x-request-id", request_id)]
        headers += [(b"content-type", answer.media.encode()), (b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        while method != "HEAD" and (piece := file.read(FILE_PIECE)):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})

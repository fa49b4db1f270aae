"""The film page (云胶片): what one with the link and the passcode of a share sees, at ``/film/{token}``.

The page is rendered on the server, its viewer is one plain JavaScript file; a strict content security policy holds.
Grey frames come as stored values, so that windowing needs no request; what the browser cannot compute (colour, lookup
tables) comes as rendered images. Texts are the rows of ``film.csv``, in Chinese and English.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from adapters.dicom import film_study, frames, pixels, render, report, worker
from hub.errors import HubError
from hub.services.context import Context
from hub.services.doors import Doors
from hub.services.films import Share
from hub.services.imaging_index import Row

PREFIX = "/film"
COOKIE = "film"
LANGUAGES = ("zh", "en")
MAX_FORM = 4096
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex",
}
CLOSED = ("not-found", "expired", "forbidden", "throttled")


@lru_cache(maxsize=1)
def texts() -> dict[str, dict[str, str]]:
    """language -> key -> text."""
    lines = files("adapters.dicom").joinpath("film.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    return {language: {row["key"]: row[language] for row in rows} for language in LANGUAGES}


def create(doors: Doors) -> tuple[str, ASGIApp]:
    """Entry point of the group ``hub.routes``: path prefix and ASGI application."""
    film = Film(doors)
    share = "/{token}"
    routes = [
        Mount("/static", StaticFiles(packages=[("adapters.dicom", "static")])),
        Route(share, film.page),
        Route(share, film.enter, methods=["POST"]),
        Route(share + "/study", film.opened(film.study)),
        Route(share + "/instances/{instance}/frames/{frame:int}/values", film.opened(film.values)),
        Route(share + "/instances/{instance}/frames/{frame:int}/picture", film.opened(film.picture)),
        Route(share + "/instances/{instance}/thumbnail", film.opened(film.thumbnail)),
        Route(share + "/instances/{instance}/document", film.opened(film.document)),
    ]
    return PREFIX, Starlette(routes=routes, exception_handlers={HubError: _refuse})


def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HubError)
    body = {"name": error.name, "diagnostics": error.diagnostics}
    return JSONResponse(body, error.row.http, headers=HEADERS)


Handler = Callable[[Request, Share], Response]


class Film:
    """The handlers, over ``hub.services.films``."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._films = doors.films
        self._zone = ZoneInfo(doors.settings.time_zone)
        self._templates = Environment(
            loader=PackageLoader("adapters.dicom", "templates"), autoescape=True, undefined=StrictUndefined
        )

    def opened(self, answer: Handler) -> Callable[[Request], Response]:
        """A handler for those whose session has opened the share."""

        def handle(request: Request) -> Response:
            return answer(request, self._films.session(_token(request), request.cookies.get(COOKIE, "")))

        return handle

    # --- pages --------------------------------------------------------------------------------------------------------

    def page(self, request: Request) -> Response:
        """The passcode form, the film, or why there is none."""
        try:
            share = self._films.session(_token(request), request.cookies.get(COOKIE, ""))
        except HubError as error:
            return self._closed(request, error) if error.name in CLOSED else self._ask(request)
        study, series, instances = self._films.study(share)
        stored = {f"urn:oid:{row['uid']}" for row in instances}  # a report that is an instance is shown as such
        reports = [report.shown(one) for one in self._films.reports(share) if not stored & _identifiers(one)]
        reports += [report.structured(row["attributes"]) for row in instances if report.is_report(row)]
        values = {"study": film_study.heading(study), "reports": [one for one in reports if one], "series": len(series)}
        return self._html(request, "film.html", 200, watermark=self._watermark(share), **values)

    async def enter(self, request: Request) -> Response:
        """A passcode; the right one opens a session."""
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_FORM:
                raise HubError("too-long", "a passcode is short")
        passcode = _field(bytes(body), "passcode")
        token = _token(request)
        try:
            session, end = await run_in_threadpool(self._films.enter, token, passcode, self._context(request))
        except HubError as error:
            return self._closed(request, error) if error.name in CLOSED else self._ask(request, error)
        answer = RedirectResponse(request.url.path, 303, HEADERS)
        answer.set_cookie(
            COOKIE, session, path=f"{PREFIX}/{token}", httponly=True, samesite="strict",
            secure=self._doors.settings.http.base_url.startswith("https:"),
            expires=datetime.fromtimestamp(end / 1e6, UTC),
        )  # fmt: skip
        return answer

    def _ask(self, request: Request, error: HubError | None = None) -> Response:
        return self._html(
            request, "film_passcode.html", 401 if error else 200, wrong=error.diagnostics if error else ""
        )

    def _closed(self, request: Request, error: HubError) -> Response:
        return self._html(request, "film_closed.html", error.row.http, reason=error.name)

    def _html(self, request: Request, template: str, status: int, **values: Any) -> Response:
        language = self._language(request)
        body = self._templates.get_template(template).render(
            t=texts()[language], language=language, other=LANGUAGES[language == "zh"],
            region=self._doors.settings.region, path=request.url.path, **values,
        )  # fmt: skip
        headers = HEADERS | {"Set-Cookie": f"lang={language}; Path=/; SameSite=Strict; HttpOnly"}
        return Response(body, status, headers, "text/html")

    def _language(self, request: Request) -> str:
        asked = request.query_params.get("lang") or request.cookies.get("lang")
        if asked in LANGUAGES:
            return asked
        accepted = request.headers.get("accept-language", "").lower().split(",")
        return next((part[:2] for part in accepted if part[:2] in LANGUAGES), self._doors.settings.language)

    def _watermark(self, share: Share) -> str:
        until = datetime.fromtimestamp(share.expires / 1e6, UTC).astimezone(self._zone)
        return f"{self._doors.settings.region} {share.id[:8]} {share.purpose} {until:%Y-%m-%d}".replace("  ", " ")

    def _context(self, request: Request) -> Context:
        return Context(door="film", actor="film link", peer=request.client.host if request.client else "")

    # --- what the viewer loads ----------------------------------------------------------------------------------------

    def study(self, request: Request, share: Share) -> Response:
        """The series and their images as JSON (see ``film_study``)."""
        _, series, instances = self._films.study(share)
        body = {"series": film_study.series(series, instances), "presets": film_study.presets()}
        return JSONResponse(body, headers=HEADERS)

    def values(self, request: Request, share: Share) -> Response:
        """Stored values of a grey frame: 8 or 16 bits a pixel, little endian."""
        return self._pixels(request, share, pixels.stored_values, "application/octet-stream")

    def picture(self, request: Request, share: Share) -> Response:
        """A frame as a rendered image."""
        return self._pixels(request, share, render.draw, "image/jpeg", render.view("image/jpeg", request.query_params))

    def thumbnail(self, request: Request, share: Share) -> Response:
        """A small image of the first frame."""
        view = render.View(viewport=(96, 96))
        return self._pixels(request, share, render.draw, "image/jpeg", view)

    def document(self, request: Request, share: Share) -> Response:
        """The PDF of an encapsulated document."""
        row = self._row(request, share)
        headers = HEADERS | {"Content-Disposition": 'inline; filename="report.pdf"'}
        return Response(report.pdf(row, self._doors.imaging.file(row)), 200, headers, "application/pdf")

    def _pixels(
        self, request: Request, share: Share, work: Callable[..., bytes], media: str, *arguments: Any
    ) -> Response:
        row = self._row(request, share)
        picture = frames.picture(row, self._doors.imaging.file(row), request.path_params.get("frame", 1))
        return Response(worker.run(work, picture, *arguments), 200, HEADERS, media)

    def _row(self, request: Request, share: Share) -> Row:
        """An instance of the shared study and of no other. HubError("not-found")."""
        id = request.path_params["instance"]
        row = self._doors.imaging.rows("instance", [id]).get(id)
        if row is None or row["study"] != share.study:
            raise HubError("not-found", "there is no such image in this share")
        return row


def _identifiers(resource: dict[str, Any]) -> set[str]:
    return {one.get("value", "") for one in resource.get("identifier", ())}


def _token(request: Request) -> str:
    return str(request.path_params["token"])


def _field(body: bytes, name: str) -> str:
    return parse_qs(body.decode("utf-8", "replace"), max_num_fields=5).get(name, [""])[0].strip()

"""The pages at ``/``: state of the hub, a person's record, one message, the check of one's own message.

Rendered on the server (Jinja2, autoescaped), without JavaScript; every answer carries a strict content security policy.
Texts are the rows of ``texts.csv``, in Chinese and English.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from anyio.to_thread import run_sync
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from hub import __version__
from hub.api.platform_film import link, qr
from hub.databases.database import DATABASES
from hub.errors import HubError
from hub.masking import masked
from hub.services.context import Context
from hub.services.doors import Doors
from hub.services.films import DEFAULT_HOURS
from hub.services.inbox import stored_answer
from hub.store.protocol import Item

LANGUAGES = ("zh", "en")
SENDER_WINDOW = 1000
MAX_SHOWN = 100_000
"""Bytes of a raw message that the page shows."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def texts() -> dict[str, dict[str, str]]:
    """language -> key -> text."""
    lines = files("hub.api").joinpath("texts.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    return {language: {row["key"]: row[language] for row in rows} for language in LANGUAGES}


def mask(identifier: str) -> str:
    """An identity number with its middle hidden (china.md D: identity numbers are shown masked)."""
    return identifier if len(identifier) < 12 else f"{identifier[:6]}{'*' * (len(identifier) - 10)}{identifier[-4:]}"


class Pages:
    """The handlers; each is one page."""

    def __init__(self, doors: Doors, openapi: Callable[[], dict[str, Any]]) -> None:
        self._doors = doors
        self._openapi = openapi
        self._texts = texts()
        self._zone = ZoneInfo(doors.settings.time_zone)
        self._templates = Environment(
            loader=PackageLoader("hub.api", "templates"),
            autoescape=True,
            finalize=lambda value: masked(value) if type(value) is str else value,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["time"] = self._time
        self._templates.filters["mask"] = mask
        self._templates.filters["moment"] = lambda text: text[:16].replace("T", " ")

    def app(self) -> Starlette:
        routes = [
            Route("/", self.status),
            Route("/person", self.person),
            Route("/message/{id}", self.message),
            Route("/docs", self.api),
            Route("/share", self.share, methods=["GET", "POST"]),
            Route("/check", self.check, methods=["GET", "POST"]),
            Route("/reviews", self.reviews, methods=["GET", "POST"]),
            Mount("/static", StaticFiles(packages=[("hub.api", "static")])),
        ]
        return Starlette(routes=routes)

    # --- pages --------------------------------------------------------------------------------------------------------

    async def status(self, request: Request) -> Response:
        return await self._page(request, "status.html", self._status)

    async def person(self, request: Request) -> Response:
        asked = {
            name: request.query_params.get(name, "").strip()[:200] for name in ("card", "identifier", "name", "id")
        }
        context = self._context(request)
        return await self._page(request, "person.html", lambda: self._person(asked, context))

    async def message(self, request: Request) -> Response:
        id = request.path_params["id"]
        return await self._page(request, "message.html", lambda: self._message(id))

    async def share(self, request: Request) -> Response:
        """Share the images of a study, or revoke a share."""
        asked = {name: value.strip()[:200] for name, value in request.query_params.items()}
        if request.method == "POST":
            async with request.form(max_files=0, max_fields=5, max_part_size=4096) as form:
                asked = {name: value.strip()[:200] for name, value in form.items() if isinstance(value, str)}
        context, posted = self._context(request), request.method == "POST"
        return await self._page(request, "share.html", lambda: self._share(asked, context, posted))

    async def check(self, request: Request) -> Response:
        data = b""
        if request.method == "POST":
            async with request.form(
                max_files=1, max_fields=2, max_part_size=self._doors.settings.http.max_body_bytes
            ) as form:
                upload, pasted = form.get("file"), form.get("text")
                if isinstance(upload, UploadFile) and upload.size:
                    data = await upload.read()
                elif isinstance(pasted, str):
                    data = pasted.replace("\r\n", "\n").encode()
        return await self._page(request, "check.html", lambda: self._check(data))

    async def reviews(self, request: Request) -> Response:
        """The questions of the master patient index, and a human's decision about one of them."""
        asked: dict[str, str] = {}
        if request.method == "POST":
            async with request.form(max_files=0, max_fields=6, max_part_size=4096) as form:
                asked = {name: value.strip()[:2000] for name, value in form.items() if isinstance(value, str)}
        return await self._page(request, "reviews.html", lambda: self._reviews(asked))

    async def api(self, request: Request) -> Response:
        return await self._page(request, "api.html", lambda: {"rows": described(self._openapi())})

    async def _page(self, request: Request, template: str, work: Any) -> Response:
        language = self._language(request)
        if request.query_params.get("lang") in LANGUAGES:
            rest = [(name, value) for name, value in request.query_params.multi_items() if name != "lang"]
            answer: Response = RedirectResponse(
                request.url.path + (f"?{urlencode(rest)}" if rest else ""), 303, HEADERS
            )
            answer.set_cookie("lang", language, samesite="strict", httponly=True)
            return answer
        values = await run_sync(work)
        text = self._texts[language]
        switch = urlencode([*request.query_params.multi_items(), ("lang", "en" if language == "zh" else "zh")])
        body = self._templates.get_template(template).render(
            t=text,
            language=language,
            switch=f"?{switch}",
            path=request.url.path,
            region=self._doors.settings.region,
            version=__version__,
            **values,
        )
        return Response(body, values.get("code", 200), HEADERS, "text/html")

    def _language(self, request: Request) -> str:
        asked = request.query_params.get("lang") or request.cookies.get("lang")
        if asked in LANGUAGES:
            return asked
        accepted = request.headers.get("accept-language", "").lower()
        first = next((part[:2] for part in accepted.split(",") if part[:2] in LANGUAGES), None)
        return first or self._doors.settings.language

    def _context(self, request: Request) -> Context:
        peer = request.client.host if request.client else ""
        return Context(door="web", actor="web desk", peer=peer)

    def _time(self, microseconds: int) -> str:
        return datetime.fromtimestamp(microseconds / 1e6, UTC).astimezone(self._zone).strftime("%Y-%m-%d %H:%M:%S")

    # --- what the pages show ------------------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any]:
        settings = self._doors.settings
        items = self._doors.inbox.list(limit=SENDER_WINDOW)
        senders: dict[tuple[str, str], dict[str, Any]] = {}
        for item in items:
            key = (item.data["sender"] or "?", item.data["channel"])
            row = senders.setdefault(
                key, {"sender": key[0], "channel": key[1], "last": item.created, "states": Counter()}
            )
            row["states"][item.state] += 1
        types = self._doors.store.statistics()
        names = [*DATABASES, *(name for name in types if name not in DATABASES)]
        return {
            "databases": {name: sum(types.get(name, {}).values()) for name in names},
            "types": {name: types.get(name, {}) for name in names},
            "bases": {name: name if name in DATABASES else "dicom-web" for name in names},
            "inbox": self._doors.inbox.counts(),
            "senders": sorted(senders.values(), key=lambda row: row["sender"]),
            "newest": items[:20],
            "listeners": {name: getattr(settings, name).port for name in ("http", "mllp", "dicom")},
            "bind": settings.bind,
        }

    def _person(self, asked: dict[str, str], context: Context) -> dict[str, Any]:
        values: dict[str, Any] = {"asked": asked, "persons": [], "record": None, "searched": any(asked.values())}
        if not values["searched"]:
            return values
        identity = self._doors.identity
        if asked["id"]:
            persons = identity.persons_by_id(asked["id"])
        elif asked["card"]:
            persons = identity.persons_by_card(asked["card"])
        elif asked["identifier"]:
            persons = identity.persons_by_identifier(asked["identifier"])
        else:
            persons = identity.persons_by_name(asked["name"])
        values["persons"] = persons
        if len(persons) == 1:
            values["record"] = identity.record(persons[0]["id"])
            self._doors.audit.read(context, "read", (f"Person/{persons[0]['id']}",))
        return values

    def _share(self, asked: dict[str, str], context: Context, posted: bool) -> dict[str, Any]:
        films, study = self._doors.films, asked.get("study", "")
        values: dict[str, Any] = {"study": study, "made": None, "problem": ""}
        try:
            if asked.get("revoke") and posted:
                films.revoke(asked["revoke"], context)
            elif posted:
                hours = int(asked["hours"]) if asked.get("hours", "").isdecimal() else DEFAULT_HOURS
                passcode, purpose = asked.get("passcode", ""), asked.get("purpose", "")[:60]
                made = films.share(study, context, hours=hours, passcode=passcode, purpose=purpose)
                url = link(self._doors, made)
                values |= {"made": made, "url": url, "qr": qr(url)}
        except HubError as error:
            values |= {"problem": error.diagnostics, "code": error.row.http}
        return values | {"shares": films.shares(study)}

    def _message(self, id: str) -> dict[str, Any]:
        try:
            item = self._doors.inbox.get(id)
        except HubError:
            return {"item": None, "code": 404}
        raw = self._doors.inbox.raw(item)
        return {
            "item": item,
            "raw": readable(raw[:MAX_SHOWN]),
            "answer": readable(stored_answer(item)),
            "kind": kind(item),
        }

    def _reviews(self, asked: dict[str, str]) -> dict[str, Any]:
        identity, decided, error = self._doors.identity, False, ""
        if asked:
            try:
                missing = [name for name in ("a", "b", "actor") if not asked.get(name)]
                if missing or asked.get("same") not in ("yes", "no"):
                    raise HubError("required", f"{', '.join(missing) or 'same'} is missing")
                identity.decide(
                    asked["a"],
                    asked["b"],
                    same=asked["same"] == "yes",
                    actor=asked["actor"],
                    note=asked.get("note", ""),
                )
                decided = True
            except HubError as refused:
                error = refused.diagnostics
        rows = identity.reviews()
        return {"rows": rows, "decided": decided, "error": error, "code": 400 if error else 200}

    def _check(self, data: bytes) -> dict[str, Any]:
        values: dict[str, Any] = {"text": readable(data[:MAX_SHOWN]), "report": None, "unknown": False}
        if data:
            try:
                values["report"] = self._doors.checks.check(data)
            except HubError:
                values["unknown"] = True
        return values


def kind(item: Item) -> str:
    """The message's kind where it is known."""
    return str(item.data.get("kind") or "")


def readable(data: bytes) -> str:
    """Bytes as text for a person: UTF-8, else GB18030; segments on lines of their own."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("gb18030", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def described(openapi: dict[str, Any]) -> list[dict[str, Any]]:
    """The operations of an OpenAPI document as rows of a table."""
    return [
        {
            "method": method.upper(),
            "path": path,
            "parameters": [parameter["name"] for parameter in operation.get("parameters", ())],
            "does": operation.get("description", operation.get("summary", "")),
        }
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
    ]


def create(doors: Doors, openapi: Callable[[], dict[str, Any]]) -> Starlette:
    """The pages as an ASGI application; ``openapi`` gives the platform API's OpenAPI document."""
    return Pages(doors, openapi).app()

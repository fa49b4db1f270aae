"""The platform API under ``/api``: what operators and other programs ask of the hub beside FHIR, with OpenAPI."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from hub import __version__
from hub.errors import HubError
from hub.fhir import outcome
from hub.services.doors import Doors

FHIR_JSON = "application/fhir+json"


def create(doors: Doors, routers: list[APIRouter]) -> FastAPI:
    """The application that is mounted at ``/api``; ``routers`` come from the parts that own them."""
    app = FastAPI(
        title="Region hub platform API", version=__version__, docs_url=None, redoc_url=None, openapi_url="/openapi.json"
    )
    app.include_router(status_router(doors))
    for router in routers:
        app.include_router(router)

    @app.exception_handler(HubError)
    def refuse(_: Request, error: HubError) -> Response:
        return JSONResponse(outcome.from_error(error), error.row.http, media_type=FHIR_JSON)

    return app


def status_router(doors: Doors) -> APIRouter:
    """Whether the hub answers, what it is, and what it holds."""
    router = APIRouter(tags=["status"])
    started = time.monotonic()

    @router.get("/health")
    def health() -> dict[str, str]:
        """Whether the store answers a read; anything but 200 means that it does not."""
        doors.store.last_seq()
        return {"status": "ok"}

    @router.get("/status")
    def status() -> dict[str, Any]:
        """Resources per database and type, inbox states, the newest change number, versions, seconds up."""
        return {
            "version": __version__,
            "fhir": "4.0.1",
            "region": doors.settings.region,
            "store": doors.store.name,
            "uptime_seconds": round(time.monotonic() - started, 1),
            "change": doors.store.last_seq(),
            "databases": doors.store.statistics(),
            "inbox": doors.inbox.counts(),
        }

    return router

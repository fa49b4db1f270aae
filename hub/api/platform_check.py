"""Platform API: the conformance check of one message or resource."""

from __future__ import annotations

from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request

from hub.errors import HubError
from hub.services.doors import Doors


def create(doors: Doors) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/check", tags=["check"])
    limit = doors.settings.http.max_body_bytes

    @router.post("")
    async def check(request: Request) -> dict[str, Any]:
        """Check the body, an HL7 v2 message or a FHIR resource; nothing is stored."""
        data = bytearray()
        async for piece in request.stream():
            data += piece
            if len(data) > limit:
                raise HubError("too-long", f"the body is longer than {limit} bytes")
        report = await run_sync(doors.checks.check, bytes(data))
        return report.json()

    return router

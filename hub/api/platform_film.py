"""The platform API of the cloud film: share a study by link and QR code, list the shares, revoke one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import segno
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from hub.services.context import Context
from hub.services.doors import Doors
from hub.services.films import DEFAULT_HOURS, MAX_HOURS, MAX_PASSCODE, NewShare, Share


class Sharing(BaseModel):
    """A study to share: id of its ImagingStudy, hours, passcode (made when empty), purpose (shown in the watermark)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9\-.]{1,64}$")]
    hours: int = Field(DEFAULT_HOURS, ge=1, le=MAX_HOURS)
    passcode: str = Field("", max_length=MAX_PASSCODE)
    purpose: str = Field("", max_length=60)


def create(doors: Doors) -> APIRouter:
    """The routes ``/film``."""
    router = APIRouter(tags=["film"])
    films = doors.films

    @router.post("/film", status_code=201)
    def share(sharing: Sharing, request: Request) -> dict[str, Any]:
        """Share a study: link, QR code (SVG) and passcode, which are shown this once only."""
        given = sharing
        made = films.share(
            given.study, _context(request), hours=given.hours, passcode=given.passcode, purpose=given.purpose
        )
        url = link(doors, made)
        return _shown(made.share) | {"url": url, "passcode": made.passcode, "qr": qr(url)}

    @router.get("/film")
    def shares(study: Annotated[str, Query(max_length=64)] = "") -> dict[str, Any]:
        """The newest shares; of one ImagingStudy when its id is given."""
        return {"shares": [_shown(one) for one in films.shares(study)]}

    @router.delete("/film/{id}")
    def revoke(id: str, request: Request) -> dict[str, Any]:
        """Close a share for good, open sessions too."""
        return _shown(films.revoke(id, _context(request)))

    return router


def link(doors: Doors, made: NewShare) -> str:
    """The address of a share."""
    settings = doors.settings
    return f"{settings.http.base_url.rstrip('/') or f'http://{settings.bind}:{settings.http.port}'}/film/{made.token}"


def qr(url: str) -> str:
    """A QR code as an SVG element."""
    return str(segno.make(url, error="m", micro=False).svg_inline(scale=5, border=4, light="#fff"))


def _context(request: Request) -> Context:
    return Context(door="platform", actor="platform API", peer=request.client.host if request.client else "")


def _shown(share: Share) -> dict[str, Any]:
    """A share without what opens it."""
    time = {
        name: datetime.fromtimestamp(at / 1e6, UTC).isoformat(timespec="seconds")
        for name, at in (("created", share.created), ("expires", share.expires))
    }
    return {
        "id": share.id, "state": share.state, "study": share.imaging_study, "patient": share.patient, "by": share.by,
        "purpose": share.purpose, "attempts": share.attempts, "opened": share.opened, **time,
    }  # fmt: skip

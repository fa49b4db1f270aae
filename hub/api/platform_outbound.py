"""Platform API: messages to subscribed systems. Where each destination stands; pause, resume, replay."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query

from hub.api.pages import readable
from hub.services.doors import Doors
from hub.services.outbound import ACTIVE, PAUSED
from hub.store.protocol import Item


def row(item: Item) -> dict[str, Any]:
    """One message: its number, kind, what it tells of, state, bytes as text, the destination's answer."""
    return {
        "number": int(item.key),
        "seq": item.seq,
        "state": item.state,
        "created": item.created,
        **item.data,
        "raw": readable(item.raw),
    }


def create(doors: Doors) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/outbound", tags=["outbound"])
    outbound = doors.outbound

    @router.get("")
    def list_destinations() -> dict[str, Any]:
        """Every destination: its state, how many messages were made and are done, its last failure."""
        return {"destinations": outbound.overview()}

    @router.get("/{name}/messages")
    def list_messages(
        name: str,
        state: str | None = Query(None, pattern="^(queued|sent|refused)$"),
        before: int | None = Query(None, ge=1, lt=2**63),
        limit: int = Query(20, ge=1, le=500),
    ) -> dict[str, Any]:
        """The newest messages; ``before`` is the ``seq`` of the last row of the page before."""
        items = outbound.messages(name, states=(state,) if state else (), before=before, limit=limit)
        return {"messages": [row(item) for item in items]}

    @router.post("/{name}/pause")
    def pause(name: str) -> dict[str, Any]:
        """Send nothing more; what is to be told is still collected."""
        return outbound.set_state(name, PAUSED)

    @router.post("/{name}/resume")
    def resume(name: str) -> dict[str, Any]:
        """Send again, beginning where it stopped."""
        return outbound.set_state(name, ACTIVE)

    @router.post("/{name}/replay")
    def replay(name: str, first: int = Query(ge=1, lt=2**63), last: int = Query(ge=1, lt=2**63)) -> dict[str, Any]:
        """Send messages ``first`` to ``last`` (numbers) again, after those that wait."""
        return {"replayed": outbound.replay(name, first, last)}

    return router

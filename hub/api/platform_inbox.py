"""Platform API: the inbox. What came, what became of it, the raw bytes, and processing it again."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query, Response

from hub.api.pages import kind, readable
from hub.services.doors import Doors
from hub.services.inbox import stored_answer
from hub.store.protocol import Item

MAX_SHOWN = 100_000


def row(item: Item) -> dict[str, Any]:
    """The facts of one message without its bytes; ``received`` in microseconds since 1970 UTC."""
    names = ("channel", "sender", "control_id", "peer", "size", "reason", "error", "at")
    return {
        "id": item.id,
        "state": item.state,
        "received": item.created,
        "kind": kind(item),
        "seq": item.seq,
        **{name: item.data.get(name, "") for name in names},
    }


def create(doors: Doors) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/inbox", tags=["inbox"])
    inbox = doors.inbox

    @router.get("")
    def list_items(
        state: str | None = Query(None, pattern="^(received|stored|rejected|quarantined)$"),
        before: int | None = Query(None, ge=1, lt=2**63),
        limit: int = Query(20, ge=1, le=500),
    ) -> dict[str, Any]:
        """The newest messages; ``before`` is the ``seq`` of the last row of the page before."""
        items = inbox.list(states=(state,) if state else (), before=before, limit=limit)
        return {"counts": inbox.counts(), "items": [row(item) for item in items]}

    @router.get("/{id}")
    def show_item(id: str) -> dict[str, Any]:
        """One message: its facts, text, acknowledgement, and the references it was stored as."""
        item = inbox.get(id)
        raw = inbox.raw(item)
        return {
            **row(item),
            "facts": item.data.get("facts", {}),
            "issues": item.data.get("issues", []),
            "references": item.data.get("references", []),
            "raw": readable(raw[:MAX_SHOWN]),
            "answer": readable(stored_answer(item)),
        }

    @router.get("/{id}/raw")
    def raw_bytes(id: str) -> Response:
        """The bytes as received."""
        headers = {"Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff"}
        return Response(inbox.raw(inbox.get(id)), media_type="application/octet-stream", headers=headers)

    @router.post("/{id}/rerun")
    def rerun(id: str) -> dict[str, Any]:
        """Process the message again, as after a mapping was mended; nothing is sent to its sender."""
        return row(inbox.rerun(id))

    return router

"""Platform API: the message desk. Search, one message side by side, error counts, editing and replaying, the wire."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from hub.api.pages import readable
from hub.api.platform_inbox import MAX_SHOWN, row
from hub.services.desk import MAX_REPLAYED, Sought
from hub.services.doors import Doors

STATE = "^(received|stored|rejected|quarantined)$"
Text = Annotated[str, Query(max_length=200)]
Time = Annotated[int, Query(ge=0, lt=2**63)]


class Search(BaseModel):
    """What is looked for; times in microseconds since 1970 UTC."""

    state: str = Field("", pattern=f"{STATE}|^$")
    kind: str = Field("", max_length=200)
    sender: str = Field("", max_length=200)
    control_id: str = Field("", max_length=200)
    error: str = Field("", max_length=200)
    patient: str = Field("", max_length=200)
    order: str = Field("", max_length=200)
    text: str = Field("", max_length=200)
    since: int = Field(0, ge=0, lt=2**63)
    until: int = Field(0, ge=0, lt=2**63)


class Replay(BaseModel):
    """Which messages to process again: by id, or those that match; ``targets`` are the only resources to touch."""

    ids: list[str] = Field([], max_length=MAX_REPLAYED)
    search: Search | None = None
    targets: list[str] = Field([], max_length=100)
    dry_run: bool = True


class Edited(BaseModel):
    """A mended message as text (segments end with CR or LF)."""

    raw: str = Field(max_length=5_000_000)


def create(doors: Doors) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/messages", tags=["messages"])
    desk = doors.desk

    @router.get("")
    def search(
        sought: Annotated[Search, Query()],
        before: int | None = Query(None, ge=1, lt=2**63),
        limit: int = Query(20, ge=1, le=500),
    ) -> dict[str, Any]:
        """The newest messages that match; ``next`` is the ``before`` of the next page, null at the end."""
        items, further = desk.search(Sought(**sought.model_dump()), before, limit)
        return {"messages": [row(item) for item in items], "next": further}

    @router.get("/errors")
    def errors() -> dict[str, Any]:
        """What kept messages from being stored, how many each; ``state`` and ``error`` lead to them."""
        return {"errors": desk.errors()}

    @router.get("/transport")
    def transport(
        before: int | None = Query(None, ge=1, lt=2**63), limit: int = Query(50, ge=1, le=500)
    ) -> dict[str, Any]:
        """What went wrong on the wire, by peer, rule and hour."""
        return {"findings": doors.transport.list(before=before, limit=limit)}

    @router.post("/replay")
    def replay(asked: Replay) -> dict[str, Any]:
        """Process messages again, or (``dry_run``) say what that would change; nothing is sent to their senders."""
        ids = asked.ids
        if asked.search is not None:
            items, _ = desk.search(Sought(**asked.search.model_dump()), None, MAX_REPLAYED)
            ids = [item.id for item in items]
        results = desk.replay(ids, dry=asked.dry_run, targets=frozenset(asked.targets))
        return {"dry_run": asked.dry_run, "results": results}

    @router.get("/{id}")
    def view(id: str) -> dict[str, Any]:
        """One message: bytes as text, tree with field names, what it maps to now, outcome, reason, acknowledgement."""
        seen = desk.view(id)
        data = seen["item"].data
        return {
            **row(seen["item"]),
            "raw": readable(seen["raw"][:MAX_SHOWN]),
            "tree": seen["tree"],
            "bundle": seen["bundle"],
            "fault": seen["fault"],
            "facts": data.get("facts", {}),
            "issues": data.get("issues", []),
            "references": data.get("references", []),
            "replays": data.get("replays", ""),
            "answer": readable(seen["answer"]),
        }

    @router.post("/{id}/edit")
    def edit(id: str, edited: Edited) -> dict[str, Any]:
        """A mended copy as a new message; its row. Its control id is made new unless the copy has another."""
        text = edited.raw.replace("\r\n", "\r").replace("\n", "\r")
        return row(desk.edit(id, text.encode(), doors.new_id().replace("-", "")[-20:].upper()))

    return router

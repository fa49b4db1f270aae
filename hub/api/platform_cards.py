"""The platform API of the e-health card: issue, bind, change, show, verify, use log and statistics, family."""

from __future__ import annotations

import io
from typing import Annotated, Any, Literal

import segno
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from hub.errors import HubError
from hub.fhir import temporal
from hub.services import healthcards
from hub.services.carduse import Use
from hub.services.context import Context
from hub.services.doors import Doors
from hub.services.healthcards import Card

MAX_TEXT = 300
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Note = Annotated[str, Field(max_length=MAX_TEXT)]
Asked = Annotated[str, Query(max_length=MAX_TEXT)]
SCALE = 6


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Application(_Body):
    """An application for a card, from a verified identity. ``type`` is a document type of CV02.01.101; ``verified``
    says how it was verified, needed for any but the resident ID card."""

    number: Text
    name: Text
    type: Text = "01"
    birth_date: str | None = Field(None, max_length=10)
    gender: str | None = Field(None, max_length=10)
    verified: Note = ""


class Verification(_Body):
    """A code as scanned, with the circumstances of its use."""

    code: Text
    institution: Note = ""
    terminal: Note = ""
    step: Note = ""


class OfflineUse(Verification):
    """A use that a terminal checked by the public key while the network was down; ``at`` is when it scanned it."""

    at: Text


class Binding(_Body):
    """The patient number of an institution: FHIR system and value."""

    system: Text
    value: Text
    institution: Note = ""


class Action(_Body):
    """suspend, resume, report-lost, replace or cancel."""

    action: Text


class CodeRequest(_Body):
    """For one institution only, or any; ``guardian`` is the card of who shows it for the holder."""

    institution: Note = ""
    guardian: Note = ""


class Relation(_Body):
    """``other`` (a card) is the holder's ``relationship`` (v3-RoleCode: MTH, FTH, SPS...)."""

    other: Text
    relationship: Text
    guardian: bool = False


def create(doors: Doors) -> APIRouter:
    """The routes ``/cards``."""
    router = APIRouter(tags=["cards"], prefix="/cards")
    _uses(router, doors)
    _life(router, doors)
    _codes(router, doors)
    _family(router, doors)
    return router


def _context(request: Request, actor: str = "") -> Context:
    peer = f"{request.client.host}:{request.client.port}" if request.client else ""
    return Context("platform", actor, peer)


def _life(router: APIRouter, doors: Doors) -> None:
    cards = doors.cards

    @router.post("", status_code=201)
    def issue(application: Application, request: Request) -> dict[str, Any]:
        """Issue an e-health card; the same identity again gets the same card."""
        given = healthcards.Application(**application.model_dump())
        return _card(cards.issue(_context(request), given))

    @router.get("/{index}")
    def show(index: str) -> dict[str, Any]:
        """State and holder of a card."""
        return _card(_found(doors, index))

    @router.post("/{index}/state")
    def state(index: str, action: Action, request: Request) -> dict[str, Any]:
        """Suspend, resume, report lost, replace (the answer is the new card) or cancel a card."""
        return _card(cards.change(_context(request), index, action.action))

    @router.post("/{index}/bindings")
    def bind(index: str, binding: Binding, request: Request) -> dict[str, Any]:
        """Bind the patient number of an institution to a card."""
        given = binding
        context = _context(request, given.institution)
        return _card(cards.bind(context, index, given.system, given.value, given.institution))

    @router.delete("/{index}/bindings")
    def unbind(index: str, system: Asked, value: Asked, request: Request, institution: Asked = "") -> dict[str, Any]:
        """Take back a binding; only the institution that made it may."""
        return _card(cards.unbind(_context(request, institution), index, system, value, institution))


def _codes(router: APIRouter, doors: Doors) -> None:
    cards = doors.cards

    @router.post("/{index}/code")
    def code(index: str, asked: CodeRequest | None = None) -> dict[str, Any]:
        """A dynamic code: it can be verified once within 60 seconds."""
        given = asked or CodeRequest()
        if given.guardian:
            return {"code": doors.family.code_by_guardian(index, given.guardian, given.institution)}
        return {"code": cards.dynamic_code(index, given.institution)}

    @router.get("/{index}/qr")
    def picture(
        index: str, kind: Literal["static", "dynamic"] = "dynamic", format: Literal["svg", "png"] = "svg"
    ) -> Response:
        """A QR code (ISO/IEC 18004) of the card, error correction M."""
        text = _found(doors, index).code if kind == "static" else cards.dynamic_code(index)
        return _picture(text, format)


def _uses(router: APIRouter, doors: Doors) -> None:
    cards = doors.cards

    @router.get("/key")
    def key() -> dict[str, str]:
        """The public key (JSON Web Key) with which a terminal checks dynamic codes while the network is down."""
        return cards.public_key()

    @router.post("/verify")
    def verify(verification: Verification, request: Request) -> dict[str, Any]:
        """The person of a static or dynamic code; a dynamic one works once, within 60 seconds."""
        return _verified(doors, request, verification, None)

    @router.post("/uses")
    def upload(use: OfflineUse, request: Request) -> dict[str, Any]:
        """Tell of a use without network: judged by the time of the scan, within the grace; still once only."""
        return _verified(doors, request, use, temporal.interval(use.at)[0])

    @router.get("/uses")
    def uses(
        card: Asked = "",
        before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    ) -> dict[str, Any]:
        """The use log, newest first, of one card or of all; refused uses with their reason."""
        return {"uses": doors.carduse.log(index=card, before=before, limit=limit)}

    @router.get("/statistics")
    def statistics(by: Asked = "day") -> dict[str, Any]:
        """Numbers of uses and refusals by day, institution, terminal, step, result (several with commas)."""
        return {"statistics": doors.carduse.statistics(tuple(by.split(",")))}


def _family(router: APIRouter, doors: Doors) -> None:
    family = doors.family

    @router.get("/{index}/family")
    def members(index: str) -> dict[str, Any]:
        """The relatives and guardians of a holder."""
        return {"family": family.of(index)}

    @router.post("/{index}/family", status_code=201)
    def relate(index: str, relation: Relation, request: Request) -> dict[str, Any]:
        """Note a relative, who may be a guardian."""
        given = relation
        return family.relate(_context(request), index, given.other, given.relationship, guardian=given.guardian)

    @router.delete("/{index}/family/{other}", status_code=204)
    def end(index: str, other: str, request: Request) -> None:
        """The relation is over."""
        family.end(_context(request), index, other)


def _found(doors: Doors, index: str) -> Card:
    card = doors.cards.find(index)
    if card is None:
        raise HubError("not-found", "there is no e-health card with this index", "card")
    return card


def _verified(doors: Doors, request: Request, given: Verification, seen: int | None) -> dict[str, Any]:
    use = Use(given.institution, given.terminal, given.step)
    card = doors.cards.verify(_context(request, given.institution), given.code, use, seen)
    return {
        **_card(card),
        "person": doors.identity.summary(card.person),
        "numbers": card.numbers(given.institution),
        "issuer": card.issuer,
        "shown_by": card.shown_by,
    }


def _card(card: Card) -> dict[str, Any]:
    return {"index": card.index, "code": card.code, "state": card.state, "person_id": card.person["id"]}


def _picture(text: str, format: str) -> Response:
    code, whole = segno.make_qr(text, error="m"), io.BytesIO()
    code.save(whole, kind=format, scale=SCALE)
    media = "image/svg+xml" if format == "svg" else "image/png"
    return Response(whole.getvalue(), media_type=media, headers={"Cache-Control": "no-store"})

"""The platform API of identity: persons, their records, and the e-health card."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from hub.errors import HubError
from hub.services.doors import Doors
from hub.services.healthcards import Card, Use

MAX_TEXT = 200
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Asked = Annotated[str, Query(max_length=MAX_TEXT)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Application(_Body):
    """An application for a card, from a verified identity. ``type`` is a document type of CV02.01.101."""

    number: Text
    name: Text
    type: Text = "01"
    birth_date: str | None = Field(None, max_length=10)
    gender: str | None = Field(None, max_length=10)


class Verification(_Body):
    """A code as scanned, with the circumstances of its use."""

    code: Text
    institution: str = Field("", max_length=MAX_TEXT)
    terminal: str = Field("", max_length=MAX_TEXT)
    step: str = Field("", max_length=MAX_TEXT)


class Binding(_Body):
    """The patient number of an institution: FHIR system and value."""

    system: Text
    value: Text


class Action(_Body):
    """suspend, resume, report-lost or cancel."""

    action: Text


class Decision(_Body):
    """A human's decision about two Patients (references ``Patient/id``)."""

    a: Text
    b: Text
    same: bool
    actor: Text
    note: str = Field("", max_length=2000)


def create(doors: Doors) -> APIRouter:
    """The routes ``/persons``, ``/mpi`` and ``/cards``."""
    router = APIRouter()
    _persons(router, doors)
    _mpi(router, doors)
    _cards(router, doors)
    return router


def _persons(router: APIRouter, doors: Doors) -> None:
    identity = doors.identity

    @router.get("/persons", tags=["persons"])
    def persons(id: Asked = "", card: Asked = "", identifier: Asked = "", name: Asked = "") -> dict[str, Any]:
        """Persons by e-health card (index or code), identifier (``value`` or ``system|value``), name, or id."""
        if card:
            found = identity.persons_by_card(card)
        elif identifier:
            found = identity.persons_by_identifier(identifier)
        elif name:
            found = identity.persons_by_name(name)
        elif id:
            found = identity.persons_by_id(id)
        else:
            raise HubError("required", "ask by card, identifier, name or id")
        return {"persons": found}

    @router.get("/persons/{id}/record", tags=["persons"])
    def record(id: str) -> dict[str, Any]:
        """Everything known of a person in all hospitals, newest first, each line with where it came from."""
        found = identity.record(id)
        if found["person"] is None:
            raise HubError("not-found", f"there is no Person {id!r}", "id")
        return found


def _mpi(router: APIRouter, doors: Doors) -> None:
    identity = doors.identity

    @router.get("/mpi/explain", tags=["mpi"])
    def explain(a: Asked, b: Asked) -> dict[str, Any]:
        """Why two records are, or are not, one person: what every field contributes, in words."""
        return identity.explain(a, b)

    @router.get("/mpi/train", tags=["mpi"])
    def train() -> dict[str, Any]:
        """The weights that the stored registrations teach (expectation maximisation), beside those in force."""
        return identity.train()

    @router.get("/mpi/reviews", tags=["mpi"])
    def reviews() -> dict[str, Any]:
        """Pairs of registrations that a human must decide, with the evidence side by side."""
        return {"reviews": identity.reviews()}

    @router.post("/mpi/decisions", tags=["mpi"])
    def decide(decision: Decision) -> dict[str, Any]:
        """One person, or never one person: it holds whatever the demographics become."""
        given = decision
        return {"changed": identity.decide(given.a, given.b, same=given.same, actor=given.actor, note=given.note)}


def _cards(router: APIRouter, doors: Doors) -> None:
    cards = doors.cards

    @router.post("/cards", status_code=201, tags=["cards"])
    def issue(application: Application) -> dict[str, Any]:
        """Issue an e-health card; the same identity again gets the same card."""
        given = application
        card = cards.issue(given.number, given.name, type=given.type, birth_date=given.birth_date, gender=given.gender)
        return _card(card)

    @router.post("/cards/verify", tags=["cards"])
    def verify(verification: Verification) -> dict[str, Any]:
        """The person of a static or dynamic code; a dynamic one works once, within 60 seconds."""
        given = verification
        card = cards.verify(given.code, Use(given.institution, given.terminal, given.step))
        return {**_card(card), "person": doors.identity.summary(card.person)}

    @router.post("/cards/{index}/code", tags=["cards"])
    def code(index: str) -> dict[str, Any]:
        """A dynamic code to show as a QR code."""
        return {"code": cards.dynamic_code(index)}

    @router.post("/cards/{index}/state", tags=["cards"])
    def state(index: str, action: Action) -> dict[str, Any]:
        """Suspend, resume, report lost or cancel a card."""
        return _card(cards.change(index, action.action))

    @router.post("/cards/{index}/bindings", tags=["cards"])
    def bind(index: str, binding: Binding) -> dict[str, Any]:
        """Bind the patient number of an institution to a card."""
        return _card(cards.bind(index, binding.system, binding.value))


def _card(card: Card) -> dict[str, Any]:
    return {"index": card.index, "code": card.code, "state": card.state, "person_id": card.person["id"]}

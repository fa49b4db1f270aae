"""The platform API of identity: persons and their records."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from hub.errors import HubError
from hub.services.doors import Doors

MAX_TEXT = 200
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Asked = Annotated[str, Query(max_length=MAX_TEXT)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Decision(_Body):
    """A human's decision about two Patients (references ``Patient/id``)."""

    a: Text
    b: Text
    same: bool
    actor: Text
    note: str = Field("", max_length=2000)


def create(doors: Doors) -> APIRouter:
    """The routes ``/persons`` and ``/mpi``."""
    router = APIRouter()
    _persons(router, doors)
    _mpi(router, doors)
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

    @router.get("/mpi/quality", tags=["mpi"])
    def quality() -> dict[str, Any]:
        """Duplicates within a source, records overwritten with somebody else, suspicious clusters."""
        return doors.stewardship.quality()

    @router.get("/mpi/relink", tags=["mpi"])
    def preview() -> dict[str, Any]:
        """What the rules in force would change: persons as they are, and as they would be."""
        return doors.stewardship.relink()

    @router.post("/mpi/relink", tags=["mpi"])
    def relink() -> dict[str, Any]:
        """Sort the registrations that differ into persons anew; human decisions stay."""
        return doors.stewardship.relink(apply=True)

    @router.get("/mpi/reviews", tags=["mpi"])
    def reviews() -> dict[str, Any]:
        """Pairs of registrations that a human must decide, with the evidence side by side."""
        return {"reviews": identity.reviews()}

    @router.post("/mpi/decisions", tags=["mpi"])
    def decide(decision: Decision) -> dict[str, Any]:
        """One person, or never one person: it holds whatever the demographics become."""
        given = decision
        return {"changed": identity.decide(given.a, given.b, same=given.same, actor=given.actor, note=given.note)}

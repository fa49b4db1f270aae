"""Compartments (R4 CompartmentDefinition): the one function behind compartment search, $everything, $export, $summary.

A resource is in a compartment when one of the reference parameters that the official definition lists for its type
refers to the compartment's owner; the owner is in its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from hub.errors import HubError
from hub.fhir.definitions import Definitions
from hub.search.expression import ALL, NONE, Expression, Ids, In, Match, Prefix, either
from hub.search.parse import Parser

NOT_RECORD = frozenset({"AuditEvent"})
"""Left out of a whole compartment unless asked for: who looked at a record is no part of it, and grows by looking."""


class Compartments:
    """The compartments of R4: Device, Encounter, Patient, Practitioner, RelatedPerson."""

    def __init__(self, definitions: Definitions, parser: Parser) -> None:
        self._parser = parser
        self._members: dict[str, dict[str, tuple[str, ...]]] = {
            owner: {row["code"]: tuple(row["param"]) for row in definition["resource"] if row.get("param")}
            for owner, definition in definitions.compartments.items()
        }
        for owner, members in self._members.items():
            members.setdefault(owner, ("{def}",))

    @property
    def owners(self) -> tuple[str, ...]:
        """The types that have a compartment."""
        return tuple(sorted(self._members))

    def types(self, owner: str) -> tuple[str, ...]:
        """The resource types of a whole compartment, the owner's first. HubError("not-found") for no compartment."""
        members = self._of(owner)
        return (owner, *sorted(members.keys() - {owner} - NOT_RECORD))

    def within(self, owner: str, id: str, type: str) -> Expression:
        """Which resources of ``type`` are in the compartment of ``owner/id``; NONE for a type that never is."""
        codes = self._of(owner).get(type, ())
        references = [self._parser.expression((type,), code, f"{owner}/{id}") for code in codes if code != "{def}"]
        own = [Ids((id,))] if type == owner else []
        return either([*own, *references]) if own or references else NONE

    def within_any(self, owner: str, ids: Sequence[str] | None, type: str) -> Expression:
        """Which resources of ``type`` are in the compartment of any of these owners (None: of any at all)."""
        codes = self.parameters(owner, type)
        test = Prefix(f"{owner}/") if ids is None else In(tuple(f"{owner}/{id}" for id in ids))
        parts: list[Expression] = [Match(code, test) for code in codes]
        if type == owner:
            parts.append(ALL if ids is None else Ids(tuple(ids)))
        return either(parts)

    def parameters(self, owner: str, type: str) -> tuple[str, ...]:
        """The parameters by which a resource of ``type`` is in the compartment of an ``owner``."""
        return tuple(code for code in self._of(owner).get(type, ()) if code != "{def}")

    def _of(self, owner: str) -> dict[str, tuple[str, ...]]:
        members = self._members.get(owner)
        if members is None:
            raise HubError("not-found", f"{owner} has no compartment; {', '.join(self.owners)} have", owner)
        return members

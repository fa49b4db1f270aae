"""Records that turn out to be one, and what hangs on a visit that turns out to be another patient's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hub.errors import HubError
from hub.search.expression import Equals, Expression, Match, Query, either
from hub.store.protocol import Reader, Version

Resource = dict[str, Any]
Decode = Callable[[Version], Resource]
MAX_CHAIN = 64
MAX_FOLLOWERS = 5000
FOLLOWERS = {
    "encounter": ("Observation", "Condition", "Procedure", "ServiceRequest", "DiagnosticReport", "MedicationRequest",
                  "DocumentReference", "Composition", "CarePlan", "Communication", "ClinicalImpression", "Flag"),
    "context": ("MedicationAdministration", "MedicationDispense", "ChargeItem"),
}  # fmt: skip
"""Search parameter -> the types that refer to a visit by it."""
OWNERS = ("subject", "patient")
OWN = frozenset({"resourceType", "id", "meta", "identifier", "link", "active", "partOf", "status"})
"""What a record does not take over from the one that it replaces."""


def refuse_cycle(tx: Reader, decode: Decode, patient: Resource) -> None:
    """HubError("merge-cycle") when a Patient is replaced by itself, or by one that it replaces already."""
    me = f"Patient/{patient['id']}"
    for survivor in _replaced_by(patient):
        at = survivor
        for _ in range(MAX_CHAIN):
            if at == me:
                raise HubError(
                    "merge-cycle",
                    f"{me} cannot be merged into {survivor}, which is, or was merged into, {me} itself",
                    "MRG-1",
                )
            version = tx.read(*at.split("/", 1))
            after = [] if version is None or version.deleted else _replaced_by(decode(version))
            if not after:
                break
            at = after[0]


def _replaced_by(patient: Resource) -> list[str]:
    links = (link for link in patient.get("link", ()) if link.get("type") == "replaced-by")
    return [one for link in links if (one := link.get("other", {}).get("reference", "")).startswith("Patient/")]


def inherited(tx: Reader, decode: Decode, resource: Resource, prior: str | None) -> Resource:
    """A record that is new, with what the one that it replaces (``Type/id``) says and it does not."""
    version = tx.read(*prior.split("/", 1)) if prior else None
    if version is None or version.deleted:
        return resource
    return {**{name: value for name, value in decode(version).items() if name not in OWN}, **resource}


def followers(tx: Reader, decode: Decode, before: Resource, after: Resource) -> list[Resource]:
    """The resources of a visit that went from one patient to another, under their new subject (HL7 v2 A45)."""
    if after["resourceType"] != "Encounter" or before.get("subject") == after.get("subject"):
        return []
    old, new = (one.get("subject", {}).get("reference") for one in (before, after))
    if not old or not new:
        return []
    visit = Equals(f"Encounter/{after['id']}")
    where: Expression = either(Match(name, visit) for name in FOLLOWERS)
    types = tuple(type for several in FOLLOWERS.values() for type in several)
    found = [decode(row.version) for row in tx.find(Query(types, where, limit=MAX_FOLLOWERS))]
    moved = []
    for one in found:
        owned = {name: after["subject"] for name in OWNERS if one.get(name, {}).get("reference") == old}
        if owned:
            moved.append({**one, **owned})
    return moved

"""Families and guardians of card holders: RelatedPersons that name both by their cards (R4 RelatedPerson).

A RelatedPerson is about a Patient; a card may be older than the first visit, so it names the holder by the card's
identifier (a logical reference, R4 2.3.0.4). A guardian may show the code of the holder's card.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from hub.audit.record import Audit
from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir import temporal
from hub.fhir.ids import NAMESPACE
from hub.healthcard.card import ACTIVE, SYSTEM, refusal, relationships
from hub.search.expression import Equals, Match, Query
from hub.services.context import Context
from hub.services.healthcards import Card, HealthCards
from hub.store.protocol import Store, Transaction

Resource = dict[str, Any]
ROLES = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
GUARDIAN = "GUARD"
ADULT_YEARS = 18
MAX_FAMILY = 50


class CardFamily:
    """Who belongs to a card holder. ``clock`` gives microseconds since 1970 UTC."""

    def __init__(
        self, store: Store, databases: Databases, cards: HealthCards, audit: Audit, clock: Callable[[], int]
    ) -> None:
        self._store = store
        self._databases = databases
        self._cards = cards
        self._audit = audit
        self._clock = clock

    def relate(self, context: Context, holder: str, other: str, relationship: str, *, guardian: bool) -> Resource:
        """Note that ``other`` (index or static code) is the holder's mother, spouse..., and guardian if so.

        HubError("code-invalid") for a relationship not in ``relationships.csv``; "business-rule" for oneself, a card
        that is not active, more than 50 relations, a guardian who is no adult or whose relationship makes none.
        """
        if relationship not in relationships():
            raise HubError("code-invalid", f"the relationship is one of {', '.join(relationships())}", "relationship")
        whose, who = self._active(holder), self._active(other)
        if whose.person["id"] == who.person["id"]:
            raise HubError("business-rule", "nobody is a relative of oneself", "other")
        if guardian and not (relationships()[relationship] and self._adult(who)):
            raise HubError("business-rule", "a guardian is an adult whose relationship makes a guardian", "guardian")
        if len(self._related(whose.index)) >= MAX_FAMILY:
            raise HubError("business-rule", f"at most {MAX_FAMILY} relatives are kept", "other")
        now = self._clock()
        resource = _related_person(whose, who, relationship, guardian, now)

        def work(tx: Transaction) -> Resource:
            self._databases.put(tx, resource, method="PUT", now=now)
            self._audit.write(tx, context, "update", (f"RelatedPerson/{resource['id']}",), now)
            return resource

        return _shown(self._store.write(work))

    def end(self, context: Context, holder: str, other: str) -> None:
        """The relation is over. HubError("not-found")."""
        whose, who = self._known(holder), self._known(other)
        found = [one for one in self._related(whose.index) if _card_of(one) == who.index]
        if not found:
            raise HubError("not-found", "they are not noted as related", "other")
        now = self._clock()

        def work(tx: Transaction) -> None:
            ended = {**found[0], "active": False}
            ended["period"] = {**ended.get("period", {}), "end": temporal.instant(now)}
            self._databases.put(tx, ended, method="PUT", now=now)
            self._audit.write(tx, context, "update", (f"RelatedPerson/{ended['id']}",), now)

        self._store.write(work)

    def of(self, holder: str) -> list[Resource]:
        """The relatives of a holder: card, name, relationship, guardian."""
        return [_shown(one) for one in self._related(self._known(holder).index)]

    def code_by_guardian(self, holder: str, guardian: str, institution: str = "") -> str:
        """A dynamic code of the holder's card, shown by a guardian. Refusal not-guardian for anybody else."""
        whose, who = self._known(holder), self._active(guardian)
        guards = any(_card_of(one) == who.index and _guards(one) for one in self._related(whose.index))
        if not guards:
            raise refusal("not-guardian", "guardian")
        return self._cards.dynamic_code(whose.index, institution, who.index)

    def _known(self, text: str) -> Card:
        card = self._cards.find(text)
        if card is None:
            raise refusal("unknown", "card")
        return card

    def _active(self, text: str) -> Card:
        card = self._known(text)
        if card.state != ACTIVE:
            raise refusal(card.state, "card")
        return card

    def _adult(self, card: Card) -> bool:
        born = card.person.get("birthDate", "")
        today = datetime.fromtimestamp(self._clock() / 1e6, UTC).date()
        return bool(born) and born[:10] <= f"{today.year - ADULT_YEARS}-{today.month:02}-{today.day:02}"

    def _related(self, index: str) -> list[Resource]:
        where = Match("patient:identifier", Equals(index, SYSTEM))
        rows = self._store.find(Query(("RelatedPerson",), where, limit=MAX_FAMILY))
        found = (self._databases.decode(row.version) for row in rows)
        return [one for one in found if one.get("active", True)]


def _related_person(whose: Card, who: Card, relationship: str, guardian: bool, now: int) -> Resource:
    codes = [relationship, *([GUARDIAN] if guardian and relationship != GUARDIAN else [])]
    return {
        "resourceType": "RelatedPerson",
        "id": str(uuid.uuid5(NAMESPACE, f"healthcard {whose.index} {who.index}")),
        "active": True,
        "identifier": [{"system": SYSTEM, "value": who.index}],
        "patient": {"identifier": {"system": SYSTEM, "value": whose.index}},
        "relationship": [{"coding": [{"system": ROLES, "code": code}]} for code in codes],
        "name": who.person.get("name", []),
        "period": {"start": temporal.instant(now)},
    }


def _card_of(related: Resource) -> str:
    return str(related["identifier"][0]["value"])


def _codes(related: Resource) -> list[str]:
    return [coding["code"] for concept in related["relationship"] for coding in concept["coding"]]


def _guards(related: Resource) -> bool:
    return GUARDIAN in _codes(related)


def _shown(related: Resource) -> Resource:
    name: Resource = next(iter(related.get("name", ())), {})
    return {
        "card": _card_of(related),
        "name": name.get("text", "") or f"{name.get('family', '')}{''.join(name.get('given', ()))}",
        "relationship": _codes(related)[0],
        "guardian": _guards(related),
    }

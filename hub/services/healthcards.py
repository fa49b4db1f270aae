"""The e-health card service: issue, bind, suspend, verify.

A card is an identifier of the regional Person with a state; every verification leaves a row in the queue
``healthcard-use`` (who, where, in which care step), and the row of a dynamic code is what makes it usable once only,
whatever runs in parallel.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hub.errors import HubError
from hub.healthcard.card import ACTIVE, CANCELLED, MAX_CODE, RESIDENT_ID, SYSTEM, Codes, following, sm3
from hub.mpi import golden
from hub.mpi.compare import card_index, names, resident_id
from hub.mpi.link import PERSONS, Databases, Linker
from hub.mpi.rules import TYPES, Key, load
from hub.store.protocol import Item, Store, Transaction

Resource = dict[str, Any]
USES = "healthcard-use"
SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Card:
    """A card: index, state, the Person it belongs to."""

    index: str
    state: str
    person: Resource

    @property
    def code(self) -> str:
        """The static code that a QR code shows."""
        return f"{self.index}:1"


@dataclass(frozen=True, slots=True)
class Use:
    """The circumstances of a verification: institution, terminal, care step (10101 registration...)."""

    institution: str = ""
    terminal: str = ""
    step: str = ""


class HealthCards:
    """The card service. ``clock`` gives microseconds since 1970 UTC; ``salt`` is the region's secret."""

    def __init__(
        self,
        store: Store,
        databases: Databases,
        linker: Linker,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        *,
        salt: bytes,
    ) -> None:
        self._store = store
        self._databases = databases
        self._linker = linker
        self._clock = clock
        self._new_id = new_id
        self._codes = Codes(salt)

    # --- issue and state ----------------------------------------------------------------------------------------------

    def issue(
        self,
        number: str,
        name: str,
        *,
        type: str = RESIDENT_ID,
        birth_date: str | None = None,
        gender: str | None = None,
    ) -> Card:
        """Issue the card of a verified identity; the same identity again gets the same card.

        HubError("value") for an ID number that is not valid, HubError("business-rule") when the number belongs to a
        Person of another name, or when the card was cancelled.
        """
        if type != RESIDENT_ID:
            raise HubError("value", f"document type {type!r} cannot be verified; only 01 (resident ID) can", "type")
        identity = resident_id(number)
        if identity is None:
            raise HubError("value", "the resident ID number is not valid (length, check digit or birth date)", "number")
        given = {"name": [{"text": name}], "birthDate": birth_date or identity.birth_date}
        if given["birthDate"] != identity.birth_date or (gender and gender != identity.gender):
            raise HubError("value", "birth date or sex does not agree with the resident ID number", "number")
        index = self._codes.index(type, identity.number)
        document = Key(load().by_type["NI"].system, identity.number, load().by_type["NI"])
        now = self._clock()

        def work(tx: Transaction) -> Card:
            tx.guard(document.guard)
            holders = self._linker.holders(tx, document)
            person = holders[0] if holders else self._new_person(index, identity.number, identity.gender, given)
            if not names(person) & names(given):
                raise HubError("business-rule", "the number is registered under another name", "name")
            state = state_of(person, index)
            if state == CANCELLED:
                raise HubError(
                    "business-rule", "the card of this person was cancelled; a new one needs a review", "number"
                )
            if state is None:
                person = with_card(person, index, ACTIVE)
                self._databases.put(tx, person, method="PUT", now=now)
            return Card(index, state or ACTIVE, person)

        return self._store.write(work)

    def _new_person(self, index: str, number: str, gender: str, given: Resource) -> Resource:
        person = golden.new(str(uuid.uuid5(PERSONS, f"healthcard {index}")))
        document = {"system": load().by_type["NI"].system, "value": number, "extension": [issued(ACTIVE)]}
        return {**person, "identifier": [document], "gender": gender, **given}

    def find(self, text: str) -> Card | None:
        """The card with this index (or static code), None if there is none."""
        index = card_index(text)
        if index is None:
            return None
        holders = self._linker.holders(self._store, Key(SYSTEM, index))
        return Card(index, state_of(holders[0], index) or ACTIVE, holders[0]) if holders else None

    def change(self, text: str, action: str) -> Card:
        """suspend, resume, report-lost or cancel. HubError("not-found"), HubError("business-rule")."""
        now = self._clock()

        def work(tx: Transaction) -> Card:
            card = self._card(tx, text)
            state = following(card.state, action)
            person = with_card(card.person, card.index, state)
            self._databases.put(tx, person, method="PUT", now=now)
            return Card(card.index, state, person)

        return self._store.write(work)

    def bind(self, text: str, system: str, value: str) -> Card:
        """Bind the patient number of an institution to a card: its Patient, now or later, is this person's."""
        now = self._clock()
        key = Key(system, value)

        def work(tx: Transaction) -> Card:
            card = self._card(tx, text)
            self._usable(card)
            tx.guard(key.guard)
            bound = {"system": system, "value": value, "extension": [issued(ACTIVE)]}
            known = {golden.pair(identifier) for identifier in card.person["identifier"]}
            if (system, value) not in known:
                person = {**card.person, "identifier": [*card.person["identifier"], bound]}
                self._databases.put(tx, person, method="PUT", now=now)
                for patient in self._linker.patients_numbered(tx, key):
                    self._linker.relink(tx, patient, now=now)
            return self._card(tx, text)

        return self._store.write(work)

    def _card(self, tx: Transaction, text: str) -> Card:
        index = card_index(text)
        if index is not None:
            tx.guard(Key(SYSTEM, index).guard)
            if holders := self._linker.holders(tx, Key(SYSTEM, index)):
                return Card(index, state_of(holders[0], index) or ACTIVE, holders[0])
        raise HubError("not-found", "there is no e-health card with this index", "card")

    def _usable(self, card: Card) -> None:
        if card.state != ACTIVE:
            raise HubError("business-rule", f"the card is {card.state}", "card")

    # --- codes --------------------------------------------------------------------------------------------------------

    def dynamic_code(self, text: str) -> str:
        """A code that can be verified once within 60 seconds. HubError("not-found"), HubError("business-rule")."""
        card = self.find(text)
        if card is None:
            raise HubError("not-found", "there is no e-health card with this index", "card")
        self._usable(card)
        return self._codes.dynamic(card.index, self._clock() // SECOND, uuid.UUID(self._new_id()).hex[:12])

    def verify(self, code: str, use: Use) -> Card:
        """The card of a code, static or dynamic, and a usage record; each refusal has its own reason.

        HubError("value") not a code; "forbidden" forged; "expired" older than 60 seconds; "duplicate" used before;
        "not-found" no such card; "business-rule" suspended, lost or cancelled.
        """
        code = code.strip()[:MAX_CODE]
        now = self._clock()
        index, dynamic = self._codes.read(code, now // SECOND)
        id = self._new_id()
        key = code if dynamic else id
        data = {
            "index": index,
            "dynamic": dynamic,
            "institution": use.institution,
            "terminal": use.terminal,
            "step": use.step,
        }
        item = Item(USES, id, key, sm3(code.encode()).hex(), "used", data, b"", now)

        def work(tx: Transaction) -> Card:
            card = self._card(tx, index)
            self._usable(card)
            if tx.enqueue(item).id != id:
                raise HubError("duplicate", "the code was used before; ask the holder to show a new one", "code")
            return card

        return self._store.write(work)


def issued(state: str) -> Resource:
    """The extension that marks an identifier as given by the card service, with its state."""
    return {"url": golden.CARD_STATE, "valueCode": state}


def state_of(person: Resource, index: str) -> str | None:
    """The state of a Person's card; None when this service did not issue it."""
    for identifier in person.get("identifier", ()):
        if golden.pair(identifier) == (SYSTEM, index):
            for extension in identifier.get("extension", ()):
                if extension.get("url") == golden.CARD_STATE:
                    return str(extension.get("valueCode", ACTIVE))
    return None


def with_card(person: Resource, index: str, state: str) -> Resource:
    """The Person with this card in this state."""
    card = {
        "type": {"coding": [{"system": TYPES, "code": "HC"}]},
        "system": SYSTEM,
        "value": index,
        "extension": [issued(state)],
    }
    rest = [one for one in person.get("identifier", ()) if golden.pair(one) != (SYSTEM, index)]
    return {**person, "identifier": [*rest, card]}

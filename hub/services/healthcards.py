"""The e-health card service: issue, bind, change, show, verify.

A card is an identifier of the regional Person with a state, so it goes where the master patient index takes the Person.
Every verification leaves a row in the use log (``hub.services.carduse``), refused ones too; the row of a dynamic code
is what makes it usable once only, whatever runs in parallel.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from hub.audit.record import Audit
from hub.errors import HubError
from hub.fhir import temporal
from hub.healthcard.card import (
    ACTIVE,
    FINAL,
    MAX_CODE,
    REPLACED,
    RESIDENT_ID,
    SYSTEM,
    Codes,
    Document,
    Shown,
    documents,
    following,
    reason_of,
    refusal,
)
from hub.mpi import golden
from hub.mpi.compare import card_index, names, plain, resident_id
from hub.mpi.link import PERSONS, Databases, Linker
from hub.mpi.rules import TYPES, Key, load
from hub.services.carduse import CardUse, Use
from hub.services.context import Context
from hub.store.protocol import Store, Transaction

Resource = dict[str, Any]
SECOND = 1_000_000
SKEW_SECONDS = 5
"""How far the clock of a terminal may be ahead of ours."""
VERIFIED_BY = "https://region-hub.example/fhir/StructureDefinition/healthcard-verified-by"
"""Extension of Person.identifier: how the document was verified when the card was issued."""


@dataclass(frozen=True, slots=True)
class Card:
    """A card: index, state (``merged`` when the holder's older card counts), the Person it belongs to.

    ``issuer`` names who issued it when that is another than this region; ``shown_by`` is the card of the guardian who
    showed it.
    """

    index: str
    state: str
    person: Resource
    issuer: str = ""
    shown_by: str = ""

    @property
    def code(self) -> str:
        """The static code that a QR code shows."""
        return f"{self.index}:1" if self.index else ""

    def numbers(self, institution: str) -> list[Resource]:
        """The patient numbers that an institution bound to the card, system and value."""
        return [
            {"system": one["system"], "value": one["value"]}
            for one in self.person.get("identifier", ())
            if golden.is_issued(one) and institution and one.get("assigner", {}).get("display") == institution
        ]


@dataclass(frozen=True, slots=True)
class Application:
    """An application for a card; ``verified`` says how the identity was verified, needed where the number itself does
    not prove it (any document but the resident ID card)."""

    number: str
    name: str
    type: str = RESIDENT_ID
    birth_date: str | None = None
    gender: str | None = None
    verified: str = ""


class Issuer(Protocol):
    """Who else issues codes that count here, such as the e-social-security card (entry point group ``hub.issuers``)."""

    name: str

    def document(self, code: str, use: Use) -> tuple[str, str] | None:
        """System and value of the holder's document; None when the code is not theirs. HubError when it is refused."""


@dataclass(frozen=True, slots=True)
class Limits:
    """``offline_seconds``: how long after it a use without network may be uploaded."""

    offline_seconds: int = 86_400


class HealthCards:
    """The card service. ``clock`` gives microseconds since 1970 UTC."""

    def __init__(
        self,
        store: Store,
        databases: Databases,
        linker: Linker,
        audit: Audit,
        uses: CardUse,
        codes: Codes,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        limits: Limits = Limits(),
    ) -> None:
        self._store = store
        self._databases = databases
        self._linker = linker
        self._audit = audit
        self._uses = uses
        self._codes = codes
        self._clock = clock
        self._new_id = new_id
        self._limits = limits
        self._issuers: list[Issuer] = []

    def federate(self, issuer: Issuer) -> None:
        """Let the codes of another issuer count."""
        self._issuers.append(issuer)

    # --- issue and state ----------------------------------------------------------------------------------------------

    def issue(self, context: Context, application: Application) -> Card:
        """Issue the card of a verified identity; the same identity again gets the same card.

        HubError("value") for a document that is not valid, HubError("business-rule") when the number belongs to a
        Person of another name, or when the card was cancelled.
        """
        document = documents().get(application.type)
        if document is None:
            raise HubError("value", f"the document type is one of {', '.join(documents())}", "type")
        number, given = _identity(document, application)
        first = self._codes.index(document.code, number)
        kind = load().by_system.get(document.system)
        key = Key(document.system, number, kind)
        now = self._clock()

        def work(tx: Transaction) -> Card:
            tx.guard(key.guard)
            holders = self._linker.holders(tx, key)
            person = holders[0] if holders else _new_person(first, key, application.verified, given)
            if not names(person) & names(given):
                raise HubError("business-rule", "the number is registered under another name", "name")
            index = first
            while (state := state_of(person, index)) == REPLACED:
                index = self._codes.replacement(index)
            if state in FINAL:
                raise HubError(
                    "business-rule", "the card of this person was cancelled; a new one needs a review", "number"
                )
            if state is None:
                person = with_card(person, index, ACTIVE, now)
                self._put(tx, context, person, now)
            return Card(index, standing(person, index), person)

        return self._store.write(work)

    def _put(self, tx: Transaction, context: Context, person: Resource, now: int) -> None:
        self._databases.put(tx, person, method="PUT", now=now)
        self._audit.write(tx, context, "update", (f"Person/{person['id']}",), now)

    def find(self, text: str) -> Card | None:
        """The card with this index (or static code), None if there is none."""
        index = card_index(text)
        if index is None:
            return None
        holders = self._linker.holders(self._store, Key(SYSTEM, index))
        return Card(index, standing(holders[0], index), holders[0]) if holders else None

    def change(self, context: Context, text: str, action: str) -> Card:
        """suspend, resume, report-lost, replace (the new card is the answer) or cancel, by ``states.csv``.

        HubError("not-found"), HubError("business-rule").
        """
        now = self._clock()

        def work(tx: Transaction) -> Card:
            card = self._card(tx, text)
            state = following(state_of(card.person, card.index) or ACTIVE, action)
            person = with_card(card.person, card.index, state, now)
            index = card.index
            if state == REPLACED:
                index = self._codes.replacement(index)
                person = with_card(person, index, ACTIVE, now)
            self._put(tx, context, person, now)
            return Card(index, standing(person, index), person)

        return self._store.write(work)

    # --- numbers of institutions --------------------------------------------------------------------------------------

    def bind(self, context: Context, text: str, system: str, value: str, institution: str = "") -> Card:
        """Bind the patient number of an institution to a card: its Patient, now or later, is this person's."""
        now = self._clock()
        key = Key(system, value)

        def work(tx: Transaction) -> Card:
            card = self._card(tx, text)
            self._usable(card)
            tx.guard(key.guard)
            known = {golden.pair(identifier) for identifier in card.person["identifier"]}
            if (system, value) not in known:
                bound: Resource = {"system": system, "value": value, "extension": [issued(ACTIVE)]}
                if institution:
                    bound["assigner"] = {"display": institution}
                self._put(tx, context, _with(card.person, bound), now)
                self._relink(tx, key, now)
            return self._card(tx, text)

        return self._store.write(work)

    def unbind(self, context: Context, text: str, system: str, value: str, institution: str = "") -> Card:
        """Take back a binding. HubError("not-found"); a number that another institution bound is refused."""
        now = self._clock()

        def work(tx: Transaction) -> Card:
            card = self._card(tx, text)
            found = [one for one in card.person["identifier"] if golden.pair(one) == (system, value)]
            if not found or not golden.is_issued(found[0]):
                raise HubError("not-found", "this number is not bound to the card", "value")
            if found[0].get("assigner", {}).get("display", "") != institution:
                raise refusal("wrong-institution", "institution")
            rest = [one for one in card.person["identifier"] if one is not found[0]]
            self._put(tx, context, {**card.person, "identifier": rest}, now)
            self._relink(tx, Key(system, value), now)
            return self._card(tx, text)

        return self._store.write(work)

    def _relink(self, tx: Transaction, key: Key, now: int) -> None:
        for patient in self._linker.patients_numbered(tx, key):
            self._linker.relink(tx, patient, now=now)

    def _card(self, tx: Transaction, text: str) -> Card:
        index = card_index(text)
        if index is not None:
            tx.guard(Key(SYSTEM, index).guard)
            if holders := self._linker.holders(tx, Key(SYSTEM, index)):
                return Card(index, standing(holders[0], index), holders[0])
        raise refusal("unknown", "card")

    @staticmethod
    def _usable(card: Card) -> None:
        if card.state != ACTIVE:
            raise refusal(card.state, "card")

    # --- codes --------------------------------------------------------------------------------------------------------

    def dynamic_code(self, text: str, institution: str = "", guardian: str = "") -> str:
        """A code that can be verified once within 60 seconds, by one institution if it is named.

        ``guardian`` is the card of who shows it for the holder; that is the caller's to have checked. HubError
        ("not-found"), HubError("business-rule").
        """
        card = self.find(text)
        if card is None:
            raise refusal("unknown", "card")
        self._usable(card)
        nonce, now = uuid.UUID(self._new_id()).hex[:12], self._clock()
        if guardian:
            self._uses.shown(nonce, guardian, now)
        return self._codes.dynamic(card.index, now // SECOND, nonce, institution)

    def verify(self, context: Context, code: str, use: Use, seen: int | None = None) -> Card:
        """The card of a code, static or dynamic, and a row in the use log; each refusal has its own reason.

        ``seen`` (microseconds) is when a terminal without network scanned the code: it is judged by that time when it
        is uploaded within the grace. Refusals (``refusals.csv``): no-code, forged, expired, used, unknown, suspended,
        lost, replaced, cancelled, merged, wrong-institution, too-late.
        """
        code, now, id = code.strip()[: MAX_CODE + 1], self._clock(), self._new_id()
        try:
            try:
                shown = self._read(code, now, seen)
            except HubError as error:
                foreign = self._foreign(context, code, use, id, now) if reason_of(error) == "no-code" else None
                if foreign is None:
                    raise
                return foreign
            if shown.institution and shown.institution != use.institution:
                raise refusal("wrong-institution", "institution")
            return self._store.write(lambda tx: self._verified(tx, context, code, shown, use, id, now, seen))
        except HubError as error:
            self._uses.refused(code, use, reason_of(error), id, now)
            raise

    def _read(self, code: str, now: int, seen: int | None) -> Shown:
        if seen is None:
            return self._codes.read(code, now // SECOND)
        if now - seen > self._limits.offline_seconds * SECOND:
            raise refusal("too-late", "at")
        if seen - now > SKEW_SECONDS * SECOND:
            raise HubError("value", "the time of the use is in the future", "at")
        return self._codes.read(code, seen // SECOND)

    def _verified(
        self, tx: Transaction, context: Context, code: str, shown: Shown, use: Use, id: str, now: int, seen: int | None
    ) -> Card:
        card = self._card(tx, shown.index)
        self._usable(card)
        if not self._uses.used(tx, code, shown, replace(use, seen=seen or 0), id, now):
            raise refusal("used")
        self._audit.write(tx, context, "operation", (f"Person/{card.person['id']}",), now)
        return replace(card, shown_by=self._uses.shown_by(tx, code) if shown.dynamic else "")

    def _foreign(self, context: Context, code: str, use: Use, id: str, now: int) -> Card | None:
        """The person of a code that another issuer knows."""
        for issuer in self._issuers:
            document = issuer.document(code, use)
            if document is not None:
                holders = self._linker.holders(self._store, Key(*document))
                if not holders:
                    raise HubError("not-found", f"nobody here has the document that {issuer.name} names", "code")
                person = holders[0]

                def work(tx: Transaction, person: Resource = person, name: str = issuer.name) -> Card:
                    self._uses.used(tx, id, Shown(f"{name}:"), use, id, now)
                    self._audit.write(tx, context, "operation", (f"Person/{person['id']}",), now)
                    return Card("", ACTIVE, person, name)

                return self._store.write(work)
        return None

    def public_key(self) -> dict[str, str]:
        """The public key with which terminals check codes while the network is down."""
        return self._codes.public()


def _identity(document: Document, application: Application) -> tuple[str, Resource]:
    """The number in its normal form, and what the application says of the person. HubError("value", "required")."""
    given: Resource = {"name": [{"text": application.name}]}
    number = plain(application.number)
    if document.code == RESIDENT_ID:
        identity = resident_id(number)
        if identity is None:
            raise HubError("value", "the resident ID number is not valid (length, check digit or birth date)", "number")
        said = (application.birth_date or identity.birth_date, application.gender or identity.gender)
        if said != (identity.birth_date, identity.gender):
            raise HubError("value", "birth date or sex does not agree with the resident ID number", "number")
        return identity.number, {**given, "birthDate": identity.birth_date, "gender": identity.gender}
    if not re.fullmatch(document.form, number):
        raise HubError("value", f"this is no number of a {document.en.lower()}", "number")
    if not (application.verified and application.birth_date and application.gender):
        raise HubError("required", "birth_date, gender and verified (how it was verified) are needed", "verified")
    return number, {**given, "birthDate": application.birth_date, "gender": application.gender}


def _new_person(index: str, key: Key, verified: str, given: Resource) -> Resource:
    person = golden.new(str(uuid.uuid5(PERSONS, f"healthcard {index}")))
    how = [{"url": VERIFIED_BY, "valueString": verified}] if verified else []
    document = {"system": key.system, "value": key.value, "extension": [issued(ACTIVE), *how]}
    return {**person, "identifier": [document], **given}


def issued(state: str) -> Resource:
    """The extension that marks an identifier as given by the card service, with its state."""
    return {"url": golden.CARD_STATE, "valueCode": state}


def _cards(person: Resource) -> dict[str, Resource]:
    """Index -> identifier of the cards that this service issued to a Person."""
    cards = (one for one in person.get("identifier", ()) if one.get("system") == SYSTEM and golden.is_issued(one))
    return {one["value"]: one for one in cards}


def _state(card: Resource) -> str:
    states = (one.get("valueCode", ACTIVE) for one in card["extension"] if one.get("url") == golden.CARD_STATE)
    return str(next(states, ACTIVE))


def state_of(person: Resource, index: str) -> str | None:
    """The state of a Person's card; None when this service did not issue it."""
    card = _cards(person).get(index)
    return None if card is None else _state(card)


def standing(person: Resource, index: str) -> str:
    """The state of a card as it counts: ``merged`` when the Person has an older one that is not over."""
    cards = _cards(person)
    alive = sorted(
        (one.get("period", {}).get("start", ""), one["value"]) for one in cards.values() if _state(one) not in FINAL
    )
    own = state_of(person, index) or ACTIVE
    return "merged" if own not in FINAL and alive and alive[0][1] != index and index in cards else own


def with_card(person: Resource, index: str, state: str, now: int) -> Resource:
    """The Person with this card in this state; Identifier.period is the time of the card."""
    old = _cards(person).get(index, {})
    period = {**old.get("period", {"start": temporal.instant(now)})}
    if state in FINAL:
        period["end"] = temporal.instant(now)
    card = {
        "type": {"coding": [{"system": TYPES, "code": "HC"}]},
        "system": SYSTEM,
        "value": index,
        "period": period,
        "extension": [issued(state)],
    }
    return _with(person, card)


def _with(person: Resource, identifier: Resource) -> Resource:
    rest = [one for one in person.get("identifier", ()) if golden.pair(one) != golden.pair(identifier)]
    return {**person, "identifier": [*rest, identifier]}

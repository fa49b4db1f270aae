"""The card service on a real store, with a clock that the test moves."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from hub.audit.record import Audit
from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir import definitions
from hub.healthcard.card import Codes, reason_of
from hub.healthcard.signature import signer
from hub.mpi.link import Linker
from hub.search.parameters import Registry
from hub.services.cardfamily import CardFamily
from hub.services.carduse import CardUse, Use
from hub.services.context import Context
from hub.services.healthcards import Application, Card, HealthCards
from hub.store.protocol import Store

MALE, FEMALE, CHILD = "109901198503070013", "109901198503070021", "109903202001010039"
NOW = 1_793_000_000_000_000
CONTEXT = Context("test", "tester")
NATIONAL = "urn:oid:2.16.840.1.113883.2.23.1.19.1"


class Service:
    """Cards, use log and family."""

    def __init__(self, store: Store, salt: bytes = b"s" * 32, profile: str = "es256") -> None:
        self.now = NOW
        self.store = store
        self.databases = Databases(Registry(definitions.load()), lambda: self.now)
        self.linker = Linker(self.databases)
        self.audit = Audit(store, self.databases, lambda: self.now, self.new_id, True)
        self.uses = CardUse(store)
        self.codes = Codes(salt, signer(profile, salt))
        self.cards = HealthCards(
            store, self.databases, self.linker, self.audit, self.uses, self.codes, lambda: self.now, self.new_id
        )
        self.family = CardFamily(store, self.databases, self.cards, self.audit, lambda: self.now)

    @staticmethod
    def new_id() -> str:
        return str(uuid.uuid4())

    def issue(self, number: str = MALE, name: str = "王小明", **more: Any) -> Card:
        return self.cards.issue(CONTEXT, Application(number, name, **more))

    def change(self, index: str, action: str) -> Card:
        return self.cards.change(CONTEXT, index, action)

    def verify(self, code: str, use: Use | None = None, seen: int | None = None) -> Card:
        return self.cards.verify(CONTEXT, code, use or Use(), seen)

    def refusal(self, act: Any, *arguments: Any) -> str:
        """The reason for which it is refused."""
        with pytest.raises(HubError) as error:
            act(*arguments)
        return reason_of(error.value)

    def register(self, resource: dict[str, Any]) -> None:
        def work(tx: Any) -> None:
            self.databases.put(tx, resource, method="PUT", now=self.now)
            self.linker.link(tx, resource, now=self.now)

        self.store.write(work)

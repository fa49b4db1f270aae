"""The doors into the core, handed to every listener and route factory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hub.audit.record import Audit
    from hub.databases.database import Databases
    from hub.fhir.definitions import Definitions
    from hub.search.parameters import Registry
    from hub.services.cardfamily import CardFamily
    from hub.services.carduse import CardUse
    from hub.services.check import Checks
    from hub.services.codes import Codes
    from hub.services.deferred import Deferred
    from hub.services.demographics import Demographics
    from hub.services.desk import Desk
    from hub.services.export import Exports
    from hub.services.films import Films
    from hub.services.fulltext import FullTextSearch
    from hub.services.healthcards import HealthCards
    from hub.services.identity import Identity
    from hub.services.imaging import Imaging
    from hub.services.imports import Imports
    from hub.services.inbox import Inbox
    from hub.services.ingest import Ingest
    from hub.services.keys import KeyService
    from hub.services.messaging import Messages
    from hub.services.outbound import Outbound
    from hub.services.query import QueryService
    from hub.services.stewardship import Stewardship
    from hub.services.subscriptions import Subscriptions
    from hub.services.transaction import Transactions
    from hub.services.transport import Transport
    from hub.services.validation import Validation
    from hub.services.workitems import Workitems
    from hub.settings import Settings
    from hub.store.protocol import Blobs, Store
    from terminology.service import Terminology


@dataclass(slots=True)
class Doors:
    """Every service of one running hub, and what they share. Built once, by ``hub.bootstrap``."""

    settings: Settings
    data: Path
    clock: Callable[[], int]
    secret: Callable[[str], bytes]
    new_id: Callable[[], str]
    definitions: Definitions
    registry: Registry
    store: Store
    blobs: Blobs
    databases: Databases
    audit: Audit
    ingest: Ingest
    transactions: Transactions
    inbox: Inbox
    transport: Transport
    desk: Desk
    outbound: Outbound
    messages: Messages
    keys: KeyService
    query: QueryService
    full_text: FullTextSearch | None
    exports: Exports
    imports: Imports
    deferred: Deferred
    subscriptions: Subscriptions
    identity: Identity
    stewardship: Stewardship
    demographics: Demographics
    imaging: Imaging
    films: Films
    workitems: Workitems
    cards: HealthCards
    carduse: CardUse
    family: CardFamily
    validation: Validation
    checks: Checks
    terminology: Terminology
    codes: Codes

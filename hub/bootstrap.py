"""Settings to a running hub: the one place where objects meet. Nothing is built at import time."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from hub.api.server import HttpServer
from hub.audit.record import Audit
from hub.conformance import regional
from hub.consent import policy
from hub.consent.decide import Decision
from hub.databases.database import DATABASES, Databases
from hub.errors import HubError
from hub.fhir import definitions
from hub.fhir.validate import Library, Validator
from hub.fhir.validate.quick import QuickValidator
from hub.fhir.validate.terminology import ServiceCodes
from hub.healthcard.card import Codes as CardCodes
from hub.healthcard.signature import signer
from hub.keyring import Keyring
from hub.listener import Listener
from hub.mpi.blocks import MemoryBlocks, StoredBlocks
from hub.mpi.link import Linker
from hub.mpi.snapshot import Snapshot
from hub.search.blind import Blind
from hub.search.parameters import Registry
from hub.search.parse import Parser
from hub.services.cardfamily import CardFamily
from hub.services.carduse import CardUse
from hub.services.check import Checks, FhirChecker
from hub.services.codes import Codes
from hub.services.compartment import Compartments
from hub.services.deferred import Deferred
from hub.services.demographics import Demographics
from hub.services.desk import Desk
from hub.services.doors import Doors
from hub.services.endpoint import Caller
from hub.services.export import Exports
from hub.services.films import Films
from hub.services.fulltext import FullTextSearch
from hub.services.healthcards import HealthCards, Limits
from hub.services.identity import Identity
from hub.services.imaging import Imaging
from hub.services.imports import Imports
from hub.services.inbox import Inbox
from hub.services.ingest import Ingest
from hub.services.keys import KeyService
from hub.services.messaging import Messages
from hub.services.optout import OptOut
from hub.services.outbound import Outbound
from hub.services.query import QueryService
from hub.services.retention import Forgetting
from hub.services.stewardship import Stewardship
from hub.services.subscriptions import Subscriptions
from hub.services.terminology import StoredTerminology
from hub.services.transaction import Transactions
from hub.services.transport import Transport
from hub.services.validation import StoredDefinitions, Validation
from hub.services.workitems import Workitems
from hub.settings import LOOPBACK, Settings
from hub.store.blobs import FileBlobs
from hub.store.packs import Packs
from hub.store.protocol import Store
from hub.store.sqlite import SqliteStore
from hub.store.vault import Vault
from terminology.load import releases
from terminology.service import Terminology

log = logging.getLogger("hub")


_FIXED = 0x7 << 76 | 0x2 << 62  # version 7, variant 10
_FREE = ~(0xF << 76 | 0x3 << 62)


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def new_id() -> str:
    """A logical id (R4 2.24.0.1.1): a UUID of version 7, so that new ones come together in an index (RFC 9562 5.7)."""
    number = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10))
    text = f"{number & _FREE | _FIXED:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def secret(data: Path, name: str) -> bytes:
    """32 random bytes kept under ``data/secrets``, made at first use, readable by the owner only."""
    file = data / "secrets" / name
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = file.with_suffix(".new")
        partial.touch(mode=0o600)
        partial.write_bytes(secrets.token_bytes(32))
        partial.replace(file)
    return file.read_bytes()


def open_store(settings: Settings, clock: Callable[[], int], vault: Vault) -> Store:
    """The store that ``settings.store`` names. HubError("configuration") when it cannot be used."""
    if settings.store == "sqlite":
        settings.data.mkdir(parents=True, exist_ok=True)
        seconds = settings.search.page_seconds
        return SqliteStore(settings.data / "hub.sqlite3", clock=clock, snapshot_seconds=seconds, vault=vault)
    if settings.store.startswith(("mongodb://", "mongodb+srv://")):
        from hub.store.mongo import MongoStore  # the driver is loaded only where it is used

        region = urlsplit(settings.store).path.strip("/") or "hub"
        seconds = settings.search.page_seconds
        return MongoStore(settings.store, clock=clock, prefix=f"{region}_", snapshot_seconds=seconds, vault=vault)
    raise HubError("configuration", f"store = {settings.store!r} is neither sqlite nor a mongodb:// address", "store")


def fhir_base(settings: Settings) -> str:
    """The FHIR base as others know it."""
    return (settings.http.base_url.rstrip("/") or f"http://{settings.bind}:{settings.http.port}") + "/fhir"


def own_bases(settings: Settings) -> tuple[str, ...]:
    """The addresses under which references to ourselves may come."""
    root = settings.http.base_url.rstrip("/") or f"http://{settings.bind}:{settings.http.port}"
    return tuple(f"{root}/{base}" for base in ("fhir", *DATABASES))


def _accept(resource: dict[str, Any]) -> list[dict[str, Any]]:
    return []


def build(settings: Settings, clock: Callable[[], int] = now, ids: Callable[[], str] = new_id) -> Doors:
    """Every service of one hub. HubError("configuration") says what keeps it from starting."""
    settings.data.mkdir(parents=True, exist_ok=True)
    standard = definitions.load()
    registry = Registry(standard)
    keyring = Keyring(settings.data / "secrets" / "keys.json")
    sealing = settings.privacy.at_rest
    keys = keyring.begin(settings.privacy.algorithms) if sealing else keyring.load()
    vault, blind = Vault(keys.content, seals=sealing), Blind(keys.index, hides=sealing)
    store = open_store(settings, clock, vault)
    blobs = FileBlobs(settings.data / "blobs")
    zone = ZoneInfo(settings.time_zone)
    databases = Databases(registry, clock, bases=own_bases(settings), zone=zone, blind=blind)
    terminology = Terminology(clock)
    for release in releases(settings.data / "terminology"):
        terminology.attach(release)
    parser = Parser(registry, settings.search, clock=clock, zone=zone, terminology=terminology, blind=blind)
    audit = Audit(store, databases, clock, ids, settings.audit_reads)
    stored = StoredTerminology(store, terminology)
    definitions_stored = StoredDefinitions(store)
    library = Library(standard, definitions_stored)
    for structure in regional.structures():
        library.add(structure)
    validator = Validator(standard, library=library, terminology=ServiceCodes(terminology))
    validation = Validation(validator, definitions_stored, stored, settings.grace, clock, zone)
    snapshot = Snapshot(settings.data / "mpi.index", secret(settings.data, "mpi-index"))
    linker = Linker(databases, blocks=MemoryBlocks if store.local else StoredBlocks)
    linker.open(store, snapshot)
    written = QuickValidator(standard) if settings.validation == "base" else _accept
    ingest = Ingest(store, databases, linker, audit, parser, written, clock, ids)
    codes = Codes(store, stored, ingest, clock, ids)
    carduse = CardUse(store, zone)
    card_codes = CardCodes(
        secret(settings.data, "healthcard-salt"),
        signer(settings.healthcard.signature, secret(settings.data, "healthcard-key")),
    )
    limits = Limits(settings.healthcard.offline_seconds)
    cards = HealthCards(store, databases, linker, audit, carduse, card_codes, clock, ids, limits)
    compartments = Compartments(standard, parser)
    decide = Decision(
        policy.load(settings.access.policy),
        lambda type: compartments.parameters("Patient", type),
        registry.types,
        OptOut(store),
    )
    full_text = FullTextSearch(store, settings.data / "fulltext.sqlite3") if store.local else None
    asked = Parser(
        registry, settings.search, clock=clock, zone=zone, terminology=terminology, full_text=full_text, blind=blind
    )
    query = QueryService(
        store, asked, compartments, decide, audit, clock, secret(settings.data, "page-links"), settings.search
    )
    transactions = Transactions(store, ingest, clock, ids, settings.http.max_transaction_entries)
    imaging = Imaging(store, Packs(settings.data / "images"), clock, ids, settings.region, carrying=databases.carrying)
    ingest.followers.append(imaging.follow)
    inbox = Inbox(store, blobs, ingest, codes, clock, ids)
    doors = Doors(
        settings=settings,
        data=settings.data,
        clock=clock,
        secret=lambda name: secret(settings.data, name),
        new_id=ids,
        definitions=standard,
        registry=registry,
        store=store,
        blobs=blobs,
        databases=databases,
        audit=audit,
        ingest=ingest,
        transactions=transactions,
        keys=KeyService(store, keyring, vault),
        messages=Messages(transactions, clock, ids, fhir_base(settings)),
        inbox=inbox,
        desk=Desk(store, inbox, ingest, codes, databases),
        transport=Transport(store, clock, ids),
        outbound=Outbound(store, clock, ids),
        query=query,
        full_text=full_text,
        exports=Exports(store, parser, compartments, decide, audit, clock, ids, settings.data / "exports"),
        imports=Imports(
            store,
            databases,
            ingest,
            audit,
            clock,
            ids,
            settings.data / "imports",
            settings.data / "import-reports",
            settings.http.max_body_bytes,
        ),
        deferred=Deferred(store, audit, clock, ids, settings.data / "async"),
        subscriptions=Subscriptions(
            store, databases, ingest, parser, Caller(settings.subscriptions.allowed_hosts), clock, fhir_base(settings)
        ),
        demographics=Demographics(store, databases, linker, parser, audit, clock, ids),
        identity=Identity(store, databases, linker, cards, clock),
        stewardship=Stewardship(store, databases, linker, clock),
        imaging=imaging,
        films=Films(store, databases, imaging, audit, clock, ids, secret=secret(settings.data, "film-links")),
        workitems=Workitems(store, clock, ids),
        cards=cards,
        carduse=carduse,
        family=CardFamily(store, databases, cards, audit, clock),
        terminology=terminology,
        codes=codes,
        validation=validation,
        checks=Checks(()),
    )
    installed = [point.load()(doors) for point in entry_points(group="hub.checkers")]
    doors.checks = Checks((*installed, FhirChecker(validation)))
    for point in entry_points(group="hub.issuers"):
        cards.federate(point.load()(doors))
    return doors


def listeners(doors: Doors) -> list[Listener]:
    """The listeners whose port is not 0, the API last so that all else is up when it answers."""
    made: list[Listener] = []
    for point in entry_points(group="hub.listeners"):
        if getattr(doors.settings, point.name).port:
            made.append(point.load()(doors))
    if doors.settings.http.port:
        made.append(HttpServer(doors))
    return made


class Running:
    """A hub with its listeners started; ``stop`` ends the listeners and closes the store."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors
        self.listeners = listeners(doors)
        if doors.settings.bind not in LOOPBACK:
            log.warning("listening on %s without authentication and TLS (insecure_bind)", doors.settings.bind)
        self.recovered = doors.inbox.recover(alone=doors.store.local)
        doors.inbox.watch(Forgetting(doors.store, doors.clock, doors.settings.retention).run)
        doors.keys.start()
        doors.subscriptions.start()
        started: list[Listener] = []
        try:
            for listener in self.listeners:
                listener.start()
                started.append(listener)
        except OSError as error:
            for listener in reversed(started):
                listener.stop()
            close(doors)
            where = f"{listener.name} on port {listener.address[1]}"
            raise HubError(
                "configuration", f"cannot listen: {where}: {error.strerror}; choose another port", where
            ) from error

    def address(self, name: str) -> tuple[str, int] | None:
        """Host and port a listener is bound to; None when it is off."""
        return next((listener.address for listener in self.listeners if listener.name == name), None)

    def stop(self) -> None:
        for listener in reversed(self.listeners):
            listener.stop()
        close(self.doors)


def close(doors: Doors) -> None:
    """Write what is queued and close the store."""
    doors.inbox.close()
    doors.keys.close()
    doors.subscriptions.close()
    doors.exports.close()
    doors.imports.close()
    doors.deferred.close()
    doors.imaging.close()
    if doors.full_text is not None:
        doors.full_text.close()
    doors.audit.close()
    doors.codes.flush()
    doors.identity.close()
    doors.terminology.close()
    doors.store.close()

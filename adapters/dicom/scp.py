"""The DIMSE listener: the hub as Service Class Provider, one thread an association (PS3.4, PS3.7, PS3.8)."""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache

import pydicom

from adapters.dicom import commitment, dataset, find, partners, procedure, retrieve, status, store, study, worklist
from adapters.dicom.ul import dimse, pdu, tls
from adapters.dicom.ul.association import (
    ARTIM_SECONDS,
    IMPLEMENTATION_UID,
    IMPLEMENTATION_VERSION,
    Association,
    Message,
)
from hub.services.context import Context
from hub.services.doors import Doors

VERIFICATION = "1.2.840.10008.1.1"
TRANSFER_SYNTAXES = frozenset(map(str, pydicom.uid.AllTransferSyntaxes))

UNCOMPRESSED = frozenset((dataset.IMPLICIT, dataset.EXPLICIT))
SERVED = frozenset(
    (
        VERIFICATION,
        find.PATIENT_ROOT,
        find.STUDY_ROOT,
        *retrieve.MODEL,
        commitment.SOP_CLASS,
        worklist.MODEL,
        procedure.SOP_CLASS,
    )
)
"""Abstract syntaxes beside the storage classes."""
RIGHT = {
    VERIFICATION: "",
    find.PATIENT_ROOT: "query",
    find.STUDY_ROOT: "query",
    **dict.fromkeys(retrieve.MODEL, "retrieve"),
    commitment.SOP_CLASS: "commitment",
    worklist.MODEL: "worklist",
    procedure.SOP_CLASS: "mpps",
}
"""Abstract syntax -> the right of the partner table that it takes; a storage class takes ``store``."""
STANDARD = "1.2.840.10008."
ANYBODY = partners.Partner("*", "", "", "", "", "", frozenset(partners.RIGHTS))

log = logging.getLogger("hub.dicom")

Serve = Callable[[Doors, Association, Message, Context], None]
SERVICES: Mapping[int, Serve] = {}


def create(doors: Doors) -> Scp:
    """Entry point of the group ``hub.listeners``."""
    study.register(doors)
    return Scp(doors)


def _user(identity: pdu.Identity | None) -> tuple[str, bytes]:
    """User name and passcode that a peer gives; nobody for a token, which this table cannot check."""
    if identity is None or identity.kind not in (pdu.USERNAME, pdu.PASSCODE):
        return "", b""
    return identity.primary.decode("utf-8", "replace"), identity.secondary


@lru_cache(maxsize=4096)
def is_storage(abstract: str) -> bool:
    """Whether an abstract syntax is a storage class: of the standard, newer than our dictionary of it, or private."""
    uid = pydicom.uid.UID(abstract, pydicom.config.IGNORE)
    if uid.name != abstract:
        return uid.type == "SOP Class" and "Storage" in uid.name and not uid.name.startswith(("Storage", "Media"))
    return abstract.startswith("1.2.840.10008.5.1.4.1.1.") or not abstract.startswith("1.2.840.10008.")


class Scp:
    """A ``hub.listener.Listener`` for DIMSE."""

    name = "dicom"

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._settings = doors.settings.dicom
        self._listening: socket.socket | None = None
        self._associations: dict[threading.Thread, Association | None] = {}
        self._peers: Counter[str] = Counter()
        self._partners = partners.use(self._settings.partners)
        self._tls = tls.server(self._settings.tls_certificate, self._settings.tls_key, self._settings.tls_client_ca)
        self._lock = threading.Lock()
        self._stopping = False
        self.address = (doors.settings.bind, self._settings.port)

    def start(self) -> None:
        """Bind and serve. OSError when the port is taken."""
        self._listening = listening = socket.create_server(self.address, backlog=128)
        self.address = listening.getsockname()[:2]
        threading.Thread(target=self._accept, args=(listening,), name="dicom-accept", daemon=True).start()

    def stop(self) -> None:
        """Take no more associations, let those under way finish for a while, then end them."""
        self._stopping = True
        if self._listening is not None:
            with contextlib.suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
        deadline = time.monotonic() + self._doors.settings.shutdown_seconds
        for thread, association in list(self._associations.items()):
            if association is not None and not association.busy:
                association.kill()
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive() and association is not None:
                association.kill()

    def _accept(self, listening: socket.socket) -> None:
        while not self._stopping:
            try:
                connection, (host, *_) = listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._run, args=(connection, host), name="dicom-association", daemon=True)
            with self._lock:
                full = len(self._associations) >= self._settings.max_associations
                full = full or self._peers[host] >= self._settings.max_associations_per_peer
                if not full:
                    self._associations[thread] = None
                    self._peers[host] += 1
            if full:
                with contextlib.suppress(OSError):
                    connection.setblocking(False)
                    connection.send(pdu.encode_reject(2, 3, 2))  # transient: local limit exceeded
                connection.close()
            else:
                thread.start()

    def _run(self, connection: socket.socket, host: str) -> None:
        try:
            with contextlib.closing(self._secured(connection)) as secured:
                self._serve(secured, host)
        except OSError as error:
            log.info("association with %s lost: %s", host, error)
        finally:
            connection.close()
            with self._lock:
                self._associations.pop(threading.current_thread(), None)
                self._peers[host] -= 1
                if not self._peers[host]:
                    del self._peers[host]

    def _secured(self, connection: socket.socket) -> socket.socket:
        """The connection, after the TLS handshake where TLS is set up (PS3.15 B.9 to B.12)."""
        if self._tls is None:
            return connection
        connection.settimeout(ARTIM_SECONDS)
        return self._tls.wrap_socket(connection, server_side=True)

    def _serve(self, connection: socket.socket, host: str) -> None:
        association = Association.accept(
            connection,
            lambda asked: self._negotiate(asked, host),
            max_length=self._settings.max_pdu_bytes,
            idle_seconds=self._settings.idle_seconds,
        )
        if association is None:
            return
        with self._lock:
            self._associations[threading.current_thread()] = association
        context = Context(door="dicom", actor=association.calling, peer=association.peer)
        while (message := association.receive()) is not None:
            association.busy = True
            self._dispatch(association, message, context)
            association.busy = False
        association.close()
        self._doors.imaging.association_ended()

    def _negotiate(self, asked: pdu.Associate, host: str) -> pdu.Associate | tuple[int, int, int]:
        """A-ASSOCIATE-AC, or result, source and reason of the rejection (PS3.8 9.3.4)."""
        if not asked.protocol & 1:
            return 1, 2, 2
        if asked.application_context != pdu.APPLICATION_CONTEXT:
            return 1, 1, 2
        partner = self._partner(asked.calling, host)
        called = (partner and partner.called) or self._settings.ae_title
        if not fnmatch.fnmatchcase(asked.called, called):
            return 1, 1, 7
        if not asked.calling or partner is None:
            return 1, 1, 3
        user, passcode = _user(asked.identity)
        if not partner.knows(user, passcode):
            log.warning("%s at %s is not the user that the partner table asks for", asked.calling, host)
            return 1, 1, 1
        contexts = tuple(self._context(context, partner.rights) for context in asked.contexts)
        return pdu.Associate(
            asked.called,
            asked.calling,
            contexts,
            self._settings.max_pdu_bytes,
            IMPLEMENTATION_UID,
            IMPLEMENTATION_VERSION,
            {uid: roles for uid, roles in asked.roles.items() if self._is_storage(uid) or uid in SERVED},
            identity=asked.identity if asked.identity and asked.identity.response else None,
        )

    def _partner(self, calling: str, host: str) -> partners.Partner | None:
        """The partner's row; whoever there is no row for may do everything as long as no table was set up."""
        found = self._partners.find(calling, host)
        return found or (None if self._settings.partners else ANYBODY)

    def _is_storage(self, abstract: str) -> bool:
        return is_storage(abstract) and (self._settings.private_storage or abstract.startswith(STANDARD))

    def _context(self, asked: pdu.Context, rights: frozenset[str]) -> pdu.Context:
        """Our answer to a proposed presentation context: the first transfer syntax that the service can read."""
        if asked.abstract in SERVED:
            known = UNCOMPRESSED
        elif self._is_storage(asked.abstract):
            known = TRANSFER_SYNTAXES
        else:
            return pdu.Context(asked.id, "", asked.transfer[:1], 3)
        if RIGHT.get(asked.abstract, "store") not in rights | {""}:
            return pdu.Context(asked.id, "", asked.transfer[:1], 1)
        for syntax in asked.transfer:
            if syntax in known:
                return pdu.Context(asked.id, "", (syntax,))
        return pdu.Context(asked.id, "", asked.transfer[:1], 4)

    def _dispatch(self, association: Association, message: Message, context: Context) -> None:
        """Serve one request; a failure of ours is a status, not the end of the association."""
        serve = SERVICES.get(message.field)
        if serve is None:
            if not message.field & dimse.RESPONSE and message.field != dimse.C_CANCEL:
                association.send(message.context, dimse.response(message.command, status.UNRECOGNIZED_OPERATION))
            return
        try:
            serve(self._doors, association, message, context)
        except OSError:
            raise
        except Exception as error:
            log.exception("request %04X of %s failed", message.field, association.calling)
            comment = f"the hub failed: {type(error).__name__}"
            association.send(message.context, dimse.response(message.command, status.PROCESSING_FAILURE, comment))


def echo(doors: Doors, association: Association, message: Message, context: Context) -> None:
    """C-ECHO (PS3.7 9.3.5)."""
    association.send(message.context, dimse.response(message.command, status.SUCCESS))


def query(doors: Doors, association: Association, message: Message, context: Context) -> None:
    """C-FIND, by the information model of the presentation context."""
    model = worklist if message.context.abstract == worklist.MODEL else find
    model.serve(doors, association, message, context)


SERVICES = {
    dimse.C_ECHO: echo,
    dimse.C_STORE: store.serve,
    dimse.C_FIND: query,
    dimse.C_GET: retrieve.get,
    dimse.C_MOVE: retrieve.move,
    dimse.N_ACTION: commitment.serve,
    dimse.N_CREATE: procedure.create,
    dimse.N_SET: procedure.update,
}

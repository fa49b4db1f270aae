"""The DIMSE listener: the hub as Service Class Provider, one thread an association (PS3.4, PS3.7, PS3.8)."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache

import pydicom

from adapters.dicom import commitment, dataset, find, procedure, retrieve, status, store, study, worklist
from adapters.dicom.ul import dimse, pdu
from adapters.dicom.ul.association import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION, Association, Message
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

log = logging.getLogger("hub.dicom")

Serve = Callable[[Doors, Association, Message, Context], None]
SERVICES: Mapping[int, Serve] = {}


def create(doors: Doors) -> Scp:
    """Entry point of the group ``hub.listeners``."""
    study.register(doors)
    return Scp(doors)


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
                connection, _ = listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._run, args=(connection,), name="dicom-association", daemon=True)
            with self._lock:
                full = len(self._associations) >= self._settings.max_associations
                if not full:
                    self._associations[thread] = None
            if full:
                with contextlib.suppress(OSError):
                    connection.setblocking(False)
                    connection.send(pdu.encode_reject(2, 3, 2))  # transient: local limit exceeded
                connection.close()
            else:
                thread.start()

    def _run(self, connection: socket.socket) -> None:
        try:
            self._serve(connection)
        except OSError as error:
            log.info("association lost: %s", error)
        finally:
            connection.close()
            with self._lock:
                self._associations.pop(threading.current_thread(), None)

    def _serve(self, connection: socket.socket) -> None:
        association = Association.accept(
            connection,
            self._negotiate,
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

    def _negotiate(self, asked: pdu.Associate) -> pdu.Associate | tuple[int, int, int]:
        """A-ASSOCIATE-AC, or result, source and reason of the rejection (PS3.8 9.3.4)."""
        if not asked.protocol & 1:
            return 1, 2, 2
        if asked.application_context != pdu.APPLICATION_CONTEXT:
            return 1, 1, 2
        if asked.called != self._settings.ae_title:
            return 1, 1, 7
        if not asked.calling:
            return 1, 1, 3
        contexts = tuple(self._context(context) for context in asked.contexts)
        return pdu.Associate(
            asked.called,
            asked.calling,
            contexts,
            self._settings.max_pdu_bytes,
            IMPLEMENTATION_UID,
            IMPLEMENTATION_VERSION,
            {uid: roles for uid, roles in asked.roles.items() if is_storage(uid) or uid in SERVED},
        )

    def _context(self, asked: pdu.Context) -> pdu.Context:
        """Our answer to a proposed presentation context: the first transfer syntax that the service can read."""
        if asked.abstract in SERVED:
            known = UNCOMPRESSED
        elif is_storage(asked.abstract):
            known = TRANSFER_SYNTAXES
        else:
            return pdu.Context(asked.id, "", asked.transfer[:1], 3)
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

"""C-GET and C-MOVE as SCP of the Patient Root and Study Root information models (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.dicom import coerce, dataset, find, status, transcode
from adapters.dicom.dataset import Attributes
from adapters.dicom.find import PATIENT_ROOT, STUDY_ROOT
from adapters.dicom.ul import dimse, pdu
from adapters.dicom.ul.association import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION, Association, Message
from hub.errors import HubError
from hub.services.context import Context
from hub.services.doors import Doors
from hub.services.imaging_index import Level, Row

PATIENT_MOVE, STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.1.2", "1.2.840.10008.5.1.4.1.2.2.2"
PATIENT_GET, STUDY_GET = "1.2.840.10008.5.1.4.1.2.1.3", "1.2.840.10008.5.1.4.1.2.2.3"
MODEL = {PATIENT_MOVE: PATIENT_ROOT, PATIENT_GET: PATIENT_ROOT, STUDY_MOVE: STUDY_ROOT, STUDY_GET: STUDY_ROOT}
UNIQUE_KEYS: dict[str, tuple[Level, str, str]] = {
    "PATIENT": ("study", "PatientID", "00100020"),
    "STUDY": ("study", "StudyInstanceUID", "0020000D"),
    "SERIES": ("series", "SeriesInstanceUID", "0020000E"),
    "IMAGE": ("instance", "SOPInstanceUID", "00080018"),
}
"""Query/Retrieve Level -> its unique key (PS3.4 C.6.1.1, C.6.2.1)."""
MAX_INSTANCES = 100_000
PROGRESS = 16
"""Sub-operations between two pending responses."""

log = logging.getLogger("hub.dicom")


@dataclass(slots=True)
class Tally:
    """Counters of the sub-operations (PS3.7 9.1.3.1.6 to 9.1.3.1.9)."""

    remaining: int
    completed: int = 0
    failed: int = 0
    warning: int = 0

    def numbers(self, final: bool) -> dimse.Command:
        counted: dimse.Command = {
            "NumberOfCompletedSuboperations": min(self.completed, 0xFFFF),
            "NumberOfFailedSuboperations": min(self.failed, 0xFFFF),
            "NumberOfWarningSuboperations": min(self.warning, 0xFFFF),
        }
        return counted if final else counted | {"NumberOfRemainingSuboperations": min(self.remaining, 0xFFFF)}

    def status(self) -> int:
        """The final status (PS3.4 C.4.2.1.5, C.4.3.1.4)."""
        if not self.failed and not self.warning:
            return status.SUCCESS
        return status.SUBOPERATIONS_FAILED if self.completed or self.warning else 0xA702


def get(doors: Doors, association: Association, message: Message, context: Context) -> None:
    """C-GET: the instances come over the association of the request, where the requestor takes the SCP role."""
    rows = _rows_or_refusal(doors, association, message, context)
    if rows is not None:
        _perform(doors, association, message, association, rows)


def move(doors: Doors, association: Association, message: Message, context: Context) -> None:
    """C-MOVE: the instances go to an application entity that the setting ``dicom.destinations`` names, no other."""
    title = str(message.command.get("MoveDestination", ""))
    address = doors.settings.dicom.destinations.get(title)
    if address is None:
        final = dimse.response(message.command, status.DESTINATION_UNKNOWN, f"{title!r} is not in dicom.destinations")
        return association.send(message.context, final)
    rows = _rows_or_refusal(doors, association, message, context)
    if rows is None:
        return None
    host, _, port = address.rpartition(":")
    asked = pdu.Associate(
        title,
        doors.settings.dicom.ae_title,
        proposed(rows),
        doors.settings.dicom.max_pdu_bytes,
        IMPLEMENTATION_UID,
        IMPLEMENTATION_VERSION,
    )
    try:
        target = Association.request((host, int(port)), asked, idle_seconds=doors.settings.dicom.idle_seconds)
    except (OSError, HubError, ValueError) as error:
        log.warning("C-MOVE to %s: %s", title, error)
        final = dimse.response(message.command, 0xA702, f"{title} cannot be reached")
        final |= Tally(0, failed=len(rows)).numbers(True)
        return association.send(message.context, final)
    try:
        return _perform(doors, association, message, target, rows, move=True)
    finally:
        target.release()


def proposed(rows: Sequence[Row]) -> tuple[pdu.Context, ...]:
    """Presentation contexts for what is to be sent: each SOP class as stored, and uncompressed."""
    kinds = dict.fromkeys((row["sopClass"], row["transferSyntax"]) for row in rows)
    kinds |= dict.fromkeys((row["sopClass"], syntax) for row in rows for syntax in (dataset.EXPLICIT, dataset.IMPLICIT))
    most = list(kinds)[: pdu.MAX_CONTEXTS]
    return tuple(pdu.Context(2 * n + 1, abstract, (syntax,)) for n, (abstract, syntax) in enumerate(most))


def _rows_or_refusal(doors: Doors, association: Association, message: Message, context: Context) -> list[Row] | None:
    try:
        return _rows(doors, message, context)
    except HubError as error:
        association.send(
            message.context, dimse.response(message.command, status.of(error, "retrieve"), status.comment(error))
        )
        return None


def _rows(doors: Doors, message: Message, context: Context) -> list[Row]:
    """The instances that the unique keys of the identifier name (PS3.4 C.4.2.2.1)."""
    asked = find.identifier(message)
    name = dataset.text(asked, "00080052").strip()
    if name not in find.LEVEL_OF[MODEL[message.context.abstract]]:
        raise HubError("parameter-value", f"Query/Retrieve Level {name!r} is not one of this model", "(0008,0052)")
    matching = []
    for level, (_, keyword, tag) in UNIQUE_KEYS.items():
        value = "\\".join(str(value) for value in asked.get(tag, {}).get("Value", ()) if value is not None)
        if value:
            matching.append((keyword, value))
        elif level == name:
            raise HubError("required", f"the unique key {keyword} has no value", f"({tag[:4]},{tag[4:]})")
        if level == name:
            break
    if name == "PATIENT":
        matching += _issuer(doors, asked, matching, context)
    return doors.imaging.find(context, "instance", matching, limit=MAX_INSTANCES)


def _issuer(
    doors: Doors, asked: Attributes, matching: Sequence[tuple[str, str]], context: Context
) -> list[tuple[str, str]]:
    """The issuer as a further key: a Patient ID that two issuers have given names nobody."""
    issuer = dataset.text(asked, "00100021").strip()
    if issuer:
        return [("IssuerOfPatientID", issuer)]
    studies = doors.imaging.find(context, "study", matching)
    if len({row["issuer"] for row in studies}) > 1:
        raise HubError("multiple-matches", "several issuers have given this Patient ID: name one", "(0010,0021)")
    return []


def _perform(
    doors: Doors,
    association: Association,
    message: Message,
    target: Association,
    rows: Sequence[Row],
    *,
    move: bool = False,
) -> None:
    """The C-STORE sub-operations, and the responses that tell how they go."""
    command, id = message.command, int(message.command.get("MessageID", 0))
    tally = Tally(len(rows))
    failed: list[str] = []
    origin: dimse.Command = {}
    if move:
        origin = {"MoveOriginatorApplicationEntityTitle": association.calling, "MoveOriginatorMessageID": id}
    for number, row in enumerate(rows):
        if number and number % PROGRESS == 0:
            association.send(message.context, dimse.response(command, status.PENDING) | tally.numbers(False))
        if association.cancelled(id):
            if not association.ending:
                association.send(message.context, dimse.response(command, status.CANCEL) | tally.numbers(False))
            return
        code = _store(doors, target, row, number + 1, origin)
        tally.remaining -= 1
        if code == status.SUCCESS:
            tally.completed += 1
        elif code >> 12 == 0xB:
            tally.warning += 1
        else:
            tally.failed += 1
            failed.append(row["uid"])
    body = None
    if failed:
        body = b"\x08\x00\x58\x00" + _failed_list(failed, message.context.transfer[0] == dataset.IMPLICIT)
    association.send(message.context, dimse.response(command, tally.status()) | tally.numbers(True), body)


def _failed_list(uids: Sequence[str], implicit: bool) -> bytes:
    """VR, length and value of Failed SOP Instance UID List (0008,0058)."""
    value = "\\".join(uids)[:0xFFFE].encode("ascii")
    value += b"\0" * (len(value) % 2)
    return (len(value).to_bytes(4, "little") if implicit else b"UI" + len(value).to_bytes(2, "little")) + value


def _store(doors: Doors, target: Association, row: Row, id: int, origin: dimse.Command) -> int:
    """One C-STORE sub-operation; its status, 0122 when the peer takes no syntax that the instance can be had in."""
    offered = [context for context in target.contexts.values() if context.abstract == row["sopClass"]]
    exact = next((context for context in offered if context.transfer[0] == row["transferSyntax"]), None)
    try:
        file = doors.imaging.file(row)
        context, data = exact, memoryview(file)[row["header"] :]
        if context is None:
            context, data = transcode.to_any(row, file, offered)
        data = coerce.outgoing(doors.imaging, row, data, context.transfer[0])
    except HubError as error:
        log.info("instance %s cannot be sent to %s: %s", row["uid"], target.called, error)
        return 0x0122
    command: dimse.Command = {
        "CommandField": dimse.C_STORE,
        "MessageID": id & 0xFFFF,
        "AffectedSOPClassUID": row["sopClass"],
        "AffectedSOPInstanceUID": row["uid"],
        "Priority": 0,
    }
    target.send(context, command | origin, data)
    answer = target.receive()
    while answer is not None and answer.field != dimse.C_STORE | dimse.RESPONSE:
        answer = target.receive()
    return 0xC000 if answer is None else int(answer.command.get("Status", 0xC000))

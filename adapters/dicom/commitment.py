"""Storage Commitment Push Model as SCP (PS3.4 J): the hub takes responsibility for instances that are on disk."""

from __future__ import annotations

import logging
from typing import Any

from adapters.dicom import dataset, encode, find, status
from adapters.dicom.dataset import Attributes
from adapters.dicom.ul import dimse, pdu
from adapters.dicom.ul.association import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION, Association, Message
from hub.errors import HubError
from hub.services.context import Context
from hub.services.doors import Doors

SOP_CLASS, SOP_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
REQUEST, SUCCESSFUL, FAILURES = 1, 1, 2
NO_SUCH_INSTANCE, CLASS_CONFLICT = 0x0112, 0x0119
MAX_REFERENCES = 100_000

log = logging.getLogger("hub.dicom")


def serve(doors: Doors, association: Association, message: Message, context: Context) -> None:
    """N-ACTION: accept the request, then report the result.

    The report goes over an association of its own to a peer whose address the setting ``dicom.destinations`` knows,
    else over this one.
    """
    command = message.command
    try:
        if command.get("RequestedSOPInstanceUID") != SOP_INSTANCE or command.get("ActionTypeID") != REQUEST:
            raise HubError("method-unknown", "not a storage commitment request", "(0000,1008)")
        asked = find.identifier(message)
        transaction, references = asked.get("00081195"), asked.get("00081199", {}).get("Value") or []
        if not transaction or not references:
            raise HubError("required", "Transaction UID or Referenced SOP Sequence is missing", "(0008,1195)")
        if len(references) > MAX_REFERENCES:
            raise HubError("too-costly", "too many references in one request", "(0008,1199)")
    except HubError as error:
        refusal = dimse.response(command, status.of(error, "normalized"), status.comment(error))
        return association.send(message.context, refusal)
    association.send(message.context, dimse.response(command, status.SUCCESS))
    failed = result(doors, references)
    report: Attributes = {"00081195": transaction, "00080054": {"vr": "AE", "Value": [doors.settings.dicom.ae_title]}}
    good = [reference for reference, reason in zip(references, failed, strict=True) if not reason]
    bad = [
        reference | {"00081197": {"vr": "US", "Value": [reason]}}
        for reference, reason in zip(references, failed, strict=True)
        if reason
    ]
    for tag, items in (("00081199", good), ("00081198", bad)):
        if items:
            report[tag] = {"vr": "SQ", "Value": items}
    return _report(doors, association, message, report, FAILURES if bad else SUCCESSFUL)


def result(doors: Doors, references: list[dict[str, Any]]) -> list[int]:
    """Failure Reason (0008,1197) of each reference, 0 for what is committed: row and bytes are both there."""
    reasons = []
    for reference in references:
        sop_class, uid = dataset.text(reference, "00081150"), dataset.text(reference, "00081155")
        row = doors.imaging.held(uid)
        if row is None:
            reasons.append(NO_SUCH_INSTANCE)
        else:
            reasons.append(0 if row["sopClass"] == sop_class else CLASS_CONFLICT)
    return reasons


def _report(doors: Doors, association: Association, message: Message, report: Attributes, event: int) -> None:
    """N-EVENT-REPORT (PS3.4 J.3.3)."""
    command: dimse.Command = {
        "CommandField": dimse.N_EVENT_REPORT,
        "MessageID": 1,
        "AffectedSOPClassUID": SOP_CLASS,
        "AffectedSOPInstanceUID": SOP_INSTANCE,
        "EventTypeID": event,
    }
    address = doors.settings.dicom.destinations.get(association.calling)
    if address is None:
        body = encode.encode(report, implicit=message.context.transfer[0] == dataset.IMPLICIT)
        return association.send(message.context, command, body)
    host, _, port = address.rpartition(":")
    asked = pdu.Associate(
        association.calling,
        doors.settings.dicom.ae_title,
        (pdu.Context(1, SOP_CLASS, (dataset.IMPLICIT,)),),
        doors.settings.dicom.max_pdu_bytes,
        IMPLEMENTATION_UID,
        IMPLEMENTATION_VERSION,
        {SOP_CLASS: (0, 1)},
    )
    try:
        back = Association.request((host, int(port)), asked, idle_seconds=doors.settings.dicom.idle_seconds)
    except (OSError, HubError, ValueError) as error:
        log.warning("storage commitment result for %s cannot be delivered: %s", association.calling, error)
        return None
    if 1 in back.contexts:
        back.send(back.contexts[1], command, encode.encode(report, implicit=True))
        back.receive()
    return back.release()

"""C-STORE as SCP (PS3.4 B, PS3.7 9.3.1): the status 0000 leaves only when the instance is on disk."""

from __future__ import annotations

import logging

from adapters.dicom import instance, status
from adapters.dicom.ul import dimse
from adapters.dicom.ul.association import Association, Message
from hub.errors import HubError
from hub.services.context import Context
from hub.services.doors import Doors

log = logging.getLogger("hub.dicom")


def serve(doors: Doors, association: Association, message: Message, context: Context) -> None:
    """Receive one instance and answer."""
    code, comment = receive(doors, message, context)
    association.send(message.context, dimse.response(message.command, code, comment))


def receive(doors: Doors, message: Message, context: Context) -> tuple[int, str]:
    """Status and Error Comment for a C-STORE-RQ."""
    command = message.command
    sop_class, sop_instance = (
        str(command.get("AffectedSOPClassUID", "")),
        str(command.get("AffectedSOPInstanceUID", "")),
    )
    try:
        if sop_class != message.context.abstract:
            raise HubError("type-unknown", "SOP class is not that of the presentation context", "(0000,0002)")
        read, remark = instance.read(message.data, sop_class, sop_instance, message.context.transfer[0], context.actor)
        doors.imaging.receive(read, context)
    except HubError as error:
        log.info("C-STORE %s from %s refused: %s", sop_instance, context.actor, error)
        return status.of(error, "store"), status.comment(error)
    return (status.WARNING_SOP_CLASS, remark) if remark else (status.SUCCESS, "")

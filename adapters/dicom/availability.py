"""Instance Availability Notification as SCU (PS3.4 R): whoever is to know is told that a study can be retrieved.

The setting ``dicom.availability`` names the AE titles; their addresses are in ``dicom.destinations``. It is told once a
study is described, and again when that changes; a peer that cannot be reached is not told later.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from adapters.dicom import dataset, encode
from adapters.dicom.instance import derived_uid
from adapters.dicom.ul import dimse, pdu
from adapters.dicom.ul.association import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION, Association
from hub.errors import HubError
from hub.services.doors import Doors
from hub.services.imaging_index import Row

SOP_CLASS = "1.2.840.10008.5.1.4.33"

log = logging.getLogger("hub.dicom")


def notify(doors: Doors, study: Row, instances: Sequence[Row]) -> None:
    """Tell all who are to know, without waiting for them."""
    for title in doors.settings.dicom.availability:
        body = encode.encode(notification(study, instances, doors.settings.dicom.ae_title), implicit=True)
        threading.Thread(target=_tell, args=(doors, title, body), name="dicom-availability", daemon=True).start()


def notification(study: Row, instances: Sequence[Row], ae_title: str) -> dataset.Attributes:
    """The attributes of a notification (PS3.4 table R.3.2-1)."""
    by_series: dict[str, list[Row]] = defaultdict(list)
    for row in instances:
        by_series[row["seriesUID"]].append(row)
    series = [
        {"0020000E": _of("UI", uid), "00081199": {"vr": "SQ", "Value": [_reference(row, ae_title) for row in rows]}}
        for uid, rows in by_series.items()
    ]
    return {
        "00081111": {"vr": "SQ"},
        "00081115": {"vr": "SQ", "Value": series},
        "0020000D": _of("UI", study["uid"]),
    }


def _reference(row: Row, ae_title: str) -> dataset.Attributes:
    return {
        "00080054": _of("AE", ae_title),
        "00080056": _of("CS", "ONLINE"),
        "00081150": _of("UI", row["sopClass"]),
        "00081155": _of("UI", row["uid"]),
    }


def _of(vr: str, value: str) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}


def _tell(doors: Doors, title: str, body: bytes) -> None:
    settings = doors.settings.dicom
    host, _, port = settings.destinations.get(title, "").rpartition(":")
    context = pdu.Context(1, SOP_CLASS, (dataset.IMPLICIT,))
    asked = pdu.Associate(
        title, settings.ae_title, (context,), settings.max_pdu_bytes, IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
    )
    command: dimse.Command = {
        "CommandField": dimse.N_CREATE,
        "MessageID": 1,
        "AffectedSOPClassUID": SOP_CLASS,
        "AffectedSOPInstanceUID": derived_uid("availability", doors.new_id()),
    }
    try:
        association = Association.request((host, int(port or 0)), asked, idle_seconds=settings.idle_seconds)
        if 1 in association.contexts:
            association.send(association.contexts[1], command, body)
            answer = association.receive()
            if answer is None or answer.command.get("Status") != 0:
                log.warning("%s does not take the notification: %s", title, answer and answer.command.get("Status"))
        association.release()
    except (OSError, HubError) as error:
        log.warning("%s cannot be told that instances are available: %s", title, error)

"""Modality Performed Procedure Step as SCP (PS3.4 F.7): what a modality does, as Procedure and state of the order."""

from __future__ import annotations

from typing import Any, Protocol
from zoneinfo import ZoneInfo

from adapters.dicom import conversions, find, status, study
from adapters.dicom import instance as instances
from adapters.dicom.conversions import Circumstances
from adapters.dicom.dataset import Attributes, text
from adapters.dicom.partners import facility
from adapters.dicom.ul import dimse
from adapters.dicom.ul.association import Association, Message
from hub.errors import HubError
from hub.fhir import json
from hub.fhir.ids import resource_id
from hub.services.context import Context
from hub.services.doors import Doors

SOP_CLASS = "1.2.840.10008.3.1.2.3.3"
STATE, SCHEDULED, SERIES = "00400252", "00400270", "00400340"
IN_PROGRESS = "IN PROGRESS"
PROCEDURE = {IN_PROGRESS: "in-progress", "COMPLETED": "completed", "DISCONTINUED": "stopped"}
"""Performed Procedure Step Status -> Procedure.status."""
FINAL = frozenset(("COMPLETED", "DISCONTINUED"))
MAY_NO_LONGER_BE_UPDATED = 0xA710
"""Error ID (0000,0903) of an N-SET after the final state (PS3.4 F.7.2.2.2)."""
MOMENTS = {"start": ("00400244", "00400245"), "end": ("00400250", "00400251")}

Resource = dict[str, Any]


def create(doors: Doors, association: Association, message: Message, context: Context) -> None:
    """N-CREATE: a step begins."""
    uid = str(message.command.get("AffectedSOPInstanceUID", "")) or instances.derived_uid(context.actor, doors.new_id())
    answer = message.command | {"AffectedSOPInstanceUID": uid}

    def write(tx: Any, attributes: Attributes) -> Attributes:
        if doors.imaging.step(tx, uid) is not None:
            raise HubError("duplicate", "there is a performed procedure step with this UID", "(0000,1000)")
        if text(attributes, STATE) != IN_PROGRESS:
            raise HubError("value", "a step is created IN PROGRESS", "(0040,0252)")
        if not attributes.get(SCHEDULED, {}).get("Value"):
            raise HubError("required", "Scheduled Step Attributes Sequence has no item", "(0040,0270)")
        return attributes

    _serve(doors, association, message, context, uid, write, answer)


def update(doors: Doors, association: Association, message: Message, context: Context) -> None:
    """N-SET: a step goes on, or ends."""
    uid = str(message.command.get("RequestedSOPInstanceUID", ""))

    def write(tx: Any, attributes: Attributes) -> Attributes:
        known = doors.imaging.step(tx, uid)
        if known is None:
            raise HubError("not-found", "there is no performed procedure step with this UID", "(0000,1001)")
        if text(known["attributes"], STATE) in FINAL:
            raise HubError("conflict", "the performed procedure step may no longer be updated", "(0040,0252)")
        if text(attributes, STATE) not in ("", *PROCEDURE):
            raise HubError("value", f"{text(attributes, STATE)!r} is no state of a step", "(0040,0252)")
        merged: Attributes = known["attributes"] | attributes
        if text(merged, STATE) == "COMPLETED" and not merged.get(SERIES, {}).get("Value"):
            raise HubError("required", "a completed step has a Performed Series Sequence", "(0040,0340)")
        return merged

    _serve(doors, association, message, context, uid, write, message.command)


class _Write(Protocol):
    def __call__(self, tx: Any, attributes: Attributes) -> Attributes: ...


def _serve(
    doors: Doors,
    association: Association,
    message: Message,
    context: Context,
    uid: str,
    write: _Write,
    answer: dimse.Command,
) -> None:
    """Check, store step and Procedure as one unit, answer."""
    try:
        attributes = find.identifier(message)
        before = doors.imaging.step(doors.store, uid)
        whole = (before["attributes"] if before else {}) | attributes
        resources = procedure(doors, uid, whole, context)

        def then(tx: Any, _: Any) -> None:
            merged = write(tx, attributes)
            studies = {text(item, "0020000D") for item in merged[SCHEDULED]["Value"]} - {""}
            doors.imaging.put_step(tx, uid, sorted(studies), merged, context)

        write(doors.store, attributes)
        doors.ingest.submit({"entry": [{"resource": resource} for resource in resources]}, context, then=then)
    except HubError as error:
        refusal = dimse.response(answer, status.of(error, "normalized"), status.comment(error))
        if error.name == "conflict":
            refusal["ErrorID"] = MAY_NO_LONGER_BE_UPDATED
        return association.send(message.context, refusal)
    return association.send(message.context, dimse.response(answer, status.SUCCESS))


def procedure(doors: Doors, uid: str, attributes: Attributes, context: Context) -> list[Resource]:
    """The Procedure of a step, and its order when that is finished; nothing for a patient the hub cannot name."""
    scheduled = (attributes.get(SCHEDULED, {}).get("Value") or [{}])[0]
    number = text(attributes, "00100020").strip()
    if not number:
        return []
    issuer = instances.issuer(attributes, context.actor)
    subject = f"Patient/{resource_id('Patient', issuer, number)}"
    circumstances = Circumstances(ZoneInfo(doors.settings.time_zone), facility(context.actor))
    period = {
        end: moment
        for end, (date, time) in MOMENTS.items()
        if (moment := conversions.moment(attributes, date, time, circumstances))
    }
    codes = conversions.code_sequence(attributes, "00081032", circumstances)
    title = text(attributes, "00400254")
    built: Resource = {
        "resourceType": "Procedure",
        "id": study.procedure_id(uid),
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
        "status": PROCEDURE.get(text(attributes, STATE), "unknown"),
        "subject": {"reference": subject},
        "performedPeriod": period,
        "code": codes[0] if codes else {"text": title} if title else {},
        "performer": [{"actor": {"display": text(attributes, "00400241") or context.actor}}],
    }
    resources = [] if doors.imaging.knows(subject) else [study.patient({"attributes": attributes, "issuer": issuer})]
    accession = text(scheduled, "00080050").strip()
    order = doors.imaging.order(accession, subject) if accession else None
    if order:
        built["basedOn"] = [{"reference": order}]
        if built["status"] == "completed":
            request = json.decode(doors.query.read(context, *order.split("/", 1)).text)
            resources.append(request | {"status": "completed"})
    resources.append({element: value for element, value in built.items() if value})
    return resources

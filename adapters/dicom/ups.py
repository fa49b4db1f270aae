"""Unified Procedure Step (PS3.4 CC, PS3.18 11): workitems that are created, claimed, worked on and finished.

Each workitem is a FHIR Task too, written in the same unit; so FHIR clients see and follow the same work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from zoneinfo import ZoneInfo

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from adapters.dicom import conversions, study, worklist
from adapters.dicom import instance as instances
from adapters.dicom.conversions import Circumstances
from adapters.dicom.dataset import Attributes, text
from adapters.dicom.partners import facility
from hub.errors import HubError
from hub.fhir.ids import resource_id
from hub.services.context import Context
from hub.services.doors import Doors
from hub.services.imaging_index import Row

STATE, TRANSACTION, PERFORMED, REFERENCED = "00741000", "00081195", "00741216", "0040A370"
SCHEDULED, IN_PROGRESS, COMPLETED, CANCELED = "SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"
FINAL = (COMPLETED, CANCELED)
CLAIM, FINISH, AGAIN = "claim", "finish", "again"
TRANSITIONS = {
    (SCHEDULED, IN_PROGRESS): CLAIM,
    (IN_PROGRESS, COMPLETED): FINISH,
    (IN_PROGRESS, CANCELED): FINISH,
    (COMPLETED, COMPLETED): AGAIN,
    (CANCELED, CANCELED): AGAIN,
}
"""State and state asked for -> what happens; everything else is a conflict (PS3.4 table CC.1.1-2)."""
TASK = {SCHEDULED: "ready", IN_PROGRESS: "in-progress", COMPLETED: "completed", CANCELED: "cancelled"}
PRIORITY = {"HIGH": "stat", "MEDIUM": "routine", "LOW": "routine"}
REQUIRED = {"00404005": "Scheduled Procedure Step Start DateTime", "00741200": "Scheduled Procedure Step Priority"}
"""Type 1 attributes of a new workitem (PS3.4 table CC.2.5-3), beside its state."""
NOT_UPDATED = (STATE, TRANSACTION, "00080016", "00080018")
WORKLIST, FILTERED = "1.2.840.10008.5.1.4.34.5", "1.2.840.10008.5.1.4.34.5.1"
"""UIDs that stand for all workitems in a subscription (PS3.4 CC.2.3.1)."""
SOP_CLASS = "1.2.840.10008.5.1.4.34.6.1"

Resource = dict[str, Any]
Change = Callable[[Row], Row]


class Ups:
    """The transactions of the Worklist service."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._workitems = doors.workitems

    def create(self, context: Context, uid: str, attributes: Attributes) -> str:
        """Create; the SOP Instance UID, made when none is given. HubError("duplicate", "value", "required")."""
        uid = uid or text(attributes, "00080018") or instances.derived_uid(context.actor, self._doors.new_id())
        if text(attributes, STATE) != SCHEDULED or text(attributes, TRANSACTION):
            raise HubError("value", "a workitem is created SCHEDULED and without Transaction UID", "(0074,1000)")
        for tag, name in REQUIRED.items():
            if not text(attributes, tag):
                raise HubError("required", f"{name} has no value", f"({tag[:4]},{tag[4:]})")
        named = {"00080016": {"vr": "UI", "Value": [SOP_CLASS]}, "00080018": {"vr": "UI", "Value": [uid]}}
        row: Row = {"uid": uid, "attributes": attributes | named, "transaction": "", "subscribers": {}}

        def new(known: Row | None) -> Row:
            if known is not None:
                raise HubError("duplicate", "there is a workitem with this UID", "(0008,0018)")
            return row

        self._write(context, uid, new)
        return uid

    def read(self, uid: str) -> Attributes:
        """A workitem; its Transaction UID is nobody else's business. HubError("not-found")."""
        return dict(self._known(self._workitems.workitem(self._doors.store, uid))["attributes"])

    def update(self, context: Context, uid: str, attributes: Attributes, transaction: str) -> None:
        """Set attributes. HubError: "conflict" in a final state, "parameter-value" for a wrong Transaction UID."""
        refused = [tag for tag in NOT_UPDATED if tag in attributes]
        if refused:
            raise HubError("value", f"an update does not change ({refused[0][:4]},{refused[0][4:]})")

        def changed(known: Row | None) -> Row:
            row = self._known(known)
            state = text(row["attributes"], STATE)
            if state in FINAL:
                raise HubError("conflict", f"the workitem is {state} and may no longer be updated")
            if state == IN_PROGRESS and transaction != row["transaction"]:
                raise HubError("parameter-value", "the Transaction UID is not that of the claim", "transaction-uid")
            return row | {"attributes": row["attributes"] | attributes}

        self._write(context, uid, changed)

    def change_state(self, context: Context, uid: str, state: str, transaction: str) -> bool:
        """Claim or finish; False when the workitem was in this final state already. HubError as ``update``."""
        again = False

        def changed(known: Row | None) -> Row:
            nonlocal again
            row = self._known(known)
            held = text(row["attributes"], STATE)
            what = TRANSITIONS.get((held, state))
            again = what == AGAIN
            if what is None:
                raise HubError("conflict", f"a workitem that is {held} does not become {state}")
            if not transaction or (what == FINISH and transaction != row["transaction"]):
                raise HubError("parameter-value", "the Transaction UID is not that of the claim", "(0008,1195)")
            if state == COMPLETED and not row["attributes"].get(PERFORMED, {}).get("Value"):
                raise HubError("conflict", "a completed workitem says what was performed", "(0074,1216)")
            if again:
                return row
            attributes = row["attributes"] | {STATE: {"vr": "CS", "Value": [state]}}
            return row | {"attributes": attributes, "transaction": transaction if what == CLAIM else row["transaction"]}

        self._write(context, uid, changed)
        return not again

    def cancel(self, context: Context, uid: str, reason: Attributes) -> None:
        """Cancel a scheduled workitem, or ask the one who claimed it to. HubError("conflict") when it is completed."""

        def changed(known: Row | None) -> Row:
            row = self._known(known)
            state = text(row["attributes"], STATE)
            if state == COMPLETED:
                raise HubError("conflict", "the workitem is completed")
            if state != SCHEDULED:
                return row
            why = {"00741238": reason["00741238"]} if "00741238" in reason else {}
            return row | {"attributes": row["attributes"] | why | {STATE: {"vr": "CS", "Value": [CANCELED]}}}

        event = {"00001002": {"vr": "US", "Value": [2]}} | reason
        self._write(context, uid, changed, event)

    def search(self, asked: Attributes, limit: int, offset: int) -> list[Attributes]:
        """The workitems that match every key (PS3.4 CC.2.8)."""
        found = (row["attributes"] for row in self._workitems.workitems())
        return [one for one in found if worklist.fits(asked, one)][offset : offset + limit]

    def subscribe(self, context: Context, uid: str, subscriber: str, lock: bool | None) -> None:
        """Subscribe an AE to a workitem, or with one of the well-known UIDs to all; None ends it."""
        rows = self._workitems.workitems() if uid in (WORKLIST, FILTERED) else [{"uid": uid}]
        for one in rows:

            def changed(known: Row | None) -> Row:
                row = self._known(known)
                kept = {name: held for name, held in row["subscribers"].items() if name != subscriber}
                return row | {"subscribers": kept if lock is None else kept | {subscriber: lock}}

            self._write(context, one["uid"], changed)

    def events(self, subscriber: str) -> list[dict[str, object]]:
        """The event reports for a subscriber since it last asked."""
        return self._workitems.events(subscriber)

    def _known(self, row: Row | None) -> Row:
        if row is None:
            raise HubError("not-found", "there is no workitem with this UID")
        return row

    def _write(
        self, context: Context, uid: str, change: Callable[[Row | None], Row], event: Attributes | None = None
    ) -> None:
        """Check, store workitem and Task as one unit, report the event to those who subscribed."""
        after = change(self._workitems.workitem(self._doors.store, uid))

        def then(tx: Any, _: object) -> None:
            tx.guard(uid)
            known = self._workitems.workitem(tx, uid)
            row = change(known)
            self._workitems.put(tx, row, context)
            state = row["attributes"][STATE]
            if event is not None or known is None or known["attributes"].get(STATE) != state:
                report = {"00001000": {"vr": "UI", "Value": [uid]}, STATE: state} | (event or {})
                for subscriber in row["subscribers"]:
                    self._workitems.report(tx, subscriber, report)

        bundle = {"entry": [{"resource": resource} for resource in self._resources(after, context)]}
        self._doors.ingest.submit(bundle, context, then=then)

    def _resources(self, row: Row, context: Context) -> list[Resource]:
        """The Task of a workitem; nothing for a patient the hub cannot name."""
        attributes = row["attributes"]
        number = text(attributes, "00100020").strip()
        if not number:
            return []
        issuer = instances.issuer(attributes, context.actor)
        subject = f"Patient/{resource_id('Patient', issuer, number)}"
        circumstances = Circumstances(ZoneInfo(self._doors.settings.time_zone), facility(context.actor))
        resources: list[Resource] = []
        if not self._doors.imaging.knows(subject):
            resources.append(study.patient({"attributes": attributes, "issuer": issuer}))
        codes = conversions.code_sequence(attributes, "00404018", circumstances)
        title = text(attributes, "00741204")
        task: Resource = {
            "resourceType": "Task",
            "id": resource_id("Task", "urn:dicom:uid", f"urn:oid:{row['uid']}"),
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{row['uid']}"}],
            "status": TASK.get(text(attributes, STATE), "ready"),
            "intent": "order",
            "priority": PRIORITY.get(text(attributes, "00741200"), "routine"),
            "code": codes[0] if codes else {"text": title} if title else {},
            "description": title,
            "for": {"reference": subject},
        }
        accessions = (text(item or {}, "00080050") for item in attributes.get(REFERENCED, {}).get("Value") or [])
        orders = (self._doors.imaging.order(accession.strip(), subject) for accession in accessions if accession)
        task["basedOn"] = [{"reference": order} for order in orders if order]
        return [*resources, {element: value for element, value in task.items() if value}]


def keys(pairs: Iterable[tuple[str, str]]) -> Attributes:
    """Matching keys ``name=value`` as an identifier; a name is keywords or tags joined by dots (PS3.18 8.3.4.1).

    HubError("parameter-unknown").
    """
    asked: Attributes = {}
    for name, value in pairs:
        level = asked
        *path, last = (_tag(step, name) for step in name.split("."))
        for tag in path:
            level = level.setdefault(tag, {"vr": "SQ", "Value": [{}]})["Value"][0]
        vr = dictionary_VR(int(last, 16))
        level[last] = {"vr": vr, "Value": [{"Alphabetic": value} if vr == "PN" else value]}
    return asked


def _tag(step: str, name: str) -> str:
    tag = tag_for_keyword(step)
    if tag is None and len(step) == 8:
        try:
            tag = int(step, 16) if keyword_for_tag(int(step, 16)) else None
        except ValueError:
            tag = None
    if tag is None:
        raise HubError("parameter-unknown", f"{name!r} is no attribute of the dictionary", name)
    return f"{tag:08X}"

"""Imaging: composite instances in, durably; studies, series and instances found and read back.

An instance is a record of a pack (the DICOM Part 10 file, data set bytes as received) and a row of the index
(``imaging_rows``). The record is the fact, on disk when ``receive`` returns; the row follows it (``imaging_arrivals``).
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from hub.errors import HubError
from hub.search.expression import Entries, Equals, Exists, Expression, Ids, In, Match, Order, Query, Term, both
from hub.services.context import Context
from hub.services.imaging_arrivals import Arrival, Arrivals
from hub.services.imaging_index import (
    BY_KEYWORD,
    LEVELS,
    PATIENT_ID,
    SERIES_UID,
    STUDY_UID,
    Attribute,
    Level,
    Row,
    compiled,
    decode,
    encode,
    fitting,
    row_id,
    row_ids,
    text,
    wildcards,
)
from hub.services.imaging_patients import identity, of_person, shown_as
from hub.services.imaging_rejection import REASONS, rejection
from hub.services.imaging_rows import (
    CONFLICTS,
    DATABASE,
    TYPE,
    conflict_key,
    delete,
    follow,
    index,
    put_study,
    remove,
)
from hub.services.imaging_studies import StudyClock
from hub.store.packs import Packs, Place
from hub.store.protocol import Item, Put, Reader, Store, Transaction, Version

STEP = "DicomProcedureStep"
MAX_ROWS, MAX_INSTANCES = 10_000, 1_000_000
ORDER: dict[str, tuple[Order, ...]] = {"study": (Order("StudyDate", True, "range"), Order("StudyInstanceUID"))}
"""Studies newest first; series and instances, whose rows do not change, as they came."""
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True, slots=True)
class Instance:
    """What an adapter has read of a composite instance.

    ``header`` is what comes before the data set in a Part 10 file, ``data`` the data set; ``issuer`` the identifier
    system of its Patient ID, ``issuer_name`` the issuer as DICOM names it; ``facts`` are kept with the row as they are
    (pixel offsets, faults).
    """

    sop_class: str
    sop_instance: str
    study: str
    series: str
    transfer_syntax: str
    header: bytes
    data: bytes
    attributes: dict[str, Any]
    issuer: str
    issuer_name: str
    facts: dict[str, Any] = field(default_factory=dict)


class _Stored(msgspec.Struct):
    """An instance row of which only the attributes are wanted, as they stand in the text."""

    attributes: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Received:
    """``new`` is False when the same instance with the same bytes was there already; ``study`` the study row's id."""

    study: str
    new: bool


class Imaging:
    """The door for images."""

    def __init__(
        self,
        store: Store,
        packs: Packs,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        region: str = "REGION",
        carrying: Callable[[Iterable[str]], Expression] = lambda values: Match("identifier", In(tuple(values))),
    ) -> None:
        self._carrying = carrying
        self._store = store
        self._packs = packs
        self._clock = clock
        self._new_id = new_id
        self._region = region
        self._arrived: dict[str, int] = {}
        self._arriving = threading.Lock()
        self._arrivals = Arrivals(self._index, packs.indexed)
        self._studies: StudyClock | None = None
        self._moved = {id for row in self._moved_rows() for id in row["via"]}
        for place, facts, _ in packs.left():
            self._arrivals.accept(Arrival(msgspec.json.decode(facts), place))

    def register(self, build: Callable[[Row], None], quiet_seconds: float) -> None:
        """Have ``build`` called for each study row that seems complete (an adapter's door; the first one counts)."""
        if self._studies is None:
            self._studies = StudyClock(self.waiting, build, quiet_seconds, self._clock)

    def association_ended(self) -> None:
        """What a peer wanted to send has come: build without waiting."""
        if self._studies is not None:
            self._studies.wake()

    def close(self) -> None:
        """Index and build what waits, and end."""
        if self._studies is not None:
            self._studies.close()
        self._arrivals.close()
        self._packs.close()

    # --- receive ------------------------------------------------------------------------------------------------------

    def receive(self, instance: Instance, context: Context) -> Received:
        """Store an instance; returns when it is on disk.

        The same bytes again change nothing. Raises HubError("duplicate") when the SOP Instance UID is taken by other
        bytes: they are kept apart as a row of the queue ``imaging-conflicts`` and nothing is overwritten;
        HubError("value") for an invalid UID.
        """
        for tag, uid in (
            ("(0008,0018)", instance.sop_instance),
            ("(0020,000D)", instance.study),
            ("(0020,000E)", instance.series),
        ):
            if len(uid) > 64 or not _UID.fullmatch(uid):
                raise HubError("value", f"{uid[:64]!r} is not a UID (PS3.5 9.1)", tag)
        content = hashlib.sha256(instance.header)
        content.update(instance.data)
        row = self._instance_row(instance, context, content.hexdigest())
        self._arrivals.claim(instance.sop_instance)
        try:
            new = self._keep(row, instance, content.digest())
        except HubError:
            self._arrivals.forget(instance.sop_instance)
            raise
        return Received(row["study"], new)

    def _keep(self, row: Row, instance: Instance, digest: bytes) -> bool:
        """Whether the instance is new."""
        known = self._store.read(TYPE["instance"], row["id"])
        taken = known is not None and not known.deleted
        if known is not None and known.deleted and (code := rejection(self._store, row)):
            raise HubError("business-rule", f"this instance was rejected ({code}, {REASONS[code]})", "(0008,0018)")
        if known is not None and taken and decode(known)["blob"] == row["blob"]:
            self._arrivals.forget(row["uid"])
            return False
        if not taken or self._store.item_by_key(CONFLICTS, conflict_key(row)) is None:
            place = self._packs.put(encode(row), (instance.header, instance.data), digest)
            with self._arriving:
                self._arrived[row["study"]] = row["received"]["at"]
            self._arrivals.accept(Arrival(row, place))
        if taken:
            self._arrivals.caught_up()
            raise HubError(
                "duplicate",
                "this SOP Instance UID is taken by an instance with other content; kept apart",
                "(0008,0018)",
            )
        return True

    def _instance_row(self, instance: Instance, context: Context, digest: str) -> Row:
        patient = text(instance.attributes, PATIENT_ID)
        study = row_id(instance.study, instance.issuer if patient else "", patient)
        return {
            "id": row_id(instance.sop_instance), "uid": instance.sop_instance, "study": study,
            "series": row_id(study, instance.series), "studyUID": instance.study, "seriesUID": instance.series,
            "sopClass": instance.sop_class, "transferSyntax": instance.transfer_syntax, "blob": digest,
            "size": len(instance.header) + len(instance.data), "header": len(instance.header),
            "issuer": instance.issuer, "issuerName": instance.issuer_name, **instance.facts,
            "received": {"from": context.actor, "peer": context.peer, "door": context.door, "at": self._clock()},
            "attributes": instance.attributes,
        }  # fmt: skip

    def remove(self, rows: Sequence[Row]) -> None:
        """Delete instances: nobody finds them any more, their bytes are overwritten, their studies described anew."""
        self._store.write(lambda tx: remove(tx, rows, self._clock()))
        for row in rows:
            self._packs.erase(_place(row))
        self.association_ended()

    # --- whose a study is ---------------------------------------------------------------------------------------------

    def follow(self, tx: Transaction, patient: dict[str, Any], now: int) -> None:
        """A Patient was written: studies go where it was merged to, or come back."""
        replaced = any(link.get("type") == "replaced-by" for link in patient.get("link", ()))
        if replaced or patient["id"] in self._moved or not self._store.local:
            self._moved |= follow(tx, patient["id"], now)

    def identity(self, instance: Row) -> dict[str, Any] | None:
        """What is true of the patient of an instance in place of what its data set says; None when it says it."""
        if not self._moved and self._store.local:
            return None
        version = self._store.read(TYPE["study"], instance["study"])
        return None if version is None or version.deleted else identity(decode(version))

    def _moved_rows(self) -> list[Row]:
        query = Query((TYPE["study"],), Match("moved", Exists()), databases=(DATABASE,), limit=MAX_INSTANCES)
        return [decode(found.version) for found in self._store.find(query)]

    def _index(self, arrivals: Sequence[Arrival]) -> None:
        self._store.write(lambda tx: index(tx, arrivals, self._new_id))

    # --- studies that wait for their ImagingStudy ---------------------------------------------------------------------

    def waiting(self, quiet: int) -> list[Row]:
        """Open study rows in which nothing has arrived for ``quiet`` microseconds."""
        self._arrivals.caught_up()
        found = self._store.find(Query((TYPE["study"],), Match("open", Exists()), databases=(DATABASE,), limit=200))
        before = self._clock() - quiet
        with self._arriving:
            return [decode(row.version) for row in found if self._arrived.get(row.version.id, 0) <= before]

    def settle(self, tx: Transaction, study: str, series: int, instances: int) -> None:
        """Close a study row whose ImagingStudy, of so many series and instances, is being written by ``tx``.

        When more has arrived since those were read, the study stays open.
        """
        where = Match("study", Equals(study))
        known = tx.read(TYPE["study"], study)
        if (
            known is None
            or known.deleted
            or tx.count(Query((TYPE["instance"],), where, databases=(DATABASE,))) != instances
        ):
            return
        row = decode(known)
        row.pop("open", None)
        row["attributes"]["00201206"] = {"vr": "IS", "Value": [series]}
        row["attributes"]["00201208"] = {"vr": "IS", "Value": [instances]}
        if instances:
            put_study(tx, row, known, self._clock())
        else:
            delete(tx, "study", known, self._clock())
        with self._arriving:
            self._arrived.pop(study, None)

    # --- find and read ------------------------------------------------------------------------------------------------

    def find(
        self, context: Context, level: Level, keys: Iterable[tuple[str, str]], *, limit: int = MAX_ROWS, offset: int = 0
    ) -> list[Row]:
        """Rows of a level that match all keys (keyword, value as PS3.4 C.2.2.2 writes it).

        A key of a level above is resolved first. HubError("parameter-unknown") for a keyword that is not indexed,
        HubError("parameter-value") for a malformed date or time.
        """
        del context  # the access decision is AND-ed here
        keys = list(keys)
        where, own = self._where(level, keys)
        if not wildcards(own):
            rows = [decode(version) for version in self._versions(level, where, offset + limit)[offset:]]
            person = self._person_asked(keys) if level == "study" else ""
            return [shown_as(row, person, self._region) for row in rows] if person else rows
        return fitting(self._versions(level, where, MAX_ROWS), own)[offset : offset + limit]

    def metadata(self, context: Context, keys: Iterable[tuple[str, str]]) -> list[bytes]:
        """The attributes of the matching instances as the JSON they are stored in; keys without wildcards."""
        del context
        where, _ = self._where("instance", keys)
        versions = self._versions("instance", where, MAX_INSTANCES)
        if self._moved or not self._store.local:
            rows = [decode(version) for version in versions]
            said = {row["study"]: self.identity(row) or {} for row in {row["study"]: row for row in rows}.values()}
            return [encode(row["attributes"] | said[row["study"]]) for row in rows]
        return [bytes(msgspec.json.decode(version.text, type=_Stored).attributes) for version in versions]

    def _where(
        self, level: Level, keys: Iterable[tuple[str, str]]
    ) -> tuple[list[Expression], list[tuple[Attribute, str]]]:
        """The query of a level, keys of the levels above resolved; and the level's own keys."""
        by_level: dict[Level, list[tuple[Attribute, str]]] = {name: [] for name in LEVELS}
        where: list[Expression] = []
        keys = list(keys)
        if person := self._person_asked(keys):
            where = [Match("patient", In(tuple(of_person(self._store, person)) or ("",)))]
            keys = [key for key in keys if key[0] not in ("PatientID", "IssuerOfPatientID")]
            if level != "study":
                where = [Match("study", In(tuple(row.id for row in self._versions("study", where, MAX_ROWS))))]
        for keyword, value in keys:
            attribute = BY_KEYWORD.get(keyword)
            if attribute is None or not attribute.match:
                raise HubError("parameter-unknown", f"{keyword} is not a matching key of this archive", keyword)
            if value.strip("*") or attribute.match == "uid":
                by_level[attribute.level].append((attribute, value))
        for above in LEVELS[: LEVELS.index(level)]:
            if by_level[above]:
                versions = self._versions(above, [*where, *compiled(by_level[above])], MAX_ROWS)
                if len(versions) == MAX_ROWS:
                    raise HubError("too-costly", f"more than {MAX_ROWS} rows of {above} level match; narrow the query")
                where = [Match(above, In(tuple(row_ids(versions, by_level[above]))))]
        return [*where, *compiled(by_level[level])], by_level[level]

    def _person_asked(self, keys: Sequence[tuple[str, str]]) -> str:
        """The Person of the region that is asked for: its id as Patient ID, the region as its issuer."""
        asked = dict(keys)
        return asked.get("PatientID", "") if asked.get("IssuerOfPatientID") == self._region else ""

    def _versions(self, level: Level, where: Sequence[Expression], limit: int) -> list[Version]:
        self._arrivals.caught_up()
        query = Query((TYPE[level],), both(*where), ORDER.get(level, ()), (DATABASE,), limit=limit)
        return [found.version for found in self._store.find(query)]

    def below(self, level: Level, study: str, series: str = "") -> list[Row]:
        """All series or instance rows of a study row or a series row, by id."""
        where = Match("series", Equals(series)) if series else Match("study", Equals(study))
        found = self._store.find(Query((TYPE[level],), where, databases=(DATABASE,), limit=MAX_INSTANCES))
        return [decode(row.version) for row in found]

    def counts(self, level: Level, study: str, series: str = "") -> int:
        """Number of series or instance rows below a study row or series row."""
        where = Match("series", Equals(series)) if series else Match("study", Equals(study))
        return self._store.count(Query((TYPE[level],), where, databases=(DATABASE,)))

    def rows(self, level: Level, ids: Sequence[str]) -> dict[str, Row]:
        """Rows by id."""
        found = self._store.find(Query((TYPE[level],), Ids(tuple(ids)), databases=(DATABASE,), limit=len(ids)))
        return {row.version.id: decode(row.version) for row in found}

    def instance(self, context: Context, study: str, series: str, instance: str) -> Row:
        """One instance by its three UIDs. HubError("not-found")."""
        del context
        self._arrivals.caught_up()
        version = self._store.read(TYPE["instance"], row_id(instance))
        if version is None or version.deleted:
            raise HubError("not-found", f"there is no instance {instance}")
        row = decode(version)
        if text(row["attributes"], STUDY_UID) not in ("", study) or text(row["attributes"], SERIES_UID) not in (
            "",
            series,
        ):
            raise HubError("not-found", f"instance {instance} is not in series {series} of study {study}")
        return row

    def order(self, accession: str, patient: str) -> str | None:
        """Reference of the one ServiceRequest of a patient (``Patient/id``) that carries an accession number."""
        where = both(self._carrying((accession,)), Match("subject", Equals(patient)))
        found = self._store.find(Query(("ServiceRequest",), where, limit=2))
        return f"ServiceRequest/{found[0].version.id}" if len(found) == 1 else None

    def knows(self, reference: str) -> bool:
        """Whether a resource (``Type/id``) is stored."""
        version = self._store.read(*reference.split("/", 1))
        return version is not None and not version.deleted

    # --- procedure steps (PS3.4 F.7) ----------------------------------------------------------------------------------

    def step(self, reader: Reader, uid: str) -> Row | None:
        """The performed procedure step with this SOP Instance UID."""
        version = reader.read(STEP, row_id(uid))
        return None if version is None or version.deleted else decode(version)

    def steps(self, study: str) -> list[Row]:
        """The performed procedure steps that name a Study Instance UID."""
        query = Query((STEP,), Match("StudyInstanceUID", Equals(study)), databases=(DATABASE,))
        return [decode(found.version) for found in self._store.find(query)]

    def put_step(
        self, tx: Transaction, uid: str, studies: Iterable[str], attributes: dict[str, Any], context: Context
    ) -> None:
        """Write a performed procedure step; ``attributes`` is the whole of it, ``studies`` the UIDs it names."""
        tx.guard(uid)
        known = tx.read(STEP, row_id(uid))
        version, method = (1, "POST") if known is None else (known.version + 1, "PUT")
        row: Row = {"id": row_id(uid), "uid": uid, "from": context.actor, "attributes": attributes}
        found = Entries((Term("SOPInstanceUID", uid), *(Term("StudyInstanceUID", study) for study in studies)))
        tx.put(Put(DATABASE, STEP, row["id"], version, method, self._clock(), encode(row), found, context.origin))

    def held(self, instance: str) -> Row | None:
        """The row of an instance whose bytes are on disk, read back and compared; None when they are not."""
        self._arrivals.caught_up()
        version = self._store.read(TYPE["instance"], row_id(instance))
        if version is None or version.deleted:
            return None
        row = decode(version)
        return row if self._packs.holds(_place(row), bytes.fromhex(row["blob"])) else None

    def file(self, row: Row) -> bytes:
        """The Part 10 file of an instance row."""
        return self._packs.read(_place(row))

    def reports(self, queue: str, limit: int = 50) -> list[Item]:
        """Rows of the queues of conflicts and findings, newest first."""
        self._arrivals.caught_up()
        return self._store.items(queue, limit=limit)


def _place(row: Row) -> Place:
    name, offset = row["pack"]
    return Place(name, offset, row["size"])

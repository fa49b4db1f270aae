"""The rows of the imaging index: written when an instance arrives.

Rows are internal versions of the store, of types that FHIR does not have: ``DicomStudy``, ``DicomSeries``,
``DicomInstance``, each with its attributes in the DICOM JSON Model (PS3.18 F.2). A patient is who an *issuer* gave an
ID to: equal Patient IDs of two hospitals are two patients, and a study row belongs to one patient only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hub.search.expression import Entries, Equals, Match, Query, Term
from hub.services.imaging_arrivals import Arrival
from hub.services.imaging_index import (
    ISSUER,
    MODALITIES,
    MODALITY,
    PATIENT_ID,
    Level,
    Row,
    decode,
    encode,
    entries,
    instance_entries,
    pick,
    study_entries,
    text,
)
from hub.services.imaging_patients import patients, refiled
from hub.services.imaging_rejection import reason, reject, rejection
from hub.store.protocol import Item, Put, Transaction, Version

DATABASE = "imaging"
TYPE = {"study": "DicomStudy", "series": "DicomSeries", "instance": "DicomInstance"}
MAX_STUDIES = 10_000
"""Studies of one patient that are moved."""
CONFLICTS, FINDINGS = "imaging-conflicts", "imaging-findings"
"""Queues: other bytes under a SOP Instance UID that is taken; a study under two patients."""


def put(tx: Transaction, level: Level, row: Row, found: Entries, known: Version | None, now: int) -> None:
    """Write a row: the first version, or the next one after ``known``."""
    version, method = (1, "POST") if known is None else (known.version + 1, "PUT")
    tx.put(Put(DATABASE, TYPE[level], row["id"], version, method, now, encode(row), found))


def put_study(tx: Transaction, row: Row, known: Version | None, now: int) -> None:
    """Write a study row."""
    found = study_entries(row)
    terms = (Term("patient", patient) for patient in patients(row))
    put(tx, "study", row, Entries((*found.terms, *terms), found.ranges), known, now)


def delete(tx: Transaction, level: Level, known: Version, now: int) -> None:
    """Delete a row: its history stays, nobody finds it."""
    tx.put(Put(DATABASE, TYPE[level], known.id, known.version + 1, "DELETE", now, b"", Entries()))


def remove(tx: Transaction, rows: Sequence[Row], now: int) -> None:
    """Delete instance rows, series rows that have none left, and open their studies, which show less now."""
    for study in sorted({row["study"] for row in rows}):
        tx.guard(study)
        known = tx.read(TYPE["study"], study)
        if known is not None and not known.deleted:
            put_study(tx, decode(known) | {"open": True}, known, now)
    for row in rows:
        known = tx.read(TYPE["instance"], row["id"])
        if known is not None and not known.deleted:
            delete(tx, "instance", known, now)
    for series in sorted({row["series"] for row in rows}):
        known = tx.read(TYPE["series"], series)
        left = tx.count(Query((TYPE["instance"],), Match("series", Equals(series)), databases=(DATABASE,)))
        if known is not None and not known.deleted and not left:
            delete(tx, "series", known, now)


def follow(tx: Transaction, patient: str, now: int) -> set[str]:
    """File the studies that depend on a Patient anew; the ids of all Patients whose changes matter to them."""
    seen: set[str] = set()
    where = Match("patient", Equals(patient))
    for found in tx.find(Query((TYPE["study"],), where, databases=(DATABASE,), limit=MAX_STUDIES)):
        row = refiled(tx, decode(found.version))
        if row is not None:
            put_study(tx, row, found.version, now)
            seen.update(row.get("via", ()))
    return seen


def index(tx: Transaction, arrivals: Sequence[Arrival], new_id: Callable[[], str]) -> None:
    """Write the rows of instances that are on disk; other bytes under a known UID become a conflict."""
    opened: set[str] = set()
    for study in sorted({arrival.row["study"] for arrival in arrivals}):
        tx.guard(study)
    for arrival in arrivals:
        row = arrival.row | {"pack": [arrival.place.pack, arrival.place.offset]}
        known = tx.read(TYPE["instance"], row["id"])
        if known is None or (known.deleted and not rejection(tx, row)):
            if row["series"] not in opened:
                _open(tx, row, new_id)
                opened.add(row["series"])
            put(tx, "instance", row, instance_entries(row), known, row["received"]["at"])
            if reason(row):
                remove(tx, reject(tx, row, DATABASE, TYPE["instance"]), row["received"]["at"])
                opened.clear()
        elif known.deleted:
            continue
        elif decode(known)["blob"] != row["blob"]:
            data = {name: value for name, value in row.items() if name != "attributes"}
            at = row["received"]["at"]
            tx.enqueue(Item(CONFLICTS, new_id(), conflict_key(row), row["blob"], "open", data, b"", at))


def conflict_key(row: Row) -> str:
    """What makes a conflict the same conflict."""
    return f"{row['uid']}|{row['blob']}"


def _open(tx: Transaction, instance: Row, new_id: Callable[[], str]) -> None:
    """Have the study and series rows, the study open: something arrived that its ImagingStudy does not show yet."""
    study, series, now = instance["study"], instance["series"], instance["received"]["at"]
    modality = text(instance["attributes"], MODALITY)
    known, known_series = tx.read(TYPE["study"], study), tx.read(TYPE["series"], series)
    new_series = known_series is None or known_series.deleted
    if new_series:
        row: Row = {"id": series, "uid": instance["seriesUID"], "study": study}
        row["attributes"] = pick(instance["attributes"], "series", instance["seriesUID"])
        put(tx, "series", row, entries(row, "series"), known_series, now)
    if known is not None and not new_series and b'"open":true' in known.text:
        return
    if known is None or known.deleted:
        row = _new_study(tx, instance, new_id)
    else:
        row = decode(known) | {"open": True}
    modalities = row["attributes"].get(MODALITIES, {}).get("Value", [])
    if modality and modality not in modalities:
        row["attributes"][MODALITIES] = {"vr": "CS", "Value": [*modalities, modality]}
    put_study(tx, row, known, now)


def _new_study(tx: Transaction, instance: Row, new_id: Callable[[], str]) -> Row:
    row: Row = {
        "id": instance["study"], "uid": instance["studyUID"], "open": True, "issuer": instance["issuer"],
        "from": instance["received"]["from"],
        "attributes": pick(instance["attributes"], "study", instance["studyUID"]),
    }  # fmt: skip
    if not text(row["attributes"], ISSUER):
        row["attributes"][ISSUER] = {"vr": "LO", "Value": [instance["issuerName"]]}
    if _report_other_patients(tx, instance, new_id):
        row["contested"] = True
    return refiled(tx, row) or row


def _report_other_patients(tx: Transaction, instance: Row, new_id: Callable[[], str]) -> bool:
    """Whether another patient has a study of this UID already: a finding for people to settle."""
    where = Match("StudyInstanceUID", Equals(instance["studyUID"]))
    others = tx.find(Query((TYPE["study"],), where, databases=(DATABASE,)))
    if others:
        data = {
            "finding": "study-under-two-patients",
            "study": instance["studyUID"],
            "patient": [instance["issuer"], text(instance["attributes"], PATIENT_ID)],
            "others": [found.version.id for found in others],
        }
        key = f"study-under-two-patients|{instance['studyUID']}"
        tx.enqueue(Item(FINDINGS, new_id(), key, "", "open", data, b"", instance["received"]["at"]))
    return bool(others)

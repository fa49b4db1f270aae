"""Rejection notes (IHE RAD IOCM, RAD-66): instances that must no longer be shown.

A rejection note is a Key Object Selection titled by a code of ``REASONS``. What it names leaves the index: a row of
the type ``DicomRejected`` keeps it, bytes included, and the instance does not come back by being sent again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hub.search.expression import Entries, Term
from hub.services.imaging_index import Row, decode, encode, row_id, text
from hub.store.protocol import Put, Reader, Transaction

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"
REJECTED = "DicomRejected"
REASONS = {
    "113001": "rejected for quality reasons",
    "113037": "rejected for patient safety reasons",
    "113038": "incorrect modality worklist entry",
    "113039": "data retention policy expired",
}
"""Codes of DCM, CID 7011."""
EXPIRED = "113039"
_TITLE, _SCHEME, _CODE = "0040A043", "00080102", "00080100"
_EVIDENCE, _SERIES, _INSTANCES, _UID = "0040A375", "00081115", "00081199", "00081155"


def reason(row: Row) -> str:
    """Code of a rejection note; "" for every other instance."""
    title = (row["attributes"].get(_TITLE, {}).get("Value") or [{}])[0]
    code = text(title, _CODE)
    noted = row["sopClass"] == KEY_OBJECT_SELECTION and text(title, _SCHEME) == "DCM"
    return code if noted and code in REASONS else ""


def named(row: Row) -> Iterator[str]:
    """The SOP Instance UIDs that a Key Object Selection names as its evidence (PS3.3 C.17.6.2)."""
    for study in _items(row["attributes"], _EVIDENCE):
        for series in _items(study, _SERIES):
            for instance in _items(series, _INSTANCES):
                yield text(instance, _UID)


def _items(attributes: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return [item for item in attributes.get(tag, {}).get("Value") or () if item]


def reject(tx: Transaction, note: Row, database: str, type: str) -> list[Row]:
    """Keep what a rejection note names as rejected; the rows that are to leave the index.

    A note speaks of its own study. An instance that comes later than its rejection is kept out as well.
    """
    code, now = reason(note), note["received"]["at"]
    found: list[Row] = []
    for uid in dict.fromkeys(named(note)):
        id = row_id(uid)
        known = tx.read(type, id)
        row = {"id": id, "uid": uid} if known is None or known.deleted else decode(known)
        if not uid or uid == note["uid"] or row.get("studyUID", note["studyUID"]) != note["studyUID"]:
            continue
        if known is None:
            tx.put(Put(database, type, id, 1, "DELETE", now, b""))
        elif not known.deleted:
            found.append(row)
        before = tx.read(REJECTED, id)
        if before is None:
            kept = row | {"rejected": {"code": code, "by": note["received"]["from"], "note": note["uid"], "at": now}}
            tx.put(Put(database, REJECTED, id, 1, "POST", now, encode(kept), Entries((Term("SOPInstanceUID", uid),))))
    return found


def rejection(reader: Reader, row: Row) -> str:
    """Code under which an instance was rejected; "" when it was not, or has come again after it had expired."""
    version = reader.read(REJECTED, row["id"])
    if version is None:
        return ""
    said = decode(version)["rejected"]
    again = said["code"] == EXPIRED and row["received"]["at"] > said["at"]
    return "" if again else str(said["code"])

"""Imaging: composite instances in, durably; studies, series and instances found and read back.

An instance is a blob (the DICOM Part 10 file, data set bytes as received) and a row of the index. Rows are internal
versions of the store, of types that FHIR does not have: ``DicomStudy``, ``DicomSeries``, ``DicomInstance``, each with
its attributes in the DICOM JSON Model (PS3.18 F.2). A patient is who an *issuer* gave an ID to: equal Patient IDs of
two hospitals are two patients, and a study row belongs to one patient only.
"""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import re
import threading
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, BinaryIO, Literal

import msgspec

from hub.errors import HubError
from hub.search.expression import (
    Compare,
    Contains,
    Entries,
    Equals,
    Exists,
    Expression,
    Ids,
    In,
    Match,
    Prefix,
    Query,
    Range,
    Term,
    both,
    either,
)
from hub.services.context import Context
from hub.store.protocol import Blobs, Item, Put, Store, Transaction, Version

Level = Literal["study", "series", "instance"]
Row = dict[str, Any]
"""``uid``, ``attributes`` (DICOM JSON), and facts: ``id``, ``study`` and ``series`` (ids of the rows above), ``blob``..."""

DATABASE = "imaging"
TYPE = {"study": "DicomStudy", "series": "DicomSeries", "instance": "DicomInstance"}
CONFLICTS, FINDINGS = "imaging-conflicts", "imaging-findings"
"""Queues: other bytes under a SOP Instance UID that is taken; a study under two patients."""
MAX_ROWS = 10_000

STUDY_UID, SERIES_UID, SOP_UID = "0020000D", "0020000E", "00080018"
PATIENT_ID, MODALITY, MODALITIES = "00100020", "00080060", "00080061"
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True, slots=True)
class Attribute:
    """A row of imaging.csv."""

    keyword: str
    tag: str
    level: Level
    match: str


def _load() -> tuple[Attribute, ...]:
    lines = files("hub.services").joinpath("imaging.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return tuple(Attribute(row["keyword"], row["tag"], row["level"], row["match"]) for row in rows)  # type: ignore[arg-type]


ATTRIBUTES = _load()
BY_TAG = {attribute.tag: attribute for attribute in ATTRIBUTES}
BY_KEYWORD = {attribute.keyword: attribute for attribute in ATTRIBUTES}
LEVELS: tuple[Level, ...] = ("study", "series", "instance")


@dataclass(frozen=True, slots=True)
class Instance:
    """What an adapter has read of a composite instance.

    ``file`` is the Part 10 file and ``header`` the length of what comes before the data set in it; ``issuer`` the
    identifier system of its Patient ID; ``facts`` are kept with the row as they are (pixel offsets, faults).
    """

    sop_class: str
    sop_instance: str
    study: str
    series: str
    transfer_syntax: str
    file: bytes
    header: int
    attributes: dict[str, Any]
    issuer: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Received:
    """``new`` is False when the same instance with the same bytes was there already; ``study`` the study row's id."""

    study: str
    new: bool


class Imaging:
    """The door for images."""

    def __init__(self, store: Store, blobs: Blobs, clock: Callable[[], int], new_id: Callable[[], str]) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._new_id = new_id
        self._arrived: dict[str, int] = {}
        self._arriving = threading.Lock()

    # --- receive ------------------------------------------------------------------------------------------------------

    def receive(self, instance: Instance, context: Context) -> Received:
        """Store an instance; returns when blob and row are on disk.

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
        digest = self._blobs.put(instance.file)
        patient = text(instance.attributes, PATIENT_ID)
        study = row_id(instance.study, instance.issuer if patient else "", patient)
        series = row_id(study, instance.series)
        now = self._clock()
        row = self._instance_row(instance, context, digest, study, series, now)
        put = Put(
            DATABASE, TYPE["instance"], row["id"], 1, "POST", now, encode(row), _instance_entries(row), context.origin
        )

        def work(tx: Transaction) -> bool | None:
            tx.guard(study)
            known = tx.read(TYPE["instance"], row["id"])
            if known is not None and not known.deleted:
                if decode(known)["blob"] == digest:
                    return False
                tx.enqueue(self._conflict(row, now))
                return None
            self._open(tx, study, series, instance, context, now)
            tx.put(put if known is None else _again(put, known))
            return True

        new = self._store.write(work)
        if new is None:
            raise HubError(
                "duplicate",
                "this SOP Instance UID is taken by an instance with other content; kept apart",
                "(0008,0018)",
            )
        with self._arriving:
            self._arrived[study] = now
        return Received(study, new)

    def _instance_row(
        self, instance: Instance, context: Context, digest: str, study: str, series: str, now: int
    ) -> Row:
        return {
            "id": row_id(instance.sop_instance), "uid": instance.sop_instance, "study": study, "series": series,
            "sopClass": instance.sop_class, "transferSyntax": instance.transfer_syntax, "blob": digest,
            "size": len(instance.file), "header": instance.header, **instance.facts,
            "received": {"from": context.actor, "peer": context.peer, "door": context.door, "at": now},
            "attributes": instance.attributes,
        }  # fmt: skip

    def _conflict(self, row: Row, now: int) -> Item:
        data = {name: value for name, value in row.items() if name != "attributes"}
        return Item(CONFLICTS, self._new_id(), f"{row['uid']}|{row['blob']}", row["blob"], "open", data, b"", now)

    def _open(self, tx: Transaction, study: str, series: str, instance: Instance, context: Context, now: int) -> None:
        """Have the study and series rows, the study open: something arrived that its ImagingStudy does not show yet."""
        modality = text(instance.attributes, MODALITY)
        known = tx.read(TYPE["study"], study)
        new_series = tx.read(TYPE["series"], series) is None
        if new_series:
            row = {
                "id": series,
                "uid": instance.series,
                "study": study,
                "attributes": _pick(instance.attributes, "series", instance.series),
            }
            tx.put(
                Put(
                    DATABASE,
                    TYPE["series"],
                    series,
                    1,
                    "POST",
                    now,
                    encode(row),
                    _entries(row, "series"),
                    context.origin,
                )
            )
        if known is not None and not new_series and b'"open":true' in known.text:
            return
        if known is None:
            self._report_other_patients(tx, instance, now)
            row = {
                "id": study, "uid": instance.study, "open": True, "issuer": instance.issuer, "from": context.actor,
                "attributes": _pick(instance.attributes, "study", instance.study),
            }  # fmt: skip
        else:
            row = decode(known) | {"open": True}
        modalities = row["attributes"].get(MODALITIES, {}).get("Value", [])
        if modality and modality not in modalities:
            row["attributes"][MODALITIES] = {"vr": "CS", "Value": [*modalities, modality]}
        self._put_study(tx, row, known, now, context.origin)

    def _put_study(self, tx: Transaction, row: Row, known: Version | None, now: int, origin: str) -> None:
        put = Put(DATABASE, TYPE["study"], row["id"], 1, "POST", now, encode(row), _study_entries(row), origin)
        tx.put(put if known is None else _again(put, known))

    def _report_other_patients(self, tx: Transaction, instance: Instance, now: int) -> None:
        others = tx.find(
            Query((TYPE["study"],), Match("StudyInstanceUID", Equals(instance.study)), databases=(DATABASE,))
        )
        if others:
            data = {
                "finding": "study-under-two-patients", "study": instance.study,
                "patient": [instance.issuer, text(instance.attributes, PATIENT_ID)], "others": [found.version.id for found in others],
            }  # fmt: skip
            key = f"study-under-two-patients|{instance.study}"
            tx.enqueue(Item(FINDINGS, self._new_id(), key, "", "open", data, b"", now))

    # --- studies that wait for their ImagingStudy ---------------------------------------------------------------------

    def waiting(self, quiet: int) -> list[Row]:
        """Open study rows in which nothing has arrived for ``quiet`` microseconds."""
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
        if known is None or tx.count(Query((TYPE["instance"],), where, databases=(DATABASE,))) != instances:
            return
        row = decode(known)
        row.pop("open", None)
        row["attributes"]["00201206"] = {"vr": "IS", "Value": [series]}
        row["attributes"]["00201208"] = {"vr": "IS", "Value": [instances]}
        self._put_study(tx, row, known, self._clock(), known.origin)
        with self._arriving:
            self._arrived.pop(study, None)

    # --- find and read ------------------------------------------------------------------------------------------------

    def find(
        self, context: Context, level: Level, keys: Iterable[tuple[str, str]], *, limit: int = MAX_ROWS, offset: int = 0
    ) -> list[Row]:
        """Rows of a level that match all keys (keyword, value as PS3.4 C.2.2.2 writes it), oldest first.

        A key of a level above is resolved first. HubError("parameter-unknown") for a keyword that is not indexed,
        HubError("parameter-value") for a malformed date or time.
        """
        del context  # the access decision is AND-ed here
        by_level: dict[Level, list[tuple[Attribute, str]]] = {name: [] for name in LEVELS}
        for keyword, value in keys:
            attribute = BY_KEYWORD.get(keyword)
            if attribute is None or not attribute.match:
                raise HubError("parameter-unknown", f"{keyword} is not a matching key of this archive", keyword)
            if value.strip("*") or attribute.match == "uid":
                by_level[attribute.level].append((attribute, value))
        where: list[Expression] = []
        for above in LEVELS[: LEVELS.index(level)]:
            if by_level[above]:
                parents = self._rows(above, [*where, *_compiled(by_level[above])], by_level[above], MAX_ROWS, 0)
                where = [Match(above, In(tuple(row["id"] for row in parents)))]
        return self._rows(level, [*where, *_compiled(by_level[level])], by_level[level], limit, offset)

    def _rows(
        self, level: Level, where: Sequence[Expression], keys: Sequence[tuple[Attribute, str]], limit: int, offset: int
    ) -> list[Row]:
        patterns = [
            (attribute.tag, value)
            for attribute, value in keys
            if attribute.match in ("exact", "text") and _inexact(value)
        ]
        query = Query(
            (TYPE[level],), both(*where), databases=(DATABASE,), limit=MAX_ROWS if patterns else offset + limit
        )
        rows = [decode(found.version) for found in self._store.find(query)]
        if patterns:
            rows = [row for row in rows if all(_fits(row["attributes"].get(tag, {}), value) for tag, value in patterns)]
        return rows[offset : offset + limit]

    def below(self, level: Level, study: str, series: str = "") -> list[Row]:
        """All series or instance rows of a study row or a series row, by id."""
        where = Match("series", Equals(series)) if series else Match("study", Equals(study))
        found = self._store.find(Query((TYPE[level],), where, databases=(DATABASE,), limit=1_000_000))
        return [decode(row.version) for row in found]

    def counts(self, study: str, series: str = "") -> int:
        """Number of instances of a study row or series row."""
        where = Match("series", Equals(series)) if series else Match("study", Equals(study))
        return self._store.count(Query((TYPE["instance"],), where, databases=(DATABASE,)))

    def rows(self, level: Level, ids: Sequence[str]) -> dict[str, Row]:
        """Rows by id."""
        found = self._store.find(Query((TYPE[level],), Ids(tuple(ids)), databases=(DATABASE,), limit=len(ids)))
        return {row.version.id: decode(row.version) for row in found}

    def instance(self, context: Context, study: str, series: str, instance: str) -> Row:
        """One instance by its three UIDs. HubError("not-found")."""
        del context
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
        where = both(Match("identifier", Equals(accession)), Match("subject", Equals(patient)))
        found = self._store.find(Query(("ServiceRequest",), where, limit=2))
        return f"ServiceRequest/{found[0].version.id}" if len(found) == 1 else None

    def knows(self, reference: str) -> bool:
        """Whether a resource (``Type/id``) is stored."""
        version = self._store.read(*reference.split("/", 1))
        return version is not None and not version.deleted

    def file(self, row: Row) -> bytes:
        """The Part 10 file of an instance row."""
        return self._blobs.get(row["blob"])

    def open(self, row: Row) -> BinaryIO:
        """The same as a readable, seekable file."""
        return self._blobs.open(row["blob"])

    def reports(self, queue: str, limit: int = 50) -> list[Item]:
        """Rows of the queues of conflicts and findings, newest first."""
        return self._store.items(queue, limit=limit)


# --- rows -------------------------------------------------------------------------------------------------------------


def row_id(*parts: str) -> str:
    """Id of a row: a hash, so that no peer's text becomes a name of ours."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def encode(row: Row) -> bytes:
    """The row's JSON."""
    return msgspec.json.encode(row)


def decode(version: Version) -> Row:
    """The row of a stored version."""
    row: Row = msgspec.json.decode(version.text)
    return row


def _again(put: Put, known: Version) -> Put:
    return Put(put.database, put.type, put.id, known.version + 1, "PUT", put.updated, put.text, put.entries, put.origin)


def text(attributes: dict[str, Any], tag: str) -> str:
    """First value of an attribute as text; "" when it has none."""
    return next(iter(texts(attributes.get(tag, {}))), "")


def texts(element: dict[str, Any]) -> list[str]:
    """All values of a DICOM JSON element as text; of a person name each component group."""
    out: list[str] = []
    for value in element.get("Value", ()):
        if isinstance(value, dict):
            out.extend(str(group) for group in value.values() if isinstance(group, str))
        elif value is not None:
            out.append(str(value))
    return out


def _pick(attributes: dict[str, Any], level: Level, uid: str) -> dict[str, Any]:
    picked = {tag: element for tag, element in attributes.items() if (row := BY_TAG.get(tag)) and row.level == level}
    picked[STUDY_UID if level == "study" else SERIES_UID] = {"vr": "UI", "Value": [uid]}
    return picked


# --- index entries ----------------------------------------------------------------------------------------------------


def _instance_entries(row: Row) -> Entries:
    number = text(row["attributes"], "00200013")
    terms = [
        Term("SOPInstanceUID", row["uid"]), Term("SOPClassUID", row["sopClass"]), Term("study", row["study"]), Term("series", row["series"]),
    ]  # fmt: skip
    return Entries(tuple([*terms, Term("InstanceNumber", number)] if number else terms))


def _study_entries(row: Row) -> Entries:
    entries = _entries(row, "study")
    extra = [Term("issuer", row["issuer"])] if row.get("issuer") else []
    if row.get("open"):
        extra.append(Term("open", "true"))
    return Entries((*entries.terms, *extra), entries.ranges)


def _entries(row: Row, level: Level) -> Entries:
    terms: list[Term] = [Term("study", row["study"])] if "study" in row else []
    ranges: list[Range] = []
    for tag, element in row["attributes"].items():
        attribute = BY_TAG.get(tag)
        if attribute is None or attribute.level != level or not attribute.match:
            continue
        for value in texts(element):
            if attribute.match in ("date", "time"):
                interval = _interval(attribute.match, value)
                if interval:
                    ranges.append(Range(attribute.keyword, *interval))
            else:
                terms.append(Term(attribute.keyword, fold(value) if attribute.match == "text" else value))
    return Entries(tuple(dict.fromkeys(terms)), tuple(dict.fromkeys(ranges)))


def fold(value: str) -> str:
    """Text as it is compared: compatibility forms, case and runs of blanks do not matter, nor trailing ``^``."""
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split()).rstrip("^ ")


def _interval(kind: str, value: str) -> tuple[int, int] | None:
    """DA or TM as [low, high): days as yyyymmdd, times as hhmmss and six digits of fraction; None if malformed."""
    digits = re.sub(r"[.:-]", "", value.strip())
    if kind == "date":
        return (int(digits), int(digits) + 1) if re.fullmatch(r"\d{8}", digits) else None
    if not re.fullmatch(r"\d{2,12}", digits):
        return None
    low = int(digits.ljust(12, "0"))
    return low, low + 10 ** (12 - min(len(digits), 12))


# --- matching (PS3.4 C.2.2.2) -----------------------------------------------------------------------------------------


def _inexact(value: str) -> bool:
    return "*" in value or "?" in value


def _compiled(keys: Sequence[tuple[Attribute, str]]) -> list[Expression]:
    return [_match(attribute, value) for attribute, value in keys]


def _match(attribute: Attribute, value: str) -> Expression:
    if attribute.match == "uid":
        return Match(attribute.keyword, In(tuple(uid.strip() for uid in re.split(r"[\\,]", value))))
    if attribute.match in ("date", "time"):
        return _range(attribute, value)
    parts = [fold(part) if attribute.match == "text" else part.strip() for part in value.split("\\")]
    return either(Match(attribute.keyword, _wildcard(part)) for part in parts)


def _wildcard(value: str) -> Prefix | Contains | Equals | Exists:
    """The narrowest test that finds everything the pattern does; ``_fits`` decides in the end."""
    if not _inexact(value):
        return Equals(value)
    runs = re.split(r"[*?]+", value)
    if runs[0]:
        return Prefix(runs[0])
    longest = max(runs, key=len)
    return Contains(longest) if longest else Exists()


def _fits(element: dict[str, Any], value: str) -> bool:
    patterns = [re.compile(fnmatch.translate(fold(part).replace("[", "[[]"))) for part in value.split("\\")]
    return any(pattern.fullmatch(fold(found)) for found in texts(element) for pattern in patterns)


def _range(attribute: Attribute, value: str) -> Expression:
    """Range matching (PS3.4 C.2.2.2.5): ``a-b``, ``a-``, ``-b`` or one value."""
    first, dash, last = value.partition("-")
    if dash and attribute.match == "date" and value.count("-") == 2:  # the ACR-NEMA form yyyy-mm-dd is no range
        first, dash, last = value, "", ""
    low = _interval(attribute.match, first) if first.strip() else None
    high = _interval(attribute.match, last) if last.strip() else None
    if (first.strip() and low is None) or (last.strip() and high is None):
        raise HubError("parameter-value", f"{value!r} is not a {attribute.match} or a range of them", attribute.keyword)
    if not dash and low is not None:
        high = low
    tests: list[Any] = []
    if low is not None:
        tests.append(("low", ">=", low[0]))
    if high is not None:
        tests.append(("low", "<", high[1]))
    return Match(attribute.keyword, Compare(tuple(tests)) if tests else Exists())

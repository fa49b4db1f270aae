"""Recorded messages with other dates, identifiers and people: HL7 v2, FHIR JSON and PS3.10 files, each in its own form.

What cannot be read as its form (a message that was broken on purpose) is treated as text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import io
import json
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue

from simulators.dates import moved, moved_iso
from simulators.population import table
from simulators.pseudonyms import UID, Pseudonyms, personal
from simulators.record import Sending

PEOPLE = ("Patient", "Person", "RelatedPerson", "Practitioner")
INSTITUTIONS = ("Organization", "Location", "HealthcareService", "Endpoint", "Device")
ROLES = {
    "subject", "patient", "individual", "requester", "performer", "author", "careManager", "actor", "practitioner",
    "recorder", "asserter", "informant", "participant", "member", "operator", "who", "enterer", "attester", "party",
    "beneficiary", "subscriber", "policyHolder", "authenticator", "interpreter", "resultsInterpreter", "collector",
}  # fmt: skip
"""Elements whose references point to people."""
TEXTS = {"LO", "SH", "ST", "LT", "UT", "UC"}
NUMBERS, PHONES, ADDRESSES, BIRTH = {0x00100020, 0x00101000}, {0x00102154}, {0x00101040}, 0x00100030
INSTANCE_UIDS = {0x0020000D, 0x0020000E, 0x00080018}
_JSON = msgspec.json.Encoder(decimal_format="number")


@dataclass(slots=True)
class Rewriter:
    """What is changed: dates by ``days``, identifiers of messages and images when ``ids`` is a key, people by
    pseudonyms."""

    days: int = 0
    ids: bytes = b""
    people: Pseudonyms | None = None

    def log(self, log: list[Sending]) -> list[Sending]:
        """The whole log, changed. Every message is read twice with pseudonyms: first to learn who is in it."""
        if not (self.days or self.ids or self.people):
            return log
        uids = self._uids(log) if self.ids else {}
        if self.people is not None:
            for sending in log:
                _Message(self, sending, uids).changed()
            self.people.settle()
        return [_Message(self, sending, uids).changed() for sending in log]

    def id(self, text: str) -> str:
        """Another message control id (at most 16 characters) for one, always the same with the same key."""
        draws = hmac.new(self.ids, text.encode(), hashlib.sha256).digest()
        return base64.b32encode(draws[:10]).decode()

    def uid(self, text: str) -> str:
        """Another UID for one (PS3.5 B.2)."""
        return f"2.25.{int.from_bytes(hmac.new(self.ids, text.encode(), hashlib.sha256).digest()[:16], 'big')}"

    def _uids(self, log: list[Sending]) -> dict[str, str]:
        """The UIDs of the log's studies, series and instances."""
        found: dict[str, str] = {}
        for sending in log:
            if sending.link == "dicom" and (dataset := _dataset(sending.body)) is not None:
                for tag in INSTANCE_UIDS & {int(element.tag) for element in dataset}:
                    old = str(dataset[tag].value)
                    found[old] = self.uid(old)
        return found


class _Message:
    """One message on its way through a rewriter."""

    def __init__(self, rewriter: Rewriter, sending: Sending, uids: dict[str, str]) -> None:
        self._rewriter, self._sending, self._uids = rewriter, sending, uids
        self._days, self._people = rewriter.days, rewriter.people

    def changed(self) -> Sending:
        """The sending with its bytes, time and control id changed."""
        sending, control = self._sending, self._sending.control_id
        if self._rewriter.ids:
            control = self._uids.get(control, control) if sending.link == "dicom" else self._rewriter.id(control)
        body = {"mllp": self._hl7, "http": self._fhir, "dicom": self._dicom}[sending.link](sending.body)
        at = moved_iso(sending.at.isoformat(), self._days)
        return replace(
            sending, at=type(sending.at).fromisoformat(at), control_id=control, body=body,
            resident=None if self._people else sending.resident, request=self._text(sending.request),
        )  # fmt: skip

    def _text(self, text: str) -> str:
        """Free text."""
        if self._uids:
            text = UID.sub(lambda found: self._uids.get(found[0], found[0]), text)
        return self._people.text(text) if self._people else text

    # --- HL7 v2 -------------------------------------------------------------------------------------------------------

    def _hl7(self, body: bytes) -> bytes:
        text, charset = _decoded(body)
        if self._rewriter.ids and self._sending.control_id:
            head, end, rest = text.partition("\r")
            text = head.replace(self._sending.control_id, self._rewriter.id(self._sending.control_id), 1) + end + rest
        if text[:3] != "MSH" or len(text) < 8:
            return self._text(text).encode(charset)
        marks = text[4:8] if len(set(text[3:8])) == 5 else "^~\\&"
        segments = [self._segment(segment, text[3], marks) for segment in text.split("\r")]
        return "\r".join(segments).encode(charset)

    def _segment(self, segment: str, separator: str, marks: str) -> str:
        name, *fields = segment.split(separator)
        kinds, first = _fields().get(name, {}), 1
        if name == "MSH":
            first = 2
        timed = name != "OBX" or (len(fields) > 1 and fields[1] in ("DT", "TS", "DTM"))
        for place, field in enumerate(fields):
            if field and not (name == "MSH" and place == 0):
                kind = kinds.get(place + first, "")
                if name == "OBX" and place == 4 and not timed:
                    kind = "data" if fields[1] == "ED" else "keep"
                parts = field.split(marks[1])
                latin = [self._repetition(part, kind, marks, parts) for part in parts]
                fields[place] = marks[1].join(latin)
        return separator.join([name, *fields])

    def _repetition(self, text: str, kind: str, marks: str, all_: list[str]) -> str:
        parts = text.split(marks[0])
        if kind not in ("keep", "number", "phone", "born"):
            parts = [moved(part, self._days) for part in parts]
        if self._people is None:
            return self._text(marks[0].join(parts))
        if kind == "name":
            return marks[0].join(_name(self._people, parts, _ideographic(all_, marks[0]), marks[3]))
        if kind == "staff" and len(parts) > 1:
            return marks[0].join([parts[0], *_name(self._people, parts[1:], None, marks[3])])
        if kind == "number":
            return marks[0].join([self._people.number(parts[0]), *parts[1:]])
        if kind == "phone":
            return marks[0].join(
                self._people.phone(p) if "@" in p or sum(map(str.isdecimal, p)) > 6 else p for p in parts
            )
        if kind == "address":
            return marks[0].join([*(self._people.address(part) for part in parts[:2]), *parts[2:]])
        if kind == "born":
            return marks[0].join(moved(part, self._days) for part in parts)
        if kind == "data" and len(parts) > 4:
            parts[4] = self._attachment(parts[4], parts[1] in ("TEXT", "TX") or parts[2] in ("PLAIN", "HTML", "XML"))
        return self._text(marks[0].join(parts))

    def _attachment(self, data: str, text: bool) -> str:
        """Embedded base64: text is changed as text; what is not text cannot be looked into and is left out."""
        try:
            return base64.b64encode(self._text(base64.b64decode(data).decode()).encode()).decode() if text else ""
        except (binascii.Error, UnicodeDecodeError):
            return ""

    # --- FHIR ---------------------------------------------------------------------------------------------------------

    def _fhir(self, body: bytes) -> bytes:
        try:
            value = json.loads(body, parse_float=Decimal)
        except (ValueError, RecursionError):
            return self._text(body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if isinstance(value, dict) and self._rewriter.ids and value.get("resourceType") == "Bundle":
            for holder, key in ((value, "id"), (value.get("identifier", {}), "value")):
                if isinstance(holder.get(key), str):
                    holder[key] = self._rewriter.id(holder[key]).lower()
        return _JSON.encode(self._element(value, "", ""))

    def _element(self, value: Any, key: str, kind: str) -> Any:
        """An element ``key`` of a resource of a type ``kind``."""
        if isinstance(value, list):
            return [self._element(one, key, kind) for one in value]
        if isinstance(value, str):
            if key in ("birthDate", "deceasedDate"):
                return moved_iso(value, self._days) if self._people else value
            changed = moved_iso(value, self._days)
            return changed if changed != value else self._text(value)
        if not isinstance(value, dict):
            return value
        kind = value.get("resourceType", kind)
        if self._people is None:
            return {one: self._element(held, one, kind) for one, held in value.items()}
        return {one: self._person(one, held, key, kind, value) for one, held in value.items() if one != "photo"}

    def _person(self, key: str, held: Any, parent: str, kind: str, value: dict[str, Any]) -> Any:
        """A child of an element where people are given pseudonyms."""
        people = self._people
        assert people is not None
        if isinstance(held, str):
            if parent == "identifier" and key == "value" and kind in PEOPLE[:3]:
                return people.number(held)
            if parent == "telecom" and key == "value" and kind not in INSTITUTIONS:
                return people.phone(held)
            if parent == "address" and key == "text" and kind not in INSTITUTIONS:
                return people.address(held)
            if key == "display" and parent in ROLES and personal(held):
                return people.name(held)[0]
            if key == "data" and ("contentType" in value or kind == "Binary"):
                return self._attachment(held, str(value.get("contentType", "")).startswith("text/"))
        if parent == "address" and key == "line" and kind not in INSTITUTIONS:
            return [people.address(line) for line in held]
        if key == "name" and isinstance(held, dict | list) and kind not in INSTITUTIONS:
            return [self._human(one) for one in held] if isinstance(held, list) else self._human(held)
        return self._element(held, key, kind)

    def _human(self, name: Any) -> Any:
        """A HumanName (R4 2.24.0.10)."""
        people = self._people
        if not isinstance(name, dict) or people is None:
            return self._element(name, "name", "")
        family, given = str(name.get("family", "")), "".join(name.get("given", ())).removesuffix("-")
        changed = dict(name)
        new = people.name(family, given) if family else ("", "")
        if "family" in name:
            changed["family"] = new[0]
        if given:
            changed["given"] = [new[1]]
        if "text" in name:
            same = family and name["text"].replace(" ", "") == family + given
            changed["text"] = "".join(new) if same else people.name(name["text"])[0]
        return changed

    # --- DICOM --------------------------------------------------------------------------------------------------------

    def _dicom(self, body: bytes) -> bytes:
        dataset = _dataset(body)
        if dataset is None:
            return body
        if self._people is not None:
            dataset.remove_private_tags()
        self._dataset(dataset)
        meta = dataset.file_meta
        meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", meta.MediaStorageSOPInstanceUID)
        file = io.BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        return file.getvalue()

    def _dataset(self, dataset: Dataset) -> None:
        for element in dataset:
            if element.VR == "SQ":
                for item in element.value:
                    self._dataset(item)
            elif element.VR in ("DA", "DT", "PN", "UI", *TEXTS) and element.value:
                several = isinstance(element.value, MultiValue)
                values = (
                    [self._value(int(element.tag), element.VR, str(one)) for one in element.value] if several else []
                )
                element.value = values if several else self._value(int(element.tag), element.VR, str(element.value))

    def _value(self, tag: int, vr: str, text: str) -> str:
        people = self._people
        if vr in ("DA", "DT"):
            return text if tag == BIRTH and people is None else moved(text, self._days)
        if vr == "UI":
            return self._uids.get(text, text)
        if people is None:
            return self._text(text)
        if vr == "PN":
            groups = [group.split("^") for group in text.split("=")]
            ideographic = groups[1] if len(groups) > 1 and groups[1][0] else None
            return "=".join("^".join(_name(people, group, ideographic, "&")) for group in groups[:2])
        for kinds, change in ((NUMBERS, people.number), (PHONES, people.phone), (ADDRESSES, people.address)):
            if tag in kinds:
                return change(text)
        return self._text(text)


def _name(people: Pseudonyms, parts: list[str], ideographic: list[str] | None, sub: str) -> list[str]:
    """The components of a name (XPN, PN): family, given, and no further names; Latin ones follow the ideographic."""
    family, given = parts[0].partition(sub)[0], parts[1] if len(parts) > 1 else ""
    if not family and not given:
        return parts
    new = people.name(family, given)
    if ideographic is not None and family.isascii() and not people.learning:
        pinyin = people.latin(ideographic[0] + (ideographic[1] if len(ideographic) > 1 else ""))
        new = (pinyin[0].upper(), pinyin[1].upper()) if family.isupper() else pinyin
        new = new if given else ("".join(new), "")
    middle = [""] if len(parts) > 2 else []
    return [new[0], *([new[1]] if len(parts) > 1 else []), *middle, *parts[3:]]


def _ideographic(repetitions: list[str], component: str) -> list[str] | None:
    """The components of the first repetition that is not Latin, if there is one."""
    found = next((one for one in repetitions if not one.isascii()), None)
    return found.split(component) if found else None


@cache
def _fields() -> dict[str, dict[int, str]]:
    """Segment -> field -> what it is (``tables/identifying.csv``)."""
    found: dict[str, dict[int, str]] = {}
    for row in table("identifying"):
        found.setdefault(row["segment"], {}).update({int(place): row["kind"] for place in row["fields"].split()})
    return found


def _decoded(body: bytes) -> tuple[str, str]:
    """Text and character set of a message whose MSH-18 may be wrong; bytes of no known one are kept as Latin 1."""
    head = body.partition(b"\r")[0].upper()
    order = ("gb18030", "utf-8") if b"|GB" in head else ("utf-8", "gb18030")
    for charset in order:
        try:
            text = body.decode(charset)
            if text.encode(charset) == body:
                return text, charset
        except UnicodeError:
            continue
    return body.decode("latin-1"), "latin-1"


def _dataset(body: bytes) -> Dataset | None:
    try:
        return dcmread(io.BytesIO(body))
    except InvalidDicomError:
        return None

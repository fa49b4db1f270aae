"""De-identification: the Basic Application Level Confidentiality Profile with its options (PS3.15 E).

What happens to an attribute is a row of ``tables/deidentification.csv``. Replacements follow from a key: the same
person, UID or date gets the same replacement in every file, and nobody without the key can go back. Not offered:
Clean Pixel Data, Clean Recognizable Visual Features (files that declare identity in their pixels are refused) and
Retain Safe Private (private attributes go).
"""

from __future__ import annotations

import csv
import hmac
import io
import re
from base64 import b32encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Any

import pydicom
from pydicom.datadict import dictionary_has_tag
from pydicom.dataelem import DataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from adapters.dicom import dataset, part10, transcode
from hub.errors import HubError

OPTIONS = {
    "uids": ("113110", "Retain UIDs Option"),
    "device": ("113109", "Retain Device Identity Option"),
    "institution": ("113112", "Retain Institution Identity Option"),
    "patient": ("113108", "Retain Patient Characteristics Option"),
    "full_dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "modified_dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "descriptors": ("113105", "Clean Descriptors Option"),
    "structured": ("113104", "Clean Structured Content Option"),
    "graphics": ("113103", "Clean Graphics Option"),
}
"""Column of the table -> code and meaning of PS3.16 CID 7050."""
PROFILE = ("113100", "Basic Application Confidentiality Profile")
SHIFTS = (30, 3650)
"""Least and most days by which Modified Dates moves a person's dates back."""
OFTEN_BURNED_IN = (
    "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.6.", "1.2.840.10008.5.1.4.1.1.3.",
    "1.2.840.10008.5.1.4.1.1.77.1.", "1.2.840.10008.5.1.4.1.1.104.",
)  # fmt: skip
"""SOP classes whose pixels or documents often show names: they must declare Burned In Annotation NO."""
DUMMIES: dict[str, Any] = {
    "DA": "19000101", "DT": "19000101000000", "TM": "000000", "AS": "", "DS": "0", "IS": "0", "UI": "2.25.0",
    "US": 0, "SS": 0, "UL": 0, "SL": 0, "FL": 0.0, "FD": 0.0, "SV": 0, "UV": 0, "AT": 0,
}  # fmt: skip
TEXT_DUMMY = "REMOVED"
OLDEST = 89
"""Ages above are not told apart, also where patient characteristics are kept."""
_IDENTIFYING = (
    "PatientName", "PatientID", "OtherPatientNames", "OtherPatientIDs", "PatientBirthName", "PatientMotherBirthName",
    "PatientTelephoneNumbers", "PatientAddress", "AccessionNumber", "ReferringPhysicianName", "OperatorsName",
    "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "RequestingPhysician", "InstitutionName", "StudyID",
    "PatientBirthDate", "StudyDate",
)  # fmt: skip
_NUMBERS = re.compile(r"\d[\d\-/.年月日]{4,}")


@lru_cache(maxsize=1)
def table() -> dict[str, dict[str, str]]:
    """Tag -> row of the table; repeating groups under ``60XX3000`` and the like."""
    lines = files("adapters.dicom").joinpath("tables/deidentification.csv").read_text(encoding="utf-8").splitlines()
    return {row["tag"]: row for row in csv.DictReader(line for line in lines if not line.startswith("#"))}


@dataclass(frozen=True, slots=True)
class Deidentifier:
    """One run: the key that all replacements follow from, and the options kept."""

    key: bytes
    options: frozenset[str]

    def __post_init__(self) -> None:
        unknown = self.options - OPTIONS.keys()
        if unknown or {"full_dates", "modified_dates"} <= self.options:
            wrong = ", ".join(sorted(unknown)) or "full_dates and modified_dates together"
            raise HubError("parameter-value", f"no such option: {wrong}; there are {', '.join(OPTIONS)}", "options")

    def file(self, content: bytes) -> bytes:
        """A Part 10 file without identity. HubError("business-rule") when its pixels may tell who it is."""
        split = part10.split(content)
        data, syntax = split.data, split.transfer_syntax
        if syntax in (dataset.DEFLATED, dataset.BIG_ENDIAN):
            data, syntax = transcode.convert(data, syntax, dataset.EXPLICIT), dataset.EXPLICIT
        dataset.parse(data, syntax)  # the limits, before pydicom recurses
        implicit = syntax == dataset.IMPLICIT
        try:
            whole = read_dataset(io.BytesIO(data), implicit, True)
            self.data_set(whole, split.sop_class)
            out = DicomBytesIO()
            out.is_little_endian, out.is_implicit_VR = True, implicit
            write_dataset(out, whole)
        except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
            raise HubError("structure", f"the data set cannot be read or written anew: {error}") from None
        return part10.file_meta(split.sop_class, str(whole.get("SOPInstanceUID", "")), syntax) + bytes(out.getvalue())

    def data_set(self, whole: pydicom.Dataset, sop_class: str = "") -> None:
        """The data set, changed in place."""
        _refuse_pixels(whole, str(whole.get("SOPClassUID", "") or sop_class))
        person = "|".join(str(whole.get(name, "")) for name in ("IssuerOfPatientID", "PatientID"))
        _Walk(self, person, tuple(_identifiers(whole))).items(whole)
        self._declare(whole)

    def _declare(self, whole: pydicom.Dataset) -> None:
        """What was done (PS3.15 E.1.1, PS3.3 C.7.1.1, C.12.1)."""
        used = [PROFILE, *(code for name, code in OPTIONS.items() if name in self.options)]
        whole.PatientIdentityRemoved = "YES"
        whole.DeidentificationMethod = "PS3.15 E Basic Profile"
        whole.DeidentificationMethodCodeSequence = [_code(*code) for code in used]
        kept = {"full_dates": "UNMODIFIED", "modified_dates": "MODIFIED"}
        whole.LongitudinalTemporalInformationModified = next(
            (word for name, word in kept.items() if name in self.options), "REMOVED"
        )

    def digest(self, kind: str, value: str) -> bytes:
        """What replacements are made of."""
        return bytes(hmac.digest(self.key, f"{kind}|{value}".encode("utf-8", "surrogatepass"), "sha256"))

    def uid(self, uid: str) -> str:
        """The UID that stands for this one; those of the standard stay (PS3.5 B.2)."""
        if uid.startswith("1.2.840.10008.") or not uid:
            return uid
        return f"2.25.{int.from_bytes(self.digest('uid', uid)[:16], 'big')}"

    def pseudonym(self, person: str) -> str:
        """Ten letters that stand for a person."""
        return b32encode(self.digest("person", person)).decode("ascii")[:10]

    def moved(self, day: str, person: str) -> str:
        """A date (yyyymmdd...) so many days earlier as the person's dates are moved."""
        least, most = SHIFTS
        days = least + int.from_bytes(self.digest("days", person)[:4], "big") % (most - least)
        try:
            earlier = date(int(day[:4]), int(day[4:6]), int(day[6:8])) - timedelta(days)
        except (ValueError, OverflowError):
            return ""
        return f"{earlier:%Y%m%d}{day[8:]}"


@dataclass(frozen=True, slots=True)
class _Walk:
    """One data set on its way."""

    run: Deidentifier
    person: str
    identifiers: tuple[str, ...]

    def items(self, level: pydicom.Dataset) -> None:
        """All elements of a level and of the sequences below that stay."""
        for tag in list(level.keys()):
            if tag.is_private or tag.group > 0x7FE0 or tag.element == 0:
                del level[tag]
                continue
            if tag.group == 0x7FE0:
                continue
            action = self.action(f"{int(tag):08X}")
            if not action and not dictionary_has_tag(tag) and not 0x6000 <= tag.group <= 0x601F:
                action = "X"  # nobody knows what it says
            if action == "X":
                del level[tag]
                continue
            element = level[tag]
            if element.VR == "SQ":
                for item in element.value or ():
                    self.items(item)
            elif not action and element.VR == "PN":
                element.value = ""  # the table does not know it, but it is a name
            if action:
                ACTIONS[action](self, element)

    def action(self, tag: str) -> str:
        """One of ``ACTIONS``, X, or "" for an attribute that stays."""
        rows = table()
        row = rows.get(tag) or rows.get(f"{tag[:2]}XX{tag[4:]}") or rows.get(f"{tag[:2]}XXXXXX")
        if row is None:
            return ""
        for option in self.run.options:
            if row[option]:
                return "" if row[option] == "K" else row[option]
        basic = row["basic"]
        return "U" if basic.endswith("U*") else basic.rpartition("/")[2]

    def replace_uid(self, element: DataElement) -> None:
        """U: of a sequence, the UIDs in its items are replaced already."""
        if element.VR == "UI" and element.value:
            values = [element.value] if isinstance(element.value, str) else list(element.value)
            element.value = [self.run.uid(str(value)) for value in values]

    def empty(self, element: DataElement) -> None:
        """Z: empty; the patient gets a pseudonym, so that files of one person stay together."""
        if element.tag in (0x00100010, 0x00100020):
            element.value = self.run.pseudonym(self.person)
        elif element.VR == "SQ":
            element.value = []
        else:
            element.value = None if element.VR not in ("OB", "OW", "UN") else b""

    def dummy(self, element: DataElement) -> None:
        """D: a value that says nothing."""
        if element.tag == 0x00100020:
            element.value = self.run.pseudonym(self.person)
        elif element.VR == "UI":
            self.replace_uid(element)
        elif element.VR in ("OB", "OW", "UN", "OF", "OD", "OL"):
            element.value = b"\0\0"
        elif element.tag == 0x0040A730:
            element.value = []  # a content tree is kept by the option that cleans it only
        elif element.VR != "SQ":
            element.value = DUMMIES.get(element.VR, TEXT_DUMMY)

    def clean(self, element: DataElement) -> None:
        """C: dates are moved, texts lose every identifier of the data set and every longer number."""
        if element.VR in ("DA", "DT"):
            values = [element.value] if not isinstance(element.value, pydicom.multival.MultiValue) else element.value
            element.value = [self.run.moved(str(value), self.person) for value in values]
        elif element.VR == "AS":
            element.value = _age(str(element.value or ""))
        elif element.VR in ("OB", "OW", "UN"):
            element.value = b"\0" * len(element.value or b"")  # drawn text cannot be told from drawn shapes
        elif element.VR not in ("SQ", "TM", "DS", "IS", "US", "FD", "FL") and element.value:
            values = [element.value] if isinstance(element.value, str) else list(element.value)
            element.value = [self.text(str(value)) for value in values]
        elif element.VR == "SQ":
            for item in element.value or ():
                self.clean_texts(item)

    def clean_texts(self, level: pydicom.Dataset) -> None:
        """The texts of a content item or graphic annotation; those below were reached by ``items``."""
        for element in level:
            if element.VR == "SQ":
                for item in element.value or ():
                    self.clean_texts(item)
            elif element.VR in ("UT", "ST", "LT", "LO", "SH", "UC") and element.value:
                values = [element.value] if isinstance(element.value, str) else list(element.value)
                element.value = [self.text(str(value)) for value in values]

    def text(self, value: str) -> str:
        for identifier in self.identifiers:
            value = re.sub(re.escape(identifier), "***", value, flags=re.IGNORECASE)
        return _NUMBERS.sub("***", value)


ACTIONS: dict[str, Callable[[_Walk, DataElement], None]] = {
    "U": _Walk.replace_uid, "Z": _Walk.empty, "D": _Walk.dummy, "C": _Walk.clean
}  # fmt: skip


def _identifiers(whole: pydicom.Dataset) -> Iterator[str]:
    """The words of the data set that name people and places, the longest first."""
    found: set[str] = set()
    for keyword in _IDENTIFYING:
        value = whole.get(keyword)
        values = value if isinstance(value, pydicom.multival.MultiValue) else [value]
        for one in values:
            found.update(re.split(r"[\^=\s,]+", str(one or "")))
            found.add(re.sub(r"[\^=\s]+", "", str(one or "").partition("=")[2].partition("=")[0]))
    words = (word for word in found if len(word) > 1 or (word and not word.isascii()))
    return iter(sorted(words, key=len, reverse=True))


def _refuse_pixels(whole: pydicom.Dataset, sop_class: str) -> None:
    burned = str(whole.get("BurnedInAnnotation", "")).upper()
    shows = burned == "YES" or (burned != "NO" and sop_class.startswith(OFTEN_BURNED_IN))
    if shows and ("PixelData" in whole or "EncapsulatedDocument" in whole):
        raise HubError(
            "business-rule",
            "the pixels or the document may show who it is: clean them and set Burned In Annotation to NO first",
            "(0028,0301)",
        )
    if str(whole.get("RecognizableVisualFeatures", "")).upper() == "YES":
        raise HubError("business-rule", "the image shows a recognizable face", "(0028,0302)")


def _age(value: str) -> str:
    with suppress(ValueError):
        if value.endswith("Y") and int(value[:-1]) > OLDEST:
            return f"{OLDEST + 1:03d}Y"
    return value


def _code(value: str, meaning: str) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item

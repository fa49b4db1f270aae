"""What identifies a Patient, compiled once for comparison, and the blocking keys by which alike Patients are found.

Missing is missing: a field that says nothing (empty, a placeholder, a name such as 无名氏) is neither agreement nor
disagreement.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from hub.mpi import compare, hanzi
from hub.mpi.rules import Key, Rules
from hub.search.expression import Term

BLOCK = "mpi:block"
"""Parameter of the index entries that hold blocking keys; no search parameter of FHIR can have this name."""
NEWBORN_MARK = re.compile(r"之[大小长次双]?[子女婴]|新生儿|婴儿|毛毛$")
ANONYMOUS = re.compile(r"无名|未知|不详|unknown|^某|匿名|^xxx", re.IGNORECASE)
PLACEHOLDER_DATES = frozenset({"1900-01-01", "1970-01-01", "1901-01-01", "0001-01-01"})
_DIGITS = re.compile(r"\D+")
_ID_LIKE = re.compile(r"[0-9X]{15,19}")
_WILD = re.compile(r"[*?？＊\ufffd]")
_COUNTY = re.compile(r"(?:.*?(?:省|自治区))?(?:.*?[市州盟])?(.*?[县区市旗])")


@dataclass(frozen=True, slots=True)
class Features:
    """A Patient in normal form. Empty text or set: nothing known. ``ids`` are valid resident ID numbers, ``wrong_ids``
    texts in their place that are not valid; ``source`` the system of the hospital's own number."""

    reference: str
    keys: frozenset[tuple[str, str]]
    ids: frozenset[str]
    wrong_ids: frozenset[str]
    names: tuple[str, ...]
    readings: tuple[tuple[str, ...], ...]
    born: str
    gender: str
    phones: frozenset[str]
    address: str
    county: str
    newborn: bool
    anonymous: bool
    source: str

    @property
    def named(self) -> bool:
        """Whether the name is a person's own."""
        return bool(self.names) and not self.newborn and not self.anonymous


def compile_patient(patient: dict[str, Any], rules: Rules) -> Features:
    """The features of a Patient (or a golden Person)."""
    regional, local = rules.keys(patient)
    texts = [compare.name_text(name) for name in patient.get("name", ())[:8]]
    names = tuple(dict.fromkeys(form for text in texts if (form := hanzi.simplified(text))))
    born = patient.get("birthDate", "")
    address = next((_address(one) for one in patient.get("address", ()) if _address(one)), "")
    ids = frozenset(key.value for key in regional if key.kind is not None and key.kind.single)
    return Features(
        reference=f"Patient/{patient.get('id', '')}",
        keys=frozenset((key.system, key.value) for key in regional),
        ids=ids,
        wrong_ids=_wrong_ids(patient, rules) if not ids else frozenset(),
        names=names,
        readings=tuple(hanzi.syllables(name) for name in names),
        born="" if born in PLACEHOLDER_DATES else born,
        gender=patient.get("gender", "") if patient.get("gender") in ("male", "female") else "",
        phones=_phones(patient),
        address=address,
        county=_county(address),
        newborn=any(NEWBORN_MARK.search(name) for name in names),
        anonymous=any(ANONYMOUS.search(name) for name in names),
        source=_source(local),
    )


def _source(local: tuple[Key, ...]) -> str:
    return local[0].system if local else ""


def _wrong_ids(patient: dict[str, Any], rules: Rules) -> frozenset[str]:
    """Texts where a resident ID number should be that are almost one."""
    found = set()
    for identifier in patient.get("identifier", ())[:64]:
        kind = rules.kind(identifier)
        if kind is not None and kind.single and identifier.get("use") != "old":
            text = compare.plain(identifier.get("value", ""))
            if _ID_LIKE.fullmatch(text) and len(set(text)) > 4:
                found.add(text)
    return frozenset(found)


def _phones(patient: dict[str, Any]) -> frozenset[str]:
    points = (point for point in patient.get("telecom", ())[:8] if point.get("system", "phone") in ("phone", "sms"))
    numbers = (_DIGITS.sub("", point.get("value", ""))[-11:] for point in points)
    return frozenset(number for number in numbers if len(number) >= 7 and len(set(number)) > 2)


def _address(address: dict[str, Any]) -> str:
    parts = (address.get(name, "") for name in ("state", "city", "district"))
    text = address.get("text") or "".join(parts) + "".join(address.get("line", ()))
    return hanzi.simplified(text)


def _county(address: str) -> str:
    match = _COUNTY.match(address)
    return match[1] if match else ""


# --- blocking ---------------------------------------------------------------------------------------------------------


def blocks(features: Features) -> list[str]:
    """Blocking keys: short hashes of what two registrations of one person have in common in spite of an error."""
    parts: list[tuple[str, ...]] = [("phone", phone) for phone in features.phones]
    for number in (*features.ids, *features.wrong_ids):
        parts += [("id-without-date", number[:10], number[14:]), ("id-end", number[8:]), ("id-start", number[:14])]
    year, day = features.born[:4], features.born[5:]
    months = "".join(sorted(day.split("-")))
    if features.named:
        for reading in features.readings:
            whole, given = "".join(reading), "".join(reading[1:])
            if len(reading) > 1 and year:
                parts += [("born-surname", year, months, reading[0]), ("born-given", features.born, given)]
            if year:
                parts.append(("year-name", year, whole))
            if features.county:
                parts.append(("county-name", features.county, whole))
            if features.address and given:
                parts.append(("address-given", features.address[:24], given))
    return [_hash(part) for part in dict.fromkeys(parts)]


def _hash(parts: tuple[str, ...]) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8"), digest_size=8).hexdigest()


def terms(patient: dict[str, Any], rules: Rules) -> list[Term]:
    """The index entries of a Patient's blocking keys, for the database that stores it."""
    return [Term(BLOCK, key) for key in blocks(compile_patient(patient, rules))]

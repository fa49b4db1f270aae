"""What identifies a Patient, compiled once for comparison, and the blocking keys by which alike Patients are found.

Missing is missing: a field that says nothing (empty, a placeholder, a name such as 无名氏) is neither agreement nor
disagreement.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hub.mpi import compare, golden, hanzi
from hub.mpi.rules import Key, Rules
from hub.search.expression import Term
from hub.store.protocol import Version

BLOCK = "mpi:block"
"""Parameter of the index entries that hold blocking keys; no search parameter of FHIR can have this name."""
ANONYMOUS = re.compile(r"无名|未知|不详|unknown|^某|匿名|^xxx", re.IGNORECASE)
PLACEHOLDER_DATES = frozenset({"1900-01-01", "1970-01-01", "1901-01-01", "0001-01-01"})
_DIGITS = re.compile(r"\D+")
_ID_LIKE = re.compile(r"[0-9X]{15,19}")
_COUNTY = re.compile(r"(?:.*?(?:省|自治区))?(?:.*?[市州盟])?(.*?[县区市旗])")


@dataclass(frozen=True, slots=True)
class Features:
    """A Patient in normal form. Empty text or set: nothing known. ``ids`` are valid resident ID numbers, ``wrong_ids``
    texts in their place that are not valid; ``cards`` all other identifiers that decide;
    ``merged`` the Patients that the hospital says are the same record."""

    reference: str
    regional: tuple[Key, ...]
    local: tuple[Key, ...]
    cards: frozenset[str]
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
    merged: frozenset[str]
    blocks: frozenset[str] = frozenset()

    @property
    def sources(self) -> frozenset[str]:
        """The systems of the hospitals' own numbers."""
        return frozenset(key.system for key in self.local)

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
    features = Features(
        reference=f"Patient/{patient.get('id', '')}",
        regional=regional,
        local=local,
        cards=frozenset(key.value for key in regional if key.value not in ids),
        ids=ids,
        wrong_ids=_wrong_ids(patient, rules) if not ids else frozenset(),
        names=names,
        readings=tuple(hanzi.syllables(name) for name in names),
        born="" if born in PLACEHOLDER_DATES else born,
        gender=patient.get("gender", "") if patient.get("gender") in ("male", "female") else "",
        phones=_phones(patient),
        address=address,
        county=_county(address),
        newborn=any(map(compare.is_newborn, names)),
        anonymous=any(ANONYMOUS.search(name) for name in names),
        merged=frozenset(golden.merged_with(patient)),
    )
    return replace(features, blocks=_blocks(features))


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


class FeatureCache:
    """Features of stored Patients by id and version: a version never changes, so an entry is never wrong."""

    def __init__(self, decode: Callable[[Version], dict[str, Any]], rules: Rules, size: int = 50_000) -> None:
        self._decode = decode
        self._rules = rules
        self._size = size
        self._known: dict[tuple[str, int], Features] = {}
        self._last: tuple[dict[str, Any], Features] | None = None

    def written(self, patient: dict[str, Any]) -> Features:
        """The features of a Patient being written, compiled once for its index entries and for linking."""
        last = self._last
        if last is None or last[0] is not patient:
            last = self._last = (patient, compile_patient(patient, self._rules))
        return last[1]

    def of(self, version: Version) -> Features:
        """The features of a Patient's version."""
        key = (version.id, version.version)
        found = self._known.get(key)
        if found is None:
            found = compile_patient(self._decode(version), self._rules)
            if len(self._known) >= self._size:
                self._known.pop(next(iter(self._known)), None)
            self._known[key] = found
        return found


# --- blocking ---------------------------------------------------------------------------------------------------------


def _blocks(features: Features) -> frozenset[str]:
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
    return frozenset(map(_hash, parts))


def _hash(parts: tuple[str, ...]) -> str:
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8"), digest_size=8).hexdigest()


def key_block(key: Key) -> str:
    """The block of an identifier."""
    return _hash(("key", key.system, key.value))


def link_block(reference: str) -> str:
    """The block of what links to a Patient: its Person, and a Patient that it replaced."""
    return _hash(("link", reference))


def patient_terms(features: Features) -> list[Term]:
    """The index entries by which a Patient is found: blocking keys, hospital numbers, Patients it was merged with."""
    keys = {*features.blocks, *map(key_block, features.local), *map(link_block, features.merged)}
    return [Term(BLOCK, key) for key in sorted(keys)]


def person_terms(person: dict[str, Any], rules: Rules) -> list[Term]:
    """The index entries by which a Person is found: its identifiers and its Patients."""
    keys = {*map(key_block, rules.person_keys(person)), *map(link_block, golden.links(person))}
    return [Term(BLOCK, key) for key in sorted(keys)]

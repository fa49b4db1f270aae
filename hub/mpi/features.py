"""What identifies a Patient, in normal form, compiled once for comparison.

Missing is missing: a field that says nothing (empty, a placeholder, a name such as 无名氏) is neither agreement nor
disagreement.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from hub.fhir import json
from hub.mpi import compare, golden, hanzi
from hub.mpi.rules import Key, Rules

Resource = dict[str, Any]
IDENTIFYING = ("identifier", "active", "name", "telecom", "gender", "birthDate", "address", "link")
"""Elements of Patient that linking and the golden record look at."""
ANONYMOUS = re.compile(r"无名|未知|不详|unknown|^某|匿名|^xxx", re.IGNORECASE)
PLACEHOLDER_DATES = frozenset({"1900-01-01", "1970-01-01", "1901-01-01", "0001-01-01"})
MAX_NAMES = 8
PHONES = ("phone", "sms")
_DIGITS = re.compile(r"\D+")
_HOUSE = re.compile(r"\d+[a-z]?\b", re.IGNORECASE)
_COUNTY = re.compile(r"(?:.*?(?:省|自治区))?(?:.*?[市州盟])?(.*?[县区市旗])")

Pair = tuple[str, str]


class Features(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A Patient in normal form. Empty text or set: nothing known. ``digest`` is that of all that identifies.

    ``ids`` are valid numbers of which a person has one only, ``wrong_ids`` texts in their place that are not valid;
    ``documents`` (kind, value) the other identifiers that decide, ``numbers`` (kind, value) those that only speak for a
    person; ``local`` (system, value) the hospitals' own; ``readings`` of the names; ``named`` whether the name is a
    person's own; ``merged`` the Patients that the hospital says are the same record. The parts of a Latin name and of a
    structured address are for the rules that compare them.
    """

    reference: str
    version: int
    digest: int
    local: tuple[Pair, ...]
    ids: frozenset[str]
    wrong_ids: frozenset[str]
    documents: frozenset[Pair]
    numbers: frozenset[Pair]
    names: tuple[str, ...]
    readings: tuple[str, ...]
    born: str
    gender: str
    phones: frozenset[str]
    address: str
    county: str
    named: bool
    merged: frozenset[str]
    family: str = ""
    given: str = ""
    house: str = ""
    street: str = ""
    locality: str = ""
    place: str = ""
    postcode: str = ""
    state: str = ""

    @property
    def sources(self) -> frozenset[str]:
        """The systems of the hospitals' own numbers."""
        return frozenset(system for system, _ in self.local)


def compile_patient(patient: Resource, rules: Rules, version: int = 0) -> Features:
    """The features of a Patient (or a golden Person)."""
    regional, local = rules.keys(patient)
    texts = [compare.name_text(name) for name in patient.get("name", ())[:MAX_NAMES]]
    names = tuple(dict.fromkeys(form for text in texts if (form := hanzi.simplified(text))))
    born, gender = patient.get("birthDate", ""), patient.get("gender", "")
    ids = frozenset(key.value for key in regional if key.kind is not None and key.kind.single)
    address = next((text for one in patient.get("address", ())[:MAX_NAMES] if (text := _address(one))), "")
    parts = _latin(patient) if rules.latin else ()
    return Features(
        f"{patient.get('resourceType', 'Patient')}/{patient.get('id', '')}",
        version,
        _digest(patient),
        tuple((key.system, key.value) for key in local),
        ids,
        rules.wrong(patient) if not ids else frozenset(),
        frozenset((key.kind.name, key.value) for key in regional if key.kind is not None and not key.kind.single),
        rules.numbers(patient),
        names,
        tuple("".join(hanzi.syllables(name)) for name in names),
        "" if born in PLACEHOLDER_DATES else born,
        gender if gender in ("male", "female") else "",
        _phones(patient),
        address,
        _county(address),
        bool(names) and not any(map(compare.is_newborn, names)) and not any(map(ANONYMOUS.search, names)),
        frozenset(golden.merged_with(patient)),
        *parts,
    )


def regional(features: Features, rules: Rules) -> list[Key]:
    """The identifiers that decide, as keys of the regional Person."""
    single = [Key(rules.single.system, value, rules.single) for value in features.ids]
    kinds = {kind.name: kind for kind in rules.kinds}
    others = [Key(kinds[name].system, value, kinds[name]) for name, value in features.documents]
    return sorted(single + others, key=lambda key: (key.system, key.value))


def digest(parts: Iterable[str]) -> int:
    """64 bits of texts, the same in every process."""
    return int.from_bytes(hashlib.blake2b("\x1f".join(parts).encode("utf-8"), digest_size=8).digest(), "big")


def _digest(patient: Resource) -> int:
    identifying = json.encode([patient.get(element) for element in IDENTIFYING])
    return int.from_bytes(hashlib.blake2b(identifying, digest_size=8).digest(), "big")


def _phones(patient: Resource) -> frozenset[str]:
    points = (point for point in patient.get("telecom", ())[:MAX_NAMES] if point.get("system", "phone") in PHONES)
    numbers = (_DIGITS.sub("", point.get("value", ""))[-11:] for point in points)
    return frozenset(number for number in numbers if len(number) >= 7 and len(set(number)) > 2)


def _address(address: Resource) -> str:
    parts = (address.get(name, "") for name in ("state", "city", "district"))
    text = address.get("text") or "".join(parts) + "".join(address.get("line", ()))
    return hanzi.simplified(text)


def _county(address: str) -> str:
    match = _COUNTY.match(address)
    return match[1] if match else ""


def _latin(patient: Resource) -> Iterator[str]:
    """Family and given name, house number, street, second line, city, postal code and state of the first of each."""
    name: Resource = next(iter(patient.get("name", ())), {})
    address: Resource = next(iter(patient.get("address", ())), {})
    first, second = (*address.get("line", ()), "", "")[:2]
    house = _HOUSE.match(first)
    number = house[0] if house else ""
    texts = [name.get("family", ""), " ".join(name.get("given", ())), number, first[len(number) :], second]
    texts += [address.get(element, "") for element in ("city", "postalCode", "state")]
    return (" ".join(text.casefold().split()) for text in texts)

"""A stream of registrations with known truth: what hospitals write down about residents, with the errors of clerks.

It is the yardstick of the master patient index (``hub mpi``), and independent of it: error rates and confusions are
tables of the simulators. A registration is a FHIR Patient of one hospital.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from simulators.population import TODAY, Resident, check_digit, home_of, people, table
from simulators.streams import Stream, digest

HOSPITALS = 12
TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
RESIDENT_ID = "urn:oid:2.16.840.1.113883.2.23.1.19.1"
CARD = "https://region-hub.example/fhir/healthcard"


@dataclass(frozen=True, slots=True)
class Rates:
    """How often what goes wrong, as shares of registrations (assumptions; no field data is public)."""

    id_missing: float = 0.18
    id_typo: float = 0.012
    id_old: float = 0.004
    card_missing: float = 0.45
    homophone: float = 0.02
    shape: float = 0.008
    traditional: float = 0.008
    latin: float = 0.005
    wild: float = 0.005
    born_wrong: float = 0.01
    born_missing: float = 0.02
    phone_changed: float = 0.22
    phone_missing: float = 0.12
    moved: float = 0.10
    address_missing: float = 0.05
    anonymous: float = 0.002
    newborn: float = 0.5
    """Share of the registrations in the first three months of life that are under the mother's name and number."""

    def times(self, factor: float) -> Rates:
        """The rates multiplied, none above 0.9."""
        return replace(self, **{name: min(0.9, getattr(self, name) * factor) for name in self.__slots__})


@dataclass(frozen=True, slots=True)
class Registration:
    """A Patient as written down, and who it truly is (the resident's index)."""

    resident: int
    patient: dict[str, Any]


@cache
def _confusions() -> dict[str, dict[str, str]]:
    return {row["character"]: row for row in table("confusions")}


def registrations(seed: int, residents: int, rates: Rates | None = None) -> list[Registration]:
    """About two registrations a resident, in an order that says nothing."""
    rates = rates or Rates()
    population = people(seed, residents)
    mothers = {resident.household: resident for resident in population if resident.role == "spouse"}
    made: list[tuple[float, Registration]] = []
    for resident in population:
        stream = Stream(seed, "registrations", resident.index)
        places = {stream.below(HOSPITALS) for _ in range(stream.weighted((1, 2, 3, 4), (35, 35, 20, 10)))}
        for place in sorted(places):
            once = Stream(seed, "registration", resident.index, place)
            patient = _write(once, seed, resident, mothers.get(resident.household), place, rates)
            made.append((once.unit(), Registration(resident.index, patient)))
    return [registration for _, registration in sorted(made, key=lambda row: row[0])]


def _write(
    stream: Stream, seed: int, resident: Resident, mother: Resident | None, place: int, rates: Rates
) -> dict[str, Any]:
    if stream.chance(rates.anonymous):
        return _anonymous(seed, resident, place)
    days = (TODAY - resident.born).days
    if mother is not None and days < 400 and stream.chance(rates.newborn):
        return _newborn(stream, seed, resident, mother, place, rates)
    patient = _patient(seed, resident, place, list(_names(stream, resident, rates)))
    if not stream.chance(rates.id_missing):
        _identify(patient, "NI", RESIDENT_ID, _number(stream, resident.number, rates))
    if not stream.chance(rates.card_missing):
        _identify(patient, "HC", CARD, resident.card)
    if not stream.chance(rates.born_missing):
        patient["birthDate"] = _born(stream, resident, rates)
    return _reach(stream, seed, resident, patient, rates)


def _reach(stream: Stream, seed: int, resident: Resident, patient: dict[str, Any], rates: Rates) -> dict[str, Any]:
    """Telephone and address, which change."""
    if not stream.chance(rates.phone_missing):
        changed = f"1{stream.pick('358')}{stream.below(10)}0001{stream.below(10_000):04d}"
        number = changed if stream.chance(rates.phone_changed) else resident.phone
        patient["telecom"] = [{"system": "phone", "value": number}]
    if not stream.chance(rates.address_missing):
        moved = home_of(seed, 10_000_000 + resident.index).address
        patient["address"] = [{"text": moved if stream.chance(rates.moved) else resident.address}]
    return patient


def _patient(seed: int, resident: Resident, place: int, names: list[dict[str, Any]]) -> dict[str, Any]:
    number = digest(seed, "number", resident.index, place).hex()[:10]
    return {
        "resourceType": "Patient",
        "id": f"h{place}-{number}",
        "identifier": [{"type": _type("MR"), "system": f"urn:oid:2.999.1099.{100 + place}", "value": number}],
        "name": names,
        "gender": resident.sex,
    }


def _identify(patient: dict[str, Any], code: str, system: str, value: str) -> None:
    patient["identifier"].append({"type": _type(code), "system": system, "value": value})


def _type(code: str) -> dict[str, Any]:
    return {"coding": [{"system": TYPES, "code": code}]}


def _anonymous(seed: int, resident: Resident, place: int) -> dict[str, Any]:
    return _patient(seed, resident, place, [{"text": "无名氏"}])


def _newborn(
    stream: Stream, seed: int, resident: Resident, mother: Resident, place: int, rates: Rates
) -> dict[str, Any]:
    """A child registered as somebody's son or daughter, often with the mother's number and card."""
    suffix = "之子" if resident.sex == "male" else "之女"
    patient = _patient(seed, resident, place, [{"text": f"{mother.name}{suffix}"}])
    if stream.chance(0.6):
        _identify(patient, "NI", RESIDENT_ID, mother.number)
    if stream.chance(0.2):
        _identify(patient, "HC", CARD, mother.card)
    patient["birthDate"] = resident.born.isoformat()
    return _reach(stream, seed, replace(resident, phone=mother.phone), patient, rates)


def _names(stream: Stream, resident: Resident, rates: Rates) -> Iterator[dict[str, Any]]:
    name = resident.name
    if stream.chance(rates.latin):
        yield {"text": resident.pinyin}
        return
    for rate, column in ((rates.homophone, "homophones"), (rates.shape, "shapes"), (rates.traditional, "traditional")):
        if stream.chance(rate):
            place = stream.between(0 if column == "traditional" else 1, len(name) - 1)
            choices = _confusions().get(name[place], {}).get(column, "")
            if choices:
                name = name[:place] + stream.pick(choices) + name[place + 1 :]
    if stream.chance(rates.wild):
        place = stream.between(1, len(name) - 1)
        name = name[:place] + stream.pick("*?") + name[place + 1 :]
    yield {"text": name}


def _number(stream: Stream, number: str, rates: Rates) -> str:
    if stream.chance(rates.id_old) and number[6:8] == "19":
        return number[:6] + number[8:17]
    if not stream.chance(rates.id_typo):
        return number
    place = stream.below(17)
    if stream.chance(0.3):
        return number[:place] + number[place + 1] + number[place] + number[place + 2 :]
    wrong = str((int(number[place]) + 1 + stream.below(9)) % 10)
    typed = number[:place] + wrong + number[place + 1 :]
    return typed if check_digit(typed[:17]) != typed[17] else number


def _born(stream: Stream, resident: Resident, rates: Rates) -> str:
    born = resident.born
    if not stream.chance(rates.born_wrong):
        return born.isoformat()
    if born.day <= 12 and stream.chance(0.4):
        return f"{born.year:04d}-{born.day:02d}-{born.month:02d}"
    if stream.chance(0.5):
        return born.replace(year=born.year - stream.between(1, 3), day=min(born.day, 28)).isoformat()
    return born.replace(day=stream.between(1, 28)).isoformat()

"""A scenario: which residents visit which hospitals, and every message that this makes, in the order of its time.

The messages depend on (scenario, seed, VERSION) only, byte for byte; ``digest`` of the log proves it.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simulators import fhir, images
from simulators.dialect import dialects
from simulators.hospital import Hospital, Visit
from simulators.journey import Journey, journeys
from simulators.population import Resident, people
from simulators.streams import Stream

VERSION = "1"
LOCAL = datetime.timezone(datetime.timedelta(hours=8))
FIRST_DAY = datetime.datetime(2026, 11, 2, tzinfo=LOCAL)
HOURS = ((8, 20), (9, 24), (10, 18), (11, 8), (13, 4), (14, 14), (15, 12), (16, 7), (19, 3), (22, 2))
"""Hour of day and weight of arrivals (ours; two peaks as Chinese outpatient clinics have them)."""
EVERYWHERE = 5
"""Every fifth resident visits all hospitals."""


@dataclass(frozen=True, slots=True)
class Sending:
    """One thing sent over ``link`` (mllp, dicom, http) under a control id (MSH-10, study UID, Bundle)."""

    at: datetime.datetime
    hospital: str
    link: str
    kind: str
    control_id: str
    resident: int | None
    number: str
    body: bytes

    def line(self) -> str:
        """The sending as one line of a log (JSON)."""
        row = {
            "at": self.at.isoformat(), "hospital": self.hospital, "link": self.link, "kind": self.kind,
            "control_id": self.control_id, "resident": self.resident,
            "sha256": hashlib.sha256(self.body).hexdigest(), "body": base64.b64encode(self.body).decode("ascii"),
        }  # fmt: skip
        return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Arrival:
    """A resident begins a journey at a hospital."""

    at: datetime.datetime
    hospital: str
    resident: Resident
    journey: Journey


def demo(seed: int, count: int = 30) -> tuple[list[Resident], list[Arrival]]:
    """Residents of whom every fifth visits every hospital; the first one has an admission with images and one merge."""
    residents = people(seed, count)
    arrivals = [arrival for hospital in dialects() for arrival in _visits(seed, hospital, residents, days=3)]
    table = journeys()
    first = residents[0]
    arrivals = [arrival for arrival in arrivals if arrival.resident is not first]
    for hospital, journey, hours in (
        ("people", "inpatient", 8),
        ("county", "outpatient", 33),
        ("cloud", "outpatient", 57),
    ):
        arrivals.append(
            Arrival(FIRST_DAY + datetime.timedelta(hours=hours, minutes=12), hospital, first, table[journey])
        )
    late = FIRST_DAY + datetime.timedelta(days=4, hours=2)
    arrivals.append(Arrival(late, "people", first, table["duplicate"]))
    return residents, arrivals


def day(seed: int, count: int, hospitals: Sequence[str] = ()) -> tuple[list[Resident], list[Arrival]]:
    """One day of the region: every resident's visits, at the hospitals named (all by default)."""
    residents = people(seed, count)
    names = hospitals or tuple(dialects())
    return residents, [arrival for name in names for arrival in _visits(seed, name, residents, days=1)]


def _visits(seed: int, hospital: str, residents: Sequence[Resident], days: int) -> Iterator[Arrival]:
    table = [journey for journey in journeys().values() if journey.share]
    for resident in residents:
        stream = Stream(seed, "arrival", hospital, resident.index)
        if resident.index % EVERYWHERE and not stream.chance(0.45):
            continue
        hour = stream.weighted([hour for hour, _ in HOURS], [float(weight) for _, weight in HOURS])
        minutes = (stream.below(days) * 24 + hour) * 60 + stream.below(60)
        journey = stream.weighted(table, [journey.share for journey in table])
        yield Arrival(FIRST_DAY + datetime.timedelta(minutes=minutes), hospital, resident, journey)


def sendings(seed: int, arrivals: Sequence[Arrival]) -> Iterator[Sending]:
    """Everything that the arrivals make the hospitals send, in the order of time."""
    hospitals = {name: Hospital(dialect, seed) for name, dialect in dialects().items()}
    planned: list[tuple[datetime.datetime, str, int, str, Visit]] = []
    for arrival in sorted(arrivals, key=lambda arrival: (arrival.at, arrival.hospital, arrival.resident.index)):
        hospital = hospitals[arrival.hospital]
        unknown = arrival.journey.name == "duplicate"
        visit = hospital.visit(arrival.resident, arrival.journey.patient_class, arrival.at, unknown=unknown)
        stream = Stream(seed, "journey", arrival.hospital, visit.id)
        for at, kind in arrival.journey.plan(stream, arrival.at):
            planned.append((at, arrival.hospital, hospital.visits, kind, visit))
    planned.sort(key=lambda row: (row[0], row[1], row[2]))
    for name in sorted({arrival.hospital for arrival in arrivals}):
        control, body = fhir.registration(hospitals[name].dialect)
        yield Sending(FIRST_DAY, name, "http", "FHIR:registration", control, None, "", body)
    for at, name, _, kind, visit in planned:
        yield from _send(hospitals[name], kind, visit, at)


def _send(hospital: Hospital, kind: str, visit: Visit, at: datetime.datetime) -> Iterator[Sending]:
    """What a hospital sends for a step; nothing where it has no such link."""
    name, index = hospital.dialect.key, visit.resident.index
    if kind == "STORE":
        if "dicom" in hospital.dialect.links:
            control = images.study_uid(hospital, visit)
            for body in images.study(hospital, visit, at):
                yield Sending(at, name, "dicom", hospital.dialect.modality, control, index, visit.number, body)
    elif kind.startswith("FHIR"):
        if "http" in hospital.dialect.links:
            control, body = fhir.visit_bundle(hospital, visit, at)
            yield Sending(at, name, "http", kind, control, index, visit.number, body)
    elif not (kind.endswith(":imaging") and "dicom" not in hospital.dialect.links):
        control, body = hospital.build(kind, visit, at)
        yield Sending(at, name, "mllp", kind, control, index, visit.number, body)


def digest(log: Sequence[Sending]) -> str:
    """SHA-256 of the log in hex."""
    return hashlib.sha256("".join(f"{sending.line()}\n" for sending in log).encode("utf-8")).hexdigest()

"""A visit: a resident at an institution, with the numbers that its systems give, and what is found there."""

from __future__ import annotations

import base64
import datetime
from dataclasses import dataclass, field

from simulators import health
from simulators.health import Illness
from simulators.population import MEMBERS, Resident
from simulators.region import Institution
from simulators.streams import Stream, digest

TEMPORARY = 70_000_000
SHIFTS = 12


def patient_number(site: Institution, resident: Resident) -> str:
    """The resident's number at an institution. Equal numbers of two institutions are different people."""
    shift = digest(0, "shift", site.key)[0] % SHIFTS * MEMBERS
    return site.dialect.patient_number.format(resident.index + 1 + shift)


def temporary_number(site: Institution, seed: int, *names: object) -> str:
    """A number for somebody who has, or shows, no documents."""
    part = int.from_bytes(digest(seed, "temporary", site.key, *names)[:6], "big") % 9_999_991
    return site.dialect.patient_number.format(TEMPORARY + part)


@dataclass(slots=True)
class Visit:
    """One visit. ``number`` is the patient number, ``id`` the visit number, ``registered`` how the patient is
    written down.

    ``registered``: ``known``, ``unknown`` (无名氏), ``newborn`` (under the mother's name), ``hurried`` (name only).
    ``illness`` is what the visit is about, ``illnesses`` everything the resident has.
    """

    seed: int
    resident: Resident
    site: Institution
    episode: str
    number: str
    id: str
    patient_class: str
    department: str
    doctor: tuple[str, str, str]
    illness: Illness
    illnesses: list[Illness]
    started: datetime.datetime
    registered: str = "known"
    mother: Resident | None = None
    ended: datetime.datetime | None = None
    values: dict[str, str] = field(default_factory=dict)

    def stream(self, *names: object) -> Stream:
        """The draws of this visit under a name."""
        return Stream(self.seed, self.site.key, self.id, *names)

    @property
    def key(self) -> tuple[str, str]:
        """(facility, visit number)."""
        return self.site.facility, self.id

    def order(self, letter: str) -> str:
        """The placer order number: the visit's number and a letter (L laboratory, R imaging, D drug...)."""
        return f"{self.id}{letter}"

    def control(self, *names: object) -> str:
        """A control id of at most 20 characters (MSH-10 up to v2.6)."""
        text = base64.b32encode(digest(self.seed, self.site.key, self.id, *names)).decode("ascii")
        return f"{self.site.facility}{text[: 20 - len(self.site.facility)]}"

    def laboratory(self, panel: str, correction: bool = False) -> list[tuple[health.Row, str]]:
        """Items and values of a panel, remembered; a correction changes the first one."""
        on = self.started.date()
        found = []
        for item in health.panels()[panel]:
            text = health.value(self.seed, self.resident, item, self.illnesses, on, self.stream("value", item["code"]))
            self.values[item["code"]] = text
            found.append((item, text))
        if correction:
            item, text = found[0]
            self.values[item["code"]] = f"{float(text) * 1.1:.{int(item['decimals'])}f}"
            found[0] = (item, self.values[item["code"]])
        return found

    def drugs(self) -> list[str]:
        """What is prescribed: for the visit's illness, after the values."""
        return health.drugs(self.illness, self.values)


def begin(
    seed: int, resident: Resident, site: Institution, episode: str, patient_class: str, started: datetime.datetime,
    illness: Illness, illnesses: list[Illness], registered: str = "known", mother: Resident | None = None,
) -> Visit:  # fmt: skip
    """A new visit. ``episode`` is a character that tells visits of one resident at one place on one day apart."""
    stream = Stream(seed, "visit", site.key, resident.index, episode, started.date())
    number = (
        patient_number(site, resident)
        if registered == "known"
        else temporary_number(site, seed, resident.index, episode, started.date())
    )
    wanted = illness.row["department"]
    department = wanted if wanted in site.departments else stream.pick(site.departments)
    place = site.departments.index(department)
    return Visit(
        seed, resident, site, episode, number,
        site.dialect.visit_number.format(f"{started:%y%j}{resident.index:07d}{episode}"), patient_class, department,
        site.doctors[2 * place + stream.below(2)], illness, illnesses, started, registered, mother,
    )  # fmt: skip

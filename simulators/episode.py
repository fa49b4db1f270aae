"""An episode: one resident goes through one journey; everything that the institutions send because of it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from simulators import fhir, health, images, messages, orders
from simulators.health import Illness
from simulators.journey import HERE, Journey
from simulators.population import MEMBERS, Resident, household
from simulators.record import Sending
from simulators.region import Institution, nearest
from simulators.segments import Scribe
from simulators.streams import Stream
from simulators.visit import Visit, begin, patient_number

BUILDERS = messages.BUILDERS | orders.BUILDERS
UNSUPPORTED = {"2.3.1": {"RDE^O11", "RDS^O13"}}
"""Events that a version of HL7 v2 does not have (they were RDE^O01 and RDS^O01); such a hospital sends no drugs."""


@dataclass(frozen=True, slots=True)
class Episode:
    """A resident begins a journey; ``sites`` are the institutions by role, ``letter`` tells episodes of a day apart."""

    seed: int
    resident: Resident
    journey: Journey
    at: datetime.datetime
    sites: dict[str, Institution]
    letter: str = "a"

    def sendings(self) -> list[Sending]:
        """Everything sent, in the order of its time; nothing where an institution has no such link."""
        on = self.at.date()
        stream = Stream(self.seed, "episode", self.resident.index, self.journey.name, self.at.isoformat())
        chronic = health.chronic(self.seed, self.resident, on)
        illness = self._illness(stream, chronic)
        known = chronic if illness in chronic else [*chronic, illness]
        visits: dict[str, Visit] = {}
        found: list[Sending] = []
        for at, role, kind, detail in self.journey.plan(stream, self.at):
            if role not in visits:
                visits[role] = self._begin(role, at, illness, known)
            found += _send(visits, role, kind, detail, at)
        return found

    def _illness(self, stream: Stream, chronic: list[Illness]) -> Illness:
        on, course = self.at.date(), self.journey.course
        if chronic and (course == "chronic" or (course == "any" and stream.chance(0.45))):
            return stream.pick(chronic)
        if self.journey.codes:
            rows = [row for row in health.conditions("acute") if row["code"] in self.journey.codes]
            return Illness(stream.pick(rows), on)
        return health.acute(stream, self.resident, on, "acute" if course in ("any", "chronic") else course)

    def _begin(self, role: str, at: datetime.datetime, illness: Illness, known: list[Illness]) -> Visit:
        site = self.sites.get(role, self.sites[HERE])
        resident, registered, mother = self.resident, self.journey.registered if role == HERE else "known", None
        if role == "newborn":
            mother, registered = self.resident, "newborn"
            resident = newborn(self.seed, mother, at)
            illness = Illness(health.conditions("check")[0], at.date())
            known = [illness]
        if role == "other":
            resident = household(self.seed, self.resident.household + 1)[0]
        return begin(
            self.seed, resident, site, self.letter if role == HERE else role[0], self.journey.patient_class, at,
            illness,
            known, registered, mother,
        )  # fmt: skip


def newborn(seed: int, mother: Resident, at: datetime.datetime) -> Resident:
    """The child of a mother, born today; it has no number and no name yet."""
    stream = Stream(seed, "newborn", mother.index, at.date())
    return replace(
        mother, index=mother.household * MEMBERS + MEMBERS - 1, role="child", sex=stream.pick(("male", "female")),
        born=at.date(), number="", card="", guardian=mother.index,
    )  # fmt: skip


def fits(journey: Journey, resident: Resident, seed: int, on: datetime.date) -> bool:
    """Whether the resident can go this way: age, sex, and an illness of the course."""
    if not journey.ages[0] <= resident.age(on) <= journey.ages[1] or (journey.sex and journey.sex != resident.sex[0]):
        return False
    if journey.course == "chronic":
        return bool(health.chronic(seed, resident, on))
    rows = health.conditions(journey.course) if journey.course in ("infectious", "pregnancy") else ()
    return not rows or any(health.suits(row, resident, on) for row in rows)


def places(journey: Journey, resident: Resident, sites: dict[str, Institution]) -> dict[str, Institution]:
    """The institutions that the resident goes to, by role; {} when there is none for a role."""
    found: dict[str, Institution] = {}
    for role, kinds in journey.places.items():
        choices = [site for site in sites.values() if site.kind in kinds and site not in found.values()]
        near = [site for site in choices if site.county == resident.county] or choices
        if not near:
            return {}
        found[role] = nearest(near, role, resident.household)
    return found


def _send(visits: dict[str, Visit], role: str, kind: str, detail: str, at: datetime.datetime) -> list[Sending]:
    visit = visits[role]
    dialect = visit.site.dialect
    if kind == "STORE":
        return images.study(visit, at) if "dicom" in dialect.links else []
    if kind == "FHIR":
        return [fhir.send(detail, visit, at)] if "http" in dialect.links else []
    if "mllp" not in dialect.links or kind in UNSUPPORTED.get(dialect.version, ()):
        return []
    if kind.startswith("WRONG"):
        return [_wrong(kind.partition("^")[2], visit, visits["other"], at)]
    if kind == "ADT^A40":
        return [messages.merge(visit, at, patient_number(visit.site, visit.resident))]
    if detail.startswith("imaging") and not images.modality(visit):
        return []
    return [BUILDERS[kind](visit, at, detail)]


def _wrong(trigger: str, visit: Visit, other: Visit, at: datetime.datetime) -> Sending:
    """A40: the other's number is merged into the patient's by mistake; A37: they are two again."""
    one, two = Scribe(visit, at), Scribe(other, at)
    if trigger == "A40":
        merged = [one.event("A40"), one.patient(), one.segment("MRG", {1: two.patient_id()})]
        return one.sending("ADT^A40", merged, [one.person(), two.fact("Patient", other.number, active=False)], "wrong")
    parted = [one.event("A37"), one.patient(), two.patient().replace("|1|", "|2|", 1)]
    return one.sending("ADT^A37", parted, [one.person(), two.person()], "repair")

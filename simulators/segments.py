"""The segments that every HL7 v2 message of a visit shares, in the dialect of the institution: MSH, EVN, PID, PV1."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from simulators.clerk import Entry, entry
from simulators.hl7 import Value, message
from simulators.population import city
from simulators.record import Fact, Sending
from simulators.region import Institution
from simulators.visit import Visit

RESIDENT_ID_AUTHORITY = ("CHN", "2.16.840.1.113883.2.23.1.19.1", "ISO")
"""CX-4 of a resident ID number: the OID that HL7 China uses for it."""
SEX = {"male": "M", "female": "F"}
STRUCTURES = {
    "A04": "ADT_A01", "A08": "ADT_A01", "A13": "ADT_A01", "A40": "ADT_A39", "A11": "ADT_A09", "A28": "ADT_A05",
    "A31": "ADT_A05", "S14": "SIU_S12", "S15": "SIU_S12", "S26": "SIU_S12", "T08": "MDM_T02", "T10": "MDM_T02",
}  # fmt: skip
"""Trigger event -> message structure (MSH-9.3) where it is not named after the event."""
CLASSES = {"O": "AMB", "E": "EMER", "I": "IMP"}


def moment(at: datetime.datetime) -> str:
    """A time as facts have it: UTC, to the minute, the coarsest that a dialect writes."""
    return f"{at.astimezone(datetime.UTC):%Y-%m-%dT%H:%MZ}"


class Scribe:
    """Writes the messages of one visit. ``at`` is the time of the message."""

    def __init__(self, visit: Visit, at: datetime.datetime) -> None:
        self.visit = visit
        self.site: Institution = visit.site
        self.dialect = visit.site.dialect
        self.at = at
        self.entry: Entry = entry(visit)

    def segment(self, name: str, fields: dict[int, Value]) -> str:
        """A segment in the dialect's separators."""
        return self.dialect.separators.segment(name, fields)

    def time(self, at: datetime.datetime | None = None) -> str:
        """A time (of the message by default) as the dialect writes it."""
        return (at or self.at).strftime(self.dialect.time)

    def sending(self, event: str, segments: Sequence[str], facts: Sequence[Fact], *names: object) -> Sending:
        """The message: MSH before ``segments``; its control id follows from the event, the time and ``names``."""
        control = self.visit.control(event, self.at.isoformat(), *names)
        body = message([self.header(event, control), *segments], self.dialect.charset)
        return Sending(
            self.at, self.site.key, "mllp", ":".join((event, *map(str, names))), control, self.visit.resident.index,
            body, facts=tuple(facts),
        )  # fmt: skip

    def header(self, event: str, control: str) -> str:
        """MSH."""
        return header(self.site, event, control, self.at)

    def event(self, trigger: str) -> str:
        """EVN: the event happened when the message was made."""
        return self.segment("EVN", {1: trigger, 2: self.time()})

    def patient_id(self, number: str | None = None) -> Value:
        """CX of the patient number."""
        return number or self.visit.number, "", "", self.site.authority, self.dialect.identifiers[0]

    def patient(self, whole: bool = False) -> str:
        """PID: what identifies the patient; the ``whole`` one of a HIS also has address, telephone and more."""
        known = self.entry
        identifiers: list[Value] = [self.patient_id()]
        if known.card:
            identifiers.append((known.card, "", "", "", "HC"))
        if known.number:
            foreign = self.visit.resident.nationality != "CHN"
            identifiers.append(
                (known.number, "", "", "", "PRC") if foreign else (known.number, "", "", RESIDENT_ID_AUTHORITY, "NI")
            )
        fields: dict[int, Value] = {
            1: "1", 3: identifiers, 5: self._name(known), 7: known.born, 8: SEX[known.sex],
        }  # fmt: skip
        if whole:
            fields |= {11: self._address(known), 13: self._phone(known), 16: known.married}
        if whole and known.ethnic and self.dialect.version >= "2.4":
            fields[22] = (known.ethnic, "", "GB3304")
        return self.segment("PID", {place: value for place, value in fields.items() if value})

    def _name(self, known: Entry) -> Value:
        if self.dialect.name == "whole" or not known.given:
            return (known.name,)
        parts = (known.family, known.given)
        if self.dialect.name == "parts":
            return parts
        return [(*parts, "", "", "", "", "L", "I"), (*known.latin, "", "", "", "", "L", "A")]

    def _address(self, known: Entry) -> Value:
        if not known.address:
            return ""
        if self.dialect.address == "text":
            return (known.address,)
        place = city()[0]
        return known.address.removeprefix(place), "", place, "", "", "CHN", "H"

    def _phone(self, known: Entry) -> Value:
        phone = self.visit.values.get("phone") or known.phone
        if not phone:
            return ""
        if self.dialect.phone == "first":
            return (phone,)
        return "", "PRN", "CP", "", "", "", "", "", "", "", "", phone

    def visit_id(self) -> Value:
        """CX of the visit number."""
        if not self.dialect.visit_authority:
            return self.visit.id
        return self.visit.id, "", "", (f"{self.site.facility}-VISIT", f"{self.site.oid}.1", "ISO"), "VN"

    def visited(self, bed: str = "") -> str:
        """PV1."""
        visit = self.visit
        ward = self.site.wards[visit.resident.index % len(self.site.wards)] if self.site.wards else ""
        inside = visit.patient_class == "I" and ward
        fields: dict[int, Value] = {
            1: "1", 2: visit.patient_class,
            3: (ward, f"{1 + visit.resident.index % 10:02d}", bed or "01") if inside else (visit.department,),
            7: visit.doctor, 10: "MED", 19: self.visit_id(), 44: self.time(visit.started),
        }  # fmt: skip
        if visit.ended is not None:
            fields |= {36: "01", 45: self.time(visit.ended)}
        return self.segment("PV1", fields)

    # --- what the segments say ----------------------------------------------------------------------------------------

    def fact(self, type: str, *number: str, **values: Any) -> Fact:
        """A fact about something of the visit: its key starts with the facility, its subject is the resident."""
        return Fact(type, (self.site.facility, *number), self.at, {"subject": self.visit.resident.index, **values})

    def facts(self, whole: bool = False, **encounter: Any) -> list[Fact]:
        """What PID and PV1 say: the Patient, and the Encounter unless ``encounter`` has its status."""
        state = {"status": "in-progress"} if self.visit.ended is None else {"status": "finished"}
        times = {"start": moment(self.visit.started), "class": CLASSES[self.visit.patient_class]}
        if self.visit.ended is not None:
            times["end"] = moment(self.visit.ended)
        return [self.person(whole), self.fact("Encounter", self.visit.id, **(state | times | encounter))]

    def person(self, whole: bool = False) -> Fact:
        """What PID says."""
        known = self.entry
        values: dict[str, Any] = {"gender": known.sex, "active": True, "sure": known.sure}
        phone = self.visit.values.get("phone") or known.phone
        values |= {"name": known.name} if known.name else {}
        values |= {"birth": f"{known.born[:4]}-{known.born[4:6]}-{known.born[6:]}"} if known.born else {}
        values |= {"phone": phone} if phone and whole else {}
        return self.fact("Patient", self.visit.number, **values)


def header(site: Institution, event: str, control: str, at: datetime.datetime) -> str:
    """MSH of a message from an institution to the region."""
    code, trigger = event.split("^")
    dialect = site.dialect
    structure = STRUCTURES.get(trigger, f"{code}_{trigger}")
    kind = (code, trigger, structure) if dialect.version >= "2.4" else (code, trigger)
    return dialect.separators.header({
        3: dialect.application, 4: site.facility, 5: "HUB", 6: "REGION", 7: at.strftime(dialect.time), 9: kind,
        10: control, 11: "P", 12: dialect.version, 17: "CHN", 18: dialect.character_set,
    })  # fmt: skip

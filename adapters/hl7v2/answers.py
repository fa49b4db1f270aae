"""What each query of ``queries.csv`` is answered with: groups of segments, made when they are sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from adapters.hl7v2.continuation import Group
from adapters.hl7v2.criteria import Reading
from adapters.hl7v2.message import Message, Segment
from adapters.hl7v2.segments import identifier, segment
from hub.errors import HubError
from hub.services.context import Context
from hub.services.demographics import Criterion, Demographics, Visit

Resource = dict[str, Any]
PARTS = {"RelatedPerson": "NK1", "AllergyIntolerance": "AL1", "Condition": "DG1"}
"""What an A19 answer tells of a patient beside PID and PV1, in the order of ADR_A19."""


class Row(NamedTuple):
    """One row of ``queries.csv``."""

    kind: str
    response: str
    structure: str
    answer: str
    subject: int
    domains: int
    clause: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A query being answered; ``defining`` is its QPD or QRD."""

    row: Row
    message: Message
    defining: Segment
    reading: Reading
    context: Context
    service: Demographics

    def domains(self) -> list[str]:
        """The identifier systems wanted; [] is all."""
        return self.reading.domains(self.defining, self.row.domains)

    def criteria(self, *types: str) -> list[list[Criterion]]:
        """The criteria of each of these resource types. HubError("parameter-unknown") for those of others."""
        wanted = self.reading.criteria(self.defining, self.row.subject)
        odd = next((type for type in wanted if type not in types), None)
        if odd is not None:
            raise HubError("parameter-unknown", f"{self.row.kind} does not ask for {odd}", self.place)
        return [wanted.get(type, []) for type in types]

    @property
    def place(self) -> str:
        """Where it says what is asked for."""
        return f"{self.defining.name}[1]-{self.row.subject}"

    def located(self, error: HubError) -> HubError:
        """The error with its place in the message (ITI-9 3.9.4.2.2.6, cases 3 to 5)."""
        at = error.at
        if at == "identifier":
            at = f"{self.place}[1].{4 if error.name == 'source-domain' else 1}"
        elif at.startswith("target["):
            at = f"{self.defining.name}[1]-{self.row.domains}{at.removeprefix('target')}"
        return HubError(error.name, error.diagnostics, at, error.issues)

    def segment(self, name: str, resource: Resource, fixed: dict[int, str] | None = None) -> str:
        """A segment in the delimiters of the query."""
        return segment(name, resource, self.message.delimiters, fixed)


def identifiers(asked: Asked) -> Sequence[Group]:
    """Q23: the identifiers of one person in other domains (ITI-9)."""
    number = asked.reading.number(asked.defining, asked.row.subject)
    found, _ = asked.service.corresponding(asked.context, number.system, number.value, asked.domains())
    return [partial(_nameless, asked, found)] if found else []


def allocation(asked: Asked) -> Sequence[Group]:
    """Q24: a new number in each domain."""
    return [partial(_nameless, asked, asked.service.allocate(asked.context, asked.domains()))]


def _nameless(asked: Asked, numbers: list[Resource]) -> list[str]:
    """PID with identifiers only; PID-5 is required, so it says that no name is given (ITI-9 3.9.4.2.2.5)."""
    delimiters = asked.message.delimiters
    listed = delimiters.repetition.join(identifier(one, delimiters) for one in numbers)
    return [delimiters.field.join(["PID", "", "", listed, "", f"{delimiters.repetition}{delimiters.component * 6}S"])]


def demographics(asked: Asked) -> Sequence[Group]:
    """Q21: the demographics of one person, with the next of kin."""
    number = asked.reading.number(asked.defining, asked.row.subject)
    person = asked.service.holder(asked.context, number.system, number.value, asked.domains())
    return [lambda: [asked.segment("PID", person, {1: "1"}), *_about(asked, person, ("RelatedPerson",))]]


def candidates(asked: Asked) -> Sequence[Group]:
    """Q22: the people who fit (ITI-21)."""
    (wanted,), domains = asked.criteria("Patient"), asked.domains()
    asked.service.check_domains(domains)
    return [partial(_person, asked, id, domains) for id in asked.service.candidates(asked.context, wanted)]


def _person(asked: Asked, id: str, domains: list[str]) -> list[str]:
    person = asked.service.person(id, domains)
    return [] if person is None else [asked.segment("PID", person, {1: "1"})]


def visits(asked: Asked) -> Sequence[Group]:
    """ZV1: visits of the people who fit, each person with its visits (ITI-22)."""
    (who, what), domains = asked.criteria("Patient", "Encounter"), asked.domains()
    asked.service.check_domains(domains)
    found: dict[str, list[Visit]] = {}
    for visit in asked.service.visits(asked.context, who, what, domains):
        found.setdefault(visit.person["id"], []).append(visit)
    return [partial(_visited, asked, rows) for _, rows in sorted(found.items())]


def _visited(asked: Asked, visits: list[Visit]) -> list[str]:
    lines = [asked.segment("PID", visits[0].person, {1: "1"})]
    return lines + [asked.segment("PV1", one.encounter, {1: str(at)}) for at, one in enumerate(visits, 1)]


def personnel(asked: Asked) -> Sequence[Group]:
    """Q25: practitioners, by their number (CX) or by fields of STF."""
    if asked.message.value(asked.defining, asked.row.subject, 1, 1).startswith("@"):
        (wanted,) = asked.criteria("Practitioner")
    else:
        number = asked.reading.number(asked.defining, asked.row.subject)
        wanted = [Criterion("identifier", f"{number.system}|{number.value}")]
    found = asked.service.practitioners(asked.context, wanted)
    return [partial(_practitioner, asked, one) for one in found]


def _practitioner(asked: Asked, practitioner: Resource) -> list[str]:
    return [asked.segment("STF", practitioner)]


def patient(asked: Asked) -> Sequence[Group]:
    """A19: demographics, next of kin, visits, allergies and diagnoses of the person of QRD-8."""
    message, segment = asked.message, asked.defining
    places = ((1, 0), (2, 1), (3, 0))
    number, family, given = (message.value(segment, asked.row.subject, 1, *place).strip() for place in places)
    authority = [message.value(segment, asked.row.subject, 1, 9, part).strip() for part in (1, 2, 3)]
    wanted = [Criterion(param, value) for param, value in (("family", family), ("given", given)) if value]
    if number:
        wanted = [Criterion("identifier", asked.reading.token(number, *authority))]
    if not wanted:
        raise HubError("required", "QRD-8 names nobody", asked.place)
    return [partial(_whole, asked, id) for id in asked.service.candidates(asked.context, wanted)]


def _whole(asked: Asked, id: str) -> list[str]:
    person = asked.service.person(id)
    if person is None:
        return []
    kin = _about(asked, person, ("RelatedPerson",))
    visits = asked.service.about(person["link"], ("Encounter",))
    lines = [asked.segment("PV1", one, {1: str(at)}) for at, one in enumerate(visits, 1)]
    absent = asked.message.delimiters.field.join(("PV1", "1", "N"))
    rest = _about(asked, person, ("AllergyIntolerance", "Condition"))
    return [asked.segment("PID", person, {1: "1"}), *kin, *(lines or [absent]), *rest]


def _about(asked: Asked, person: Resource, types: Sequence[str]) -> list[str]:
    lines = []
    for type in types:
        found = asked.service.about(person["link"], (type,))
        lines += [asked.segment(PARTS[type], one, {1: str(at)}) for at, one in enumerate(found, 1)]
    return lines


ANSWERS: dict[str, Callable[[Asked], Sequence[Group]]] = {
    answer.__name__: answer
    for answer in (identifiers, allocation, demographics, candidates, visits, personnel, patient)
}

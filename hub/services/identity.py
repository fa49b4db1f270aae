"""Who somebody is: $match, persons by card, identifier and name, and the record of a person across all hospitals."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir import temporal
from hub.healthcard.card import SYSTEM as CARDS
from hub.mpi import compare, golden
from hub.mpi.explain import explain
from hub.mpi.features import compile_patient
from hub.mpi.link import Linker
from hub.mpi.review import CODES as REVIEW_CODES
from hub.mpi.review import REASONS
from hub.mpi.rules import load
from hub.mpi.train import train
from hub.search.expression import Equals, Expression, In, Match, Prefix, Query, both, either
from hub.search.text import normalised
from hub.services import record
from hub.services.context import Context
from hub.services.healthcards import HealthCards
from hub.store.protocol import Item, Store, Version

Resource = dict[str, Any]
MAX_PERSONS = 50
MAX_RECORD = 5000
MAX_MATCHES = 100
MAX_REVIEWS = 200
MAX_TRAINING = 50_000
LANES = 5
GRADE = "http://hl7.org/fhir/StructureDefinition/match-grade"
CHANNELS = {"hl7v2": "HL7 v2", "dicom": "DICOM"}


@dataclass(slots=True)
class _Sources:
    """What one reading of a record looks up again and again."""

    items: dict[str, Item | None] = field(default_factory=dict)
    hospitals: dict[str, str] = field(default_factory=dict)


class Identity:
    """The door for questions about persons. Reads only; linking happens where Patients are written."""

    def __init__(
        self, store: Store, databases: Databases, linker: Linker, cards: HealthCards, clock: Callable[[], int]
    ) -> None:
        self._store = store
        self._databases = databases
        self._linker = linker
        self._cards = cards
        self._clock = clock

    def close(self) -> None:
        """Keep what the index has in memory for the next start; nothing is written after it."""
        self._linker.close()

    # --- find ---------------------------------------------------------------------------------------------------------

    def persons_by_id(self, id: str) -> list[Resource]:
        """The Person with this id, or the one it turned out to be; as ``summary``."""
        person = self._linker.person(self._store, id)
        return [] if person is None else [self.summary(person)]

    def persons_by_card(self, text: str) -> list[Resource]:
        """The Person of an e-health card, by index or code; as ``summary``."""
        card = self._cards.find(text)
        return [] if card is None else [self.summary(card.person)]

    def persons_by_identifier(self, text: str) -> list[Resource]:
        """Persons who carry this identifier, or whose Patients do; ``system|value`` narrows it to one system."""
        system, bar, value = text.strip().rpartition("|")
        forms = dict.fromkeys((value, *self._normal_forms(value)))
        where = self._databases.carrying(forms, system if bar else None)
        return [self.summary(person) for person in self._persons(("Person", "Patient"), where)]

    def persons_by_name(self, text: str) -> list[Resource]:
        """Persons of whom every word of the text begins a part of the name; as ``summary``."""
        words = normalised(text).split()
        if not words:
            return []
        where = both(*(Match("name", Prefix(word)) for word in words))
        return [self.summary(person) for person in self._persons(("Person",), where)]

    def _normal_forms(self, value: str) -> Iterable[str]:
        return (form for kind in load().kinds if (form := kind.normal(value)))

    def _persons(self, types: tuple[str, ...], where: Expression) -> list[Resource]:
        found: dict[str, Resource] = {}
        for row in self._store.find(Query(types, where, databases=("population",), limit=MAX_PERSONS)):
            version = row.version
            if version.type == "Patient":
                person = self._linker.person_of(self._store, f"Patient/{version.id}")
            else:
                person = self._linker.person(self._store, version.id)
            if person is not None:
                found.setdefault(person["id"], person)
        return list(found.values())

    def summary(self, person: Resource) -> Resource:
        """A Person for a reader: id, name, gender, birth_date, card, identifiers with who gave them, patients."""
        sources = _Sources()
        current = [one for one in self._patients(golden.links(person)) if not _is_replaced(one)]
        kinds = {kind.system: kind for kind in load().kinds}
        identifiers = []
        for identifier in person.get("identifier", ()):
            system, value = golden.pair(identifier)
            kind = kinds.get(system)
            assigner = f"{kind.zh} {kind.en}" if kind else self._hospital_of(system, sources)
            identifiers.append({"assigner": assigner, "value": value})
        for patient in current:
            for key in load().keys(patient)[1]:
                identifiers.append({"assigner": self._hospital(patient, sources), "value": key.value})
        return {
            "id": person["id"],
            "name": next((compare.name_text(name) for name in person.get("name", ())), ""),
            "gender": person.get("gender", ""),
            "birth_date": person.get("birthDate", ""),
            "card": next(
                (value for system, value in map(golden.pair, person.get("identifier", ())) if system == CARDS), ""
            ),
            "identifiers": identifiers,
            "patients": [f"Patient/{patient['id']}" for patient in current],
        }

    def _patients(self, references: Iterable[str]) -> list[Resource]:
        versions = (self._store.read("Patient", reference.partition("/")[2]) for reference in references)
        return [self._databases.decode(version) for version in versions if version and not version.deleted]

    # --- the record ---------------------------------------------------------------------------------------------------

    def record(self, person_id: str) -> Resource:
        """Everything of a Person in all databases, newest first, each line with where it came from.

        ``person`` is the ``summary``; an item has time (as written, "" if none), type, title, hospital, lane (a number
        for the hospital), source, reference and message (the id of the inbox item, or "").
        """
        person = self._linker.person(self._store, person_id)
        if person is None:
            return {"person": None, "items": []}
        sources = _Sources()
        references = golden.links(person)
        hospitals = {
            f"Patient/{patient['id']}": self._hospital(patient, sources) for patient in self._patients(references)
        }
        lanes = {hospital: position % LANES for position, hospital in enumerate(sorted(set(hospitals.values())))}
        items: list[Resource] = []
        for version in self.resources(references):
            resource = self._databases.decode(version)
            owners = (hospitals[reference] for reference in _subjects(resource) if reference in hospitals)
            hospital = next(owners, "") or facility(resource)
            items.append(
                {
                    "time": record.when(resource),
                    "type": version.type,
                    "title": record.title(resource),
                    "hospital": hospital,
                    "lane": lanes.get(hospital, 0),
                    "source": self._source(version, sources),
                    "reference": f"{version.type}/{version.id}",
                    "message": version.origin if self._item(version.origin, sources) else "",
                }
            )
        items.sort(key=_order, reverse=True)
        return {"person": self.summary(person), "items": items}

    def resources(self, patients: Iterable[str]) -> list[Version]:
        """The current resources about these Patients (``Patient/id``), of the types that a record shows."""
        where = Match("patient", In(tuple(patients)))
        return [row.version for row in self._store.find(Query(tuple(record.lines()), where, limit=MAX_RECORD))]

    def _source(self, version: Version, sources: _Sources) -> str:
        item = self._item(version.origin, sources)
        if item is None:
            return "DICOM" if version.type == "ImagingStudy" else "FHIR"
        channel = item.data.get("channel", "")
        parts = [CHANNELS.get(channel, channel), item.data.get("kind", ""), item.data.get("control_id", "")]
        return " ".join(part for part in parts if part)

    def _item(self, origin: str, sources: _Sources) -> Item | None:
        if origin not in sources.items:
            sources.items[origin] = self._store.item("inbox", origin) if origin else None
        return sources.items[origin]

    def _hospital(self, patient: Resource, sources: _Sources) -> str:
        """The name of the hospital that keeps a Patient: as the resource says, else as its number's system is known."""
        display = patient.get("managingOrganization", {}).get("display")
        if display:
            return str(display)
        regional = {kind.system for kind in load().kinds}
        systems = (identifier.get("system", "") for identifier in patient.get("identifier", ()))
        system = next((system for system in systems if system and system not in regional), "")
        return self._hospital_of(system, sources) if system else facility(patient)

    def _hospital_of(self, system: str, sources: _Sources) -> str:
        """Who is responsible for an identifier system (NamingSystem.responsible), else the system's telling part."""
        if system not in sources.hospitals:
            where = Match("value", Equals(normalised(system)))
            found = self._store.find(Query(("NamingSystem",), where, limit=1))
            known = self._databases.decode(found[0].version) if found else {}
            short = system.removesuffix("/patient-id").rpartition("/")[2]
            sources.hospitals[system] = known.get("responsible") or known.get("name") or short
        return sources.hospitals[system]

    # --- the index itself -------------------------------------------------------------------------------------------

    def explain(self, a: str, b: str) -> Resource:
        """Why two records (``Patient/id`` or ``Person/id``) are, or are not, one person; HubError("not-found")."""
        one, other = self._stored(a), self._stored(b)
        same = {self._person_id(one), self._person_id(other)}
        rules = load()
        sides = (compile_patient(one, rules), compile_patient(other, rules))
        return {"one": a, "other": b, **explain(*sides, rules, linked=len(same) == 1)}

    def reviews(self) -> list[Resource]:
        """Open questions of the master patient index, oldest first, each with the evidence side by side."""
        where = both(Match("status", Equals("requested")), Match("code", In(tuple(REASONS), REVIEW_CODES)))
        found = self._store.find(Query(("Task",), where, limit=MAX_REVIEWS))
        return [self._review(self._databases.decode(row.version)) for row in found]

    def _review(self, task: Resource) -> Resource:
        a, b = task["focus"]["reference"], task["for"]["reference"]
        row = {"task": task["id"], "question": task["code"]["text"], "one": a, "other": b}
        try:
            return {**row, **self.explain(a, b)}
        except HubError:
            return row

    def decide(self, a: str, b: str, *, same: bool, actor: str, note: str) -> list[str]:
        """A human's decision about two Patients; references of what changed. HubError("not-found")."""
        for reference in (a, b):
            self._stored(reference)
        now = self._clock()
        work = partial(self._linker.decide, one=a, other=b, same=same, actor=actor, note=note, now=now)
        return list(dict.fromkeys(f"{version.type}/{version.id}" for version in self._store.write(work)))

    def train(self, seed: int = 1) -> Resource:
        """The levels of ``[score]`` that the stored registrations teach, beside those in force; nothing is changed."""
        rules = load()
        found = self._store.find(Query(("Patient",), databases=("population",), limit=MAX_TRAINING))
        people = [compile_patient(self._databases.decode(row.version), rules) for row in found]
        levels = train(people, rules, random.Random(seed).randrange)
        in_force = {
            field: {level: {"m": m, "u": u} for level, (m, u) in shares.items()}
            for field, shares in rules.score.shares.items()
        }
        return {"registrations": len(people), "rules": rules.version, "trained": levels, "in_force": in_force}

    def _stored(self, reference: str) -> Resource:
        type, _, id = reference.partition("/")
        if type == "Person" and (person := self._linker.person(self._store, id)) is not None:
            return person
        version = self._store.read(type, id) if type == "Patient" else None
        if version is None or version.deleted:
            raise HubError("not-found", f"there is no Patient or Person {reference!r}; write Patient/id or Person/id")
        return self._databases.decode(version)

    def _person_id(self, resource: Resource) -> str:
        if resource["resourceType"] == "Person":
            return str(resource["id"])
        person = self._linker.person_of(self._store, f"Patient/{resource['id']}")
        return str(person["id"]) if person else f"Patient/{resource['id']}"

    # --- $match -------------------------------------------------------------------------------------------------------

    def match(self, context: Context, patient: Resource, *, count: int | None, only_certain: bool) -> Resource:
        """The Patients of the persons this one may be, best first, with score and grade (R4 Patient $match; ITI-119).

        A common deciding identifier is certain (1.0); the same name and birth date is probable (0.8). With
        ``only_certain`` and more than one person that fits, the Bundle is empty.
        """
        graded: dict[str, tuple[float, str, Resource]] = {}
        for key in load().keys(patient)[0]:
            for person in self._linker.holders(self._store, key):
                graded[person["id"]] = (1.0, "certain", person)
        for person in self._alike(patient):
            graded.setdefault(person["id"], (0.8, "probable", person))
        rows = sorted(graded.values(), key=lambda row: (-row[0], row[2]["id"]))
        if only_certain:
            rows = [row for row in rows if row[1] == "certain"]
            rows = rows if len(rows) == 1 else []
        entries = [
            {
                "resource": found,
                "search": {
                    "extension": [{"url": GRADE, "valueCode": grade}], "mode": "match", "score": score,
                },
            }
            for score, grade, person in rows
            for found in self._patients(golden.links(person))
        ]  # fmt: skip
        entries = entries[: min(count if count is not None else MAX_MATCHES, MAX_MATCHES)]
        return {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}

    def _alike(self, patient: Resource) -> list[Resource]:
        """Persons with the same name and birth date."""
        texts = [normalised(compare.name_text(name)) for name in patient.get("name", ())]
        born = patient.get("birthDate")
        if not born or not any(texts):
            return []
        where = either(Match("name", Equals(text)) for text in texts if text)
        persons = self._persons(("Person",), where)
        return [person for person in persons if person.get("birthDate") == born]


def facility(resource: Resource) -> str:
    """The facility that meta.source names (``.../source/<facility>/<application>``), "" when it does not."""
    _, found, rest = resource.get("meta", {}).get("source", "").partition("/source/")
    return rest.partition("/")[0] if found else ""


def _is_replaced(patient: Resource) -> bool:
    return any(link.get("type") == "replaced-by" for link in patient.get("link", ()))


def _order(item: Resource) -> tuple[int, str]:
    """Time in microseconds, 0 without a readable one; then the reference, so that the order is total."""
    try:
        return temporal.interval(item["time"])[0], item["reference"]
    except HubError:
        return 0, item["reference"]


def _subjects(resource: Resource) -> list[str]:
    """The references of a resource that may say whose it is."""
    candidates = (resource.get(name) for name in ("subject", "patient", "beneficiary", "individual"))
    references = [one["reference"] for one in candidates if isinstance(one, dict) and "reference" in one]
    actors = (row.get("actor", {}) for row in resource.get("participant", ()))
    return references + [actor["reference"] for actor in actors if "reference" in actor]

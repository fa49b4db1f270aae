"""Cross-references and demographics for every door that asks: PIX, PIXm, PDQ, PDQm, and their neighbours.

IHE ITI-9 and ITI-83 (corresponding identifiers), ITI-21 (demographics), ITI-22 (demographics and visit), HL7 v2.5.1
3.3.56 to 3.3.60 (Q21 to Q24), 15.3.7 (Q25), 3.3.19 (A19). Answers are about Persons: what a region knows of one human
being, from all its hospitals, as a Patient-shaped dict whose identifiers are those of every domain asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hub.audit.record import Audit
from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir import reference
from hub.mpi import golden
from hub.mpi.link import Linker
from hub.mpi.rules import load
from hub.search.expression import Equals, Expression, In, InSystem, Match, Prefix, Query, both, either
from hub.search.parse import Parser
from hub.search.text import normalised
from hub.services.context import Context
from hub.store.protocol import Item, Store, Transaction

Resource = dict[str, Any]
MAX_CANDIDATES = 1000
"""More Patients that fit are refused: such a query finds nobody in particular."""
MAX_PERSONS = 50
MAX_VISITS = 100
MAX_ALLOCATED = 32
DOMAIN_SECONDS = 60
MAX_DOMAINS = 10_000
NUMBERS = "patient-number"
"""Queue of the numbers that were allocated here; its keys make each of them unique."""
DEMOGRAPHICS = ("id", "name", "gender", "birthDate", "telecom")
_NAMES = ("family", "given", "name")


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion: a search parameter of R4 and its value as a FHIR search writes it.

    A name is compared whole, without case and accents; ``begins`` that it is a beginning.
    """

    param: str
    value: str
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Visit:
    """An Encounter with the person it is about."""

    person: Resource
    encounter: Resource


class Demographics:
    """The door for questions about who is who. ``clock`` gives microseconds since 1970 UTC."""

    def __init__(
        self,
        store: Store,
        databases: Databases,
        linker: Linker,
        parser: Parser,
        audit: Audit,
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._databases = databases
        self._linker = linker
        self._parser = parser
        self._audit = audit
        self._clock = clock
        self._new_id = new_id
        self._domains: dict[str, tuple[bool, int]] = {}

    # --- corresponding identifiers ------------------------------------------------------------------------------------

    def corresponding(
        self, context: Context, system: str, value: str, targets: Sequence[str] = ()
    ) -> tuple[list[Resource], list[str]]:
        """The other Identifiers, and the references of the Patients, of the person who carries one (ITI-9, ITI-83).

        ``targets`` narrows both to these systems. HubError located at ``identifier`` or ``target[n]``:
        "source-domain" and "target-domain" for a system that nobody here uses, "not-found" when nobody carries it.
        """
        forms = self._forms(value)
        persons = self._holders(system, forms)
        if not persons:
            self._check_domain(system, "source-domain", "sourceIdentifier Assigning Authority not found", "identifier")
            raise HubError("not-found", "sourceIdentifier Patient Identifier not found", "identifier")
        for place, target in enumerate(targets, 1):
            self._check_domain(target, "target-domain", "targetSystem not found", f"target[{place}]")
        found: list[Resource] = []
        patients: list[str] = []
        for person in persons:
            current = self._current(person)
            shown = self._identifiers(person, current, targets)
            found += [one for one in shown if one["system"] != system or one["value"] not in forms]
            patients += [f"Patient/{one['id']}" for one in current if not targets or _systems(one) & set(targets)]
        self._audit.read(context, "operation", [f"Person/{person['id']}" for person in persons])
        return found, patients

    def _forms(self, value: str) -> tuple[str, ...]:
        normal = (kind.normal(value) for kind in load().kinds)
        return tuple(dict.fromkeys((value, *(form for form in normal if form))))

    def _holders(self, system: str, forms: tuple[str, ...]) -> list[Resource]:
        """The live Persons who carry an identifier, or whose Patients do."""
        where = self._databases.carrying(forms, system)
        rows = self._store.find(Query(("Person", "Patient"), where, databases=("population",), limit=MAX_PERSONS))
        return self._persons((row.version.type, row.version.id) for row in rows)

    def _persons(self, rows: Iterable[tuple[str, str]]) -> list[Resource]:
        found: dict[str, Resource] = {}
        for type, id in rows:
            if type == "Patient":
                person = self._linker.person_of(self._store, f"Patient/{id}")
            else:
                person = self._linker.person(self._store, id)
            if person is not None and golden.is_active(person):
                found.setdefault(person["id"], person)
        return list(found.values())

    def _current(self, person: Resource) -> list[Resource]:
        """The Patients of a Person that were not replaced by others."""
        versions = (self._store.read("Patient", link.partition("/")[2]) for link in golden.links(person))
        patients = (self._databases.decode(version) for version in versions if version and not version.deleted)
        return [one for one in patients if all(link.get("type") != "replaced-by" for link in one.get("link", ()))]

    def _identifiers(self, person: Resource, patients: list[Resource], targets: Sequence[str]) -> list[Resource]:
        found: dict[tuple[str, str], Resource] = {}
        for resource in (person, *patients):
            for one in resource.get("identifier", ()):
                system, value = golden.pair(one)
                if system and value and one.get("use") != "old" and (not targets or system in targets):
                    kept = {name: one[name] for name in ("type", "system", "value", "assigner") if name in one}
                    known = found.setdefault((system, value), kept)
                    if "type" in kept:
                        known.setdefault("type", kept["type"])
        return list(found.values())

    # --- domains ------------------------------------------------------------------------------------------------------

    def check_domains(self, targets: Sequence[str]) -> None:
        """HubError("target-domain") at ``target[n]`` for a system that nobody here uses."""
        for place, target in enumerate(targets, 1):
            self._check_domain(target, "target-domain", "targetSystem not found", f"target[{place}]")

    def _check_domain(self, system: str, name: str, text: str, at: str) -> None:
        if not self._known(system):
            raise HubError(name, text, at)

    def _known(self, system: str) -> bool:
        """Whether a NamingSystem, a rule of the index or an identifier of anybody has this system."""
        if any(system in (kind.system, *kind.systems) for kind in load().kinds):
            return True
        now = self._clock()
        known, looked = self._domains.get(system, (False, 0))
        if not known and looked < now - DOMAIN_SECONDS * 1_000_000:
            asked = (
                Query(("NamingSystem",), Match("value", Equals(normalised(system))), limit=1),
                Query(("Patient",), Match("identifier", InSystem(system)), databases=("population",), limit=1),
            )
            known = any(self._store.find(query) for query in asked)
            if len(self._domains) >= MAX_DOMAINS:
                self._domains.clear()
            self._domains[system] = (known, now)
        return known

    def authority_named(self, namespace: str) -> str | None:
        """The identifier system that a bare namespace means here, by NamingSystem.name; None if there is none."""
        found = self._store.find(Query(("NamingSystem",), Match("name", Equals(normalised(namespace))), limit=2))
        if len(found) != 1:
            return None
        unique = self._databases.decode(found[0].version).get("uniqueId", ())
        return next((one["value"] for one in unique if one.get("type") in ("uri", "oid")), None)

    # --- demographics -------------------------------------------------------------------------------------------------

    def candidates(self, context: Context, criteria: Sequence[Criterion]) -> list[str]:
        """Ids of the Persons of whom some Patient meets all criteria, in a fixed order (ITI-21).

        HubError("required") without criteria, "parameter-value" for a value that cannot be compared, "too-costly" when
        more than 1,000 Patients do.
        """
        where = self._where("Patient", criteria)
        rows = self._store.find(Query(("Patient",), where, databases=("population",), limit=MAX_CANDIDATES + 1))
        if len(rows) > MAX_CANDIDATES:
            raise HubError("too-costly", f"more than {MAX_CANDIDATES} patients fit; name more of what you know")
        persons = sorted(person["id"] for person in self._persons((row.version.type, row.version.id) for row in rows))
        self._audit.read(context, "search", [f"Person/{id}" for id in persons], _text(criteria))
        return persons

    def _where(self, type: str, criteria: Sequence[Criterion]) -> Expression:
        if not criteria:
            raise HubError("required", "the query names nothing to look for")
        pairs = [(one.param, one.value) for one in criteria if one.param not in _NAMES]
        parts = [self._parser.parse((type,), pairs, strict=True).query.where] if pairs else []
        names = [one for one in criteria if one.param in _NAMES]
        return both(*parts, *([_named(names)] if names else []))

    def person(self, id: str, targets: Sequence[str] = ()) -> Resource | None:
        """What the region knows of a Person: golden demographics with the identifiers of ``targets`` (() = all)."""
        person = self._linker.person(self._store, id)
        if person is None:
            return None
        patients = self._current(person)
        shown = {name: person[name] for name in DEMOGRAPHICS if name in person}
        if isinstance(person.get("address"), dict):
            shown["address"] = [person["address"]]
        died = next((one["deceasedDateTime"] for one in patients if "deceasedDateTime" in one), None)
        if died:
            shown["deceasedDateTime"] = died
        identifiers = self._identifiers(person, patients, targets)
        return {**shown, "identifier": identifiers, "link": golden.links(person)}

    def holder(self, context: Context, system: str, value: str, targets: Sequence[str] = ()) -> Resource:
        """The one person who carries an identifier, as ``person`` gives it (Q21). HubError as ``corresponding``."""
        persons = self._holders(system, self._forms(value))
        if not persons:
            self._check_domain(system, "source-domain", "sourceIdentifier Assigning Authority not found", "identifier")
            raise HubError("not-found", "nobody carries this identifier", "identifier")
        self.check_domains(targets)
        found = self.person(persons[0]["id"], targets)
        if found is None:
            raise HubError("not-found", "nobody carries this identifier", "identifier")
        self._audit.read(context, "read", [f"Person/{found['id']}"])
        return found

    # --- visits, and what belongs to a person -------------------------------------------------------------------------

    def visits(
        self, context: Context, criteria: Sequence[Criterion], visit: Sequence[Criterion], targets: Sequence[str] = ()
    ) -> list[Visit]:
        """The Encounters that meet ``visit`` of people who meet ``criteria``; one of both may be empty (ITI-22)."""
        persons = [self.person(id, targets) for id in self.candidates(context, criteria)] if criteria else None
        parts = [self._where("Encounter", visit)] if visit or persons is None else []
        if persons is not None:
            links = [link for person in persons if person for link in person["link"]]
            parts.append(Match("subject", In(tuple(links))))
        rows = self._store.find(Query(("Encounter",), both(*parts), limit=MAX_VISITS + 1))
        if len(rows) > MAX_VISITS:
            raise HubError("too-costly", f"more than {MAX_VISITS} visits fit; name more of what you know")
        found = []
        for row in rows:
            encounter = self._databases.decode(row.version)
            who = self._subject(encounter, targets)
            if who is not None:
                found.append(Visit(who, self.resolved(encounter)))
        self._audit.read(context, "search", [f"Encounter/{one.encounter['id']}" for one in found], _text(visit))
        return found

    def _subject(self, encounter: Resource, targets: Sequence[str]) -> Resource | None:
        subject = encounter.get("subject", {}).get("reference", "")
        person = self._linker.person_of(self._store, subject)
        return self.person(person["id"], targets) if person else None

    def about(self, patients: Sequence[str], types: Sequence[str], limit: int = MAX_VISITS) -> list[Resource]:
        """The newest resources of these types about these Patients (``Patient/id``), practitioners resolved."""
        rows = self._store.find(Query(tuple(types), Match("patient", In(tuple(patients))), limit=limit))
        return [self.resolved(self._databases.decode(row.version)) for row in rows]

    def resolved(self, resource: Resource) -> Resource:
        """The resource with what its participants and locations refer to under ``resolved``, by reference."""
        named = [row.get("individual", {}) for row in resource.get("participant", ())]
        named += [row.get("location", {}) for row in resource.get("location", ())]
        found = {}
        for one in named:
            target = reference.parse(one.get("reference", ""))
            version = self._store.read(target.type, target.id) if target.type and target.id else None
            if version is not None and not version.deleted:
                found[one["reference"]] = self._databases.decode(version)
        return {**resource, "resolved": found}

    def practitioners(self, context: Context, criteria: Sequence[Criterion]) -> list[Resource]:
        """The Practitioners who meet all criteria (Q25). HubError as ``candidates``."""
        rows = self._store.find(Query(("Practitioner",), self._where("Practitioner", criteria), limit=MAX_VISITS + 1))
        if len(rows) > MAX_VISITS:
            raise HubError("too-costly", f"more than {MAX_VISITS} practitioners fit; name more of what you know")
        self._audit.read(context, "search", [f"Practitioner/{row.version.id}" for row in rows], _text(criteria))
        return [self._databases.decode(row.version) for row in rows]

    # --- allocation ---------------------------------------------------------------------------------------------------

    def allocate(self, context: Context, domains: Sequence[str]) -> list[Resource]:
        """A new number in each domain, never given before (Q24, HL7 v2.5.1 3.3.59). HubError("target-domain")."""
        if not 0 < len(domains) <= MAX_ALLOCATED:
            raise HubError("required", f"name 1 to {MAX_ALLOCATED} domains", "identifier")
        self.check_domains(domains)
        now = self._clock()

        def work(tx: Transaction) -> list[Resource]:
            given = []
            for domain in domains:
                number = self._new_id().replace("-", "")[:20].upper()
                key = f"{domain}|{number}"
                item = Item(NUMBERS, key, key, "", "allocated", {"actor": context.actor}, b"", now)
                if tx.enqueue(item).created != now:
                    raise HubError("conflict", "the number was given away this moment; ask again", domain)
                given.append({"system": domain, "value": number})
            self._audit.write(tx, context, "operation", (), now)
            return given

        return self._store.write(work)


def _systems(resource: Resource) -> set[str]:
    return {one.get("system", "") for one in resource.get("identifier", ())}


def _named(criteria: Sequence[Criterion]) -> Expression:
    """All parts of a name, or the name in one piece: Chinese names often come so."""
    parts = [_name(one) for one in criteria]
    values = {one.param: one.value for one in criteria if not one.begins}
    if "family" not in values or len(values) < len(criteria):
        return both(*parts)
    family, given = values["family"], values.get("given", "")
    joined = f"{family}{given}" if family >= "\u2e80" else f"{given} {family}"
    return either([both(*parts), Match("name", Equals(normalised(joined)))])


def _name(criterion: Criterion) -> Expression:
    text = normalised(criterion.value)
    if not text:
        raise HubError("parameter-value", "the name has no letters to compare", criterion.param)
    return Match(criterion.param, Prefix(text) if criterion.begins else Equals(text))


def _text(criteria: Sequence[Criterion]) -> str:
    return "&".join(f"{one.param}={one.value}" for one in criteria)

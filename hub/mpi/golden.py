"""The golden record: a Person computed from its links, its Patients and the cards issued to it. Pure.

Survivorship: identifiers, names and telephone numbers are the union, best source first; gender, birth date and address
come from the best source that has them; what no source states stays, as a card may be issued before the first visit. A
source that shows a valid document is better than one that does not, then the one that changed last. Gender and birth
date follow the resident ID number when there is one: it is checked, a form is not.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

from hub.mpi.compare import name_form, name_text, resident_id
from hub.mpi.rules import Key, Rules

Resource = dict[str, Any]
CARD_STATE = "https://region-hub.example/fhir/StructureDefinition/healthcard-state"
"""Extension of Person.identifier that the card service sets; an identifier that has it does not depend on Patients."""
SAID_BY = "https://region-hub.example/fhir/StructureDefinition/person-link-evidence"
"""Extension of Person.link: what made it, with scores and the version of the rules."""
SAME = frozenset({"replaced-by", "replaces", "seealso"})
"""Patient.link.type by which a hospital says that two records are one human being (ADT A40, A24)."""
MAX_NAMES = 8
MAX_TELECOMS = 8


def new(id: str) -> Resource:
    """A Person without links."""
    return {"resourceType": "Person", "id": id, "active": True}


def links(person: Resource) -> list[str]:
    """References ``Patient/id`` of the linked Patients, in the order in which they were linked."""
    targets = (link["target"]["reference"] for link in person.get("link", ()))
    return [target for target in targets if target.startswith("Patient/")]


def successor(person: Resource) -> str | None:
    """The id of the Person that this one turned out to be; None for a live one."""
    if is_active(person):
        return None
    targets = (link["target"]["reference"] for link in person.get("link", ()))
    return next((target.removeprefix("Person/") for target in targets if target.startswith("Person/")), None)


def is_active(person: Resource) -> bool:
    """Person.active, which counts as true when it is absent."""
    return bool(person.get("active", True))


def link_of(person: Resource, patient: str) -> tuple[str, str]:
    """How sure the link to a Patient is (level1 to level4) and what made it."""
    found = (link for link in person.get("link", ()) if link["target"]["reference"] == patient)
    link: Resource = next(found, {})
    said = (one.get("valueString", "") for one in link.get("extension", ()) if one.get("url") == SAID_BY)
    return link.get("assurance", "level1"), next(said, "")


def merged_with(patient: Resource) -> list[str]:
    """References of the Patients that the hospital itself says are the same person (A40 merges, A24 links)."""
    others = (link for link in patient.get("link", ()) if link.get("type") in SAME)
    return [link["other"]["reference"] for link in others if "reference" in link.get("other", {})]


def link(patient: str, assurance: str, said_by: str) -> Resource:
    """A link to a Patient, how sure it is and what made it (evidence, rules version)."""
    return {
        "extension": [{"url": SAID_BY, "valueString": said_by}],
        "target": {"reference": patient},
        "assurance": assurance,
    }


def without_links(person: Resource) -> Resource:
    """The Person that no Patient belongs to any more: inactive unless a card was issued to it."""
    cards = issued(person)
    rest = {name: value for name, value in person.items() if name not in ("link", "identifier")}
    return {**rest, "active": bool(cards), **({"identifier": cards} if cards else {})}


def issued(person: Resource) -> list[Resource]:
    """The cards that the hub issued to the Person."""
    return [one for one in person.get("identifier", ()) if is_issued(one)]


def with_cards_of(person: Resource, other: Resource) -> Resource:
    """The Person with the cards issued to another one that turned out to be the same."""
    return {**person, "identifier": [*person.get("identifier", ()), *issued(other)]}


def redirected(person: Resource, survivor: str) -> Resource:
    """The Person as a redirect: inactive, one link, to the survivor; it carries no identifier that would find it."""
    target = {"target": {"reference": f"Person/{survivor}"}, "assurance": "level4"}
    return {"resourceType": "Person", "id": person["id"], "active": False, "link": [target]}


def is_issued(identifier: Resource) -> bool:
    """The identifier is a card that the hub issued, so it stays whatever the Patients say."""
    return any(extension.get("url") == CARD_STATE for extension in identifier.get("extension", ()))


def pair(identifier: Resource) -> tuple[str, str]:
    """System and value of an Identifier, "" for what it lacks."""
    return identifier.get("system", ""), identifier.get("value", "")


def issued_only(person: Resource) -> Resource:
    """The Person without what its Patients say: links, issued cards, and the demographics that came with a card."""
    cards = issued(person)
    kept = ("resourceType", "id", "active", "link", *(("name", "gender", "birthDate") if cards else ()))
    return {**{name: person[name] for name in kept if name in person}, "identifier": cards}


def person(
    person: Resource, patients: list[Resource], documented: Container[str], keys: Iterable[Key], rules: Rules
) -> Resource:
    """The golden record: ``person`` with the identifiers of ``keys`` added and the demographics of ``patients``.

    ``documented`` are the ids of the Patients that show a valid resident ID number.
    """
    identifiers = _identifiers(person, keys, rules)
    best = sorted(patients, key=lambda patient: _rank(patient, documented), reverse=True)
    result: Resource = {"resourceType": "Person", "id": person["id"]}
    number = next((found for entry in identifiers if (found := resident_id(entry.get("value", "")))), None)
    values = {
        "identifier": identifiers,
        "name": _union(best, "name", lambda name: name_form(name_text(name)), MAX_NAMES) or person.get("name"),
        "telecom": _union(best, "telecom", lambda point: point.get("value", ""), MAX_TELECOMS),
        "gender": number.gender if number else _first(best, "gender") or person.get("gender"),
        "birthDate": number.birth_date if number else _first(best, "birthDate") or person.get("birthDate"),
        "address": _first(best, "address"),
        "link": person.get("link"),
    }
    result |= {name: value for name, value in values.items() if value}
    result["active"] = is_active(person)
    return result


def _identifiers(person: Resource, keys: Iterable[Key], rules: Rules) -> list[Resource]:
    """Identifiers without duplicates, ordered by the rules; an issued card wins over the bare number."""
    order = {kind.system: position for position, kind in enumerate(rules.kinds)}
    merged: dict[tuple[str, str], Resource] = {}
    for identifier in person.get("identifier", ()):
        if pair(identifier) not in merged or is_issued(identifier):
            merged[pair(identifier)] = identifier
    for key in keys:
        merged.setdefault((key.system, key.value), {"system": key.system, "value": key.value})
    return sorted(merged.values(), key=lambda entry: (order.get(entry.get("system", ""), len(order)), *pair(entry)))


def _rank(patient: Resource, documented: Container[str]) -> tuple[bool, bool, str, str]:
    changed = patient.get("meta", {}).get("lastUpdated", "~")
    return patient.get("active", True), patient["id"] in documented, changed, patient["id"]


def _first(patients: list[Resource], element: str) -> Any:
    return next((patient[element] for patient in patients if patient.get(element)), None)


def _union(patients: list[Resource], element: str, form: Any, limit: int) -> list[Resource]:
    seen: dict[str, Resource] = {}
    for patient in patients:
        for value in patient.get(element, ()):
            key = form(value)
            if key:
                seen.setdefault(key, value)
    return list(seen.values())[:limit]

"""What a FHIR resource says, as the facts of the truth: its business key and the values that are compared.

The same function reads what the simulators send over HTTP and what a hub gives back, so both are held to one measure.
Keys are business numbers: resource ids are the hub's own affair.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from simulators.record import Fact

Resource = dict[str, Any]
Resolve = Callable[[str], tuple[str, ...]]
"""Reference -> the key it stands for (facility, number...), () when it leads nowhere."""
Key = tuple[str, ...]


def moment(text: str) -> str:
    """A FHIR dateTime as UTC to the minute, "" when it has no time of day."""
    if "T" not in text:
        return ""
    at = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return f"{at.astimezone(datetime.UTC):%Y-%m-%dT%H:%MZ}" if at.tzinfo else ""


def number(value: Any) -> str:
    """A number in its shortest form, so that 1.10 and 1.1 are the same value."""
    try:
        return f"{Decimal(str(value)).normalize():f}"
    except InvalidOperation:
        return str(value)


def coding(concept: Resource | None) -> str:
    """The first code of a CodeableConcept, else its text."""
    concept = concept or {}
    codes = [one["code"] for one in concept.get("coding", ()) if "code" in one]
    return str(codes[0] if codes else concept.get("text", ""))


def words(concept: Resource | None) -> str:
    """What a CodeableConcept is called."""
    concept = concept or {}
    displays = [one["display"] for one in concept.get("coding", ()) if one.get("display")]
    return str(concept.get("text") or (displays[0] if displays else ""))


def identifier(resource: Resource, *types: str) -> str:
    """The value of the first identifier that has one of the types, else of the first."""
    found = resource.get("identifier", ())
    for wanted in types:
        for one in found:
            if wanted in (code.get("code") for code in one.get("type", {}).get("coding", ())):
                return str(one.get("value", ""))
    return str(found[0].get("value", "")) if found else ""


def reference(resource: Resource, *path: str) -> str:
    """The first reference at a path."""
    value: Any = resource
    for name in path:
        value = value.get(name, {}) if isinstance(value, dict) else value
        value = value[0] if isinstance(value, list) and value else value
    return str(value.get("reference", "")) if isinstance(value, dict) else ""


def patient(resource: Resource, resolve: Resolve) -> tuple[Key, Resource]:
    name: Resource = next(iter(resource.get("name", ())), {})
    text = name.get("text") or name.get("family", "") + "".join(name.get("given", ()))
    values = {"gender": resource.get("gender"), "active": resource.get("active", True), "name": text.replace("-", "")}
    phones = [one["value"] for one in resource.get("telecom", ()) if one.get("system") == "phone" and "value" in one]
    return (), values | {"birth": resource.get("birthDate"), "phone": phones[-1] if phones else None}


def encounter(resource: Resource, resolve: Resolve) -> tuple[Key, Resource]:
    period = resource.get("period", {})
    return (identifier(resource, "VN"),), {
        "status": resource.get("status"), "class": resource.get("class", {}).get("code"),
        "start": moment(period.get("start", "")) or None, "end": moment(period.get("end", "")) or None,
    }  # fmt: skip


def condition(resource: Resource, resolve: Resolve) -> tuple[Key, Resource]:
    visit = resolve(reference(resource, "encounter"))
    return (*visit[1:], coding(resource.get("code"))), {}


def request(resource: Resource, resolve: Resolve) -> tuple[Key, Resource]:
    return (identifier(resource, "PLAC"),), {"status": resource.get("status")}


def report(resource: Resource, resolve: Resolve) -> tuple[Key, Resource]:
    return (identifier(resource, "FILL"),), {"status": resource.get("status")}


def observation(resource: Resource, resolve: Resolve) -> tuple[Key, Resource]:
    basis = resolve(reference(resource, "basedOn"))
    where = basis[1:] or (identifier(resource),)
    quantity = resource.get("valueQuantity", {})
    value = number(quantity["value"]) if "value" in quantity else resource.get("valueString")
    if "component" in resource:
        value = "/".join(number(part["valueQuantity"]["value"]) for part in resource["component"])
    return (*where, coding(resource.get("code"))), {
        "value": value, "unit": quantity.get("code") or quantity.get("unit"), "status": resource.get("status"),
    }  # fmt: skip


def prescription(resource: Resource, resolve: Resolve) -> tuple[Key, Resource]:
    drug = words(resource.get("medicationCodeableConcept"))
    return (identifier(resource, "PLAC"),), {"status": resource.get("status"), "drug": drug}


def dispense(resource: Resource, resolve: Resolve) -> tuple[Key, Resource]:
    basis = resolve(reference(resource, "authorizingPrescription"))
    value = resource.get("quantity", {}).get("value")
    return (basis[1:] or (identifier(resource),)), {"quantity": None if value is None else number(value)}


def appointment(resource: Resource, resolve: Resolve) -> tuple[Key, Resource]:
    return (identifier(resource, "FILL"),), {
        "status": resource.get("status"), "start": moment(resource.get("start", "")) or None,
    }  # fmt: skip


def charge(resource: Resource, resolve: Resolve) -> tuple[Key, Resource]:
    amount = resource.get("priceOverride", {}).get("value")
    return (identifier(resource),), {"amount": None if amount is None else number(amount)}


def document(resource: Resource, resolve: Resolve) -> tuple[Key, Resource]:
    own = str(resource.get("masterIdentifier", {}).get("value", "")) or identifier(resource)
    return (own,), {"status": resource.get("status"), "doc_status": resource.get("docStatus")}


def immunization(resource: Resource, resolve: Resolve) -> tuple[Key, Resource]:
    return (identifier(resource, "FILL"),), {"status": resource.get("status"), "lot": resource.get("lotNumber")}


def study(resource: Resource, resolve: Resolve) -> tuple[Key, Resource]:
    uids = [
        one["value"].removeprefix("urn:oid:")
        for one in resource.get("identifier", ())
        if "dicom" in one.get("system", "")
    ]
    return (uids[0] if uids else identifier(resource),), {
        "instances": resource.get("numberOfInstances"), "series": resource.get("numberOfSeries"),
    }  # fmt: skip


def episode(resource: Resource, resolve: Resolve) -> tuple[Key, Resource]:
    return (identifier(resource),), {"status": resource.get("status")}


READERS: dict[str, Callable[[Resource, Resolve], tuple[Key, Resource]]] = {
    "Patient": patient, "Encounter": encounter, "Condition": condition, "ServiceRequest": request,
    "DiagnosticReport": report, "Observation": observation, "MedicationRequest": prescription,
    "MedicationDispense": dispense, "Appointment": appointment, "ChargeItem": charge, "DocumentReference": document,
    "Immunization": immunization, "ImagingStudy": study, "EpisodeOfCare": episode,
}  # fmt: skip
"""Type -> its key below the facility and its values. Types that are not here are not compared."""
SUBJECTS = ("subject", "patient")


def subject(resource: Resource) -> str:
    """The reference to the patient a resource is about; an Appointment has it among its participants."""
    for name in SUBJECTS:
        if name in resource:
            return reference(resource, name)
    actors = [reference(one, "actor") for one in resource.get("participant", ()) if isinstance(one, dict)]
    return next((actor for actor in actors if "Patient" in actor), "")


def of_bundle(bundle: Resource, facility: str, number: str, resident: int, at: datetime.datetime) -> Iterator[Fact]:
    """The facts of a transaction of one patient."""
    known: dict[str, Key] = {}

    def resolve(url: str) -> Key:
        return known.get(url, ())

    for one in bundle["entry"]:
        resource = one["resource"]
        if resource["resourceType"] in ("Encounter", "MedicationRequest", "ServiceRequest"):
            known[one["fullUrl"]] = (facility, identifier(resource))
    for one in bundle["entry"]:
        resource = one["resource"]
        kind = resource["resourceType"]
        if kind == "Patient":
            sure = len(resource["identifier"]) > 1
            values = {**patient(resource, resolve)[1], "sure": sure, "subject": resident}
            yield Fact(kind, (facility, number), at, values)
        elif kind in READERS:
            key, values = READERS[kind](resource, resolve)
            yield Fact(kind, (facility, *key), at, {**values, "subject": resident})

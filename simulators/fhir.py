"""FHIR R4 as the cloud HIS sends it: one transaction Bundle a visit, every entry a conditional update (R4 3.1.0.4.3).

Sending a Bundle again changes nothing.
"""

from __future__ import annotations

import datetime
import json
import uuid
from typing import Any

from simulators.dialect import Dialect
from simulators.hospital import Hospital, Visit
from simulators.population import Resident
from simulators.streams import digest

ORGANIZATIONS = "https://region-hub.example/fhir/sid/organization"
CARD = "https://region-hub.example/fhir/healthcard"
IDENTIFIER_TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
ICD10 = "http://hl7.org/fhir/sid/icd-10"
CLASSES = {"O": ("AMB", "ambulatory"), "E": ("EMER", "emergency"), "I": ("IMP", "inpatient encounter")}
ARCS = {"Encounter": ".1", "MedicationRequest": ".2", "Observation": ".3"}
"""Arcs under the hospital's OID for numbers that are not patient numbers."""


def visit_bundle(hospital: Hospital, visit: Visit, at: datetime.datetime) -> tuple[str, bytes]:
    """The Bundle of a visit (Patient, Encounter, prescription, blood pressure): its identifier and its JSON."""
    place = Place(hospital, visit)
    subject = {"reference": place.url("patient"), "display": visit.resident.name}
    encounter = {"reference": place.url("encounter")}
    bundle_id = str(place.uuid("bundle"))
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            place.entry("patient", "Patient", visit.number, patient(hospital, visit.resident, visit.number)),
            place.entry("encounter", "Encounter", visit.id, _encounter(hospital, visit, subject, at)),
            place.entry("drug", "MedicationRequest", f"{visit.id}M", _prescription(visit, subject, encounter, at)),
            place.entry("pressure", "Observation", f"{visit.id}P", _pressure(visit, subject, encounter, at)),
        ],
    }
    return bundle_id, _json(bundle)


def registration(dialect: Dialect) -> tuple[str, bytes]:
    """What a hospital tells the region once: itself (Organization) and whose its patient numbers are (NamingSystem)."""
    organization = {
        "resourceType": "Organization",
        "identifier": [{"system": ORGANIZATIONS, "value": dialect.facility}],
        "active": True,
        "name": dialect.title,
        "alias": [dialect.english],
    }
    unique = {"type": "uri", "value": dialect.system, "preferred": True}
    naming = {
        "resourceType": "NamingSystem",
        "name": f"{dialect.facility}PatientNumber",
        "status": "active",
        "kind": "identifier",
        "date": "2026-11-01",
        "responsible": dialect.title,
        "uniqueId": [unique],
    }
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            _conditional(organization, f"Organization?identifier={ORGANIZATIONS}|{dialect.facility}"),
            _conditional(naming, f"NamingSystem?name={naming['name']}"),
        ],
    }
    return f"registration-{dialect.key}", _json(bundle)


def _conditional(resource: dict[str, Any], url: str) -> dict[str, Any]:
    return {"resource": resource, "request": {"method": "PUT", "url": url}}


def _json(bundle: dict[str, Any]) -> bytes:
    return json.dumps(bundle, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


class Place:
    """Names of the entries of one visit's Bundle."""

    def __init__(self, hospital: Hospital, visit: Visit) -> None:
        self._hospital = hospital
        self._visit = visit

    def uuid(self, name: str) -> uuid.UUID:
        """A UUID derived from the visit and a name."""
        seed, key = self._hospital.seed, self._hospital.dialect.key
        return uuid.UUID(bytes=digest(seed, key, self._visit.id, name)[:16], version=4)

    def url(self, name: str) -> str:
        """The entry's fullUrl."""
        return f"urn:uuid:{self.uuid(name)}"

    def entry(self, name: str, kind: str, number: str, resource: dict[str, Any]) -> dict[str, Any]:
        """An entry that updates the resource with this business identifier, or creates it."""
        system = self._hospital.dialect.system
        if kind != "Patient":
            system += ARCS[kind]
            resource = {"resourceType": kind, "identifier": [{"system": system, "value": number}], **resource}
        request = {"method": "PUT", "url": f"{kind}?identifier={system}|{number}"}
        return {"fullUrl": self.url(name), "resource": resource, "request": request}


def patient(hospital: Hospital, resident: Resident, number: str) -> dict[str, Any]:
    """The Patient as the hospital keeps it."""
    return {
        "resourceType": "Patient",
        "identifier": [
            {"type": _type("MR"), "system": hospital.dialect.system, "value": number},
            {"type": _type("HC"), "system": CARD, "value": resident.card},
        ],
        "active": True,
        "name": [{"use": "official", "text": resident.name, "family": resident.family, "given": [resident.given]}],
        "telecom": [{"system": "phone", "value": resident.phone, "use": "mobile"}],
        "gender": resident.sex,
        "birthDate": resident.born.isoformat(),
        "address": [{"use": "home", "text": resident.address, "country": "CHN"}],
        "managingOrganization": {"display": hospital.dialect.title},
    }


def _type(code: str) -> dict[str, Any]:
    return {"coding": [{"system": IDENTIFIER_TYPES, "code": code}]}


def _stamp(at: datetime.datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}+08:00"


def _encounter(hospital: Hospital, visit: Visit, subject: dict[str, Any], at: datetime.datetime) -> dict[str, Any]:
    code, display = CLASSES[visit.patient_class]
    return {
        "status": "in-progress",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code, "display": display},
        "subject": subject,
        "participant": [{"individual": {"display": "".join(visit.doctor[1:])}}],
        "period": {"start": _stamp(visit.started)},
        "serviceProvider": {"display": hospital.dialect.title},
    }


def _prescription(
    visit: Visit, subject: dict[str, Any], encounter: dict[str, Any], at: datetime.datetime
) -> dict[str, Any]:
    return {
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"text": visit.condition["drug"]},
        "subject": subject,
        "encounter": encounter,
        "authoredOn": _stamp(at),
        "requester": {"display": "".join(visit.doctor[1:])},
        "reasonCode": [
            {"coding": [{"system": ICD10, "code": visit.condition["code"]}], "text": visit.condition["title"]}
        ],
    }


def _pressure(
    visit: Visit, subject: dict[str, Any], encounter: dict[str, Any], at: datetime.datetime
) -> dict[str, Any]:
    raised = 18 if visit.condition["code"] == "I10" else 0
    systolic = round(visit.stream.bell(122 + raised, 9))
    diastolic = round(visit.stream.bell(78 + raised / 2, 6))
    return {
        "status": "final",
        "category": [_code("http://terminology.hl7.org/CodeSystem/observation-category", "vital-signs")],
        "code": {**_code("http://loinc.org", "85354-9"), "text": "血压"},
        "subject": subject,
        "encounter": encounter,
        "effectiveDateTime": _stamp(at),
        "component": [_component("8480-6", "收缩压", systolic), _component("8462-4", "舒张压", diastolic)],
    }


def _component(code: str, text: str, value: int) -> dict[str, Any]:
    quantity = {"value": value, "unit": "mmHg", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}
    return {"code": {**_code("http://loinc.org", code), "text": text}, "valueQuantity": quantity}


def _code(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}

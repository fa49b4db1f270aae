"""FHIR R4 as systems over HTTP send it: transaction Bundles whose entries are conditional updates (R4 3.1.0.4.3).

Every Bundle is built with the models of ``fhir.resources``, a reading of the standard that is not the hub's. Sending a
Bundle again changes nothing.
"""

from __future__ import annotations

import base64
import datetime
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from fhir.resources.R4B.bundle import Bundle

from simulators import facts
from simulators.clerk import entry
from simulators.record import Sending
from simulators.region import OURS, Institution
from simulators.segments import CLASSES
from simulators.streams import digest
from simulators.visit import Visit

Resource = dict[str, Any]
ORGANIZATIONS = f"{OURS}/sid/organization"
CARD = f"{OURS}/healthcard"
RESIDENT_ID = "urn:oid:2.16.840.1.113883.2.23.1.19.1"
IDENTIFIER_TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
ICD10 = "http://hl7.org/fhir/sid/icd-10"
DISPLAYS = {"AMB": "ambulatory", "EMER": "emergency", "IMP": "inpatient encounter"}
ARCS = {
    "Encounter": ".1", "MedicationRequest": ".2", "Observation": ".3", "Condition": ".4", "DocumentReference": ".5",
    "Immunization": ".6", "EpisodeOfCare": ".7", "MedicationDispense": ".8", "ServiceRequest": ".9",
    "DiagnosticReport": ".10",
    "Organization": ".20", "Location": ".21", "Practitioner": ".22", "PractitionerRole": ".23", "Device": ".24",
}  # fmt: skip
"""Arcs under the institution's OID for numbers that are not patient numbers."""
Contents = Callable[["Place"], list[Resource]]


def send(kind: str, visit: Visit, at: datetime.datetime) -> Sending:
    """The Bundle of a kind (``visit``, ``checkup``...) for a visit, and what it says."""
    place = Place(visit, at)
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": CONTENTS[kind](place)}
    name = f"FHIR:{kind}"
    control = str(place.uuid("bundle", kind, at.isoformat()))
    body = _json(bundle)
    said = tuple(facts.of_bundle(bundle, visit.site.facility, visit.number, visit.resident.index, at))
    return Sending(at, visit.site.key, "http", name, control, visit.resident.index, body, facts=said)


def _json(bundle: Resource) -> bytes:
    text: str = Bundle(**bundle).model_dump_json()
    return text.encode("utf-8")


class Place:
    """The Bundle of one visit: names and common elements of its entries."""

    def __init__(self, visit: Visit, at: datetime.datetime) -> None:
        self.visit = visit
        self.site: Institution = visit.site
        self.at = at
        self.subject = {"reference": self.url("Patient"), "display": entry(visit).name}
        self.encounter = {"reference": self.url("Encounter")}

    def uuid(self, *names: str) -> uuid.UUID:
        """A UUID derived from the visit and names."""
        return uuid.UUID(bytes=digest(self.visit.seed, self.site.key, self.visit.id, *names)[:16], version=4)

    def url(self, name: str) -> str:
        """The entry's fullUrl."""
        return f"urn:uuid:{self.uuid(name)}"

    def entry(self, kind: str, number: str, resource: Resource) -> Resource:
        """An entry that updates the resource with this business identifier, or creates it.

        Where a HIS keeps patients and visits over HL7 v2, this system only creates what is not there yet.
        """
        system = self.site.system if kind == "Patient" else f"urn:oid:{self.site.oid}{ARCS[kind]}"
        if kind != "Patient":
            identifier: Any = [{"system": system, "value": number}]
            resource = {"resourceType": kind, "identifier": identifier, **resource}
        request = {"method": "PUT", "url": f"{kind}?identifier={system}|{number}"}
        if kind in ("Patient", "Encounter") and "mllp" in self.site.dialect.links:
            request = {"method": "POST", "url": kind, "ifNoneExist": f"identifier={system}|{number}"}
        name = kind if kind in ("Patient", "Encounter") else number
        return {"fullUrl": self.url(name), "resource": resource, "request": request}

    # --- resources ----------------------------------------------------------------------------------------------------

    def patient(self) -> Resource:
        """The Patient as the institution keeps it."""
        known, visit = entry(self.visit), self.visit
        identifiers = [{"type": _type("MR"), "system": self.site.system, "value": visit.number}]
        if known.card:
            identifiers.append({"type": _type("HC"), "system": CARD, "value": known.card})
        if known.number and visit.resident.nationality == "CHN":
            identifiers.append({"type": _type("NI"), "system": RESIDENT_ID, "value": known.number})
        phone = visit.values.get("phone") or known.phone
        resource = {
            "resourceType": "Patient", "identifier": identifiers, "active": True,
            "name": [{"use": "official", "text": known.name, "family": known.family, "given": [known.given or "-"]}],
            "telecom": [{"system": "phone", "value": phone, "use": "mobile"}], "gender": known.sex,
            "birthDate": f"{known.born[:4]}-{known.born[4:6]}-{known.born[6:]}",
            "address": [{"use": "home", "text": known.address, "country": "CHN"}],
            "managingOrganization": {"display": self.site.title},
        }  # fmt: skip
        return self.entry("Patient", visit.number, resource)

    def visited(self) -> Resource:
        """The Encounter."""
        visit = self.visit
        code = CLASSES[visit.patient_class]
        period = {"start": stamp(visit.started)} | ({"end": stamp(visit.ended)} if visit.ended else {})
        return self.entry("Encounter", visit.id, {
            "status": "finished" if visit.ended else "in-progress",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code,
            "display": DISPLAYS[code]},
            "subject": self.subject,
            "participant": [{"individual": {"display": "".join(visit.doctor[1:])}}],
            "period": period,
            "serviceProvider": {"display": self.site.title},
        })  # fmt: skip

    def observation(self, code: str, text: str, value: Any = None, unit: str = "", parts: Any = None) -> Resource:
        """A vital sign: a quantity, or components."""
        resource = {
            "status": "final",
            "category": [_code("http://terminology.hl7.org/CodeSystem/observation-category", "vital-signs")],
            "code": {**_code("http://loinc.org", code), "text": text}, "subject": self.subject,
            "encounter": self.encounter, "effectiveDateTime": stamp(self.at),
        }  # fmt: skip
        if parts is not None:
            resource["component"] = parts
        else:
            resource["valueQuantity"] = _quantity(value, unit)
        return self.entry("Observation", f"{self.visit.id}-{code}", resource)

    def pressure(self) -> Resource:
        """Blood pressure, higher with hypertension."""
        raised = 18 if any(one.code == "I10" for one in self.visit.illnesses) else 0
        draw = self.visit.stream("pressure")
        systolic, diastolic = round(draw.bell(122 + raised, 9)), round(draw.bell(78 + raised / 2, 6))
        parts = [_component("8480-6", "收缩压", systolic), _component("8462-4", "舒张压", diastolic)]
        return self.observation("85354-9", "血压", parts=parts)

    def condition(self, status: str = "active") -> Resource:
        """The visit's diagnosis."""
        row = self.visit.illness.row
        return self.entry("Condition", f"{self.visit.id}-{row['code']}", {
            "clinicalStatus": _code("http://terminology.hl7.org/CodeSystem/condition-clinical", status),
            "verificationStatus": _code("http://terminology.hl7.org/CodeSystem/condition-ver-status", "confirmed"),
            "category": [_code("http://terminology.hl7.org/CodeSystem/condition-category", "encounter-diagnosis")],
            "code": {"coding": [{"system": ICD10, "code": row["code"]}], "text": row["title"]},
            "subject": self.subject, "encounter": self.encounter, "recordedDate": stamp(self.at),
        })  # fmt: skip

    def prescription(self) -> list[Resource]:
        """A MedicationRequest a drug."""
        row = self.visit.illness.row
        return [
            self.entry("MedicationRequest", self.visit.order(f"P{place}"), {
                "status": "active", "intent": "order", "medicationCodeableConcept": {"text": drug},
                "subject": self.subject, "encounter": self.encounter, "authoredOn": stamp(self.at),
                "requester": {"display": "".join(self.visit.doctor[1:])},
                "reasonCode": [{"coding": [{"system": ICD10, "code": row["code"]}], "text": row["title"]}],
            })
            for place, drug in enumerate(self.visit.drugs(), 1)
        ]  # fmt: skip

    def document(self, letter: str, title: str, text: str) -> Resource:
        """A DocumentReference with its text."""
        attachment = {"contentType": "text/plain", "data": base64.b64encode(text.encode()).decode(), "title": title}
        return self.entry("DocumentReference", self.visit.order(letter), {
            "masterIdentifier": {"system": f"urn:oid:{self.site.oid}.5", "value": self.visit.order(letter)},
            "status": "current", "docStatus": "final", "type": {"text": title}, "subject": self.subject,
            "date": stamp(self.at), "content": [{"attachment": attachment}],
            "context": {"encounter": [self.encounter]},
        })  # fmt: skip


def stamp(at: datetime.datetime) -> str:
    """A FHIR instant."""
    return at.isoformat(timespec="seconds")


def _type(code: str) -> Resource:
    return {"coding": [{"system": IDENTIFIER_TYPES, "code": code}]}


def _code(system: str, code: str) -> Resource:
    return {"coding": [{"system": system, "code": code}]}


def _quantity(value: Any, unit: str) -> Resource:
    return {"value": Decimal(str(value)), "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}


def _component(code: str, text: str, value: int) -> Resource:
    return {"code": {**_code("http://loinc.org", code), "text": text}, "valueQuantity": _quantity(value, "mm[Hg]")}


def _visit(place: Place) -> list[Resource]:
    return [place.patient(), place.visited(), place.condition(), *place.prescription(), place.pressure()]


def _followup(place: Place) -> list[Resource]:
    """The quarterly visit of the chronically ill: pressure, sugar, drugs."""
    visit = place.visit
    sugar = next(text for item, text in visit.laboratory("BIO") if item["code"] == "GLU")
    glucose = place.observation("14749-6", "葡萄糖", sugar, "mmol/L")
    return [place.patient(), place.visited(), place.pressure(), glucose, *place.prescription()]


def _checkup(place: Place) -> list[Resource]:
    """A health check: height, weight, pressure, report."""
    draw = place.visit.stream("body")
    tall = round(draw.bell(168 if place.visit.resident.sex == "male" else 157, 5.5), 1)
    heavy = round(draw.bell(23.3, 2.6) * tall * tall / 10_000, 1)
    return [
        place.patient(), place.visited(), place.observation("8302-2", "身高", tall, "cm"),
        place.observation("29463-7", "体重", heavy, "kg"), place.pressure(),
        place.document("K", "健康体检报告", f"身高{tall}cm，体重{heavy}kg。"),
    ]  # fmt: skip


def _signup(place: Place) -> list[Resource]:
    """The family doctor's contract."""
    care = place.entry("EpisodeOfCare", place.visit.order("E"), {
        "status": "active", "type": [{"text": "家庭医生签约"}], "patient": place.subject,
        "managingOrganization": {"display": place.site.title}, "period": {"start": stamp(place.at)},
        "careManager": {"display": "".join(place.visit.doctor[1:])},
    })  # fmt: skip
    return [place.patient(), care]


def _infectious(place: Place) -> list[Resource]:
    """The report card of a notifiable disease."""
    row = place.visit.illness.row
    card = place.document("N", "传染病报告卡", f"{row['title']}，临床诊断病例，报告时限 24 小时。")
    return [place.patient(), place.visited(), place.condition(), card]


def _vaccination(place: Place) -> list[Resource]:
    draw = place.visit.stream("vaccine")
    shot = place.entry("Immunization", place.visit.order("I"), {
        "status": "completed", "vaccineCode": {"text": draw.pick(("流感疫苗", "乙型肝炎疫苗", "百白破疫苗",
        "麻腮风疫苗"))},
        "patient": place.subject, "encounter": place.encounter, "occurrenceDateTime": stamp(place.at),
        "lotNumber": f"L{draw.below(100_000):05d}",
    })  # fmt: skip
    return [place.patient(), place.visited(), shot]


def _circulation(place: Place) -> list[Resource]:
    """A prescription that another pharmacy fills: it goes to the region, its dispense comes back."""
    orders = place.prescription()
    dispensed = [
        place.entry("MedicationDispense", order["resource"]["identifier"][0]["value"], {
            "status": "completed", "medicationCodeableConcept": order["resource"]["medicationCodeableConcept"],
            "subject": place.subject, "authorizingPrescription": [{"reference": order["fullUrl"]}],
            "quantity": _quantity(14, "{tbl}"), "whenHandedOver": stamp(place.at),
        })
        for order in orders
    ]  # fmt: skip
    for number, one in enumerate(dispensed):
        one["fullUrl"] = place.url(f"dispense {number}")
    return [place.patient(), place.visited(), *orders, *dispensed]


def _opinion(place: Place) -> list[Resource]:
    """The specialist's reading of images that were taken elsewhere."""
    return [
        place.patient(),
        place.visited(),
        place.document("X", "远程影像诊断报告", "上级医院诊断意见：未见明显异常。"),
    ]


CONTENTS: dict[str, Contents] = {
    "visit": _visit, "followup": _followup, "checkup": _checkup, "signup": _signup, "infectious": _infectious,
    "vaccination": _vaccination, "circulation": _circulation, "opinion": _opinion,
    "document": lambda place: [
        place.patient(), place.visited(), place.document("W", "电子病历文书",
        f"{place.visit.illness.row['title']}，病程记录。"),
    ],
}  # fmt: skip

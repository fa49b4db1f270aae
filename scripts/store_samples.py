"""Synthetic resources in the shapes the hub stores, with index entries: for the store's dictionary and bench."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from typing import Any

from hub.search.expression import Entries, Range, Term
from hub.store.protocol import Put

DAY = 86_400_000_000
START = 1_700_000_000_000_000
SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁"
GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀英霞平刚桂兰玉梅建华国文志海春雪云辉宁欣怡子涵浩然梓萱一诺宇轩"
DISTRICTS = ("城关区", "新河区", "东湖区", "西山区", "北林区", "南溪县", "临江县", "青石县")
LOINC = (
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/L", 90, 180),
    ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*9/L", 2, 15),
    ("777-3", "Platelets [#/volume] in Blood by Automated count", "10*9/L", 80, 400),
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mmol/L", 3, 20),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "umol/L", 40, 200),
    ("8867-4", "Heart rate", "/min", 45, 160),
    ("8480-6", "Systolic blood pressure", "mm[Hg]", 80, 200),
    ("8310-5", "Body temperature", "Cel", 35, 41),
)
ICD = (
    ("I10", "原发性高血压"),
    ("E11.9", "2型糖尿病"),
    ("J18.9", "肺炎"),
    ("I25.1", "冠状动脉粥样硬化性心脏病"),
    ("K29.5", "慢性胃炎"),
)
HOSPITALS = ("H1", "H2", "H3")
BASE = "https://region-hub.example/fhir"
CODES = "http://terminology.hl7.org/CodeSystem"


def instant(microseconds: int) -> str:
    """FHIR instant of a time in microseconds."""
    days, rest = divmod(microseconds, DAY)
    hour, minute = divmod(rest // 60_000_000, 60)
    year, month, day = 2023 + (days - 19_358) // 365, (days // 31) % 12 + 1, days % 28 + 1
    return f"{year}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:00+08:00"


class Samples:
    """An endless, seeded stream of resources: a patient, an encounter, and what came of it."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self.patients: list[str] = []

    def _id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=5))

    def puts(self) -> Iterator[Put]:
        """Version 1 of each resource."""
        while True:
            patient, hospital = self._id(), self._random.choice(HOSPITALS)
            self.patients.append(patient)
            yield self._put("population", self._patient(patient, hospital))
            encounter = self._id()
            yield self._put("emr", self._encounter(encounter, patient, hospital))
            yield self._put("emr", self._condition(patient, encounter, hospital))
            for _ in range(6):
                yield self._put("emr", self._observation(patient, encounter, hospital))
            yield self._put("emr", self._request(patient, encounter, hospital))
            yield self._put("emr", self._report(patient, encounter, hospital))

    def _put(self, database: str, resource: dict[str, Any]) -> Put:
        now = START + self._random.randrange(700) * DAY
        resource["meta"] |= {"versionId": "1", "lastUpdated": instant(now)}
        text = json.dumps(resource, ensure_ascii=False, separators=(",", ":")).encode()
        type, id = resource["resourceType"], resource["id"]
        return Put(database, type, id, 1, "PUT", now, text, entries(resource, now), "inbox/" + id[:8])

    def _start(self, type: str, id: str, hospital: str) -> dict[str, Any]:
        return {
            "resourceType": type,
            "id": id,
            "meta": {"source": f"{BASE}/source/{hospital}"},
            "identifier": [
                {"system": f"{BASE}/sid/{hospital}/{type.lower()}", "value": f"{self._random.randrange(10**10):010d}"}
            ],
        }

    def _patient(self, id: str, hospital: str) -> dict[str, Any]:
        pick = self._random.choice
        family, given = pick(SURNAMES), "".join(self._random.choices(GIVEN, k=2))
        number = self._random.randrange
        birth = f"{number(1930, 2024)}-{number(1, 13):02d}-{number(1, 29):02d}"
        resident = f"109901{birth.replace('-', '')}{self._random.randrange(10**4):04d}"
        patient = self._start("Patient", id, hospital)
        patient["identifier"][0] |= {"use": "usual", "type": {"coding": [{"system": f"{CODES}/v2-0203", "code": "MR"}]}}
        patient["identifier"].append(
            {"use": "official", "type": {"coding": [{"system": f"{CODES}/v2-0203", "code": "NNCHN"}]}}
            | {"system": f"{BASE}/sid/resident-id", "value": resident}
        )
        return patient | {
            "active": True,
            "name": [{"use": "official", "text": family + given, "family": family, "given": [given]}],
            "telecom": [{"system": "phone", "value": f"1{self._random.randrange(10**10):010d}", "use": "mobile"}],
            "gender": pick(("male", "female")),
            "birthDate": birth,
            "address": [
                {"use": "home", "city": "新河市", "district": pick(DISTRICTS), "country": "CN"}
                | {"text": f"新河市人民路{self._random.randrange(999)}号", "postalCode": "000000"}
            ],
            "maritalStatus": {"coding": [{"system": f"{CODES}/v3-MaritalStatus", "code": pick("MSW")}]},
            "managingOrganization": {"reference": f"Organization/{hospital}"},
        }

    def _encounter(self, id: str, patient: str, hospital: str) -> dict[str, Any]:
        start = START + self._random.randrange(700) * DAY
        return self._start("Encounter", id, hospital) | {
            "status": "finished",
            "class": {"system": f"{CODES}/v3-ActCode", "code": self._random.choice(("AMB", "IMP", "EMER"))},
            "subject": {"reference": f"Patient/{patient}"},
            "participant": [{"individual": {"reference": f"Practitioner/{hospital}-{self._random.randrange(200)}"}}],
            "period": {"start": instant(start), "end": instant(start + self._random.randrange(10) * DAY)},
            "serviceProvider": {"reference": f"Organization/{hospital}"},
        }

    def _condition(self, patient: str, encounter: str, hospital: str) -> dict[str, Any]:
        code, display = self._random.choice(ICD)
        return self._start("Condition", self._id(), hospital) | {
            "clinicalStatus": {"coding": [{"system": f"{CODES}/condition-clinical", "code": "active"}]},
            "verificationStatus": {"coding": [{"system": f"{CODES}/condition-ver-status", "code": "confirmed"}]},
            "category": [{"coding": [{"system": f"{CODES}/condition-category", "code": "encounter-diagnosis"}]}],
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": code, "display": display}]},
            "subject": {"reference": f"Patient/{patient}"},
            "encounter": {"reference": f"Encounter/{encounter}"},
            "recordedDate": instant(START + self._random.randrange(700) * DAY),
        }

    def _observation(self, patient: str, encounter: str, hospital: str) -> dict[str, Any]:
        code, display, unit, low, high = self._random.choice(LOINC)
        quantity = {"value": round(self._random.uniform(low, high), 1), "unit": unit}
        return self._start("Observation", self._id(), hospital) | {
            "status": "final",
            "category": [{"coding": [{"system": f"{CODES}/observation-category", "code": "laboratory"}]}],
            "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": display}]},
            "subject": {"reference": f"Patient/{patient}"},
            "encounter": {"reference": f"Encounter/{encounter}"},
            "effectiveDateTime": instant(START + self._random.randrange(700 * 24 * 60) * 60_000_000),
            "issued": instant(START + self._random.randrange(700) * DAY),
            "performer": [{"reference": f"Organization/{hospital}"}],
            "valueQuantity": quantity | {"system": "http://unitsofmeasure.org", "code": unit},
            "interpretation": [
                {"coding": [{"system": f"{CODES}/v3-ObservationInterpretation", "code": self._random.choice("NHL")}]}
            ],
            "referenceRange": [{"low": {"value": low, "unit": unit}, "high": {"value": high, "unit": unit}}],
        }

    def _request(self, patient: str, encounter: str, hospital: str) -> dict[str, Any]:
        return self._start("ServiceRequest", self._id(), hospital) | {
            "status": "completed",
            "intent": "order",
            "code": {"coding": [{"system": "http://loinc.org", "code": "58410-2", "display": "CBC panel"}]},
            "subject": {"reference": f"Patient/{patient}"},
            "encounter": {"reference": f"Encounter/{encounter}"},
            "authoredOn": instant(START + self._random.randrange(700) * DAY),
            "requester": {"reference": f"Practitioner/{hospital}-{self._random.randrange(200)}"},
        }

    def _report(self, patient: str, encounter: str, hospital: str) -> dict[str, Any]:
        return self._start("DiagnosticReport", self._id(), hospital) | {
            "status": "final",
            "category": [{"coding": [{"system": f"{CODES}/v2-0074", "code": "LAB"}]}],
            "code": {"coding": [{"system": "http://loinc.org", "code": "58410-2", "display": "CBC panel"}]},
            "subject": {"reference": f"Patient/{patient}"},
            "encounter": {"reference": f"Encounter/{encounter}"},
            "effectiveDateTime": instant(START + self._random.randrange(700) * DAY),
            "issued": instant(START + self._random.randrange(700) * DAY),
            "performer": [{"reference": f"Organization/{hospital}"}],
            "result": [{"reference": f"Observation/{self._id()}"} for _ in range(3)],
        }


def entries(resource: dict[str, Any], now: int) -> Entries:  # noqa: C901
    """About as many entries as the hub's indexer makes: one or more for every coded, text, reference and date leaf."""
    terms: dict[Term, None] = {}
    ranges: dict[Range, None] = {}

    def visit(path: str, value: Any) -> None:
        if isinstance(value, list):
            for each in value:
                visit(path, each)
        elif isinstance(value, dict):
            if "reference" in value:
                terms[Term(path, value["reference"])] = None
            elif "code" in value and "system" in value:
                terms[Term(path, value["code"], value["system"])] = None
            elif "value" in value and isinstance(value["value"], float):
                ranges[Range(path, value["value"] - 0.05, value["value"] + 0.05)] = None
            elif "value" in value and "system" in value:
                terms[Term(path, str(value["value"]), value["system"])] = None
            else:
                for name, each in value.items():
                    visit(name if name != "coding" else path, each)
        elif path in ("birthDate", "effectiveDateTime", "issued", "authoredOn", "recordedDate", "start", "end"):
            moment = hash_of(str(value)) % (20_000 * DAY)
            ranges[Range(path, moment, moment + DAY)] = None
        elif path not in ("id", "resourceType"):
            terms[Term(path, str(value))] = None
            if path in ("family", "given", "text"):
                terms[Term(path + ":exact", str(value))] = None

    visit("", resource)
    terms[Term("_id", resource["id"])] = None
    ranges[Range("_lastUpdated", now, now + 1)] = None
    return Entries(tuple(terms), tuple(ranges))


def hash_of(text: str) -> int:
    """The same number for the same text on every run."""
    return int.from_bytes(text.encode()[:16].ljust(16, b"0"), "big")

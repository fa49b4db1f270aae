"""Validation in process, of one core's CPU time, and the same resources through the models of ``fhir.resources``."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

from rich.console import Console

from hub.bench.http import SYSTEM, patient
from hub.bench.terminology import timed
from hub.errors import HubError
from hub.fhir import definitions, json
from hub.fhir.validate import Validator
from hub.fhir.validate.quick import QuickValidator

ENTRIES = 100


def measure(seconds: float, *, console: Console) -> dict[str, Any]:
    """Milliseconds of CPU a resource: ``structure`` is structure and required bindings, ``full`` has invariants too.

    ``ratio`` is how many times longer ``fhir.resources`` takes for the structure alone.
    """
    from fhir.resources.R4B.bundle import Bundle
    from fhir.resources.R4B.patient import Patient

    one, many = person(0), bundle()
    standard = definitions.load()
    checks: dict[str, Callable[[Any], Any]] = {"structure": QuickValidator(standard), "full": Validator(standard)}
    figures: dict[str, Any] = {"patient_bytes": len(json.encode(one)), "bundle_entries": ENTRIES}
    for name, resource, model in (("patient", one, Patient), ("bundle", many, Bundle)):
        console.print(f"{name} ...")
        for kind, check in checks.items():
            if any(found["severity"] in ("error", "fatal") for found in check(resource)):
                raise HubError("exception", f"the {name} to measure with is not valid")
            figures[f"{name}_{kind}_ms"] = round(timed(seconds, lambda c=check, r=resource: c(r)) * 1000, 4)
        plain = json.encode(resource)
        peer = timed(seconds, lambda m=model, p=plain: m.model_validate_json(p)) * 1000
        figures[f"{name}_fhir_resources_ms"] = round(peer, 4)
        figures[f"{name}_ratio"] = round(peer / figures[f"{name}_structure_ms"], 1)
    return {"figures": figures, "machine": f"{platform.machine()}, Python {platform.python_version()}"}


def person(number: int) -> dict[str, Any]:
    """A Patient of about 1.6 kB."""
    made = patient("v", number)
    contact = {
        "relationship": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0131", "code": "N"}]}],
        "name": {"family": "\u674e", "given": ["\u82b3"]},
        "telecom": [{"system": "phone", "value": "13800000000", "use": "mobile"}],
    }
    numbers = [{"use": "secondary", "system": f"{SYSTEM}/{place}", "value": f"{number}-{place}"} for place in range(4)]
    status = {"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "M"}
    return {
        **made,
        "identifier": [*made.get("identifier", ()), *numbers],
        "contact": [contact, contact],
        "maritalStatus": {"coding": [status]},
        "communication": [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "zh"}]}, "preferred": True}],
    }


def result(number: int) -> dict[str, Any]:
    """A laboratory Observation of about 0.7 kB."""
    category = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}
    unit = {"unit": "g/L", "system": "http://unitsofmeasure.org", "code": "g/L"}
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "category": [{"coding": [category]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7", "display": "Hemoglobin"}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2026-11-20T10:00:00+08:00",
        "issued": "2026-11-20T11:00:00+08:00",
        "performer": [{"reference": "Organization/1"}],
        "valueQuantity": {"value": 140, **unit},
        "referenceRange": [{"low": {"value": 130, **unit}, "high": {"value": 175, **unit}, "text": "130-175"}],
    }


def bundle() -> dict[str, Any]:
    """A transaction of results."""
    entries = [
        {
            "fullUrl": f"https://region-hub.example/fhir/Observation/{each['id']}",
            "resource": each,
            "request": {"method": "PUT", "url": f"Observation/{each['id']}"},
        }
        for each in map(result, range(ENTRIES))
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}

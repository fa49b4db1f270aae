"""Instances of a study -> ImagingStudy, with the Patient and the Endpoint it is read from (R4 ImagingStudy).

Ids are deterministic, so that a rebuilt study is a new version of the same resource.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from adapters.dicom import availability, conversions, diagnostic_report
from adapters.dicom.conversions import CONVERSIONS, Circumstances, Convert
from adapters.dicom.dataset import text
from adapters.dicom.instance import PATIENTLESS
from adapters.dicom.partners import facility
from hub.fhir.ids import resource_id
from hub.services.context import Context
from hub.services.doors import Doors
from hub.services.imaging_index import BY_KEYWORD, Row

Resource = dict[str, Any]
ENDPOINT = "hub-dicom-wado-rs"
GENDER = {"M": "male", "F": "female", "O": "other"}


@lru_cache(maxsize=1)
def table() -> Mapping[str, tuple[tuple[str, str, Convert], ...]]:
    """Level -> (tag, element, conversion) of tables/ImagingStudy.csv."""
    lines = files("adapters.dicom").joinpath("tables/ImagingStudy.csv").read_text(encoding="utf-8").splitlines()
    rows: dict[str, list[tuple[str, str, Convert]]] = defaultdict(list)
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        rows[row["level"]].append((BY_KEYWORD[row["keyword"]].tag, row["element"], CONVERSIONS[row["conversion"]]))
    return {level: tuple(found) for level, found in rows.items()}


def register(doors: Doors) -> None:
    """Have the imaging service build the studies that are complete, or seem to be, by this module."""
    doors.imaging.register(lambda study: submit(doors, study), doors.settings.dicom.study_quiet_seconds)


def submit(doors: Doors, study: Row) -> None:
    """Build the resources of a study row and store them; the row is settled in the same unit."""
    series = doors.imaging.below("series", study["id"])
    instances = doors.imaging.below("instance", study["id"])
    facts = doors.settings
    bundle: Resource = {"resourceType": "Bundle", "type": "transaction", "entry": []}
    if not instances or any(not row["sopClass"].startswith(PATIENTLESS) for row in instances):
        circumstances = Circumstances(ZoneInfo(facts.time_zone), facility(study["from"]))
        built = imaging_study(study, series, instances, circumstances)
        reference = built["subject"].get("reference", "")
        accession = text(study["attributes"], "00080050").strip()
        if reference and accession and (order := doors.imaging.order(accession, reference)):
            built["basedOn"] = [{"reference": order}]
        if steps := doors.imaging.steps(study["uid"]):
            built["procedureReference"] = {"reference": f"Procedure/{procedure_id(steps[0]['uid'])}"}
        resources = [endpoint(facts.http.base_url or f"http://{facts.bind}:{facts.http.port}")]
        resources += _devices(built, series, circumstances)
        resources += [built, *diagnostic_report.reports(built, instances, circumstances)]
        if reference and not doors.imaging.knows(reference):
            resources.insert(0, patient(study))
        bundle["entry"] = [{"resource": resource} for resource in resources]
    context = Context(door="dicom", actor=study["from"], origin=f"study:{study['id']}")
    doors.ingest.submit(
        bundle,
        context,
        amend=bool(instances),
        then=lambda tx, _: doors.imaging.settle(tx, study["id"], len(series), len(instances)),
    )
    if instances:
        availability.notify(doors, study, instances)


def _devices(built: Resource, series: Iterable[Row], circumstances: Circumstances) -> Iterable[Resource]:
    """The Devices that made the series; each series of the ImagingStudy names its own as a performer."""
    made = {row["uid"]: found for row in series if (found := device(row, circumstances))}
    for part in built.get("series", ()):
        if part["uid"] in made:
            performer = {"actor": {"reference": f"Device/{made[part['uid']]['id']}"}}
            part["performer"] = [*part.get("performer", ()), performer]
    return {found["id"]: found for found in made.values()}.values()


def imaging_study(
    study: Row, series: Iterable[Row], instances: Iterable[Row], circumstances: Circumstances
) -> Resource:
    """The ImagingStudy of a study row and all rows below it."""
    by_series: dict[str, list[Row]] = defaultdict(list)
    for row in instances:
        by_series[row["series"]].append(row)
    parts = []
    for row in sorted(series, key=_number("00200011")):
        zone = {tag: study["attributes"][tag] for tag in ("00080201",) if tag in study["attributes"]}
        part = _elements("series", row["attributes"] | zone, circumstances)
        below = sorted(by_series[row["id"]], key=_number("00200013"))
        part["numberOfInstances"] = len(below)
        part["endpoint"] = [{"reference": f"Endpoint/{ENDPOINT}"}]
        part["instance"] = [_elements("instance", instance_attributes(found), circumstances) for found in below]
        parts.append(part)
    built: Resource = {
        "resourceType": "ImagingStudy", "id": study_id(study), "status": "available" if parts else "cancelled",
        "subject": subject(study), **_elements("study", study["attributes"], circumstances),
    }  # fmt: skip
    summary: Resource = {
        "endpoint": [{"reference": f"Endpoint/{ENDPOINT}"}],
        "numberOfSeries": len(parts),
        "numberOfInstances": sum(part["numberOfInstances"] for part in parts),
        "series": parts,
    }
    return {element: value for element, value in (built | summary).items() if value != []}


def instance_attributes(row: Row) -> dict[str, Any]:
    """Attributes of an instance row, with the UIDs it is filed under."""
    attributes: Resource = row["attributes"]
    filed = {"00080018": {"vr": "UI", "Value": [row["uid"]]}, "00080016": {"vr": "UI", "Value": [row["sopClass"]]}}
    return attributes | filed


def _elements(level: str, attributes: dict[str, Any], circumstances: Circumstances) -> Resource:
    built: Resource = {}
    for tag, element, convert in table()[level]:
        value = convert(attributes, tag, circumstances)
        if value is None:
            continue
        built[element] = built[element] + value if isinstance(value, list) and element in built else value
    return built


def _number(tag: str) -> Any:
    def key(row: Row) -> tuple[int, str]:
        value = text(row["attributes"], tag)
        return (int(value) if value.lstrip("-").isdecimal() else 1 << 31, row["uid"])

    return key


def subject(study: Row) -> Resource:
    """Reference to the patient; without a Patient ID there is only a name: no identity is made up."""
    number = text(study["attributes"], "00100020").strip()
    if number:
        return {"reference": f"Patient/{patient_id(study, number)}"}
    names = conversions.human_names(study["attributes"], "00100010")
    return {"display": names[0]["text"] if names else "without Patient ID (0010,0020)"}


def study_id(study: Row) -> str:
    """Id of the ImagingStudy: by the Study Instance UID; of the second patient under one UID, by the row."""
    return resource_id(
        "ImagingStudy", "urn:dicom:uid", f"urn:oid:{study['uid']}" + f"#{study['id']}" * ("contested" in study)
    )


def procedure_id(step: str) -> str:
    """Id of the Procedure that a performed procedure step is."""
    return resource_id("Procedure", "urn:dicom:uid", f"urn:oid:{step}")


def patient_id(study: Row, number: str) -> str:
    """Id of the Patient an issuer gave this number to, the same whichever protocol brings it."""
    return resource_id("Patient", study["issuer"], number)


def patient(study: Row) -> Resource:
    """The Patient as the data set names it (PS3.3 C.2.2, C.2.3)."""
    attributes = study["attributes"]
    number = text(attributes, "00100020").strip()
    kind = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}
    built: Resource = {
        "resourceType": "Patient", "id": patient_id(study, number),
        "identifier": [{"type": kind, "system": study["issuer"], "value": number}],
        "name": conversions.human_names(attributes, "00100010"),
        "gender": GENDER.get(text(attributes, "00100040").strip().upper(), "unknown"),
    }  # fmt: skip
    born = text(attributes, "00100030")
    if len(born) == 8 and born.isdecimal():
        built["birthDate"] = f"{born[:4]}-{born[4:6]}-{born[6:]}"
    return {element: value for element, value in built.items() if value}


def device(series: Row, circumstances: Circumstances) -> Resource | None:
    """The modality that made a series (PS3.3 C.7.5.1); None when it has neither serial number nor station name."""
    attributes = series["attributes"]
    tags = {"serial": "00181000", "station": "00081010", "maker": "00080070", "model": "00081090"}
    named = {name: text(attributes, tag).strip() for name, tag in tags.items()}
    if not (named["serial"] or named["station"]):
        return None
    system = f"{conversions.OURS}/authority/{circumstances.facility}/device"
    value = "|".join(named[name] for name in tags if named[name])
    built: Resource = {
        "resourceType": "Device", "id": resource_id("Device", system, value),
        "identifier": [{"system": system, "value": named["serial"] or named["station"]}],
        "manufacturer": named["maker"], "serialNumber": named["serial"], "modelNumber": named["model"],
        "deviceName": [{"name": named["station"] or named["model"] or named["serial"], "type": "user-friendly-name"}],
        "type": {"coding": [conversions.modality(attributes, "00080060", circumstances)]},
    }  # fmt: skip
    return {element: found for element, found in built.items() if found}


def endpoint(base: str) -> Resource:
    """Where the studies are read: this hub's DICOMweb origin server (R4 Endpoint)."""
    kind = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
    return {
        "resourceType": "Endpoint",
        "id": ENDPOINT,
        "status": "active",
        "connectionType": {"system": kind, "code": "dicom-wado-rs"},
        "name": "region-hub DICOMweb",
        "payloadType": [{"text": "DICOM WADO-RS"}],
        "payloadMimeType": ["application/dicom", "application/dicom+json"],
        "address": f"{base.rstrip('/')}/dicom-web",
    }

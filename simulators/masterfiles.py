"""Master files: institutions, departments, wards, beds, staff and devices, as FHIR Bundles and as MFN^M02 and
MFN^M05."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from typing import Any

from fhir.resources.R4B.bundle import Bundle

from simulators.fhir import ARCS, ORGANIZATIONS
from simulators.hl7 import Value, message
from simulators.record import Fact, Sending
from simulators.region import OURS, Institution
from simulators.segments import header
from simulators.streams import digest

CLASSES = f"{OURS}/CodeSystem/ws218-class"
PHYSICAL = "http://terminology.hl7.org/CodeSystem/location-physical-type"
Resource = dict[str, Any]


def sendings(sites: Iterable[Institution], at: datetime.datetime, whole: bool) -> Iterator[Sending]:
    """What every institution tells the region once; the places, staff and devices too when ``whole``."""
    for number, site in enumerate(sites):
        when = at + datetime.timedelta(seconds=number)
        yield _bundle(site, when, "registration", [_organization(site), _naming(site)])
        if whole:
            yield _bundle(site, when, "places", list(_places(site)))
            yield from _beds(site, when)
            if "mllp" in site.dialect.links and site.dialect.version >= "2.4":
                yield _staff(site, when)
                yield _departments(site, when)
            else:
                yield _bundle(site, when, "staff", [_practitioner(site, one) for one in site.doctors])


def _bundle(site: Institution, at: datetime.datetime, name: str, entries: list[Resource]) -> Sending:
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    text: str = Bundle(**bundle).model_dump_json()
    facts = tuple(
        Fact(kind, (site.facility, resource["identifier"][0]["value"]), at, {})
        for resource in (entry["resource"] for entry in entries)
        if (kind := resource["resourceType"]) != "NamingSystem"
    )
    return Sending(at, site.key, "http", f"FHIR:{name}", f"{name}-{site.key}", None, text.encode(), facts=facts)


def _entry(site: Institution, kind: str, number: str, resource: Resource) -> Resource:
    system = ORGANIZATIONS if kind == "Organization" else f"urn:oid:{site.oid}{ARCS[kind]}"
    resource = {"resourceType": kind, "identifier": [{"system": system, "value": number}], **resource}
    return {"resource": resource, "request": {"method": "PUT", "url": f"{kind}?identifier={system}|{number}"}}


def _organization(site: Institution) -> Resource:
    return _entry(site, "Organization", site.facility, {
        "active": True, "name": site.title, "alias": [site.english],
        "type": [{"coding": [{"system": CLASSES, "code": site.class_code}]}],
    })  # fmt: skip


def _naming(site: Institution) -> Resource:
    name = f"{site.facility}PatientNumber"
    resource = {
        "resourceType": "NamingSystem", "name": name, "status": "active", "kind": "identifier", "date": "2026-11-01",
        "responsible": site.title, "uniqueId": [{"type": "uri", "value": site.system, "preferred": True}],
    }  # fmt: skip
    return {"resource": resource, "request": {"method": "PUT", "url": f"NamingSystem?name={name}"}}


def _location(site: Institution, number: str, name: str, kind: str) -> Resource:
    return _entry(site, "Location", number, {
        "status": "active", "name": name, "mode": "instance",
        "physicalType": {"coding": [{"system": PHYSICAL, "code": kind}]},
        "managingOrganization": {"identifier": {"system": ORGANIZATIONS, "value": site.facility}},
    })  # fmt: skip


def _places(site: Institution) -> Iterator[Resource]:
    """Departments, wards and devices."""
    for number, name in enumerate(site.departments, 1):
        yield _location(site, f"{site.facility}-D{number:02d}", f"{site.title}{name}", "area")
    for number, name in enumerate(site.wards, 1):
        yield _location(site, f"{site.facility}-W{number:02d}", f"{site.title}{name}", "wa")
    for device in site.devices:
        yield _entry(site, "Device", device.code, {
            "status": "active", "type": {"coding": [{"system": "http://dicom.nema.org/resources/ontology/DCM",
            "code": device.modality}]},
            "deviceName": [{"name": device.ae_title, "type": "user-friendly-name"}],
        })  # fmt: skip


def _beds(site: Institution, at: datetime.datetime) -> Iterator[Sending]:
    """The beds, a Bundle a ward."""
    for number, ward in enumerate(site.wards, 1):
        beds = [
            _location(site, f"{site.facility}-W{number:02d}-{bed:02d}", f"{site.title}{ward}{bed:02d}床", "bd")
            for bed in range(1, 31)
        ]
        yield _bundle(site, at, f"beds{number}", beds)


def _practitioner(site: Institution, doctor: tuple[str, str, str]) -> Resource:
    name = {"text": doctor[1] + doctor[2], "family": doctor[1], "given": [doctor[2]]}
    return _entry(site, "Practitioner", f"{site.facility}-{doctor[0]}", {"active": True, "name": [name]})


def _staff(site: Institution, at: datetime.datetime) -> Sending:
    """MFN^M02: the staff master file (HL7 v2.5.1 8.7)."""
    rows: list[tuple[Value, str, dict[int, Value]]] = []
    for number, family, given in site.doctors:
        key = f"{site.facility}-{number}"
        code: Value = (key, "", site.facility)
        rows.append((code, "STF", {1: code, 2: (key, "", "", site.facility, "EI"), 3: (family, given), 7: "A"}))
    facts = [Fact("Practitioner", (site.facility, f"{site.facility}-{one[0]}"), at, {}) for one in site.doctors]
    return _master(site, at, "MFN^M02", ("STF", "staff", "HL70175"), rows, tuple(facts))


def _departments(site: Institution, at: datetime.datetime) -> Sending:
    """MFN^M05: the departments as PV1-3 names them (HL7 v2.5.1 8.9)."""
    rows: list[tuple[Value, str, dict[int, Value]]] = [
        ((name,), "LOC", {1: (name,), 2: f"{site.title}{name}", 3: ("D", "department", "HL70260")})
        for name in site.departments
    ]
    return _master(site, at, "MFN^M05", ("LOC", "location", "HL70175"), rows, ())


def _master(
    site: Institution,
    at: datetime.datetime,
    event: str,
    file: Value,
    rows: Iterable[tuple[Value, str, dict[int, Value]]],
    facts: tuple[Fact, ...],
) -> Sending:
    """A master file notification: MFI, then MFE and the record for each row (key, segment, fields)."""
    write, when = site.dialect.separators.segment, at.strftime(site.dialect.time)
    control = f"{site.facility}{digest(0, event, site.key).hex().upper()}"[:20]
    segments = [
        header(site, event, control, at),
        write("MFI", {1: file, 3: "UPD", 4: when, 5: when, 6: "AL"}),
    ]
    for number, (key, name, fields) in enumerate(rows, 1):
        entry: dict[int, Value] = {1: "MAD", 2: f"{control[:14]}{number:04d}", 3: when, 4: key, 5: "PL"}
        segments += [write("MFE", entry | ({5: "CE"} if name == "STF" else {})), write(name, fields)]
        if name == "LOC":
            segments.append(write("LDP", {1: key, 2: "MED"}))
    return Sending(at, site.key, "mllp", event, control, None, message(segments, site.dialect.charset), facts=facts)

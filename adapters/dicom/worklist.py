"""Modality Worklist as SCP (PS3.4 K): the imaging orders that arrived by HL7 v2 or FHIR, as scheduled procedure steps.

A modality is shown the orders of its own institution: those that its facility sent (Meta.source), or that carry an
identifier of it. The station of a step is the modality that asks, as orders do not name one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from adapters.dicom import encode, find, status
from adapters.dicom.conversions import DCM
from adapters.dicom.dataset import IMPLICIT, Attributes
from adapters.dicom.instance import derived_uid
from adapters.dicom.partners import facility
from adapters.dicom.ul import dimse
from adapters.dicom.ul.association import Association, Message
from hub.errors import HubError
from hub.fhir import json
from hub.services.context import Context
from hub.services.doors import Doors
from hub.services.imaging_index import matches
from hub.services.imaging_names import alphabetic
from hub.services.imaging_patients import SEXES, names, namespace

MODEL = "1.2.840.10008.5.1.4.31"
STEPS = "00400100"
MAX_ORDERS = 1000
KINDS = ("ACSN", "FILL", "PLAC")
"""Types of identifier that may be the accession number, the best first."""

Resource = dict[str, Any]


def serve(doors: Doors, association: Association, message: Message, context: Context) -> None:
    """C-FIND: one pending response a scheduled procedure step."""
    implicit = message.context.transfer[0] == IMPLICIT
    try:
        asked = find.identifier(message)
        answers = [answer for answer in worklist(doors, context) if fits(asked, answer)]
    except HubError as error:
        refusal = dimse.response(message.command, status.of(error, "find"), status.comment(error))
        return association.send(message.context, refusal)
    charset = find.terms(asked)
    bodies = [encode.answer(returned(asked, answer), implicit=implicit, asked=charset, held=()) for answer in answers]
    if bodies:
        association.send_many(message.context, dimse.response(message.command, status.PENDING), bodies)
    return association.send(message.context, dimse.response(message.command, status.SUCCESS))


def worklist(doors: Doors, context: Context) -> Iterator[Attributes]:
    """The steps of the caller's institution, oldest order first."""
    place, zone = facility(context.actor), ZoneInfo(doors.settings.time_zone)
    pairs = [
        ("status", "active"),
        ("_sort", "_lastUpdated"),
        ("_count", str(MAX_ORDERS)),
        ("_include", "ServiceRequest:subject"),
    ]
    page = doors.query.search(context, ("ServiceRequest",), pairs)
    patients = {f"{version.type}/{version.id}": json.decode(version.text) for version in page.included}
    for version in page.matches:
        order = json.decode(version.text)
        patient = patients.get(order.get("subject", {}).get("reference", ""))
        modality = modality_of(order)
        if modality and patient is not None and _belongs(order, place):
            yield step(order, patient, modality, context.actor, zone)


def _belongs(order: Resource, facility: str) -> bool:
    places = [
        order.get("meta", {}).get("source", ""),
        *(found.get("system", "") for found in order.get("identifier", ())),
    ]
    return any(facility in place.split("#")[0].split("/") for place in places)


@lru_cache(maxsize=1)
def _modalities() -> Mapping[tuple[str, str], str]:
    lines = files("adapters.dicom").joinpath("tables/modality.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return {(row["system"], row["code"]): row["modality"] for row in rows}


def modality_of(order: Resource) -> str:
    """The modality an order asks for; "" for what is no imaging order."""
    for concept in (*order.get("category", ()), *order.get("orderDetail", ()), order.get("code", {})):
        for coding in concept.get("coding", ()):
            system, code = coding.get("system", ""), coding.get("code", "")
            found = code if system == DCM else _modalities().get((system, code), "")
            if found:
                return found
    return ""


def step(order: Resource, patient: Resource, modality: str, station: str, zone: ZoneInfo) -> Attributes:
    """The attributes of a worklist item (PS3.4 table K.6-1)."""
    number, code = _number(order), order.get("code", {})
    title = code.get("text") or next((coding.get("display", "") for coding in code.get("coding", ())), "")
    title = title or modality  # Scheduled Procedure Step Description is type 1C, and some want it
    date, time = _moment(order, zone)
    identifier: Resource = next(iter(patient.get("identifier", ())), {})
    system = identifier.get("system", "")
    return {
        "00080050": _of("SH", number),
        "00080090": _of("PN", _person(order.get("requester", {}).get("display", ""))),
        "00100010": _of("PN", spelled(names(patient))),
        "00100020": _of("LO", identifier.get("value")),
        "00100021": _of("LO", namespace(system) if "/authority/" in system else None),
        "00100030": _of("DA", patient.get("birthDate", "").replace("-", "")),
        "00100040": _of("CS", SEXES.get(patient.get("gender", ""))),
        "0020000D": _of("UI", derived_uid("ServiceRequest", order.get("id", ""))),
        "00321032": _of("PN", _person(order.get("requester", {}).get("display", ""))),
        "00321060": _of("LO", title[:64]),
        "00321064": {"vr": "SQ", "Value": [_code(coding) for coding in code.get("coding", ())[:1]]},
        "00401001": _of("SH", number[:16]),
        "00401003": _of("SH", order.get("priority", "").upper()),
        STEPS: {
            "vr": "SQ",
            "Value": [
                {
                    "00080060": _of("CS", modality), "00400001": _of("AE", station), "00400002": _of("DA", date),
                    "00400003": _of("TM", time), "00400006": _of("PN", None), "00400007": _of("LO", title[:64]),
                    "00400009": _of("SH", number[:16]), "00400010": _of("SH", None), "00400011": _of("SH", None),
                }
            ],
        },
    }  # fmt: skip


def _of(vr: str, value: object) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]} if value else {"vr": vr}


def _number(order: Resource) -> str:
    """The accession number: by type of identifier, else the first."""
    by_kind = {
        coding.get("code"): found.get("value", "")
        for found in order.get("identifier", ())
        for coding in found.get("type", {}).get("coding", ({},))
    }
    return next((by_kind[kind] for kind in KINDS if by_kind.get(kind)), next(iter(by_kind.values()), ""))


def _moment(order: Resource, zone: ZoneInfo) -> tuple[str, str]:
    """DA and TM of when it is to be done, in the region's time."""
    period = order.get("occurrencePeriod", {})
    text = order.get("occurrenceDateTime") or period.get("start") or order.get("authoredOn") or ""
    if len(text) <= 10:
        return text.replace("-", "") if len(text) == 10 else "", ""
    try:
        moment = datetime.fromisoformat(text).astimezone(zone)
    except ValueError:
        return "", ""
    return f"{moment:%Y%m%d}", f"{moment:%H%M%S}"


def _person(text: str) -> dict[str, str] | None:
    if not text:
        return None
    return {"Alphabetic" if text.isascii() else "Ideographic": text.replace(" ", "^", 1)}


def spelled(groups: dict[str, str]) -> dict[str, str]:
    """The groups of a name with an Alphabetic one: many a modality shows no other."""
    if not groups or "Alphabetic" in groups:
        return groups
    read = alphabetic(groups["Ideographic"]) if "Ideographic" in groups else ""
    return {"Alphabetic": read, **groups} if read else groups


def _code(coding: Resource) -> Attributes:
    """Code Sequence Macro (PS3.3 8.8); the scheme is the code system's last segment, in 16 characters."""
    scheme = coding.get("system", "").rstrip("/").rpartition("/")[2][:16] or "99LOCAL"
    return {
        "00080100": _of("SH", coding.get("code", "")[:16]),
        "00080102": _of("SH", scheme),
        "00080104": _of("LO", (coding.get("display") or coding.get("code", ""))[:64]),
    }


def fits(asked: Attributes, answer: Attributes) -> bool:
    """Attribute matching, into the items of a sequence (PS3.4 C.2.2.2.6)."""
    for tag, key in asked.items():
        if tag in find.NO_KEYS or not key.get("Value"):
            continue
        held = answer.get(tag)
        if held is None:
            continue
        if key["vr"] == "SQ":
            items = held.get("Value") or [{}]
            if not any(fits(key["Value"][0] or {}, item) for item in items):
                return False
        elif not matches(held, key):
            return False
    return True


def returned(asked: Attributes, answer: Attributes) -> Attributes:
    """What was asked for, with a value where there is one; a sequence asked for without an item comes whole."""
    found: Attributes = {}
    for tag, key in asked.items():
        if tag == "00080005":
            continue
        held = answer.get(tag, {"vr": key["vr"]})
        wanted = (key.get("Value") or [None])[0] if key["vr"] == "SQ" else None
        if wanted and held.get("Value"):
            held = {"vr": "SQ", "Value": [returned(wanted, item) for item in held["Value"]]}
        found[tag] = held
    return found

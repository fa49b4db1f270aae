"""Whose a study is: the patient it came with, or the one that patient was replaced by (HL7 v2 A40, PIX merge).

The stored bytes never change. The row of a study whose patient was replaced shows, and is matched by, what identifies
the surviving patient; ``came`` keeps what it came with, so that a merge that is undone (A37) puts it back.
"""

from __future__ import annotations

from typing import Any

from hub.fhir import json
from hub.fhir.ids import resource_id
from hub.mpi import golden
from hub.services.imaging_index import ISSUER, PATIENT_ID, Row, text
from hub.store.protocol import Reader

Resource = dict[str, Any]
NAME, BIRTH_DATE, SEX, OTHER_IDS = "00100010", "00100030", "00100040", "00101002"
IDENTITY = {NAME: "PN", PATIENT_ID: "LO", ISSUER: "LO", BIRTH_DATE: "DA", SEX: "CS", OTHER_IDS: "SQ"}
"""Attributes that say who the patient is, and their VR."""
REPRESENTATION = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
GROUPS = {"IDE": "Ideographic", "SYL": "Phonetic", "ABC": "Alphabetic"}
SEXES = {"male": "M", "female": "F", "other": "O"}
MAX_STEPS = 10
"""Merges of merges that are followed."""


def refiled(reader: Reader, row: Row) -> Row | None:
    """The study row as it is to be now; None when it is right as it is.

    ``via`` are the ids of the Patients from the one it came with to the one it belongs to.
    """
    came = row.get("came") or {
        "issuer": row["issuer"],
        "attributes": {tag: row["attributes"][tag] for tag in IDENTITY if tag in row["attributes"]},
    }
    number = text(came["attributes"], PATIENT_ID).strip()
    if not number:
        return None
    via, owner = _followed(reader, resource_id("Patient", came["issuer"], number))
    kept = {tag: element for tag, element in row["attributes"].items() if tag not in IDENTITY}
    filed = {name: value for name, value in row.items() if name not in ("came", "via")}
    if owner is None or len(via) == 1:
        filed |= {"issuer": came["issuer"], "attributes": kept | came["attributes"]}
    else:
        system, identity = _identity(owner, came)
        filed |= {"came": came, "via": via, "issuer": system, "attributes": kept | identity}
    return None if filed == row else filed | {"open": True}


def patients(row: Row) -> list[str]:
    """Ids of the Patients on whom it depends whose a study is."""
    number = text(row["attributes"], PATIENT_ID).strip()
    return row.get("via") or ([resource_id("Patient", row["issuer"], number)] if number else [])


def of_person(reader: Reader, id: str) -> list[str]:
    """Ids of the Patients of a regional Person; redirects are followed to the survivor."""
    for _ in range(MAX_STEPS):
        version = reader.read("Person", id)
        if version is None or version.deleted:
            return []
        person: Resource = json.stored(version.text)
        successor = golden.successor(person)
        if successor is None:
            return [reference.removeprefix("Patient/") for reference in golden.links(person)]
        id = successor
    return []


def shown_as(row: Row, number: str, issuer: str) -> Row:
    """A study row as the answer to a question by another number of the same person; its own is an other Patient ID."""
    own = {tag: row["attributes"][tag] for tag in (PATIENT_ID, ISSUER) if tag in row["attributes"]}
    other = own | {"00100022": {"vr": "CS", "Value": ["TEXT"]}}
    asked = {PATIENT_ID: _of("LO", number), ISSUER: _of("LO", issuer), OTHER_IDS: _of("SQ", other)}
    return row | {"attributes": row["attributes"] | asked}


def identity(row: Row) -> dict[str, Any] | None:
    """What a data set of a study has to say of its patient in place of what it says; None when it says it."""
    if "came" not in row:
        return None
    return {tag: row["attributes"].get(tag, {"vr": vr}) for tag, vr in IDENTITY.items()}


def _followed(reader: Reader, id: str) -> tuple[list[str], Resource | None]:
    """The ids from a Patient to the one that replaced it in the end, and that one."""
    via, patient = [id], _read(reader, id)
    while patient is not None and len(via) < MAX_STEPS:
        links = (link for link in patient.get("link", ()) if link.get("type") == "replaced-by")
        other = next((link.get("other", {}).get("reference", "") for link in links), "").removeprefix("Patient/")
        survivor = _read(reader, other) if other and other not in via else None
        if survivor is None:
            break
        via.append(other)
        patient = survivor
    return via, patient


def _read(reader: Reader, id: str) -> Resource | None:
    version = reader.read("Patient", id)
    if version is None or version.deleted:
        return None
    patient: Resource = json.stored(version.text)
    return patient


def _identity(owner: Resource, came: Row) -> tuple[str, dict[str, Any]]:
    """Identifier system of the surviving Patient's number, and its identity as DICOM attributes."""
    numbers = [one for one in owner.get("identifier", ()) if one.get("system") and one.get("value")]
    of_issuer = (one for one in numbers if one["system"] == came["issuer"])
    number = next(of_issuer, numbers[0] if numbers else {"system": came["issuer"], "value": owner["id"]})
    prior: dict[str, Any] = {tag: came["attributes"][tag] for tag in (PATIENT_ID, ISSUER) if tag in came["attributes"]}
    found: dict[str, Any] = {
        PATIENT_ID: _of("LO", number["value"]),
        ISSUER: prior.get(ISSUER) if number["system"] == came["issuer"] else _of("LO", namespace(number["system"])),
        NAME: _of("PN", names(owner)),
        BIRTH_DATE: _of("DA", owner.get("birthDate", "").replace("-", "")),
        SEX: _of("CS", SEXES.get(owner.get("gender", ""))),
        OTHER_IDS: _of("SQ", prior | {"00100022": _of("CS", "TEXT")}),
    }
    return number["system"], {tag: element for tag, element in found.items() if element}


def _of(vr: str, value: Any) -> dict[str, Any] | None:
    return {"vr": vr, "Value": [value]} if value else None


def namespace(system: str) -> str:
    """An identifier system as Issuer of Patient ID (LO, 64 characters): the namespace of one of ours, else itself."""
    return (system.rpartition("/")[2] if "/authority/" in system else system)[:64]


def names(patient: Resource) -> dict[str, str]:
    """Component groups of PN: by the representation a name is marked with, else by its script."""
    groups: dict[str, str] = {}
    for name in patient.get("name", ()):
        family, given = name.get("family", ""), " ".join(name.get("given", ()))
        written = f"{family}^{given}".rstrip("^") if family or given else name.get("text", "")
        marks = (one.get("valueCode", "") for one in name.get("extension", ()) if one.get("url") == REPRESENTATION)
        by_script = "Alphabetic" if written.isascii() else "Ideographic"
        if written:
            groups.setdefault(GROUPS.get(next(marks, ""), by_script), written)
    return groups

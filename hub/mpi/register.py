"""A population file as Patients: what a public register knows of the residents, for ``hub mpi load``."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from hub.errors import HubError
from hub.mpi.rules import TYPES, load

SOURCE = "https://region-hub.example/fhir/sid/population-register"
"""System of the register's own number of a resident (ours)."""
PATIENTS = UUID("8b0f4c57-6ab4-5a1e-9a53-3f6f0b7a1101")
COLUMNS = ("id", "name", "gender", "birth_date", "number", "card", "phone", "address")


def lines(path: Path) -> Iterator[str]:
    """NDJSON of Patients. HubError("parameter-value") names the line and column that is wrong."""
    if path.suffix.lower() in (".ndjson", ".jsonl", ".json"):
        yield path.read_text(encoding="utf-8")
        return
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        missing = {"id", "name"} - set(rows.fieldnames or ())
        unknown = set(rows.fieldnames or ()) - set(COLUMNS)
        if missing or unknown:
            said = f"missing columns {sorted(missing)}, unknown columns {sorted(unknown)}; known: {', '.join(COLUMNS)}"
            raise HubError("parameter-value", said, f"{path}: line 1")
        for row in rows:
            if not row["id"] or None in row or None in row.values():
                raise HubError("parameter-value", "the row has no id, or not as many fields as columns",
                               f"{path}: line {rows.line_num}")  # fmt: skip
            yield json.dumps(patient(row), ensure_ascii=False) + "\n"


def patient(row: dict[str, str]) -> dict[str, Any]:
    """The Patient of a row; its id comes from the register's number, so loading again changes nothing."""
    get = row.get
    kinds = load().by_type
    identifiers = [{"system": SOURCE, "value": row["id"], "type": _type("PI")}]
    for column, code in (("number", "NI"), ("card", "HC")):
        if value := get(column):
            identifiers.append({"system": kinds[code].system, "value": value, "type": _type(code)})
    made = {
        "resourceType": "Patient",
        "id": str(uuid5(PATIENTS, row["id"])),
        "identifier": identifiers,
        "name": [{"text": get("name")}] if get("name") else None,
        "gender": get("gender"),
        "birthDate": get("birth_date"),
        "telecom": [{"system": "phone", "value": get("phone")}] if get("phone") else None,
        "address": [{"text": get("address")}] if get("address") else None,
    }
    return {name: value for name, value in made.items() if value}


def _type(code: str) -> dict[str, Any]:
    return {"coding": [{"system": TYPES, "code": code}]}

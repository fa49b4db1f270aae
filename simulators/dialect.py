"""How one hospital speaks: version, character set, separators, codes and habits, as its table states them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from simulators.hl7 import Separators


@dataclass(frozen=True, slots=True)
class Dialect:
    """One row of habits a hospital; the fields are those of ``dialects/<name>.toml``, sections joined.

    ``authority`` is the assigning authority of patient numbers (CX-4: namespace, universal id, its type), and
    ``visit_authority`` that of visit numbers, empty when the hospital names none. ``name`` of a
    patient is written as ``parts``, ``whole`` or ``both``; ``address`` as ``parts`` or ``text``; ``phone`` ``first``
    (XTN-1) or ``last`` (XTN-12); ``codes`` of laboratory items ``local``, ``both`` or ``loinc``.
    """

    key: str
    title: str
    english: str
    county: str
    links: tuple[str, ...]
    departments: tuple[str, ...]
    doctors: tuple[tuple[str, str, str], ...]
    version: str
    charset: str
    character_set: str
    separators: Separators
    application: str
    facility: str
    time: str
    authority: tuple[str, ...]
    patient_number: str
    identifiers: tuple[str, ...]
    name: str
    address: str
    phone: str
    visit_number: str
    visit_authority: tuple[str, ...]
    codes: str
    coding: str
    zsegment: str
    ae_title: str
    modality: str
    image_character_set: str

    @property
    def system(self) -> str:
        """The FHIR system of the patient numbers: the authority's OID, else its namespace as a name of ours."""
        if len(self.authority) > 1:
            return f"urn:oid:{self.authority[1]}"
        return f"https://region-hub.example/fhir/authority/{self.facility}/{self.authority[0]}"


@cache
def dialects() -> dict[str, Dialect]:
    """Every dialect of ``dialects/*.toml`` by name."""
    entries = sorted(files("simulators").joinpath("dialects").iterdir(), key=lambda entry: entry.name)
    tables = [entry.read_text(encoding="utf-8") for entry in entries if entry.name.endswith(".toml")]
    return {dialect.key: dialect for dialect in map(parse, tables)}


def parse(text: str) -> Dialect:
    """A dialect from its table. KeyError or TypeError when a habit is missing or unknown."""
    data: dict[str, Any] = tomllib.loads(text)
    patient, visit = dict(data.pop("patient")), dict(data.pop("visit"))
    wire, images = dict(data.pop("hl7v2")), dict(data.pop("dicom", {}))
    wire["separators"] = Separators.of(wire["separators"])
    return Dialect(
        key=data.pop("name"),
        links=tuple(data.pop("links")),
        departments=tuple(data.pop("departments")),
        doctors=tuple((row[0], row[1], row[2]) for row in data.pop("doctors")),
        authority=tuple(patient.pop("authority")),
        patient_number=patient.pop("number"),
        identifiers=tuple(patient.pop("identifiers")),
        visit_number=visit.pop("number"),
        visit_authority=tuple(visit.pop("authority")),
        ae_title=images.pop("ae_title", ""),
        modality=images.pop("modality", ""),
        image_character_set=images.pop("character_set", ""),
        **data,
        **patient,
        **visit,
        **wire,
        **images,
    )

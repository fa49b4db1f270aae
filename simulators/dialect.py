"""How a system speaks: version, character set, separators, codes and habits, as its table states them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from simulators.hl7 import Separators


@dataclass(frozen=True, slots=True)
class Dialect:
    """The habits of one product; the fields are those of ``dialects/<name>.toml``, sections joined.

    ``patient_authority`` says how CX-4 names the assigning authority: ``oid`` (namespace, OID, ISO) or ``name``
    (namespace);
    ``visit_authority`` whether PV1-19 has one. ``name`` of a patient is written as ``parts``, ``whole`` or ``both``;
    ``address`` as ``parts`` or ``text``; ``phone`` ``first`` (XTN-1) or ``last`` (XTN-12); ``codes`` of laboratory
    items
    ``local``, ``both`` or ``loinc``; ``order`` ORM (every order) or OML (OML^O21, OMI^O23).
    """

    key: str
    links: tuple[str, ...]
    version: str
    charset: str
    character_set: str
    separators: Separators
    application: str
    time: str
    order: str
    zsegment: str
    patient_authority: str
    patient_number: str
    identifiers: tuple[str, ...]
    name: str
    address: str
    phone: str
    visit_authority: bool
    visit_number: str
    codes: str
    image_character_set: str


@cache
def dialects() -> dict[str, Dialect]:
    """Every dialect of ``dialects/*.toml`` by name."""
    entries = sorted(files("simulators").joinpath("dialects").iterdir(), key=lambda entry: entry.name)
    return {
        name: parse(name, entry.read_text(encoding="utf-8"))
        for entry in entries
        if entry.name.endswith(".toml") and (name := entry.name.removesuffix(".toml"))
    }


def parse(key: str, text: str) -> Dialect:
    """A dialect from its table. KeyError or TypeError when a habit is missing or unknown."""
    data: dict[str, Any] = tomllib.loads(text)
    wire, patient, visit = dict(data["hl7v2"]), dict(data["patient"]), dict(data["visit"])
    return Dialect(
        key=key,
        links=tuple(data["links"]),
        separators=Separators.of(wire.pop("separators")),
        patient_authority=patient.pop("authority"),
        patient_number=patient.pop("number"),
        identifiers=tuple(patient.pop("identifiers")),
        visit_authority=visit.pop("authority"),
        visit_number=visit.pop("number"),
        image_character_set=data["dicom"]["character_set"],
        **wire,
        **patient,
        **visit,
    )

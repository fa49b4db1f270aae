"""The region: its institutions with departments, wards, beds, staff and devices, scaled by a factor.

An institution depends on its kind and number only, and residents choose by rendezvous hashing, so adding an institution
changes nothing for those who do not go there.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from simulators.dialect import Dialect, dialects
from simulators.population import city, table
from simulators.streams import Stream, digest

OID = "2.999.1099"
"""The arc 2.999 is for examples; below it the region, below that its institutions."""
OURS = "https://region-hub.example/fhir"
ORG_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)
DEMO = ("people", "county", "cloud")


@dataclass(frozen=True, slots=True)
class Device:
    """A device: code, modality (DICOM), AE title."""

    code: str
    modality: str
    ae_title: str


@dataclass(frozen=True, slots=True)
class Institution:
    """An institution: ``code`` (22 characters, WS 218), ``facility`` (MSH-4), ``oid`` of its patient numbers.

    ``doctors`` are (number, family name, given name); ``beds`` the number of beds, thirty a ward.
    """

    key: str
    kind: str
    title: str
    english: str
    county: str
    class_code: str
    level: str
    code: str
    facility: str
    oid: str
    dialect: Dialect
    departments: tuple[str, ...]
    doctors: tuple[tuple[str, str, str], ...]
    beds: int
    devices: tuple[Device, ...]

    @property
    def authority(self) -> tuple[str, ...]:
        """CX-4 of its patient numbers."""
        return (self.facility, self.oid, "ISO") if self.dialect.patient_authority == "oid" else (self.facility,)

    @property
    def system(self) -> str:
        """The FHIR system of the patient numbers: the authority's OID, else its namespace as a name of the hub's."""
        if self.dialect.patient_authority == "oid":
            return f"urn:oid:{self.oid}"
        return f"{OURS}/authority/{self.facility}/{self.facility}"

    @property
    def wards(self) -> tuple[str, ...]:
        """Wards of thirty beds."""
        return tuple(f"{self.departments[n % len(self.departments)]}{n + 1}病区" for n in range(self.beds // 30))

    def device(self, modality: str) -> Device | None:
        """The device of a modality."""
        return next((device for device in self.devices if device.modality == modality), None)


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(files("simulators").joinpath("tables", "region.toml").read_text(encoding="utf-8"))


def inhabitants(scale: float) -> int:
    """People of the region at a scale."""
    return max(200, round(float(_tables()["inhabitants"]) * scale))


@cache
def institutions(scale: float) -> dict[str, Institution]:
    """Every institution of the region at a scale, by key: at least one of each kind."""
    found: dict[str, Institution] = {}
    for kind, row in _tables()["kind"].items():
        for number in range(1, max(1, round(row["count"] * scale)) + 1):
            institution = _institution(kind, number)
            found[institution.key] = institution
    return found


@cache
def demo() -> dict[str, Institution]:
    """The three institutions of the demo."""
    return {row["key"]: _institution(row["kind"], 1) for row in _tables()["named"]}


def _institution(kind: str, number: int) -> Institution:
    row: dict[str, Any] = _tables()["kind"][kind]
    own = next((one for one in _tables()["named"] if one["kind"] == kind), None) if number == 1 else None
    ordinal = list(_tables()["kind"]).index(kind) * 1000 + number
    counties = city()[1]
    county = row.get("county") or counties[number % len(counties)].code
    facts: dict[str, Any] = own or {
        "key": f"{kind}{number}",
        "title": row["title"].format(n=number, county=_county_name(county)),
        "english": row["english"].format(n=number),
        "county": county,
        "dialect": row["dialects"][number % len(row["dialects"])],
        "facility": f"XH{ordinal:04d}",
    }
    facility = facts["facility"]
    return Institution(
        key=facts["key"], kind=kind, title=facts["title"], english=facts["english"], county=facts["county"],
        class_code=row["class"], level=row["level"], code=_code(ordinal, facts["county"], row["class"], kind),
        facility=facility, oid=f"{OID}.{ordinal}", dialect=dialects()[facts["dialect"]],
        departments=tuple(row["departments"]), doctors=_doctors(facility, len(row["departments"])), beds=row["beds"],
        devices=tuple(Device(f"{facility}-{name}", name, f"{facility}_{name}") for name in row["devices"]),
    )  # fmt: skip


def _county_name(code: str) -> str:
    return next(county.name for county in city()[1] if county.code == code)


def _code(ordinal: int, county: str, class_code: str, kind: str) -> str:
    """The 22 characters of WS 218: organisation code (GB 11714), area, economic type, class, management."""
    first = f"YY{ordinal:06d}"
    values = [int(letter, 36) for letter in first]
    check = 11 - sum(value * weight for value, weight in zip(values, ORG_WEIGHTS, strict=True)) % 11
    digit = {10: "X", 11: "0"}.get(check, str(check))
    return f"{first}{digit}{county}11{class_code}{2 if kind == 'private' else 1}"


def _doctors(facility: str, departments: int) -> tuple[tuple[str, str, str], ...]:
    """Two doctors a department: number, family name, given name."""
    names, given = table("surnames"), table("given")
    found = []
    for number in range(2 * departments):
        stream = Stream(0, "doctor", facility, number)
        surname = stream.weighted(names, [float(row["share"]) for row in names])["surname"]
        found.append((f"D{number + 1:04d}", surname, stream.pick(given)["character"] + stream.pick(given)["character"]))
    return tuple(found)


def nearest(candidates: list[Institution], *who: object) -> Institution:
    """The candidate that somebody prefers (rendezvous hashing)."""
    return max(candidates, key=lambda one: digest(0, "prefers", one.key, *who))

"""How the clerks of an institution write a resident down: once per institution, with the errors that clerks make."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from simulators.population import Resident, table
from simulators.region import Institution
from simulators.streams import Stream
from simulators.visit import Visit

UNKNOWN = "无名氏"


@dataclass(frozen=True, slots=True)
class Entry:
    """Demographics as registered; an empty text is not written. ``born`` is YYYYMMDD.

    ``sure`` says that the entry has a document or card that tells who it is: a hub must link it to the person.
    """

    family: str
    given: str
    latin: tuple[str, str]
    sex: str
    born: str
    number: str
    card: str
    phone: str
    address: str
    ethnic: str
    married: str
    sure: bool

    @property
    def name(self) -> str:
        """The whole name."""
        return self.family + self.given


@cache
def _rates() -> dict[str, dict[str, float]]:
    return {row.pop("kind"): {name: float(rate) for name, rate in row.items()} for row in map(dict, table("noise"))}


@cache
def _homophones() -> dict[str, str]:
    return {row["character"]: row["homophones"] for row in table("confusions") if row["homophones"]}


def entry(visit: Visit) -> Entry:
    """What the visit's institution has of the patient."""
    resident = visit.resident
    if visit.registered == "unknown":
        return Entry(UNKNOWN, "", ("", ""), resident.sex, "", "", "", "", "", "", "", False)
    if visit.registered == "newborn" and visit.mother is not None:
        suffix = "之子" if resident.sex == "male" else "之女"
        born = f"{visit.started:%Y%m%d}"
        return Entry(
            visit.mother.name + suffix, "", ("", ""), resident.sex, born, "", "", visit.mother.phone,
            visit.mother.address, resident.ethnic, "S", False,
        )  # fmt: skip
    known = _known(visit.seed, visit.site, resident)
    return replace(known, number="", card="", sure=False) if visit.registered == "hurried" else known


def _known(seed: int, site: Institution, resident: Resident) -> Entry:
    stream = Stream(seed, "clerk", site.key, resident.index)
    rates = _rates().get(site.kind) or _rates()["*"]
    draws = {name: stream.chance(rate) for name, rate in rates.items()}
    given = resident.given
    misspelt = draws["homophone"] and given[:1] in _homophones()
    if misspelt:
        given = stream.pick(_homophones()[given[0]]) + given[1:]
    phone = (
        f"1{stream.pick('358')}{stream.below(10)}0001{stream.below(10_000):04d}" if draws["phone"] else resident.phone
    )
    written = set(site.dialect.identifiers)
    number = resident.number if "NI" in written and not draws["number"] else ""
    card = resident.card if "HC" in written and not draws["card"] else ""
    return Entry(
        resident.family, given, (resident.family_pinyin.upper(), resident.given_pinyin.upper()), resident.sex,
        f"{resident.born:%Y%m%d}", number, card, phone, resident.address, resident.ethnic,
        "M" if resident.role in ("spouse", "parent") else "S", bool(number or card) and not misspelt,
    )  # fmt: skip

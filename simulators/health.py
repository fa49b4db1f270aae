"""The health of residents: chronic illnesses by age, laboratory values that follow them, drugs that follow the values.

Everything is drawn from the resident's own streams, so a value of next year continues the trend of this year whoever
measures.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import cache

from simulators.population import Resident, table
from simulators.streams import Stream

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Illness:
    """A condition (row of conditions.csv) that somebody has since a day."""

    row: Row
    since: datetime.date

    @property
    def code(self) -> str:
        """ICD-10."""
        return self.row["code"]

    def years(self, on: datetime.date) -> float:
        """How long it has lasted."""
        return max(0.0, (on - self.since).days / 365.25)


@cache
def conditions(course: str) -> tuple[Row, ...]:
    """The conditions of a course: acute, chronic, infectious, pregnancy, check."""
    return tuple(row for row in table("conditions") if row["course"] == course)


def suits(row: Row, resident: Resident, on: datetime.date) -> bool:
    """Whether somebody of this age and sex can have the condition."""
    return int(row["from"]) <= resident.age(on) <= int(row["to"]) and row["sex"] in ("b", resident.sex[0])


def chronic(seed: int, resident: Resident, on: datetime.date) -> list[Illness]:
    """The chronic illnesses of a resident: rarer when young, commoner when old, the prevalence in the middle."""
    found = []
    for row in conditions("chronic"):
        stream = Stream(seed, "chronic", resident.index, row["code"])
        first, last = int(row["from"]), int(row["to"])
        slope = min(1.8, max(0.0, (resident.age(on) - first) / ((last - first) / 2)))
        if suits(row, resident, on) and stream.chance(float(row["weight"]) / 1000 * slope):
            years = stream.below(max(1, min(20, resident.age(on) - first)))
            found.append(Illness(row, on - datetime.timedelta(days=365 * years + stream.below(365))))
    return found


def acute(stream: Stream, resident: Resident, on: datetime.date, course: str = "acute") -> Illness:
    """An illness that begins about now; of those that suit, as likely as its weight."""
    rows = [row for row in conditions(course) if suits(row, resident, on)] or list(conditions("check"))
    row = stream.weighted(rows, [float(one["weight"]) for one in rows])
    return Illness(row, on - datetime.timedelta(days=stream.below(4)))


@cache
def _items() -> dict[str, Row]:
    return {row["code"]: row for row in table("laboratory")}


@cache
def panels() -> dict[str, tuple[Row, ...]]:
    """Panel -> its laboratory items."""
    found: dict[str, list[Row]] = {}
    for row in table("laboratory"):
        found.setdefault(row["panel"], []).append(row)
    return {name: tuple(rows) for name, rows in found.items()}


def panels_for(illnesses: list[Illness]) -> list[str]:
    """What a doctor orders: blood count and chemistry, and the panels of the leading items of the illnesses."""
    wanted = [_items()[one.row["item"]]["panel"] for one in illnesses if one.row["item"]]
    return list(dict.fromkeys(["CBC", "BIO", *wanted]))


def value(seed: int, resident: Resident, item: Row, illnesses: list[Illness], on: datetime.date, visit: Stream) -> str:
    """A laboratory value: the person's own set point, what the illnesses do, the noise of the day."""
    own = Stream(seed, "set point", resident.index, item["code"])
    deviation = float(item["deviation"])
    result = own.bell(float(item["mean"]), deviation * 0.8) + visit.bell(0, deviation * 0.35)
    if item["code"] == "HGB" and resident.sex == "female":
        result -= 11
    for effect in table("effects"):
        for one in illnesses:
            if one.code == effect["code"] and item["code"] == effect["item"]:
                treated = 1 - float(effect["relief"]) * (1 if one.years(on) > 0.2 else 0)
                severity = Stream(seed, "severity", resident.index, one.code).bell(1, 0.25)
                result += (float(effect["shift"]) * severity + float(effect["year"]) * one.years(on)) * treated
    return f"{max(float(item['low']) * 0.15 + 0.01, result):.{int(item['decimals'])}f}"


def flag(item: Row, text: str) -> str:
    """HL7 table 0078: H, L or N."""
    return "H" if float(text) > float(item["high"]) else "L" if float(text) < float(item["low"]) else "N"


def drugs(illness: Illness, values: dict[str, str]) -> list[str]:
    """The usual drug of an illness, and the second one when its leading item is out of range."""
    row = illness.row
    found = [row["drug"]] if row["drug"] else []
    leading = values.get(row["item"])
    if row["second"] and leading is not None and flag(_items()[row["item"]], leading) != "N":
        found.append(row["second"])
    return found

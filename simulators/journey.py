"""Journeys: what happens to a patient, as data (state, transition, what each state sends and from where)."""

from __future__ import annotations

import datetime
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from simulators.streams import Stream

MAX_STEPS = 100
"""A journey that loops longer than this is a mistake in its table."""
HERE = "here"
ROLES = (HERE, "upper", "newborn", "other")


@dataclass(frozen=True, slots=True)
class Way:
    """A transition: the next step, its weight, the minutes it takes at least and at most."""

    to: str
    share: float
    minutes: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Step:
    """A state: what is sent on entering it (role, kind, detail), and the ways on."""

    send: tuple[tuple[str, str, str], ...]
    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class Journey:
    """A named journey: patient class (HL7 table 0004), weight, whom it fits, the kinds of institutions by role,
    steps."""

    name: str
    patient_class: str
    share: float
    course: str
    codes: tuple[str, ...]
    registered: str
    sex: str
    ages: tuple[int, int]
    places: dict[str, tuple[str, ...]]
    start: str
    steps: dict[str, Step]

    def plan(self, stream: Stream, start: datetime.datetime) -> list[tuple[datetime.datetime, str, str, str]]:
        """When what is sent, drawn from ``stream``: (time, role, kind, detail), ascending."""
        events: list[tuple[datetime.datetime, str, str, str]] = []
        at, name = start, self.start
        for _ in range(MAX_STEPS):
            step = self.steps[name]
            for role, kind, detail in step.send:
                events.append((at, role, kind, detail))
                at += datetime.timedelta(seconds=stream.between(61, 100))
            if not step.ways:
                return events
            way = stream.weighted(step.ways, [way.share for way in step.ways])
            at += datetime.timedelta(minutes=stream.between(*way.minutes))
            name = way.to
        raise ValueError(f"the journey {self.name} does not end")


@cache
def journeys() -> dict[str, Journey]:
    """Every journey of ``journeys/*.toml`` by name. ValueError when a way leads nowhere."""
    found: dict[str, Journey] = {}
    for file in sorted(files("simulators").joinpath("journeys").iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            journey = _parse(file.name.removesuffix(".toml"), file.read_text(encoding="utf-8"))
            found[journey.name] = journey
    return found


def _parse(name: str, text: str) -> Journey:
    data = tomllib.loads(text)
    steps = {
        key: Step(
            tuple(_sent(one) for one in row["send"]),
            tuple(Way(way["to"], way["share"], (way["minutes"][0], way["minutes"][1])) for way in row["next"]),
        )
        for key, row in data["step"].items()
    }
    for target in [data["start"], *(way.to for step in steps.values() for way in step.ways)]:
        if target not in steps:
            raise ValueError(f"the journey {name} leads to {target}, which it does not have")
    return Journey(
        name, data["class"], data["share"], data["course"], tuple(data.get("codes", ())), data.get("registered",
        "known"),
        data.get("sex", ""), (data.get("ages", (0, 150))[0], data.get("ages", (0, 150))[1]),
        {role: tuple(data[role]) for role in ROLES if role in data}, data["start"], steps,
    )  # fmt: skip


def _sent(text: str) -> tuple[str, str, str]:
    """``upper:ORU^R01:lab-F`` -> role, kind, detail."""
    role, _, rest = text.partition(":")
    if role not in ROLES:
        role, rest = HERE, text
    kind, _, detail = rest.partition(":")
    return role, kind, detail

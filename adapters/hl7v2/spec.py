"""The structures of HL7 v2.1 to 2.8.2, read from ``specs.json.zst`` (which ``scripts/build_hl7v2_specs.py`` makes)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
import zstandard


@dataclass(frozen=True, slots=True)
class Part:
    """A field of a segment or a component of a data type: its type, cardinality (-1 = no limit), table, name."""

    type: str
    min: int
    max: int
    table: str
    name: str


@dataclass(frozen=True, slots=True)
class Group:
    """A message or group: ``choice`` means one of its members; ``first`` the segments it can begin with, ``all`` those
    that it can hold."""

    choice: bool
    members: tuple[Member, ...]
    first: frozenset[str]
    all: frozenset[str]


@dataclass(frozen=True, slots=True)
class Member:
    """A segment (``group`` None) or group in a group."""

    name: str
    min: int
    max: int
    group: Group | None

    @property
    def first(self) -> frozenset[str]:
        return self.group.first if self.group else frozenset((self.name,))


@dataclass(frozen=True, slots=True)
class Spec:
    """One version."""

    version: str
    structures: dict[str, Group]
    segments: dict[str, tuple[Part, ...]]
    types: dict[str, tuple[Part, ...]]
    tables: dict[str, frozenset[str]]


@cache
def _versions() -> dict[str, Any]:
    packed = files("adapters.hl7v2").joinpath("specs.json.zst").read_bytes()
    versions: dict[str, Any] = msgspec.json.decode(zstandard.ZstdDecompressor().decompress(packed))["versions"]
    return versions


@cache
def _events() -> dict[str, str]:
    lines = files("adapters.hl7v2").joinpath("structures.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return {f"{row['type']}^{event}": row["structure"] for row in rows for event in row["events"].split()}


def structure_of(kind: str) -> str:
    """The message structure of an event.

    >>> structure_of("ADT^A04"), structure_of("ORU^R01")
    ('ADT_A01', 'ORU_R01')
    """
    return _events().get(kind, kind.replace("^", "_"))


def nearest(version: str) -> str:
    """The version whose tables apply: itself, else the newest that is not newer, else the oldest.

    >>> nearest("2.7.1"), nearest("2.9"), nearest("2.5.1"), nearest("x")
    ('2.7', '2.8.2', '2.5.1', '2.1')
    """
    if version in _versions():
        return version
    known = sorted(_versions(), key=_numbers)
    return max((one for one in known if _numbers(one) <= _numbers(version)), key=_numbers, default=known[0])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isascii() and part.isdigit())


def load(version: str) -> Spec:
    """The tables of ``nearest(version)``."""
    return _load(nearest(version))


@cache
def _load(name: str) -> Spec:
    raw = _versions()[name]
    return Spec(
        name,
        {key: _group(value) for key, value in raw["structures"].items()},
        {key: tuple(Part(*part) for part in parts) for key, parts in raw["segments"].items()},
        {key: tuple(Part(*part) for part in parts) for key, parts in raw["types"].items()},
        {key: frozenset(codes) for key, codes in raw["tables"].items()},
    )


def _group(raw: list[Any]) -> Group:
    kind, children = raw
    members = tuple(Member(name, low, high, _group(inner) if inner else None) for name, low, high, inner in children)
    first: set[str] = set()
    for member in members:
        first |= member.first
        if kind != "choice" and member.min > 0:
            break
    everything = frozenset().union(*(one.group.all if one.group else (one.name,) for one in members))
    return Group(kind == "choice", members, frozenset(first), everything)

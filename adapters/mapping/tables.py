"""The mapping tables on disk: CSV in the columns of the HL7 v2-to-FHIR guide, one file a map.

``messages/ADT_A01.csv`` (segment -> resource), ``segments/PID[Patient].csv`` (field -> element),
``datatypes/CX[Identifier].csv`` (component -> element), ``codes/AdministrativeSex.csv`` (v2 code -> FHIR code),
``keys.csv`` (what identifies a resource), ``authority.csv`` (whose word counts), ``cancels.csv`` (which events take
back which) and ``defaults.csv`` (what stands for a required element). Lines that begin with ``#`` are comments;
``# events:`` in a message table lists the type^event pairs it serves (``ORU^``: of a message that names no event),
``# system:`` in a code table the URI of the v2 table.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a segment or data type table; ``line`` is its number in the file."""

    identifier: str
    condition: str
    attribute: str
    type: str
    map: str
    vocabulary: str
    assignment: str
    line: int


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One line of a message table: a segment in its group, and the resource it fills."""

    identifier: str
    condition: str
    target: str
    map: str
    references: str
    line: int


@dataclass(frozen=True, slots=True)
class Code:
    """A FHIR code, its system ("" for code elements) and display."""

    code: str
    system: str
    display: str


@dataclass(frozen=True, slots=True)
class CodeMap:
    """v2 code -> FHIR codes; ``*`` is what any other code becomes. ``system`` is the v2 table's URI."""

    name: str
    system: str
    codes: dict[str, tuple[Code, ...]]


@dataclass(frozen=True, slots=True)
class Key:
    """What identifies a resource of a type: parts, all valued; what an equal key means (see ``keys.csv``)."""

    type: str
    parts: tuple[str, ...]
    again: str
    line: int


@dataclass(frozen=True, slots=True)
class Authority:
    """Whose word counts: ``states``, ``mentions``, ``names`` or ``withdraws``, for resource types or slots of them."""

    condition: str
    types: tuple[str, ...]
    slots: tuple[str, ...]
    authority: str
    line: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """An event that takes back others, and the slots of a resource type that become again what they were."""

    event: str
    cancels: tuple[str, ...]
    type: str
    slots: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables of one adapter."""

    events: dict[str, str]
    messages: dict[str, tuple[MessageRow, ...]]
    segments: dict[str, tuple[Row, ...]]
    datatypes: dict[str, tuple[Row, ...]]
    codes: dict[str, CodeMap]
    keys: dict[str, tuple[Key, ...]]
    authority: tuple[Authority, ...]
    cancels: tuple[Cancel, ...]
    defaults: dict[str, dict[str, Any]]


def load(folder: Traversable) -> Tables:
    """Read every table below ``folder``. ValueError names file and line of a row that cannot be read."""
    events: dict[str, str] = {}
    messages: dict[str, tuple[MessageRow, ...]] = {}
    for name, text in _files(folder.joinpath("messages")):
        messages[name] = tuple(MessageRow(**row, line=line) for line, row in _rows(name, text, _MESSAGE))
        for event in _comment(text, "events").split():
            if event in events:
                raise ValueError(f"messages/{name}.csv: {event} is already served by {events[event]}")
            events[event] = name
    return Tables(
        events,
        messages,
        {name: _map(name, text) for name, text in _files(folder.joinpath("segments"))},
        {name: _map(name, text) for name, text in _files(folder.joinpath("datatypes"))},
        {name: _codes(name, text) for name, text in _files(folder.joinpath("codes"))},
        _keys(folder.joinpath("keys.csv").read_text(encoding="utf-8")),
        _authority(folder.joinpath("authority.csv").read_text(encoding="utf-8")),
        _cancels(folder.joinpath("cancels.csv").read_text(encoding="utf-8")),
        _defaults(folder.joinpath("defaults.csv").read_text(encoding="utf-8")),
    )


_MESSAGE = ("identifier", "condition", "target", "map", "references")
_ELEMENT = ("identifier", "condition", "attribute", "type", "map", "vocabulary", "assignment")


def _files(folder: Traversable) -> list[tuple[str, str]]:
    found = [file for file in folder.iterdir() if file.name.endswith(".csv")]
    return [(file.name[:-4], file.read_text(encoding="utf-8")) for file in sorted(found, key=lambda file: file.name)]


def _comment(text: str, word: str) -> str:
    lead = f"# {word}:"
    return " ".join(line[len(lead) :].strip() for line in text.splitlines() if line.startswith(lead))


def _rows(name: str, text: str, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line and not line.startswith("#")]
    reader = csv.DictReader(line for _, line in lines)
    missing = set(columns) - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f"{name}.csv lacks the columns {sorted(missing)}")
    rows = []
    for (number, _), row in zip(lines[1:], reader, strict=True):
        if None in row or None in row.values():
            raise ValueError(f"{name}.csv line {number}: wrong number of columns")
        rows.append((number, {column: row[column].strip() for column in columns}))
    return rows


def _map(name: str, text: str) -> tuple[Row, ...]:
    return tuple(Row(**row, line=line) for line, row in _rows(name, text, _ELEMENT))


def _codes(name: str, text: str) -> CodeMap:
    codes: dict[str, tuple[Code, ...]] = {}
    for _, row in _rows(name, text, ("code", "target", "system", "display")):
        codes[row["code"]] = (*codes.get(row["code"], ()), Code(row["target"], row["system"], row["display"]))
    return CodeMap(name, _comment(text, "system"), codes)


def _keys(text: str) -> dict[str, tuple[Key, ...]]:
    keys: dict[str, tuple[Key, ...]] = {}
    for line, row in _rows("keys", text, ("type", "parts", "again")):
        key = Key(row["type"], tuple(row["parts"].split()), row["again"], line)
        keys[row["type"]] = (*keys.get(row["type"], ()), key)
    return keys


def _authority(text: str) -> tuple[Authority, ...]:
    rows = _rows("authority", text, ("condition", "resource", "slots", "authority"))
    return tuple(
        Authority(row["condition"], tuple(row["resource"].split()), tuple(row["slots"].split()), row["authority"], line)
        for line, row in rows
    )


def _cancels(text: str) -> tuple[Cancel, ...]:
    rows = _rows("cancels", text, ("event", "cancels", "resource", "slots"))
    return tuple(
        Cancel(row["event"], tuple(row["cancels"].split()), row["resource"], tuple(row["slots"].split()), line)
        for line, row in rows
    )


def _defaults(text: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for _, row in _rows("defaults", text, ("type", "element", "value")):
        found.setdefault(row["type"], {})[row["element"]] = json.loads(row["value"])
    return found

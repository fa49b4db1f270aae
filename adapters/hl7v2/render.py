"""FHIR resources as HL7 v2.5.1 messages, by the tables in ``tables/out`` (PIX update notification: IHE ITI-10)."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

from adapters.hl7v2.delimiters import Delimiters
from adapters.mapping.conversions import OURS
from hub.errors import HubError
from hub.fhir.paths import compile

Resource = dict[str, Any]
Resolve = Callable[[str], Resource | None]
DELIMITERS = Delimiters()
VERSION = "2.5.1"
MAX_RESULTS = 1000


@dataclass(frozen=True, slots=True)
class Notice:
    """A row of ``messages.csv``."""

    feed: str
    resource: str
    change: str
    when: str
    kind: str
    structure: str
    segments: str


@cache
def notices() -> tuple[Notice, ...]:
    """What is told, in the order of precedence."""
    return tuple(Notice(**row) for row in _table("messages"))


@cache
def _segments() -> dict[str, list[dict[str, str]]]:
    return _grouped("segments", "table")


@cache
def _datatypes() -> dict[str, list[dict[str, str]]]:
    return _grouped("datatypes", "type")


@cache
def _codes() -> dict[tuple[str, str], str]:
    return {(row["map"], row["fhir"]): row["hl7v2"] for row in _table("codes")}


def _table(name: str) -> Iterator[dict[str, str]]:
    lines = files("adapters.hl7v2").joinpath("tables", "out", f"{name}.csv").read_text(encoding="utf-8").splitlines()
    return csv.DictReader(line for line in lines if not line.startswith("#"))


def _grouped(name: str, column: str) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for row in _table(name):
        found.setdefault(row[column], []).append(row)
    return found


def notice_of(resource: Resource, created: bool, feeds: frozenset[str]) -> Notice | None:
    """What is to be told of a new version of a resource; None when nothing is."""
    change = "create" if created else "update"
    for one in notices():
        if one.feed not in feeds or one.resource != resource["resourceType"] or one.change not in ("both", change):
            continue
        if not one.when or compile(one.when, one.resource)(resource)[:1] == [True]:
            return one
    return None


@dataclass(frozen=True, slots=True)
class Envelope:
    """MSH-3 to MSH-7 and MSH-10 of a message to be sent."""

    sender: tuple[str, str]
    receiver: tuple[str, str]
    time: str
    control_id: str


def render(notice: Notice, resource: Resource, envelope: Envelope, resolve: Resolve) -> bytes:
    """The message. HubError("not-found") when a resource it must speak of is not stored."""
    event = notice.kind[4:]
    header = [
        "MSH", DELIMITERS.encoding_characters, *envelope.sender, *envelope.receiver, envelope.time, "",
        f"{event and notice.kind}^{notice.structure}", envelope.control_id, "P", VERSION, "", "", "", "", "",
        "UNICODE UTF-8",
    ]  # fmt: skip
    lines = ["|".join(header)]
    if notice.kind.startswith("ADT"):
        lines.append(f"EVN|{event}|{envelope.time}")
    for table, path in re.findall(r"(\w+):((?:[^ (]|\([^)]*\))+)", notice.segments):
        sources = [resource] if path == "%" else _referenced(resource, path, resolve)
        if not sources and table == "PID":
            raise HubError("not-found", f"{resource['resourceType']}/{resource.get('id')} is about nobody known", path)
        for number, source in enumerate(sources[:MAX_RESULTS], 1):
            lines.append(_segment(table, source, number, resolve))
    return ("\r".join(lines) + "\r").encode()


def _referenced(resource: Resource, path: str, resolve: Resolve) -> list[Resource]:
    named = compile(path, resource["resourceType"])(resource)
    found = (resolve(one["reference"]) for one in named if isinstance(one, dict) and "reference" in one)
    return [one for one in found if one is not None]


def _segment(table: str, resource: Resource, number: int, resolve: Resolve) -> str:
    rows = _segments()[table]
    fields: dict[int, list[str]] = {}
    for row in rows:
        values = _values(row["path"], resource, number, resolve)
        texts = [text for value in values if (text := _text(row["type"], value))]
        fields.setdefault(int(row["field"]), []).extend(texts)
    last = max((place for place, texts in fields.items() if texts), default=0)
    return "|".join([rows[0]["segment"], *("~".join(fields.get(place, ())) for place in range(1, last + 1))])


def _values(path: str, resource: Resource, number: int, resolve: Resolve) -> list[Any]:
    if path == "%index":
        return [str(number)]
    holder, arrow, rest = path.partition(" -> ")
    if not arrow:
        return compile(path, resource["resourceType"])(resource)
    found = _referenced(resource, holder, resolve)
    if rest == "%":
        return list(found)
    return [value for one in found for value in compile(rest, one["resourceType"])(one)]


def _text(type: str, value: Any) -> str:
    """A value of a data type, escaped; "" for none."""
    if type in ("ST", "DTM") or type[0] == "=":
        return DELIMITERS.quote(_form("text" if type == "ST" else "time" if type == "DTM" else type, value))
    pieces: dict[int, str] = {}
    for row in _datatypes()[type]:
        found = compile(row["path"], row["model"])(value)
        if found:
            quoted = [DELIMITERS.quote(part) for part in _form(row["form"], found[0]).split("\x1f")]
            pieces[int(row["component"])] = "&".join(quoted)
    last = max((place for place, text in pieces.items() if text), default=0)
    return "^".join(pieces.get(place, "") for place in range(1, last + 1))


def _form(form: str, value: Any) -> str:
    text = str(value)
    if form[0] == "=":
        return _codes().get((form[1:], text)) or _codes().get((form[1:], "*"), "")
    if form == "time":
        return moment(text)
    if form == "system":
        return _codes().get(("system", text)) or _system(text)
    if form[:2] == "hd":
        parts = designator(text)
        return parts[int(form[2]) - 1] if len(form) > 2 else "\x1f".join(parts).rstrip("\x1f")
    return text


def moment(text: str) -> str:
    """A FHIR date, dateTime or instant as DTM.

    >>> moment("2026-11-20"), moment("2026-11-20T09:30:00.5+08:00"), moment("2026")
    ('20261120', '20261120093000.5+0800', '2026')
    """
    date, _, clock = text.partition("T")
    time, sign, zone = clock, "", ""
    for mark in "+-":
        if mark in clock:
            time, sign, zone = clock.partition(mark)
    if time.endswith("Z"):
        time, sign, zone = time[:-1], "+", "0000"
    return date.replace("-", "") + time.replace(":", "") + sign + zone.replace(":", "")


def designator(system: str) -> tuple[str, str, str]:
    """An identifier's system as HD: namespace, universal id, its type.

    >>> designator("urn:oid:1.2.3"), designator(OURS + "/authority/H1/MR"), designator("http://h.example/id")
    (('', '1.2.3', 'ISO'), ('MR', '', ''), ('', 'http://h.example/id', 'URI'))
    """
    if system.startswith("urn:oid:"):
        return "", system[8:], "ISO"
    if system.startswith(f"{OURS}/authority/"):
        return unquote(system.rpartition("/")[2]), "", ""
    return "", system, "URI"


def _system(uri: str) -> str:
    """The v2 name of a coding system: table HL70396 for HL7's tables, the local name for a sender's own."""
    table = re.search(r"CodeSystem/v2-(\d{4})$", uri)
    if table:
        return f"HL7{table[1]}"
    return unquote(uri.rpartition("/")[2]) if uri.startswith(OURS) else uri

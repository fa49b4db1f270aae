"""The imaging index: which attributes its rows carry, their index entries, and attribute matching (PS3.4 C.2.2.2).

A row is a plain dict: ``uid``, ``attributes`` in the DICOM JSON Model, and facts: ``id``, ``study`` and ``series`` (ids
of the rows above), ``blob`` and others of an instance.
"""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import msgspec

from hub.errors import HubError
from hub.search.expression import (
    Compare,
    Contains,
    Entries,
    Equals,
    Exists,
    Expression,
    In,
    Match,
    Prefix,
    Range,
    Term,
    either,
)
from hub.services.imaging_names import readings
from hub.store.protocol import Version

Level = Literal["study", "series", "instance"]
Row = dict[str, Any]


STUDY_UID, SERIES_UID, SOP_UID = "0020000D", "0020000E", "00080018"
PATIENT_ID, ISSUER, MODALITY, MODALITIES = "00100020", "00100021", "00080060", "00080061"


@dataclass(frozen=True, slots=True)
class Attribute:
    """A row of imaging.csv."""

    keyword: str
    tag: str
    level: Level
    match: str


def _load() -> tuple[Attribute, ...]:
    lines = files("hub.services").joinpath("imaging.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return tuple(Attribute(row["keyword"], row["tag"], row["level"], row["match"]) for row in rows)  # type: ignore[arg-type]


ATTRIBUTES = _load()
BY_TAG = {attribute.tag: attribute for attribute in ATTRIBUTES}
BY_KEYWORD = {attribute.keyword: attribute for attribute in ATTRIBUTES}
LEVELS: tuple[Level, ...] = ("study", "series", "instance")


# --- rows -------------------------------------------------------------------------------------------------------------


def row_id(*parts: str) -> str:
    """Id of a row: a hash, so that no peer's text becomes a name of ours."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def encode(row: Row) -> bytes:
    """The row's JSON."""
    return msgspec.json.encode(row)


def decode(version: Version) -> Row:
    """The row of a stored version."""
    row: Row = msgspec.json.decode(version.text)
    return row


def text(attributes: dict[str, Any], tag: str) -> str:
    """First value of an attribute as text; "" when it has none."""
    return next(iter(texts(attributes.get(tag, {}))), "")


def texts(element: dict[str, Any]) -> list[str]:
    """All values of a DICOM JSON element as text; of a person name each component group."""
    out: list[str] = []
    for value in element.get("Value", ()):
        if isinstance(value, dict):
            out.extend(str(group) for group in value.values() if isinstance(group, str))
        elif value is not None:
            out.append(str(value))
    return out


def spoken(element: dict[str, Any]) -> list[str]:
    """The same, and the readings of Chinese names: what an element is found by."""
    written = texts(element)
    return [*written, *(read for name in written for read in readings(name))] if element.get("vr") == "PN" else written


def pick(attributes: dict[str, Any], level: Level, uid: str) -> dict[str, Any]:
    picked = {tag: element for tag, element in attributes.items() if (row := BY_TAG.get(tag)) and row.level == level}
    picked[STUDY_UID if level == "study" else SERIES_UID] = {"vr": "UI", "Value": [uid]}
    return picked


# --- index entries ----------------------------------------------------------------------------------------------------


def instance_entries(row: Row) -> Entries:
    """Index entries of an instance row."""
    values = {
        "SOPInstanceUID": row["uid"],
        "SOPClassUID": row["sopClass"],
        "InstanceNumber": text(row["attributes"], "00200013"),
        "study": row["study"],
        "series": row["series"],
    }
    return Entries(tuple(Term(param, value) for param, value in values.items() if value))


def study_entries(row: Row) -> Entries:
    """Index entries of a study row."""
    found = entries(row, "study")
    extra = [Term("issuer", row["issuer"])] if row.get("issuer") else []
    if row.get("open"):
        extra.append(Term("open", "true"))
    if "came" in row:
        extra.append(Term("moved", "true"))
    return Entries((*found.terms, *extra), found.ranges)


def entries(row: Row, level: Level) -> Entries:
    """Index entries of the attributes that imaging.csv matches at this level."""
    terms: list[Term] = [Term("study", row["study"])] if "study" in row else []
    ranges: list[Range] = []
    for tag, element in row["attributes"].items():
        attribute = BY_TAG.get(tag)
        if attribute is None or attribute.level != level or not attribute.match:
            continue
        for value in spoken(element):
            if attribute.match in ("date", "time"):
                interval = _interval(attribute.match, value)
                if interval:
                    ranges.append(Range(attribute.keyword, *interval))
            else:
                terms.append(Term(attribute.keyword, fold(value) if attribute.match == "text" else value))
    return Entries(tuple(dict.fromkeys(terms)), tuple(dict.fromkeys(ranges)))


def fold(value: str) -> str:
    """Text as it is compared: compatibility forms, case and runs of blanks do not matter, nor trailing ``^``."""
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split()).rstrip("^ ")


def _interval(kind: str, value: str) -> tuple[int, int] | None:
    """DA or TM as [low, high): days as yyyymmdd, times as hhmmss and six digits of fraction; None if malformed."""
    digits = re.sub(r"[.:-]", "", value.strip())
    if kind == "date":
        return (int(digits), int(digits) + 1) if re.fullmatch(r"\d{8}", digits) else None
    if not re.fullmatch(r"\d{2,12}", digits):
        return None
    low = int(digits.ljust(12, "0"))
    return low, low + 10 ** (12 - min(len(digits), 12))


# --- matching (PS3.4 C.2.2.2) -----------------------------------------------------------------------------------------


def inexact(value: str) -> bool:
    return "*" in value or "?" in value


def compiled(keys: Sequence[tuple[Attribute, str]]) -> list[Expression]:
    return [_match(attribute, value) for attribute, value in keys]


def _match(attribute: Attribute, value: str) -> Expression:
    if attribute.match == "uid":
        return Match(attribute.keyword, In(tuple(uid.strip() for uid in re.split(r"[\\,]", value))))
    if attribute.match in ("date", "time"):
        return _range(attribute, value)
    parts = [fold(part) if attribute.match == "text" else part.strip() for part in value.split("\\")]
    return either(Match(attribute.keyword, _wildcard(part)) for part in parts)


def _wildcard(value: str) -> Prefix | Contains | Equals | Exists:
    """The narrowest test that finds everything the pattern does; ``fits`` decides in the end."""
    if not inexact(value):
        return Equals(value)
    runs = re.split(r"[*?]+", value)
    if runs[0]:
        return Prefix(runs[0])
    longest = max(runs, key=len)
    return Contains(longest) if longest else Exists()


def fits(element: dict[str, Any], value: str) -> bool:
    patterns = [re.compile(fnmatch.translate(fold(part).replace("[", "[[]"))) for part in value.split("\\")]
    return any(pattern.fullmatch(fold(found)) for found in spoken(element) for pattern in patterns)


Keys = Sequence[tuple[Attribute, str]]


def wildcards(keys: Keys) -> list[tuple[str, str]]:
    """Tag and value of the keys with a wildcard: the index finds more than they mean."""
    return [(key.tag, value) for key, value in keys if key.match in ("exact", "text") and inexact(value)]


def fitting(versions: Sequence[Version], keys: Keys) -> list[Row]:
    """The rows that meet the wildcards of these keys."""
    patterns = wildcards(keys)
    rows = [decode(version) for version in versions]
    return [row for row in rows if all(fits(row["attributes"].get(tag, {}), value) for tag, value in patterns)]


def row_ids(versions: Sequence[Version], keys: Keys) -> list[str]:
    """Ids of the rows that meet the wildcards; nothing is decoded when there are none."""
    return [row["id"] for row in fitting(versions, keys)] if wildcards(keys) else [row.id for row in versions]


def matches(held: dict[str, Any], key: dict[str, Any]) -> bool:
    """Whether a DICOM JSON element meets a key of the same VR, without an index."""
    values, vr = texts(held), key["vr"]
    wanted = "\\".join(texts(key)) if vr != "PN" else ""
    if vr in ("DA", "TM"):
        kind = "date" if vr == "DA" else "time"
        tests = _bounds(Attribute("", "", "study", kind), wanted)
        found = [_interval(kind, value) for value in values]
        return any(low is not None and tests[0] <= low[0] < tests[1] for low in found)
    if vr == "UI":
        return any(value in wanted.split("\\") for value in values)
    return all(fits(held, part) for part in (texts(key) if vr == "PN" else [wanted]) if part.strip("*"))


def _range(attribute: Attribute, value: str) -> Expression:
    """Range matching (PS3.4 C.2.2.2.5): ``a-b``, ``a-``, ``-b`` or one value."""
    low, high = _bounds(attribute, value)
    tests: list[Any] = []
    if low > 0:
        tests.append(("low", ">=", low))
    if high < _END:
        tests.append(("low", "<", high))
    return Match(attribute.keyword, Compare(tuple(tests)) if tests else Exists())


_END = 10**14
"""Above every date and time of day as a number."""


def _bounds(attribute: Attribute, value: str) -> tuple[int, int]:
    """The interval [low, high) that a key names. HubError("parameter-value") when it is malformed."""
    first, dash, last = value.partition("-")
    if dash and attribute.match == "date" and value.count("-") == 2:  # yyyy-mm-dd is no range
        first, dash, last = value, "", ""
    low = _interval(attribute.match, first) if first.strip() else (0, 0)
    high = _interval(attribute.match, last) if last.strip() else (0, _END)
    if low is None or high is None:
        raise HubError("parameter-value", f"{value!r} is not a {attribute.match} or a range of them", attribute.keyword)
    return low[0], high[1] if dash else low[1]

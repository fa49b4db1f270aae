"""HL7 v2 primitive values as FHIR R4 primitive values.

Every conversion takes the unescaped text and the circumstances of the message and gives the FHIR value, or None when
the text is no such value (the engine reports it and leaves the element out).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from hub.fhir.json import Decimal

OURS = "https://region-hub.example/fhir"
"""Base of the identifiers that we make ourselves."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a conversion may depend on: ``facility`` names the sender, ``offset`` is that of MSH-7 or "", ``zone`` the
    configured one, ``source`` the sender as a URI."""

    facility: str
    source: str
    zone: str
    offset: str = ""


Convert = Callable[[str, Circumstances], Any]

_DTM = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,9}))?)?)?)?)?)?([+-]\d{4})?(?:\^[YLDHMS])?$"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_NUMBER = re.compile(r"([+-]?)0*(\d*)(\.\d+)?\.?(?:[eE]([+-]?\d{1,3}))?$")
_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+$")
_DNS = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def string(text: str, _: Circumstances) -> str | None:
    """string: no control characters, no blanks around (R4 2.24.0.1)."""
    cleaned = _CONTROL.sub("", text).strip()
    return cleaned or None


def code(text: str, _: Circumstances) -> str | None:
    """code: single blanks inside, none around."""
    return " ".join(_CONTROL.sub("", text).split()) or None


def uri(text: str, _: Circumstances) -> str | None:
    """uri: no blanks."""
    return re.sub(r"\s+", "", _CONTROL.sub("", text)) or None


def date(text: str, _: Circumstances) -> str | None:
    """date, of the precision given; a time of day is cut off."""
    parts = _dtm(text)
    return None if parts is None else "-".join(part for part in parts[:3] if part)


def date_time(text: str, circumstances: Circumstances) -> str | None:
    """dateTime: with a time of day also the offset: its own, else that of MSH-7, else the configured zone's.

    >>> date_time("202611200830", Circumstances("", "", "Asia/Shanghai"))
    '2026-11-20T08:30:00+08:00'
    """
    parts = _dtm(text)
    if parts is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = parts
    day_part = "-".join(part for part in (year, month, day) if part)
    if not hour:
        return day_part
    time = f"{hour}:{minute or '00'}:{second or '00'}" + (f".{fraction}" if fraction else "")
    return f"{day_part}T{time}{_offset(f'{day_part}T{time[:8]}', offset, circumstances)}"


def _offset(local: str, own: str | None, circumstances: Circumstances) -> str:
    given = own or circumstances.offset
    if given:
        return f"{given[:3]}:{given[3:]}"
    moment = datetime.fromisoformat(local.replace(":60", ":59")).replace(tzinfo=_zone(circumstances.zone))
    text = moment.strftime("%z")
    return f"{text[:3]}:{text[3:5]}"


def instant(text: str, circumstances: Circumstances) -> str | None:
    """instant: a time of day, its missing minutes and seconds as zero; a day is no instant."""
    parts = _dtm(text)
    return date_time(text, circumstances) if parts and parts[3] else None


def instant_after(start: str, minutes: int) -> str:
    """An instant so many minutes after another, in its offset; the same where the calendar ends."""
    try:
        return (datetime.fromisoformat(start.replace(":60", ":59")) + timedelta(minutes=minutes)).isoformat()
    except (ValueError, OverflowError):
        return start


def birth_time(text: str, circumstances: Circumstances) -> str | None:
    """dateTime only if there is a time of day."""
    return date_time(text, circumstances) if len(text.split("^", 1)[0].strip()) > 8 else None


@lru_cache(maxsize=8192)
def _dtm(text: str) -> tuple[str | None, ...] | None:
    """The parts of DT, TS and DTM (HL7 v2.5.1 2.A.22), checked against the calendar."""
    match = _DTM.match(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, _, offset = match.groups()
    try:
        datetime(
            int(year),
            int(month or 1),
            int(day or 1),
            int(hour or 0),
            int(minute or 0),
            min(int(second or 0), 59),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    if int(second or 0) > 60 or (offset and (int(offset[1:3]) > 14 or int(offset[3:]) > 59)):
        return None
    return match.groups()


def time(text: str, _: Circumstances) -> str | None:
    """time: hh:mm:ss (TM without its offset)."""
    match = re.match(r"(\d\d)(\d\d)?(\d\d)?(\.\d+)?([+-]\d{4})?$", text.strip())
    if match is None or match[1] > "23" or (match[2] or "0") > "59" or (match[3] or "0") > "59":
        return None
    return f"{match[1]}:{match[2] or '00'}:{match[3] or '00'}{match[4] or ''}"


def decimal(text: str, _: Circumstances) -> int | Decimal | None:
    """decimal with the digits it came with: ``1.10`` stays 1.10."""
    match = _NUMBER.match(text.strip())
    if match is None or not (match[2] or match[3] or text.strip().lstrip("+-").startswith("0")):
        return None
    sign, whole, fraction, exponent = match.groups()
    literal = ("-" if sign == "-" else "") + (whole or "0") + (fraction or "") + (f"e{exponent}" if exponent else "")
    if len(literal) > 64:
        return None
    return int(literal) if literal.lstrip("-").isdigit() and literal != "-0" else Decimal(literal)


def integer(text: str, circumstances: Circumstances) -> int | None:
    """integer (31 bits)."""
    number = decimal(text, circumstances)
    return number if isinstance(number, int) and abs(number) < 2**31 else None


def positive(text: str, circumstances: Circumstances) -> int | None:
    """positiveInt."""
    number = integer(text, circumstances)
    return number if number is not None and number > 0 else None


def unsigned(text: str, circumstances: Circumstances) -> int | None:
    """unsignedInt."""
    number = integer(text, circumstances)
    return number if number is not None and number >= 0 else None


def boolean(text: str, _: Circumstances) -> bool | None:
    """boolean of HL70136."""
    return {"Y": True, "N": False, "1": True, "0": False}.get(text.strip().upper())


def base64(text: str, _: Circumstances) -> str | None:
    """base64Binary."""
    packed = re.sub(r"\s+", "", text)
    return packed if re.match(r"[A-Za-z0-9+/]*={0,2}$", packed) and len(packed) % 4 == 0 and packed else None


def oid(text: str, _: Circumstances) -> str | None:
    """oid as a URI."""
    return f"urn:oid:{text.strip()}" if _OID.match(text.strip()) else None


PRIMITIVES: dict[str, Convert] = {
    "string": string, "markdown": string, "code": code, "uri": uri, "url": uri, "canonical": uri, "date": date,
    "dateTime": date_time, "instant": instant, "time": time, "decimal": decimal, "integer": integer,
    "positiveInt": positive, "unsignedInt": unsigned, "boolean": boolean, "base64Binary": base64, "id": code,
    "birthTime": birth_time, "oid": oid,
}  # fmt: skip
"""FHIR primitive type -> conversion. ``birthTime`` is a dateTime that must have a time of day."""


def authority(namespace: str, universal: str, kind: str, circumstances: Circumstances) -> str:
    """Identifier.system of an assigning authority (HD: namespace, universal id, its type).

    OID, UUID and URI become what they are; DNS names https URLs. A bare namespace means something to its sender only,
    so the system we make says whose it is: ``https://region-hub.example/fhir/authority/<facility>/<namespace>`` (ours).

    >>> authority("H", "1.2.3", "ISO", Circumstances("A", "", ""))
    'urn:oid:1.2.3'
    """
    universal = universal.strip()
    if universal:
        if _OID.match(universal):
            return f"urn:oid:{universal}"
        if _UUID.match(universal):
            return f"urn:uuid:{universal.lower()}"
        if kind.upper() in ("URI", "URL") or universal.startswith(("http://", "https://", "urn:")):
            return re.sub(r"\s+", "", universal)
        if kind.upper() == "DNS" and _DNS.match(universal):
            return f"https://{universal.lower()}"
    parts = [circumstances.facility, namespace.strip() or universal]
    return f"{OURS}/authority/" + "/".join(quote(part, safe="") for part in parts if part)


def source(facility: str, application: str) -> str:
    """The sending system as a URI, for meta.source (ours)."""
    return f"{OURS}/source/" + "/".join(quote(part, safe="") for part in (facility, application) if part)


CODING_SYSTEMS = {
    "LN": "http://loinc.org", "LNC": "http://loinc.org", "LOINC": "http://loinc.org",
    "SCT": "http://snomed.info/sct", "SCT2": "http://snomed.info/sct", "SNM3": "http://snomed.info/sct",
    "SNOMED-CT": "http://snomed.info/sct", "SNOMED": "http://snomed.info/sct",
    "UCUM": "http://unitsofmeasure.org", "I9": "http://hl7.org/fhir/sid/icd-9-cm", "I9C": "http://hl7.org/fhir/sid/icd-9-cm",
    "I9CDX": "http://hl7.org/fhir/sid/icd-9-cm", "I9CP": "http://hl7.org/fhir/sid/icd-9-cm", "I10": "http://hl7.org/fhir/sid/icd-10",
    "I10C": "http://hl7.org/fhir/sid/icd-10-cm", "I10P": "http://www.cms.gov/Medicare/Coding/ICD10", "ICD10": "http://hl7.org/fhir/sid/icd-10",
    "ICD-10": "http://hl7.org/fhir/sid/icd-10", "C4": "http://www.ama-assn.org/go/cpt", "CPT": "http://www.ama-assn.org/go/cpt",
    "C5": "http://www.ama-assn.org/go/cpt", "CVX": "http://hl7.org/fhir/sid/cvx", "MVX": "http://hl7.org/fhir/sid/mvx",
    "NDC": "http://hl7.org/fhir/sid/ndc", "RXNORM": "http://www.nlm.nih.gov/research/umls/rxnorm", "ATC": "http://www.whocc.no/atc",
    "CDCREC": "urn:oid:2.16.840.1.113883.6.238", "ISO3166_1": "urn:iso:std:iso:3166", "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "ISO639": "urn:ietf:bcp:47", "PHINQUESTION": "urn:oid:2.16.840.1.114222.4.5.232",
}  # fmt: skip
"""Table HL70396 -> code system URI."""


def coding_system(text: str, circumstances: Circumstances) -> str | None:
    """URI of a coding system name (CWE-3, table HL70396); a local name becomes one of ours, under its sender.

    >>> coding_system("HL70005", Circumstances("A", "", ""))
    'http://terminology.hl7.org/CodeSystem/v2-0005'
    """
    name = text.strip()
    known = CODING_SYSTEMS.get(name.upper())
    if known:
        return known
    table = re.match(r"(?:HL7|hl7)[- ]?(\d{4})$", name)
    if table:
        return f"http://terminology.hl7.org/CodeSystem/v2-{table[1]}"
    if _OID.match(name):
        return f"urn:oid:{name}"
    if name.startswith(("http://", "https://", "urn:")):
        return uri(name, circumstances)
    return (
        f"{OURS}/CodeSystem/" + "/".join(quote(part, safe="") for part in (circumstances.facility, name))
        if name
        else None
    )

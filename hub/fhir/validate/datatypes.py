"""Rules of data types that neither structure nor invariants hold: attachments, URIs, identifiers (R4 2.24)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from hub.fhir.validate.report import Report, Visit

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_OID = re.compile(r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+")
_UUID = re.compile(r"urn:uuid:[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EXAMPLES = ("example.org", "example.com", "acme.com", "acme.org")


def attachment(visit: Visit, report: Report) -> None:
    """size and hash against data."""
    value = visit.value
    if not isinstance(value.get("data"), str):
        return
    try:
        data = base64.b64decode("".join(value["data"].split()), validate=True)
    except (binascii.Error, ValueError):
        return
    if isinstance(value.get("size"), int) and value["size"] != len(data):
        report.add("attachment-size", (visit.place, "size"), value=value["size"], found=len(data))
    if isinstance(value.get("hash"), str):
        digest = hashlib.sha1(data, usedforsecurity=False)
        forms = (digest.digest(), digest.hexdigest().encode())
        if value["hash"] not in [base64.b64encode(form).decode() for form in forms]:
            report.add("attachment-hash", (visit.place, "hash"))


def uri(visit: Visit, report: Report, examples: bool) -> None:
    """The form of a uri, url or canonical; ``examples`` allows addresses that are reserved for examples."""
    value, place = visit.value, visit.place
    if value.startswith(("oid:", "uuid:")):
        report.add("uri-prefix", place, value=value[:80])
    elif (value.startswith("urn:oid:") and not _OID.fullmatch(value)) or (
        value.startswith("urn:uuid:") and not _UUID.fullmatch(value)
    ):
        report.add("uri-oid", place, value=value[:80])
    elif _defines(visit) and not _ABSOLUTE.fullmatch(value):
        report.add("url-relative", place, value=value[:80])
    elif visit.model == "canonical" and not value.startswith("#") and not _ABSOLUTE.fullmatch(value):
        report.add("canonical-relative", place, value=value[:80])
    elif visit.model == "url":
        if value.startswith("/"):  # neither absolute nor relative to a service base
            report.add("url-format", place, value=value[:80])
        elif not examples and any(name in value for name in _EXAMPLES):
            report.add("url-example", place, value=value[:80])


def _defines(visit: Visit) -> bool:
    """Whether the value is the canonical url that a definition gives itself; that of a Device is its address."""
    path = str(visit.element.get("path", ""))
    return path.endswith(".url") and path.count(".") == 1 and path.split(".")[0] not in _ADDRESSED


_ADDRESSED = frozenset({"Device", "DeviceDefinition", "Extension", "Attachment"})
_SAMPLES = re.compile(r"(-?(\d+\.?\d*|\.\d+)|[EUL])( (-?(\d+\.?\d*|\.\d+)|[EUL]))*")


def sampled(visit: Visit, report: Report) -> None:
    """SampledData.data: decimals, E, U or L, with single blanks between (R4 2.24.0.7)."""
    data = visit.value.get("data")
    if isinstance(data, str) and not _SAMPLES.fullmatch(data):
        report.add("sampled-data", (visit.place, "data"), value=data[:40])


LATEST_YEAR = "2150"


def moment(visit: Visit, report: Report) -> None:
    """A date, dateTime or instant that cannot be meant."""
    if visit.value[:4] > LATEST_YEAR and visit.value[:4] != "9999":
        report.add("date-implausible", visit.place, value=visit.value[:40])


def identifier(visit: Visit, report: Report) -> None:
    """The system is absolute; with the system of URIs the value is one."""
    value = visit.value
    text, system = value.get("value"), value.get("system")
    if isinstance(system, str) and not _ABSOLUTE.fullmatch(system):
        report.add("identifier-system", (visit.place, "system"), value=system[:80])
    if system == "urn:ietf:rfc:3986" and isinstance(text, str) and not _ABSOLUTE.fullmatch(text):
        report.add("identifier-uri", (visit.place, "value"), value=text[:80])

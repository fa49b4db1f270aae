"""What a client asks for in its headers and in ``_format``, ``_pretty`` (R4 3.1.0.1.11, RFC 9110)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache

from hub.errors import HubError

JSON, XML = "json", "xml"
RAW = "raw"
"""The format of a Binary that is read, or sent, as its content."""
MEDIA = {JSON: "application/fhir+json", XML: "application/fhir+xml"}
PATCH_JSON = "application/json-patch+json"
FORM = "application/x-www-form-urlencoded"
_FORMATS = {
    "json": JSON, "application/json": JSON, "application/fhir+json": JSON, "text/json": JSON,
    "application/json+fhir": JSON,
    "xml": XML, "application/xml": XML, "application/fhir+xml": XML, "text/xml": XML, "application/xml+fhir": XML,
}  # fmt: skip
_WILDCARDS = frozenset({"*/*", "application/*", "text/*"})
_VERSIONS = frozenset({"4.0", "4.0.1"})


@dataclass(frozen=True, slots=True)
class Prefer:
    """The Prefer header (RFC 7240) as FHIR uses it; "" is the server's choice."""

    returns: str = ""
    strict: bool = False
    later: bool = False  # respond-async


NO_PREFERENCE = Prefer()


@lru_cache(maxsize=256)
def accepted(accept: str) -> str:
    """The format that an Accept header asks for most. HubError("not-acceptable") when it asks for none of ours."""
    best, weight = "", 0.0
    for part in accept.split(",") if accept else ():
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        facts = dict(pair.partition("=")[::2] for pair in parameters)
        try:
            quality = float(facts.get("q", "1"))
        except ValueError:
            quality = 0.0
        format = _FORMATS.get(media, JSON if media in _WILDCARDS else "")
        if format and facts.get("fhirversion", "4.0") in _VERSIONS and quality > weight:
            best, weight = format, quality
    if accept and not best:
        said = f"the hub answers in {' or '.join(MEDIA.values())}, FHIR 4.0, not in {accept[:100]!r}"
        raise HubError("not-acceptable", said, "Accept")
    return best or JSON


@lru_cache(maxsize=256)
def asks_for_fhir(accept: str) -> bool:
    """Whether an Accept header names a FHIR format, as against any or another one."""
    return any(part.partition(";")[0].strip().lower() in _FORMATS for part in accept.split(","))


def accepts(accept: str, media: str) -> bool:
    """Whether an Accept header lets the content be of this media type (RFC 9110 12.5.1); parameters do not count."""
    wanted = media.partition(";")[0].strip().lower()
    ranges = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return not accept or bool({wanted, wanted.partition("/")[0] + "/*", "*/*"} & set(ranges))


@lru_cache(maxsize=64)
def named(format: str) -> str:
    """The format that ``_format`` names; it overrides Accept (R4 3.1.0.1.11). HubError("not-acceptable")."""
    media = format.partition(";")[0].strip().lower().replace(" ", "+")  # an unescaped + arrives as a blank
    if media not in _FORMATS:
        raise HubError(
            "not-acceptable", f"_format {format[:60]!r} is not one of json, xml and their media types", "_format"
        )
    return _FORMATS[media]


@lru_cache(maxsize=256)
def content(content_type: str) -> str:
    """What a body is, by its Content-Type: ``json``, ``xml``, or the media type itself. HubError("format-unknown")."""
    media, *parameters = (piece.strip().lower() for piece in content_type.split(";"))
    facts = dict(pair.partition("=")[::2] for pair in parameters)
    charset = facts.get("charset", "utf-8").strip('"')
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise HubError("format-unknown", f"FHIR bodies are UTF-8, not {charset[:40]!r}", "Content-Type")
    if facts.get("fhirversion", "4.0") not in _VERSIONS:
        raise HubError("format-unknown", "the hub takes FHIR 4.0 (R4) only", "Content-Type")
    if media not in _FORMATS and media not in (PATCH_JSON, FORM):
        said = f"{media[:60]!r}" if media else "a body without Content-Type"
        raise HubError("format-unknown", f"the hub takes {' or '.join(MEDIA.values())}, not {said}", "Content-Type")
    return _FORMATS.get(media, media)


@lru_cache(maxsize=256)
def prefer(header: str) -> Prefer:
    """The Prefer header; what FHIR does not define is left out (RFC 7240 2)."""
    facts: dict[str, str] = {}
    for part in header.replace(";", ",").split(","):
        name, _, value = part.strip().partition("=")
        facts.setdefault(name.strip().lower(), value.strip().strip('"').lower())
    returns = facts.get("return", "")
    return Prefer(
        returns if returns in ("minimal", "representation", "operationoutcome") else "",
        facts.get("handling") == "strict",
        "respond-async" in facts,
    )


def version_tag(headers: Mapping[str, str], name: str = "if-match") -> int | None:
    """The version number of ``If-Match: W/"3"``. HubError("parameter-value") when it is not of that form."""
    text = headers.get(name)
    if text is None:
        return None
    number = text.strip().removeprefix("W/").strip('"')
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise HubError("parameter-value", f'{name} takes a version as W/"3", not {text[:40]!r}', name)
    return int(number)


def not_modified(headers: Mapping[str, str], version: int, updated: int) -> bool:
    """Whether a conditional read is answered with 304 (R4 3.1.0.2.1); If-None-Match wins (RFC 9110 13.1.3)."""
    tags = headers.get("if-none-match")
    if tags is not None:
        wanted = {tag.strip().removeprefix("W/").strip('"') for tag in tags.split(",")}
        return "*" in wanted or str(version) in wanted
    since = headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return updated // 1_000_000 <= int(parsedate_to_datetime(since).timestamp())
    except ValueError:
        return False  # RFC 9110 13.1.3: a date that is not valid is ignored


@lru_cache(maxsize=1024)
def http_date(seconds: int) -> str:
    """Seconds since 1970 UTC as an HTTP date (RFC 9110 5.6.7)."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)

"""multipart/related (RFC 2387) as DICOMweb uses it, and the Accept header (PS3.18 8.6, 8.7)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message

from hub.errors import HubError

DICOM, DICOM_JSON, OCTETS, RELATED = (
    "application/dicom",
    "application/dicom+json",
    "application/octet-stream",
    "multipart/related",
)
MAX_PARTS = 100_000


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One entry of an Accept header. ``media`` is the type of the parts when ``related``."""

    media: str
    related: bool
    transfer_syntax: str
    quality: float


def media_type(value: str) -> tuple[str, dict[str, str]]:
    """A media type and its parameters."""
    header = Message()
    header["content-type"] = value
    parameters = {name.lower(): str(text) for name, text in (header.get_params(failobj=[]) or [])[1:]}
    return value.partition(";")[0].strip().lower(), parameters


def accepted(header: str) -> list[MediaRange]:
    """The ranges of an Accept header, best first; an empty header accepts everything."""
    ranges = []
    for entry in _entries(header or "*/*"):
        media, parameters = media_type(entry)
        try:
            quality = float(parameters.get("q", "1"))
        except ValueError:
            quality = 0.0
        related = media == RELATED
        part = parameters.get("type", DICOM if related else media).strip('"').lower() if related else media
        ranges.append(MediaRange(part, related, parameters.get("transfer-syntax", "").strip('"'), quality))
    return sorted((found for found in ranges if found.quality > 0), key=lambda found: -found.quality)


def _entries(header: str) -> Iterator[str]:
    """The comma-separated entries of a header, commas in quotes kept."""
    quoted, start = False, 0
    for place, letter in enumerate(header):
        if letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            yield header[start:place].strip()
            start = place + 1
    yield header[start:].strip()


def encode(parts: Iterable[tuple[str, bytes]], boundary: str) -> Iterator[bytes]:
    """The body: each part is its Content-Type line and its bytes."""
    for kind, content in parts:
        yield f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode("ascii")
        yield content
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode("ascii")


def new_boundary() -> str:
    """A boundary that no content foresees."""
    return secrets.token_hex(16)


def decode(body: bytes, boundary: str) -> list[tuple[str, bytes]]:
    """Content-Type and bytes of each part. HubError("structure") when the body does not fit its boundary."""
    mark = b"--" + boundary.encode("latin_1")
    if not boundary or mark not in body:
        raise HubError("structure", "the multipart body does not contain its boundary", "Content-Type")
    parts: list[tuple[str, bytes]] = []
    at = body.index(mark) + len(mark)
    while body[at : at + 2] != b"--":
        start = body.find(b"\r\n", at) + 2
        end = body.find(b"\r\n" + mark, start - 2)
        if start == 1 or end < 0:
            raise HubError(
                "structure", "the multipart body ends without its closing boundary", f"part {len(parts) + 1}"
            )
        head, _, content = body[start:end].partition(b"\r\n\r\n")
        if body[start : start + 2] == b"\r\n":
            head, content = b"", body[start + 2 : end]
        lines = (line.partition(b":") for line in head.split(b"\r\n"))
        kinds = [value.strip().decode("latin_1") for name, _, value in lines if name.strip().lower() == b"content-type"]
        parts.append((kinds[0] if kinds else DICOM, content))
        if len(parts) > MAX_PARTS:
            raise HubError("too-costly", f"more than {MAX_PARTS} parts")
        at = end + 2 + len(mark)
    return parts

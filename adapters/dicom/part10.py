"""DICOM file format: preamble, prefix and file meta information before a data set (PS3.10 7.1).

The preamble is always zero, in and out: a file that is also another program's file does not get through the hub.
What the hub writes depends on the instance and its transfer syntax only, so that equal data sets are equal files.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from struct import error as StructError

from adapters.dicom import dataset
from adapters.dicom.ul.association import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
from hub.errors import HubError

PREFIX = bytes(128) + b"DICM"
_EXPLICIT = Struct("<HH2sH")
_EXPLICIT_LONG = Struct("<HH2s2xL")
_GROUP = Struct("<H")


def file_meta(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Preamble, prefix and file meta information group (PS3.10 table 7.1-1)."""
    meta = _EXPLICIT_LONG.pack(2, 1, b"OB", 2) + b"\0\1"
    for element, vr, value in (
        (0x0002, b"UI", sop_class),
        (0x0003, b"UI", sop_instance),
        (0x0010, b"UI", transfer_syntax),
        (0x0012, b"UI", IMPLEMENTATION_UID),
        (0x0013, b"SH", IMPLEMENTATION_VERSION),
    ):
        raw = value.encode("ascii")
        raw += (b"\0" if vr == b"UI" else b" ") * (len(raw) % 2)
        meta += _EXPLICIT.pack(2, element, vr, len(raw)) + raw
    return PREFIX + _EXPLICIT.pack(2, 0, b"UL", 4) + len(meta).to_bytes(4, "little") + meta


@dataclass(frozen=True, slots=True)
class File:
    """A Part 10 file taken apart; ``data`` is the data set's bytes as they stand in it."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    data: bytes


def split(file: bytes) -> File:
    """Take a Part 10 file apart. HubError("structure") when it is none."""
    if file[128:132] != b"DICM":
        raise HubError("structure", "there is no DICOM file: the prefix DICM is missing at byte 128")
    at, values = 132, {}
    try:
        while file[at : at + 2] == b"\2\0":
            _, element, vr, length = _EXPLICIT.unpack_from(file, at)
            start = at + _EXPLICIT.size
            if vr in dataset.LONG:
                length = _EXPLICIT_LONG.unpack_from(file, at)[3]
                start = at + _EXPLICIT_LONG.size
            at = start + length
            values[element] = file[start:at].rstrip(b"\0 ").decode("ascii", "replace")
    except StructError:
        raise HubError("structure", "the file meta information is cut off", "(0002,0000)") from None
    if at > len(file):
        raise HubError("structure", "the file meta information is cut off", "(0002,0000)")
    syntax = values.get(0x0010)
    if not syntax:
        raise HubError("required", "the file meta information names no transfer syntax", "(0002,0010)")
    return File(values.get(0x0002, ""), values.get(0x0003, ""), syntax, file[at:])

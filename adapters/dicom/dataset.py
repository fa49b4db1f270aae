"""Data set bytes -> DICOM JSON Model Object, up to the pixel data (PS3.5 7, PS3.18 F.2).

A walk over the encoded bytes that copies no pixel, skips what it does not need by its length, and is bounded in depth,
count and inflated size. Binary values longer than ``MAX_INLINE`` become BulkDataURI references into the bytes.
"""

from __future__ import annotations

import base64
import math
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import Any

from pydicom.datadict import dictionary_VR

from adapters.dicom import charset
from hub.errors import HubError

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"

MAX_DEPTH = 32
MAX_ELEMENTS = 1_000_000
MAX_INLINE = 256
"""Bytes of a binary value that are put into the JSON itself."""
MAX_INFLATED = 512 * 1024 * 1024
MAX_RATIO = 200
"""A deflated data set may inflate to this many times its size (or 16 MB, if that is more)."""

UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_CHARSET, _PIXEL_REPRESENTATION = 0x00080005, 0x00280103

_LONG = "OB OD OF OL OV OW SQ SV UC UN UR UT UV"
_SHORT = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US"
LONG = frozenset(vr.encode() for vr in _LONG.split())
"""Value representations with a 32-bit length in explicit VR (PS3.5 7.1.2)."""
SHORT = frozenset(vr.encode() for vr in _SHORT.split())
BINARY = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
TEXT = frozenset(["LO", "LT", "PN", "SH", "ST", "UC", "UT"])
"""Those that (0008,0005) governs."""
UNSPLIT = frozenset(["LT", "ST", "UT", "UR"])

Attributes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bulk:
    """A value left in the bytes: the JSON element that stands for it, its offset and length there."""

    element: dict[str, Any]
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class DataSet:
    """``attributes`` in the DICOM JSON Model; offset of the pixel data *element* and of its value in ``data`` (None:
    there is none); ``data`` is the data set, inflated if it was deflated; ``faults`` say where it breaks off."""

    attributes: Attributes
    data: bytes
    pixel_element: int | None = None
    pixel_offset: int | None = None
    pixel_length: int = 0
    bulk: tuple[Bulk, ...] = ()
    faults: tuple[str, ...] = ()

    def text(self, tag: str) -> str:
        """First value of an element as text, "" when absent."""
        return text(self.attributes, tag)


def text(attributes: Attributes, tag: str) -> str:
    """First value of an element of a DICOM JSON object as text, "" when absent; of PN, all its component groups."""
    values = attributes.get(tag, {}).get("Value") or [None]
    first = values[0]
    if isinstance(first, dict):
        groups = [first.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=")
    return "" if first is None else str(first)


def parse(data: bytes, syntax: str) -> DataSet:
    """Read a data set encoded in this transfer syntax.

    A data set that breaks off is read as far as it goes, with a fault; HubError("structure") for bytes that are no
    data set at all, HubError("too-costly") beyond the limits of this module.
    """
    if syntax == DEFLATED:
        data = inflate(data)
    reader = _Reader(data, ">" if syntax == BIG_ENDIAN else "<")
    try:
        attributes, _ = reader.elements(0, len(data), syntax == IMPLICIT, (), 0)
    except StructError as error:
        raise HubError("structure", f"the data set ends inside an element header: {error}") from None
    if data and not attributes:
        raise HubError("structure", "these bytes are not a data set in the negotiated transfer syntax")
    return DataSet(
        attributes,
        data,
        reader.pixel_element,
        reader.pixel_offset,
        reader.pixel_length,
        tuple(reader.bulk),
        tuple(reader.faults),
    )


def elements_before(data: bytes, syntax: str, end: int) -> tuple[dict[str, bytes], tuple[str, ...], bytes]:
    """The bytes of each element whose tag is below ``end``, Specific Character Set, and the bytes from there on."""
    reader = _Reader(data, ">" if syntax == BIG_ENDIAN else "<")
    found: dict[str, bytes] = {}
    terms: tuple[str, ...] = ()
    at_ = 0
    while at_ + 8 <= len(data):
        group, element = reader.tag(data, at_)
        tag = group << 16 | element
        if tag >= end:
            break
        vr, length, value = reader.header(tag, at_, syntax == IMPLICIT)
        content, after = reader.value(tag, vr, value, length, len(data), syntax == IMPLICIT, terms, 0)
        if tag == _CHARSET and content is not None:
            terms = tuple(term or "" for term in content.get("Value", ()))
        found[f"{tag:08X}"] = data[at_:after]
        at_ = after
    return found, terms, data[at_:]


def inflate(data: bytes) -> bytes:
    """The data set of Deflated Explicit VR Little Endian (PS3.5 A.5). HubError("too-costly") for a bomb."""
    limit = min(MAX_INFLATED, max(16 * 1024 * 1024, MAX_RATIO * len(data)))
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = stream.decompress(data, limit)
    except zlib.error as error:
        raise HubError("structure", f"the deflated data set cannot be inflated: {error}") from None
    if stream.unconsumed_tail:
        raise HubError(
            "too-costly", f"the deflated data set inflates beyond {limit} bytes; send it in another transfer syntax"
        )
    return plain


@lru_cache(maxsize=16384)
def vr_of(tag: int) -> str:
    """VR of a standard element; LO for a private creator, UN where the dictionary has none (PS3.5 6.2.2)."""
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return "UN"


def at(tag: int) -> str:
    """A tag as it is written in the standard: (0010,0020)."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


class _Reader:
    """State of one walk."""

    def __init__(self, data: bytes, endian: str) -> None:
        self.data = data
        self.tag, self.long, self.short = (
            Struct(endian + "HH").unpack_from,
            Struct(endian + "L").unpack_from,
            Struct(endian + "H").unpack_from,
        )
        self.numbers = {vr: (endian + code, size) for vr, (code, size) in _NUMBERS.items()}
        self.signed = False
        self.count = 0
        self.pixel_element: int | None = None
        self.pixel_offset: int | None = None
        self.pixel_length = 0
        self.bulk: list[Bulk] = []
        self.faults: list[str] = []

    def elements(self, at_: int, end: int, implicit: bool, terms: Sequence[str], depth: int) -> tuple[Attributes, int]:
        """The elements from ``at_`` to ``end`` or the item's delimiter, and where the next thing begins."""
        if depth > MAX_DEPTH:
            raise HubError("too-costly", f"sequences are nested more than {MAX_DEPTH} deep")
        attributes: Attributes = {}
        while at_ + 8 <= end:
            group, element = self.tag(self.data, at_)
            tag = group << 16 | element
            if tag in (_ITEM_END, _SEQUENCE_END):
                return attributes, at_ + 8 if tag == _ITEM_END else at_
            vr, length, value = self.header(tag, at_, implicit)
            if depth == 0 and tag in _PIXELS:
                self.pixel_element, self.pixel_offset, self.pixel_length = at_, value, length
                if length != UNDEFINED and value + length > end:
                    self.faults.append(f"pixel data has {end - value} of {length} bytes")
                return attributes, end
            if length != UNDEFINED and value + length > end:
                self.faults.append(f"{at(tag)} declares {length} bytes, {end - value} are left")
                return attributes, end
            self.count += 1
            if self.count > MAX_ELEMENTS:
                raise HubError("too-costly", f"the data set has more than {MAX_ELEMENTS} elements", at(tag))
            content, at_ = self.value(tag, vr, value, length, end, implicit, terms, depth)
            if element and content is not None:
                attributes[f"{tag:08X}"] = content
                if tag == _CHARSET:
                    terms = tuple(content.get("Value") or ())
                elif tag == _PIXEL_REPRESENTATION:
                    self.signed = content.get("Value") == [1]
        return attributes, end if depth == 0 else at_

    def header(self, tag: int, at_: int, implicit: bool) -> tuple[str, int, int]:
        """VR, length and offset of the value (PS3.5 7.1.2, 7.1.3)."""
        if implicit:
            return self.dictionary(tag), self.long(self.data, at_ + 4)[0], at_ + 8
        vr = self.data[at_ + 4 : at_ + 6]
        if vr in SHORT:
            return vr.decode("ascii"), self.short(self.data, at_ + 6)[0], at_ + 8
        if vr in LONG:
            return vr.decode("ascii"), self.long(self.data, at_ + 8)[0], at_ + 12
        if vr.isalpha() and vr.isupper():  # a VR newer than this table has the long form
            return "UN", self.long(self.data, at_ + 8)[0], at_ + 12
        if vr in (b"\0\0", b"??", b"  ", b"--"):  # seen in the wild for a VR that its writer did not know
            return self.dictionary(tag), self.short(self.data, at_ + 6)[0], at_ + 8
        return self.dictionary(tag), self.long(self.data, at_ + 4)[0], at_ + 8

    def dictionary(self, tag: int) -> str:
        vr = vr_of(tag)
        if len(vr) == 2:
            return vr
        if "OW" in vr:
            return "OW"
        if vr == "NONE":
            return "UN"
        return "SS" if self.signed else "US"

    def value(
        self, tag: int, vr: str, value: int, length: int, end: int, implicit: bool, terms: Sequence[str], depth: int
    ) -> tuple[dict[str, Any] | None, int]:
        """The DICOM JSON element at ``value`` and where the next element begins."""
        inner = implicit
        if vr == "UN":  # its value is in implicit VR (PS3.5 6.2.2 note 2), so that the dictionary's VR reads it
            vr, inner = self.dictionary(tag), True
        if vr == "SQ" or (length == UNDEFINED and vr == "UN"):
            items, after = self.sequence(value, end if length == UNDEFINED else value + length, inner, terms, depth)
            return ({"vr": "SQ", "Value": items} if items else {"vr": "SQ"}), after
        if length == UNDEFINED:
            after = self.fragments(value, end)
            element: dict[str, Any] = {"vr": vr}
            self.bulk.append(Bulk(element, value, after - value))
            return element, after
        if not length:
            return {"vr": vr}, value
        if vr in BINARY:
            return self.binary(vr, value, length), value + length
        raw = self.data[value : value + length]
        if vr in self.numbers:
            values: list[Any] = self.number(vr, raw)
        else:
            values = _strings(vr, raw, terms)
        return ({"vr": vr, "Value": values} if values else {"vr": vr}), value + length

    def sequence(
        self, at_: int, end: int, implicit: bool, terms: Sequence[str], depth: int
    ) -> tuple[list[Attributes], int]:
        """The items of a sequence (PS3.5 7.5) and where it ends."""
        items: list[Attributes] = []
        while at_ + 8 <= end:
            group, element = self.tag(self.data, at_)
            tag, length = group << 16 | element, self.long(self.data, at_ + 4)[0]
            if tag == _SEQUENCE_END:
                return items, at_ + 8
            if tag != _ITEM:
                self.faults.append(f"{at(tag)} where an item of a sequence should begin")
                return items, end
            inside = end if length == UNDEFINED else min(end, at_ + 8 + length)
            item, at_ = self.elements(at_ + 8, inside, implicit, terms, depth + 1)
            if length != UNDEFINED:
                at_ = inside
            items.append(item)
        return items, end

    def fragments(self, at_: int, end: int) -> int:
        """Past the items of an encapsulated value (PS3.5 A.4)."""
        while at_ + 8 <= end:
            group, element = self.tag(self.data, at_)
            length = self.long(self.data, at_ + 4)[0]
            at_ += 8
            if group << 16 | element != _ITEM:
                break
            at_ = min(end, at_ + length)
        return at_

    def binary(self, vr: str, value: int, length: int) -> dict[str, Any]:
        if length <= MAX_INLINE:
            return {"vr": vr, "InlineBinary": base64.b64encode(self.data[value : value + length]).decode("ascii")}
        element: dict[str, Any] = {"vr": vr}
        self.bulk.append(Bulk(element, value, length))
        return element

    def number(self, vr: str, raw: bytes) -> list[Any]:
        code, size = self.numbers[vr]
        count = len(raw) // size
        if vr == "AT":
            flat = Struct(f"{code[0]}{count * 2}H").unpack_from(raw)
            return [f"{a:04X}{b:04X}" for a, b in zip(flat[::2], flat[1::2], strict=True)]
        values = Struct(f"{code[0]}{count}{code[1]}").unpack_from(raw)
        if vr in ("FL", "FD"):
            return [number if math.isfinite(number) else None for number in values]
        return list(values)


_NUMBERS = {
    "AT": ("HH", 4),
    "FD": ("d", 8),
    "FL": ("f", 4),
    "SL": ("l", 4),
    "SS": ("h", 2),
    "SV": ("q", 8),
    "UL": ("L", 4),
    "US": ("H", 2),
    "UV": ("Q", 8),
}


def _strings(vr: str, raw: bytes, terms: Sequence[str]) -> list[Any]:
    """Values of a character string element; an empty one among several is null (PS3.18 F.2.5)."""
    if vr in TEXT:
        whole = charset.decode(raw, terms, name=vr == "PN")
    else:
        whole = raw.decode("latin_1")
    if vr in UNSPLIT:
        kept = whole.rstrip(" \0")
        return [kept] if kept else []
    convert = _CONVERT.get(vr)
    values: list[Any] = []
    for part in whole.split("\\"):
        part = part.strip(" \0")
        values.append((convert(part) if convert else part) if part else None)
    return [] if values == [None] else values


def _name(part: str) -> dict[str, str] | None:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), part.split("="), strict=False)
    return {group: text.rstrip("^ ") for group, text in groups if text.strip("^ ")} or None


def _decimal(part: str) -> float | int | None:
    """DS as a JSON number; null for what is none, as a reader of JSON numbers could do nothing with it."""
    try:
        number = float(part)
    except ValueError:
        return None
    return int(part) if part.lstrip("+-").isdecimal() else number if math.isfinite(number) else None


def _integer(part: str) -> int | None:
    return int(part) if re.fullmatch(r"[+-]?[0-9]{1,19}", part) else None


_CONVERT: dict[str, Callable[[str], Any]] = {"PN": _name, "DS": _decimal, "IS": _integer}

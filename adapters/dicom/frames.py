"""Frames of the pixel data of a stored instance, as encoded there (PS3.5 8.2, A.4; PS3.18 8.7.3)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from pydicom.encaps import generate_frames

from adapters.dicom import dataset
from adapters.dicom.multipart import OCTETS
from adapters.dicom.pixels import Picture
from hub.errors import HubError
from hub.services.imaging_index import Row, text

MEDIA_TYPE = {
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
"""Transfer syntax -> media type of its frames; application/octet-stream for all others (PS3.18 table 8.7.3-2)."""


def numbers(listed: str) -> list[int]:
    """A frame list such as ``1,3``. HubError("parameter-value")."""
    parts = listed.split(",")
    if not all(part.isdecimal() and len(part) < 7 and int(part) for part in parts):
        raise HubError("parameter-value", f"{listed!r} is not a list of frame numbers, which begin with 1", "frames")
    return [int(part) for part in parts]


def frames(row: Row, file: bytes, wanted: Sequence[int]) -> tuple[str, list[bytes]]:
    """Media type, and the bytes of each wanted frame. HubError("not-found") for one that the instance does not have."""
    return _split(row, _data(row, file), wanted)


def picture(row: Row, file: bytes, number: int) -> Picture:
    """A frame and what is needed to show it. HubError as ``frames``."""
    data = _data(row, file)
    _, (frame,) = _split(row, data, [number])
    shown = attributes(row, number)
    shown = _resolved(shown, data, row["transferSyntax"] == dataset.BIG_ENDIAN)
    place = row["pixel"][0]
    if data[place : place + 4] in (b"\xe0\x7f\x08\0", b"\xe0\x7f\x09\0"):
        shown["pixel"] = {"vr": "OF" if data[place + 2] == 8 else "OD"}
    return Picture(row["transferSyntax"], frame, shown)


def attributes(row: Row, number: int) -> dict[str, Any]:
    """The image and overlay attributes of a frame, functional group macros (PS3.3 C.7.6.16) in their places."""
    found = {tag: element for tag, element in row["attributes"].items() if tag[:2] == "60" or tag[:4] == "0028"}
    shared, each = (row["attributes"].get(tag, {}).get("Value") or [] for tag in ("52009229", "52009230"))
    for groups in (*shared[:1], *each[number - 1 : number]):
        for element in (groups or {}).values():
            for macro in element.get("Value") or [] if element.get("vr") == "SQ" else []:
                found |= {tag: value for tag, value in (macro or {}).items() if tag[:4] == "0028"}
    return found


def _resolved(attributes: dict[str, Any], data: bytes, swap: bool) -> dict[str, Any]:
    """The attributes with their binary values as bytes."""
    found = {}
    for tag, element in attributes.items():
        raw = None
        if "BulkDataURI" in element:
            offset, _, length = element["BulkDataURI"].rpartition("/")[2].partition("-")
            raw = data[int(offset) : int(offset) + int(length)] if length.isdecimal() else None
        elif "InlineBinary" in element:
            raw = base64.b64decode(element["InlineBinary"])
        if raw is not None:
            found[tag] = {"vr": element["vr"], "bytes": _swapped(raw, 2) if swap and element["vr"] == "OW" else raw}
        elif element.get("vr") == "SQ":
            items = [_resolved(item or {}, data, swap) for item in element.get("Value") or []]
            found[tag] = {"vr": "SQ", "Value": items}
        else:
            found[tag] = element
    return found


def media_type(row: Row) -> str:
    """Media type of the frames as they are stored."""
    encapsulated = "pixel" in row and row["pixel"][2] == dataset.UNDEFINED
    return MEDIA_TYPE.get(row["transferSyntax"], OCTETS) if encapsulated else OCTETS


def _data(row: Row, file: bytes) -> bytes:
    """The data set. HubError("not-found") when it has no pixel data."""
    if "pixel" not in row:
        raise HubError("not-found", "the instance has no pixel data")
    return data_set(row, file)


def data_set(row: Row, file: bytes) -> bytes:
    """The data set, inflated if it was deflated."""
    data = file[row["header"] :]
    return dataset.inflate(data) if row["transferSyntax"] == dataset.DEFLATED else data


def _split(row: Row, data: bytes, wanted: Sequence[int]) -> tuple[str, list[bytes]]:
    syntax = row["transferSyntax"]
    element, offset, length = row["pixel"]
    count = _number(row, "00280008", 1)
    if max(wanted) > count:
        raise HubError("not-found", f"the instance has {count} frames", "frames")
    if length == dataset.UNDEFINED:
        try:
            found = list(generate_frames(data[offset:], number_of_frames=count))
        except (ValueError, IndexError) as error:
            raise HubError("structure", f"the encapsulated pixel data cannot be taken apart: {error}") from None
        if max(wanted) > len(found):
            raise HubError("not-found", f"the pixel data has {len(found)} frames", "frames")
        return f"{MEDIA_TYPE.get(syntax, OCTETS)}; transfer-syntax={syntax}", [found[number - 1] for number in wanted]
    pixels = data[offset : offset + length]
    words = data[element + 4 : element + 6] == b"OW"
    return OCTETS, [_native(row, pixels, number, words) for number in wanted]


def _native(row: Row, pixels: bytes, number: int, words: bool) -> bytes:
    """One frame of native pixel data, in little endian."""
    allocated, samples = _number(row, "00280100", 8), _number(row, "00280002", 1)
    if text(row["attributes"], "00280004").upper() == "YBR_FULL_422":
        samples = 2  # two pixels share their chrominance (PS3.3 C.7.6.3.1.2)
    bits = _number(row, "00280010", 0) * _number(row, "00280011", 0) * samples * allocated
    start, end = (number - 1) * bits, number * bits
    if end > len(pixels) * 8 or not bits:
        raise HubError("not-found", f"the pixel data ends before frame {number}", "frames")
    swap = row["transferSyntax"] == dataset.BIG_ENDIAN
    if swap and words and allocated <= 8:
        pixels = _swapped(pixels, 2)
    if bits % 8:
        whole = int.from_bytes(pixels[start // 8 : (end + 7) // 8], "little") >> start % 8
        return (whole & ((1 << bits) - 1)).to_bytes((bits + 7) // 8, "little")
    frame = pixels[start // 8 : end // 8]
    return _swapped(frame, allocated // 8) if swap and allocated > 8 else frame


def _swapped(data: bytes, size: int) -> bytes:
    """Words of this many bytes in the other byte order."""
    out = bytearray(data[: len(data) // size * size])
    for place in range(size):
        out[place::size] = data[size - 1 - place : len(out) : size]
    return bytes(out)


def _number(row: Row, tag: str, default: int) -> int:
    value = text(row["attributes"], tag)
    return int(value) if value.isdecimal() else default

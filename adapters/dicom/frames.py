"""Frames of the pixel data of a stored instance, as encoded there (PS3.5 8.2, A.4; PS3.18 8.7.3)."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.encaps import generate_frames

from adapters.dicom import dataset
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
    if "pixel" not in row:
        raise HubError("not-found", "the instance has no pixel data")
    data = file[row["header"] :]
    syntax = row["transferSyntax"]
    if syntax == dataset.DEFLATED:
        data = dataset.inflate(data)
    _, offset, length = row["pixel"]
    count = _number(row, "00280008", 1)
    if max(wanted) > count:
        raise HubError("not-found", f"the instance has {count} frames", "frames")
    if length == dataset.UNDEFINED:
        try:
            found = list(generate_frames(data[offset:], number_of_frames=count))
        except (ValueError, IndexError) as error:
            raise HubError("structure", f"the encapsulated pixel data cannot be taken apart: {error}") from None
        kind = MEDIA_TYPE.get(syntax, "application/octet-stream")
        if max(wanted) > len(found):
            raise HubError("not-found", f"the pixel data has {len(found)} frames", "frames")
        return f"{kind}; transfer-syntax={syntax}", [found[number - 1] for number in wanted]
    return "application/octet-stream", [_native(row, data[offset : offset + length], number) for number in wanted]


def _native(row: Row, pixels: bytes, number: int) -> bytes:
    """One frame of native pixel data, in little endian."""
    allocated = _number(row, "00280100", 8)
    bits = _number(row, "00280010", 0) * _number(row, "00280011", 0) * _number(row, "00280002", 1) * allocated
    start, end = (number - 1) * bits, number * bits
    if end > len(pixels) * 8 or not bits:
        raise HubError("not-found", f"the pixel data ends before frame {number}", "frames")
    if bits % 8:
        whole = int.from_bytes(pixels[start // 8 : (end + 7) // 8], "little") >> start % 8
        return (whole & ((1 << bits) - 1)).to_bytes((bits + 7) // 8, "little")
    frame = bytearray(pixels[start // 8 : end // 8])
    if row["transferSyntax"] == dataset.BIG_ENDIAN and allocated == 16:
        frame[0::2], frame[1::2] = frame[1::2], frame[0::2]
    return bytes(frame)


def _number(row: Row, tag: str, default: int) -> int:
    value = text(row["attributes"], tag)
    return int(value) if value.isdecimal() else default

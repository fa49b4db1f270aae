"""An instance in another transfer syntax than it is stored in, without loss where the stored one has none (PS3.5 A).

Between uncompressed syntaxes the data set is written anew here; pixels are decoded and encoded in the processes of
``worker``. The syntaxes the hub encodes are the keys of ``pixels.ENCODERS``.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from struct import Struct
from typing import Any

import pydicom
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from adapters.dicom import dataset, frames, part10, pixels, worker
from adapters.dicom.ul import pdu
from hub.errors import HubError
from hub.services.imaging_index import Row, text

UNCOMPRESSED = (dataset.EXPLICIT, dataset.IMPLICIT, dataset.BIG_ENDIAN, dataset.DEFLATED)
MAX_BYTES = 1 << 30
"""Decoded pixel data of an instance that is transcoded."""
_ELEMENT, _ITEM = Struct("<HH2s2xL"), Struct("<HHL")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
# A value that breaks its VR is passed on as it came.


def to_any(row: Row, file: bytes, offered: Sequence[pdu.Context]) -> tuple[pdu.Context, memoryview]:
    """The first context that the instance can be put into, and its data set there. HubError("not-acceptable")."""
    for context in offered:
        if can(row["transferSyntax"], context.transfer[0]):
            return context, memoryview(to(row, file, context.transfer[0]))
    raise HubError("not-acceptable", f"the receiver takes no syntax that {row['transferSyntax']} can be put into")


def can(syntax: str, wanted: str) -> bool:
    """Whether instances of one transfer syntax can be had in another."""
    decoded = syntax in UNCOMPRESSED or syntax in pixels.DECODERS
    return syntax == wanted or (decoded and wanted in (*UNCOMPRESSED[:2], *pixels.ENCODERS))


def part10_file(row: Row, file: bytes, wanted: str) -> bytes:
    """The Part 10 file of an instance in the wanted transfer syntax. HubError as ``to``."""
    if row["transferSyntax"] == wanted:
        return file
    return part10.file_meta(row["sopClass"], row["uid"], wanted) + to(row, file, wanted)


def to(row: Row, file: bytes, wanted: str) -> bytes:
    """The data set of an instance in the wanted transfer syntax.

    HubError("not-acceptable") when that cannot be had, "structure" for a data set that cannot be read.
    """
    syntax = row["transferSyntax"]
    if syntax == wanted:
        return file[row["header"] :]
    if not can(syntax, wanted):
        raise HubError("not-acceptable", f"{syntax} cannot be put into {wanted}")
    if syntax in UNCOMPRESSED and (wanted in UNCOMPRESSED or "pixel" not in row):
        return convert(file[row["header"] :], syntax, wanted if wanted in UNCOMPRESSED else dataset.EXPLICIT)
    if "pixel" not in row:
        return file[row["header"] :]
    count = _frames(row)
    coded = [recoded(row, file, number, wanted) for number in range(1, count + 1)]
    return _assembled(row, file, wanted, coded)


def recoded(row: Row, file: bytes, number: int, wanted: str) -> tuple[bytes, str]:
    """One frame in the wanted transfer syntax, and its photometric interpretation there. HubError as ``to``."""
    picture = frames.picture(row, file, number)
    coded: tuple[bytes, str] = worker.run(pixels.recode, picture, wanted)
    return coded


def _frames(row: Row) -> int:
    count = max(1, int(text(row["attributes"], "00280008") or 1))
    picture = pixels.Picture("", b"", row["attributes"])
    rows, columns, *samples = picture.shape
    if rows * columns * (samples or [1])[0] * picture.allocated // 8 * count > MAX_BYTES:
        raise HubError("too-costly", f"more than {MAX_BYTES} bytes of pixels to transcode; ask for frames")
    return count


def _assembled(row: Row, file: bytes, wanted: str, coded: list[tuple[bytes, str]]) -> bytes:
    """The data set with other pixel data; what stood after the pixel data (signatures, padding) does not fit it."""
    data, syntax = file[row["header"] :], row["transferSyntax"]
    data = dataset.inflate(data) if syntax == dataset.DEFLATED else data
    head = data[: row["pixel"][0]]
    changed: dict[str, Any] = {"PhotometricInterpretation": coded[0][1]}
    if "00280006" in row["attributes"]:
        changed["PlanarConfiguration"] = 1 if wanted == pixels.RLE else 0
    implicit, big = syntax == dataset.IMPLICIT, syntax == dataset.BIG_ENDIAN
    written = _written(head, implicit, big, wanted == dataset.IMPLICIT, changed)
    return written + _element(row, wanted, [frame for frame, _ in coded])


def _element(row: Row, wanted: str, coded: list[bytes]) -> bytes:
    """The Pixel Data element: native, or encapsulated with one fragment a frame and an offset table (PS3.5 A.4)."""
    if wanted in UNCOMPRESSED:
        value = b"".join(coded)
        value += b"\0" * (len(value) % 2)
        if wanted == dataset.IMPLICIT:
            return _ITEM.pack(0x7FE0, 0x0010, len(value)) + value
        words = int(text(row["attributes"], "00280100") or 8) > 8
        return _ELEMENT.pack(0x7FE0, 0x0010, b"OW" if words else b"OB", len(value)) + value
    fragments, offsets, at = [], [], 0
    for frame in coded:
        even = frame + b"\0" * (len(frame) % 2)
        offsets.append(at)
        fragments.append(_ITEM.pack(0xFFFE, 0xE000, len(even)) + even)
        at += len(even) + 8
    table = b"".join(offset.to_bytes(4, "little") for offset in offsets) if at < dataset.UNDEFINED else b""
    return b"".join(
        (
            _ELEMENT.pack(0x7FE0, 0x0010, b"OB", dataset.UNDEFINED),
            _ITEM.pack(0xFFFE, 0xE000, len(table)), table, *fragments, _ITEM.pack(0xFFFE, 0xE0DD, 0),
        )
    )  # fmt: skip


def convert(data: bytes, syntax: str, wanted: str) -> bytes:
    """A data set of one uncompressed transfer syntax in another. HubError("structure") when it cannot be read."""
    if syntax == dataset.DEFLATED:
        data, syntax = dataset.inflate(data), dataset.EXPLICIT
    if syntax == wanted:
        return data
    dataset.parse(data, syntax)  # the limits, before pydicom recurses
    return _written(data, syntax == dataset.IMPLICIT, syntax == dataset.BIG_ENDIAN, wanted == dataset.IMPLICIT, {})


def _written(data: bytes, implicit: bool, big: bool, to_implicit: bool, changed: dict[str, Any]) -> bytes:
    try:
        whole = read_dataset(io.BytesIO(data), implicit, not big)
        if big:
            _swap(whole)
        for keyword, value in changed.items():
            setattr(whole, keyword, value)
        out = DicomBytesIO()
        out.is_little_endian, out.is_implicit_VR = True, to_implicit
        write_dataset(out, whole)
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        raise HubError("structure", f"the data set cannot be written anew: {error}") from None
    return bytes(out.getvalue())


def _swap(whole: pydicom.Dataset) -> None:
    """Pixel data in words of 16 bits, turned to little endian (PS3.5 7.3)."""
    if "PixelData" in whole and (whole.get("BitsAllocated", 8) > 8 or whole["PixelData"].VR == "OW"):
        words = bytearray(whole.PixelData)
        words[0::2], words[1::2] = words[1::2], words[0::2]
        whole.PixelData = bytes(words)

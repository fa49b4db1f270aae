"""An instance in another transfer syntax than it is stored in: between the uncompressed ones (PS3.5 A)."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pydicom
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from adapters.dicom import dataset
from adapters.dicom.ul import pdu
from hub.errors import HubError

UNCOMPRESSED = (dataset.EXPLICIT, dataset.IMPLICIT, dataset.BIG_ENDIAN, dataset.DEFLATED)


def to_any(data: memoryview, syntax: str, offered: Sequence[pdu.Context]) -> tuple[pdu.Context, memoryview]:
    """The first context that the data set can be put into, and its bytes there. HubError("not-acceptable")."""
    for context in offered:
        if syntax in UNCOMPRESSED and context.transfer[0] in UNCOMPRESSED[:2]:
            return context, memoryview(convert(bytes(data), syntax, context.transfer[0]))
    raise HubError("not-acceptable", f"the receiver takes no transfer syntax that {syntax} can be put into")


def convert(data: bytes, syntax: str, wanted: str) -> bytes:
    """A data set of one uncompressed transfer syntax in another. HubError("structure") when it cannot be read."""
    if syntax == dataset.DEFLATED:
        data = dataset.inflate(data)
    dataset.parse(
        data, dataset.EXPLICIT if syntax == dataset.DEFLATED else syntax
    )  # the limits, before pydicom recurses
    try:
        whole = read_dataset(io.BytesIO(data), syntax == dataset.IMPLICIT, syntax != dataset.BIG_ENDIAN)
        if syntax == dataset.BIG_ENDIAN:
            _swap(whole)
        out = DicomBytesIO()
        out.is_little_endian, out.is_implicit_VR = True, wanted == dataset.IMPLICIT
        write_dataset(out, whole)
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        raise HubError("structure", f"the data set cannot be written anew: {error}") from None
    return bytes(out.getvalue())


def _swap(whole: pydicom.Dataset) -> None:
    """Pixel data in words of 16 bits, turned to little endian (PS3.5 7.3)."""
    if "PixelData" in whole and whole.get("BitsAllocated", 8) > 8:
        words = bytearray(whole.PixelData)
        words[0::2], words[1::2] = words[1::2], words[0::2]
        whole.PixelData = bytes(words)

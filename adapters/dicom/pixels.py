"""One encoded frame -> stored values, and back: the transfer syntaxes of pixel data (PS3.5 8, A.4).

Runs in the processes of ``worker``. Decoders and encoders are those of imagecodecs: libjpeg-turbo, CharLS, OpenJPEG,
OpenJPH and others, none of them under the GPL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np

from adapters.dicom.dataset import Attributes

Array = np.ndarray[Any, Any]
MAX_SAMPLES = 100_000_000


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame as encoded in its transfer syntax, and the attributes of the image that say what it is.

    ``attributes`` is DICOM JSON in which the macros of a multi-frame image stand as those of one frame, and binary
    values as bytes under the name ``bytes``, words in little endian.
    """

    syntax: str
    data: bytes
    attributes: Attributes

    def number(self, tag: str, default: int = 0) -> int:
        """First value as an integer."""
        values = self.attributes.get(tag, {}).get("Value") or [default]
        return default if values[0] is None else int(values[0])

    def numbers(self, tag: str) -> list[float]:
        """All values as numbers; [] when one is none."""
        values = self.attributes.get(tag, {}).get("Value") or []
        return [] if None in values else [float(value) for value in values]

    def text(self, tag: str) -> str:
        """First value as text."""
        values = self.attributes.get(tag, {}).get("Value") or [None]
        return "" if values[0] is None else str(values[0]).strip()

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, columns and, when there is more than one, samples per pixel."""
        rows, columns, samples = self.number("00280010"), self.number("00280011"), self.number("00280002", 1)
        return (rows, columns, samples) if samples > 1 else (rows, columns)

    @property
    def allocated(self) -> int:
        return self.number("00280100", 8)

    @property
    def stored(self) -> int:
        return self.number("00280101", self.allocated)

    @property
    def signed(self) -> bool:
        return self.number("00280103") == 1

    @property
    def photometric(self) -> str:
        return self.text("00280004").upper()


def decode(picture: Picture) -> Array:
    """Stored values in the shape of the picture: integers, right-aligned, signed as declared; or floats.

    Colour is as the photometric interpretation says; JPEG's and JPEG 2000's own transformations are undone (RGB).
    ValueError when the frame is not what the attributes say.
    """
    size = int(np.prod(picture.shape))
    if not 0 < size <= MAX_SAMPLES:
        raise ValueError(f"a frame of {size} samples")
    decoder = DECODERS.get(picture.syntax)
    if decoder is None:
        values = _native(picture)
    else:
        values = np.asarray(decoder(picture))
    if values.shape != picture.shape:
        raise ValueError(f"the frame is {values.shape}, the attributes say {picture.shape}")
    return values if values.dtype.kind == "f" else _aligned(picture, values)


def stored_values(picture: Picture) -> bytes:
    """The same as bytes, row by row, in little endian."""
    values = decode(picture)
    return values.astype(values.dtype.newbyteorder("<")).tobytes()


def _aligned(picture: Picture, values: Array) -> Array:
    """Bits above the stored ones cut off (overlays of old, codecs that know no sign), the sign extended."""
    stored = picture.stored
    high = picture.number("00280102", stored - 1)
    if picture.syntax not in DECODERS and high + 1 != stored and 0 < stored <= high + 1 <= picture.allocated:
        values = values >> (high + 1 - stored)
    width = values.dtype.itemsize * 8
    if not 0 < stored < width:
        return values.view(values.dtype.str.replace("u", "i")) if picture.signed else values
    if not picture.signed:
        return values & values.dtype.type((1 << stored) - 1) if values.dtype.kind == "u" else values
    shift = width - stored
    return np.asarray((values.view(f"i{width // 8}") << shift) >> shift)


def _native(picture: Picture) -> Array:
    """Uncompressed pixel data in little endian."""
    if picture.attributes.get("pixel", {}).get("vr") in ("OF", "OD"):
        return np.frombuffer(picture.data, f"<f{picture.allocated // 8}").reshape(picture.shape)
    if picture.allocated == 1:
        bits = np.unpackbits(np.frombuffer(picture.data, np.uint8), bitorder="little")
        return bits[: np.prod(picture.shape)].reshape(picture.shape)
    if picture.photometric == "YBR_FULL_422":
        return _upsampled(picture)
    values = np.frombuffer(picture.data, f"<u{picture.allocated // 8}")
    return _planes(picture, values, picture.number("00280006") == 1)


def _planes(picture: Picture, values: Array, separate: bool) -> Array:
    if len(picture.shape) == 3 and separate:
        rows, columns, samples = picture.shape
        return values.reshape(samples, rows, columns).transpose(1, 2, 0)
    return values.reshape(picture.shape)


def _upsampled(picture: Picture) -> Array:
    """Two luminances with one pair of chrominances (PS3.3 C.7.6.3.1.2) as three samples a pixel."""
    rows, columns, _ = picture.shape
    pairs = np.frombuffer(picture.data, np.uint8).reshape(rows, columns // 2, 4)
    values = np.empty((rows, columns, 3), np.uint8)
    values[:, 0::2, 0], values[:, 1::2, 0] = pairs[..., 0], pairs[..., 1]
    values[..., 1], values[..., 2] = np.repeat(pairs[..., 2], 2, axis=1), np.repeat(pairs[..., 3], 2, axis=1)
    return values


# --- decoders ---------------------------------------------------------------------------------------------------------


def _jpeg(picture: Picture) -> Array:
    """Baseline and extended. RGB comes out; the stream is YCbCr unless Adobe's marker or the attributes say RGB."""
    if len(picture.shape) == 2:
        return np.asarray(imagecodecs.jpeg8_decode(picture.data))
    transform = _adobe_transform(picture.data)
    is_rgb = picture.photometric == "RGB" if transform is None else transform == 0
    if transform is None and is_rgb and picture.data[6:10] == b"JFIF":
        is_rgb = False  # JFIF is YCbCr by definition, whatever a writer that forgot the attribute says
    space = "RGB" if is_rgb else "YCBCR"
    return np.asarray(imagecodecs.jpeg8_decode(picture.data, colorspace=space, outcolorspace="RGB"))


def _adobe_transform(stream: bytes) -> int | None:
    """Colour transform of the APP14 marker segment: 0 none, 1 YCbCr; None without the marker."""
    at = stream.find(b"\xff\xee\x00\x0eAdobe")
    scan = stream.find(b"\xff\xda")
    return stream[at + 15] if 0 <= at < scan and at + 15 < len(stream) else None


def _jpeg_lossless(picture: Picture) -> Array:
    return np.asarray(imagecodecs.jpegsof3_decode(picture.data))


def _rle(picture: Picture) -> Array:
    """RLE: one segment a byte of a sample, planes apart (PS3.5 G)."""
    kind = f"<u{picture.allocated // 8}"
    return _planes(picture, np.frombuffer(imagecodecs.dicomrle_decode(picture.data, kind), kind), True)


def _jpeg_ls(picture: Picture) -> Array:
    return np.asarray(imagecodecs.jpegls_decode(picture.data))


def _jpeg_2000(picture: Picture) -> Array:
    return np.asarray(imagecodecs.jpeg2k_decode(picture.data))


def _htj2k(picture: Picture) -> Array:
    return np.asarray(imagecodecs.htj2k_decode(picture.data))


_BY_NUMBER: dict[Callable[[Picture], Array], str] = {
    _jpeg: "4.50 4.51",
    _jpeg_lossless: "4.57 4.70",
    _jpeg_ls: "4.80 4.81",
    _jpeg_2000: "4.90 4.91",
    _htj2k: "4.201 4.202 4.203",
    _rle: "5",
}
DECODERS = {f"1.2.840.10008.1.2.{end}": decoder for decoder, ends in _BY_NUMBER.items() for end in ends.split()}
"""Transfer syntax -> decoder of a frame; all others are uncompressed."""


# --- encoders ---------------------------------------------------------------------------------------------------------


def recode(picture: Picture, syntax: str) -> tuple[bytes, str]:
    """The frame in another transfer syntax, and its photometric interpretation there; stored values are the same.

    ValueError when the encoder cannot take such pixels.
    """
    values = np.ascontiguousarray(decode(picture))
    photometric = picture.photometric
    if photometric.startswith("YBR") and picture.syntax in DECODERS and picture.syntax != RLE:
        photometric = "RGB" if picture.syntax not in JPEG_LS else photometric
    if picture.allocated == 1:
        raise ValueError("single-bit pixels stay as they are")
    if syntax not in ENCODERS:
        return values.astype(values.dtype.newbyteorder("<")).tobytes(), photometric
    if values.dtype.kind == "f":
        raise ValueError("floating-point pixels are not compressed")
    if values.dtype.itemsize > 2 and syntax != RLE:
        raise ValueError(f"{picture.allocated} bits a sample are not compressed in {syntax}")
    coded = ENCODERS[syntax](values)
    if syntax in REVERSIBLE_COLOUR and values.ndim == 3 and coded[coded.index(b"\xff\x52") + 8] == 1:
        photometric = "YBR_RCT"
    return coded, photometric


def _to_htj2k(values: Array) -> bytes:
    return bytes(imagecodecs.htj2k_encode(values, reversible=True))


def _to_jpeg_2000(values: Array) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True))


def _to_jpeg_ls(values: Array) -> bytes:
    room = bytearray(values.nbytes * 2 + 4096)
    return bytes(imagecodecs.jpegls_encode(_unsigned(values), out=room))


def _to_jpeg_lossless(values: Array) -> bytes:
    if values.ndim == 3:
        raise ValueError("JPEG lossless is written for grey images only")
    return bytes(imagecodecs.ljpeg_encode(_unsigned(values)))


def _to_rle(values: Array) -> bytes:
    """A segment for each byte of each sample, the most significant first, rows by themselves (PS3.5 G)."""
    planes = values[..., None] if values.ndim == 2 else values
    segments = []
    for sample in range(planes.shape[2]):
        whole = np.ascontiguousarray(planes[..., sample]).astype(values.dtype.newbyteorder(">"))
        parts = whole.view(np.uint8).reshape(*whole.shape, values.dtype.itemsize)
        for place in range(values.dtype.itemsize):
            coded = bytes(imagecodecs.packbits_encode(np.ascontiguousarray(parts[..., place])))
            segments.append(coded + b"\0" * (len(coded) % 2))
    if len(segments) > 15:
        raise ValueError("RLE has 15 segments at most")
    starts = np.cumsum([64, *(len(segment) for segment in segments)])[: len(segments)]
    header = np.zeros(16, "<u4")
    header[0], header[1 : len(segments) + 1] = len(segments), starts
    return header.tobytes() + b"".join(segments)


def _unsigned(values: Array) -> Array:
    return values.view(values.dtype.str.replace("i", "u"))


RLE = "1.2.840.10008.1.2.5"
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
REVERSIBLE_COLOUR = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201")
ENCODERS: dict[str, Callable[[Array], bytes]] = {
    "1.2.840.10008.1.2.4.70": _to_jpeg_lossless,
    "1.2.840.10008.1.2.4.80": _to_jpeg_ls,
    "1.2.840.10008.1.2.4.90": _to_jpeg_2000,
    "1.2.840.10008.1.2.4.201": _to_htj2k,
    RLE: _to_rle,
}
"""Transfer syntax -> encoder of a frame; all of them without loss."""

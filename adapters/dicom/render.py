"""A frame as a consumer image: modality LUT, VOI LUT, palette, colour space, overlays (PS3.3 C.11, PS3.18 8.7.4).

Runs in the processes of ``worker``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from adapters.dicom.pixels import Array, Picture, decode
from hub.errors import HubError

MAX_VIEWPORT = 8192
FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF"}
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
Window = tuple[float, float, str]
"""Center, width, VOI LUT function (PS3.3 C.11.2.1.2, C.11.2.1.3)."""
Map = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class View:
    """What to show: VOI window or None for the image's own, viewport (columns, rows) or None, the region of the image
    (left, top, width, height; negative: flipped) or None for all of it, media type, JPEG quality."""

    window: Window | None = None
    viewport: tuple[int, int] | None = None
    region: tuple[float, float, float, float] | None = None
    media: str = "image/jpeg"
    quality: int = 90


def view(media: str, parameters: Mapping[str, str]) -> View:
    """The view that the query parameters of a request ask for (PS3.18 8.3.5.1). HubError("parameter-value")."""
    try:
        quality = int(parameters.get("quality", "90"))
        if not 1 <= quality <= 100:
            raise ValueError
        viewport, region = _viewport(parameters.get("viewport", ""))
        return View(_window(parameters.get("window", "")), viewport, region, media, quality)
    except ValueError:
        raise HubError(
            "parameter-value",
            "window is center,width[,linear|linear-exact|sigmoid]; viewport columns,rows[,left,top,width,height]; "
            "quality 1 to 100",
        ) from None


def _window(text: str) -> Window | None:
    if not text:
        return None
    center, width, *rest = text.split(",")
    function = (rest[0] if rest else "linear").upper().replace("-", "_")
    found = (float(center), float(width), function)
    if len(rest) > 1 or function not in FUNCTIONS or not np.isfinite(found[:2]).all():
        raise ValueError
    if found[1] < 1 and not (function != "LINEAR" and found[1] > 0):
        raise ValueError
    return found


def _viewport(text: str) -> tuple[tuple[int, int] | None, tuple[float, float, float, float] | None]:
    if not text:
        return None, None
    columns, rows, *rest = text.split(",")
    size = (int(columns), int(rows))
    if not all(0 < side <= MAX_VIEWPORT for side in size) or len(rest) not in (0, 4):
        raise ValueError
    if not rest:
        return size, None
    left, top, width, height = (float(part or 0) for part in rest)
    if not np.isfinite([left, top, width, height]).all() or left < 0 or top < 0:
        raise ValueError
    return size, (left, top, width, height)


def draw(picture: Picture, wanted: View) -> bytes:
    """The frame as an image of the media type wanted. ValueError and what decoders raise for bad pixels."""
    image = Image.fromarray(shown(picture, wanted.window))
    if wanted.region:
        image = _cut(image, wanted.region)
    if wanted.viewport:
        scale = min(side / own for side, own in zip(wanted.viewport, image.size, strict=True))
        image = image.resize(
            [max(1, round(own * scale)) for own in image.size], Image.Resampling.BILINEAR, reducing_gap=2.0
        )
    out = io.BytesIO()
    options: dict[str, Any] = {"quality": wanted.quality} if wanted.media == "image/jpeg" else {}
    if wanted.media == "image/png":
        options = {"compress_level": 1}
    image.save(out, FORMATS[wanted.media], **options)
    return out.getvalue()


def _cut(image: Image.Image, region: tuple[float, float, float, float]) -> Image.Image:
    left, top, width, height = region
    width, height = width or image.width - left, height or image.height - top
    box = (round(left), round(top), round(left + abs(width)), round(top + abs(height)))
    if box[0] >= box[2] or box[1] >= box[3] or box[2] > image.width or box[3] > image.height:
        raise ValueError(f"the region {box} is not inside the image {image.size}")
    image = image.crop(box)
    if width < 0:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if height < 0 else image


def shown(picture: Picture, window: Window | None = None) -> Array:
    """8-bit display values: rows x columns of grey, or rows x columns x 3 of RGB."""
    values = decode(picture)
    if picture.photometric == "PALETTE COLOR":
        levels = _palette(picture, values)
    elif values.ndim == 3:
        levels = _rgb(picture, values)
    else:
        levels = _gray(picture, values, window)
    return _overlaid(picture, np.ascontiguousarray(levels))


# --- grey (PS3.3 C.11.1, C.11.2) --------------------------------------------------------------------------------------


def _gray(picture: Picture, values: Array, window: Window | None) -> Array:
    modality = _modality(picture)
    voi = _voi(picture, window) or _stretch(modality(_unpadded(picture, values)))

    def display(stored: Array) -> Array:
        levels: Array = np.rint(voi(modality(stored)).clip(0, 1) * 255).astype(np.uint8)
        return ~levels if picture.photometric == "MONOCHROME1" else levels

    if values.dtype.itemsize > 2 or values.dtype.kind == "f" or values.size < 1 << 16:
        return display(values)
    low, high = int(values.min()), int(values.max())
    table = display(np.arange(low, high + 1))
    unsigned = values.view(f"u{values.dtype.itemsize}")  # of which the difference is right, also below zero
    return np.asarray(np.take(table, unsigned - unsigned.dtype.type(low & ((1 << 8 * values.dtype.itemsize) - 1))))


def _modality(picture: Picture) -> Map:
    """Stored values to values of the modality (PS3.3 C.11.1)."""
    table = _lut(picture.attributes.get("00283000"))
    if table is not None:
        return lambda stored: np.asarray(table.values[table.places(stored)], np.float64)
    slope, intercept = picture.numbers("00281053")[:1] or [1.0], picture.numbers("00281052")[:1] or [0.0]
    return lambda stored: stored.astype(np.float64) * slope[0] + intercept[0]


def _voi(picture: Picture, window: Window | None) -> Map | None:
    """Values of the modality to 0..1 (PS3.3 C.11.2); None when nothing says how."""
    if window is None:
        table = _lut(picture.attributes.get("00283010"))
        if table is not None:
            return lambda values: table.values[table.places(values)] / float((1 << table.bits) - 1)
        centers, widths = picture.numbers("00281050"), picture.numbers("00281051")
        if not centers or not widths or widths[0] <= 0:
            return None
        function = picture.text("00281056").upper() or "LINEAR"
        window = (centers[0], widths[0], function if function in FUNCTIONS else "LINEAR")
    center, width, function = window
    if function == "SIGMOID":
        return lambda values: 1 / (1 + np.exp((-4 * (values - center) / width).clip(-700, 700)))
    if function == "LINEAR_EXACT":
        return lambda values: (values - center) / width + 0.5
    return lambda values: (values - (center - 0.5)) / max(width - 1, 1e-9) + 0.5


def _unpadded(picture: Picture, values: Array) -> Array:
    """The values that are not padding (PS3.3 C.7.5.1.1.2)."""
    if "00280120" not in picture.attributes:
        return values
    padding = picture.number("00280120")
    real = values[values != padding]
    return real if real.size else values


def _stretch(values: Array) -> Map:
    low, high = float(values.min()), float(values.max())
    return lambda shown: (shown - low) / ((high - low) or 1.0)


@dataclass(frozen=True, slots=True)
class _Lut:
    first: int
    bits: int
    values: Array

    def places(self, stored: Array) -> Array:
        return (np.asarray(stored) - self.first).clip(0, len(self.values) - 1).astype(np.int64)


def _lut(element: dict[str, Any] | None) -> _Lut | None:
    """The first item of a Modality or VOI LUT Sequence."""
    items = (element or {}).get("Value") or []
    if not items:
        return None
    item = Picture("", b"", items[0] or {})
    described = item.numbers("00283002")
    if len(described) != 3:
        return None
    count, first, bits = (int(number) for number in described)
    return _Lut(first, bits, _table(item, "00283006", count))


def _table(item: Picture, tag: str, count: int) -> Array:
    """Entries of a lookup table: numbers, words, or bytes when there are no more of them than entries."""
    element = item.attributes.get(tag, {})
    raw = element.get("bytes")
    if raw is None:
        return np.asarray(element.get("Value") or [0], np.int64) & 0xFFFF
    wide = len(raw) >= 2 * (count or 65536)
    return np.frombuffer(raw[: len(raw) // 2 * 2], "<u2" if wide else "u1").astype(np.int64)


# --- colour (PS3.3 C.7.6.3.1.2, C.7.9) --------------------------------------------------------------------------------


def _rgb(picture: Picture, values: Array) -> Array:
    if values.dtype != np.uint8:
        values = (values.astype(np.int64) >> max(0, picture.stored - 8)).clip(0, 255).astype(np.uint8)
    jpeg = picture.syntax in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
    if picture.photometric in ("YBR_FULL", "YBR_FULL_422") and not jpeg:
        return _from_ybr(values)
    return values[..., :3]


def _from_ybr(values: Array) -> Array:
    y, blue, red = (values[..., plane].astype(np.float32) for plane in range(3))
    blue, red = blue - 128, red - 128
    rgb = np.stack((y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue), axis=-1)
    return np.asarray(np.rint(rgb).clip(0, 255), np.uint8)


def _palette(picture: Picture, values: Array) -> Array:
    """Indices through the red, green and blue palette, segmented ones too."""
    planes = []
    for end in "123":
        count, first, bits = (int(number) for number in picture.numbers(f"0028110{end}"))
        if f"0028122{end}" in picture.attributes:
            words = _table(picture, f"0028122{end}", 0 if bits <= 8 else 1)
            table = _segments(words, count or 65536)
        else:
            table = _table(picture, f"0028120{end}", count)
        if bits > 8 and int(table.max()) > 255:
            table = table >> 8
        planes.append(table[(values.astype(np.int64) - first).clip(0, len(table) - 1)])
    return np.stack(planes, axis=-1).astype(np.uint8)


def _segments(words: Array, count: int) -> Array:
    """A segmented palette written out (PS3.3 C.7.9.2)."""
    out: list[int] = []
    starts: list[int] = []
    at, stop, back = 0, len(words), 0
    repeat = 0
    while at + 1 < stop and len(out) < count:
        operation, length = int(words[at]), int(words[at + 1])
        if operation != 2 and not repeat:
            starts.append(at)
        if operation == 0:
            out.extend(int(word) for word in words[at + 2 : at + 2 + length])
            at += 2 + length
        elif operation == 1 and out:
            out.extend(np.rint(np.linspace(out[-1], int(words[at + 2]), length + 1))[1:].astype(int).tolist())
            at += 3
        elif operation == 2 and not repeat:
            back, repeat = at + 4, length
            at = int(words[at + 2]) | int(words[at + 3]) << 16
            continue
        else:
            raise ValueError(f"segment operation {operation} in a palette")
        if repeat:
            repeat -= 1
            if not repeat:
                at = back
    return np.asarray(out[:count], np.int64)


# --- overlays (PS3.3 C.9.2) -------------------------------------------------------------------------------------------


def _overlaid(picture: Picture, levels: Array) -> Array:
    """Graphic overlay planes in white."""
    for group in range(0x6000, 0x6020, 2):
        element = picture.attributes.get(f"{group:04X}3000", {})
        rows, columns = picture.number(f"{group:04X}0010"), picture.number(f"{group:04X}0011")
        if "bytes" not in element or rows * columns == 0 or picture.text(f"{group:04X}0040") != "G":
            continue
        bits = np.unpackbits(np.frombuffer(element["bytes"], np.uint8), bitorder="little")
        if len(bits) < rows * columns:
            continue
        plane = bits[: rows * columns].reshape(rows, columns).astype(bool)
        origin = [int(part) - 1 for part in picture.numbers(f"{group:04X}0050")] or [0, 0]
        levels = levels if levels.flags.writeable else levels.copy()
        _paint(levels, plane, origin[0], origin[-1])
    return levels


def _paint(levels: Array, plane: Array, top: int, left: int) -> None:
    """Set the pixels under the plane to white; what lies outside of the image is cut off."""
    plane = plane[max(0, -top) :, max(0, -left) :]
    target = levels[max(0, top) :, max(0, left) :]
    height, width = min(plane.shape[0], target.shape[0]), min(plane.shape[1], target.shape[1])
    target[:height, :width][plane[:height, :width]] = 255

"""Rendered frames: pixel data to a consumer image (PS3.18 8.7.4, PS3.4 N: modality LUT, VOI LUT, presentation).

Decoders are where archives are broken into. So pixels are decoded in a process of their own, with limits of memory and
time; what it fails on is refused, and the hub goes on.
"""

from __future__ import annotations

import io
import multiprocessing
import resource
import threading
from concurrent.futures import ProcessPoolExecutor, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array

from hub.errors import HubError

MEMORY = 2 << 30
SECONDS = 20.0
MAX_PIXELS = 100_000_000
MAX_VIEWPORT = 8192
FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG"}
_OTHER = "the pixel data of this instance cannot be rendered"


@dataclass(frozen=True, slots=True)
class View:
    """What to show: the frame (from 1), VOI window (center, width) or None for the image's own, viewport in pixels or
    None, media type, JPEG quality."""

    frame: int = 1
    window: tuple[float, float] | None = None
    viewport: tuple[int, int] | None = None
    media: str = "image/jpeg"
    quality: int = 90


def view(frame: int, media: str, parameters: Any) -> View:
    """The view that the query parameters of a request ask for (PS3.18 8.3.5). HubError("parameter-value")."""
    window = viewport = None
    try:
        if "window" in parameters:
            center, width, *_ = parameters["window"].split(",")
            window = (float(center), float(width))
            if not (width and window[1] >= 1):
                raise ValueError
        if "viewport" in parameters:
            columns, rows, *_ = (int(part) for part in parameters["viewport"].split(",")[:2])
            viewport = (columns, rows)
            if not (0 < columns <= MAX_VIEWPORT and 0 < rows <= MAX_VIEWPORT):
                raise ValueError
        quality = int(parameters.get("quality", "90"))
        if not 1 <= quality <= 100:
            raise ValueError
    except ValueError:
        raise HubError("parameter-value", "window is center,width; viewport columns,rows; quality 1 to 100") from None
    return View(frame, window, viewport, media, quality)


class Renderer:
    """The decoding process; started at the first use, and again when it died."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()

    def render(self, file: bytes, wanted: View) -> bytes:
        """The image's bytes. HubError("not-acceptable") for pixels that cannot be decoded, "too-costly" for a bomb."""
        with self._lock:
            if self._pool is None:
                spawn = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=_limit)
            pool = self._pool
        try:
            outcome = pool.submit(_render, file, wanted).result(SECONDS)
        except (BrokenProcessPool, TimeoutError):
            self._drop(pool)
            raise HubError("too-costly", f"{_OTHER} within the limits of memory and time") from None
        if isinstance(outcome, str):
            raise HubError("not-acceptable", f"{_OTHER}: {outcome}")
        return outcome

    def _drop(self, pool: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._pool is pool:
                self._pool = None
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.shutdown()


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _render(file: bytes, wanted: View) -> bytes | str:
    """In the process: the image, or why there is none."""
    try:
        return draw(file, wanted)
    except Exception as error:  # noqa: BLE001 - whatever a decoder raises on hostile pixels is a refusal with its reason
        return f"{type(error).__name__}: {error}"[:200]


def draw(file: bytes, wanted: View) -> bytes:
    """Decode one frame, apply the grayscale or colour pipeline, encode."""
    header = pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True)
    size = int(header.get("Rows", 0)) * int(header.get("Columns", 0)) * int(header.get("SamplesPerPixel", 1))
    if not 0 < size <= MAX_PIXELS:
        raise ValueError(f"a frame of {size} samples")
    pixels = pixel_array(io.BytesIO(file), index=wanted.frame - 1)
    image = _color(header, pixels) if _is_color(header) else _gray(header, pixels, wanted.window)
    if wanted.viewport:
        image.thumbnail(wanted.viewport, Image.Resampling.BILINEAR)
    out = io.BytesIO()
    options: dict[str, Any] = {"quality": wanted.quality} if wanted.media == "image/jpeg" else {"compress_level": 1}
    image.save(out, FORMATS[wanted.media], **options)
    return out.getvalue()


def _is_color(header: pydicom.Dataset) -> bool:
    return int(header.get("SamplesPerPixel", 1)) > 1 or header.PhotometricInterpretation == "PALETTE COLOR"


def _color(header: pydicom.Dataset, pixels: np.ndarray) -> Image.Image:
    if header.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, header)
    if pixels.dtype != np.uint8:
        stored = int(header.get("BitsStored", 16)) if header.PhotometricInterpretation != "PALETTE COLOR" else 16
        pixels = (pixels.astype(np.uint32) >> max(0, stored - 8)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels[..., :3]))


def _gray(header: pydicom.Dataset, pixels: np.ndarray, window: tuple[float, float] | None) -> Image.Image:
    """Modality LUT, then the VOI window or LUT, then 8 bits (PS3.3 C.11.1, C.11.2)."""
    values = apply_modality_lut(pixels, header)
    inverse = header.PhotometricInterpretation == "MONOCHROME1"
    if window is None and ("WindowWidth" in header or "VOILUTSequence" in header):
        values = np.asarray(apply_voi_lut(values, header), dtype=np.float64)
    elif window is not None:
        center, width = window  # PS3.3 C.11.2.1.2.1, linear
        scaled = (values.astype(np.float64) - (center - 0.5)) / max(width - 1, 1e-9) + 0.5
        return _eight_bits(scaled.clip(0, 1), inverse)
    low, high = float(values.min()), float(values.max())
    return _eight_bits((values.astype(np.float64) - low) / ((high - low) or 1.0), inverse)


def _eight_bits(unit: np.ndarray, inverse: bool) -> Image.Image:
    levels = np.rint(unit * 255).astype(np.uint8)
    return Image.fromarray(255 - levels if inverse else levels)

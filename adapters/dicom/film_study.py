"""A study as the film page's viewer needs it: headings, series, and for each image how its values are to be shown."""

from __future__ import annotations

import csv
from functools import lru_cache
from importlib.resources import files
from typing import Any

from adapters.dicom import conversions, frames, report
from adapters.dicom.dataset import Attributes, text
from adapters.dicom.pixels import Picture
from hub.services.imaging_index import Row

MAX_FRAMES = 2000
"""Frames of one instance that the viewer lists."""


@lru_cache(maxsize=1)
def presets() -> list[dict[str, Any]]:
    """Windows people ask for by name: modality, key of the name, center, width."""
    lines = files("adapters.dicom").joinpath("presets.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return [row | {"center": float(row["center"]), "width": float(row["width"])} for row in rows]


def heading(study: Row) -> dict[str, str]:
    """Who and what, as the page's head says it: the Patient ID with its middle hidden."""
    attributes = study["attributes"]
    names = conversions.human_names(attributes, "00100010")
    number, day = text(attributes, "00100020").strip(), text(attributes, "00080020")
    return {
        "name": names[0]["text"] if names else "",
        "sex": text(attributes, "00100040").strip(),
        "age": text(attributes, "00101010").lstrip("0"),
        "id": number if len(number) < 6 else f"{number[:2]}{'*' * (len(number) - 4)}{number[-2:]}",
        "date": f"{day[:4]}-{day[4:6]}-{day[6:8]}" if len(day) == 8 else day,
        "description": text(attributes, "00081030"),
        "accession": text(attributes, "00080050"),
    }


def series(rows: list[Row], instances: list[Row]) -> list[dict[str, Any]]:
    """Series in order of their number, with their images in order of space, else of Instance Number."""
    found = []
    for row in sorted(rows, key=lambda row: (_integer(row["attributes"], "00200011"), row["uid"])):
        below = [one for one in instances if one["series"] == row["id"]]
        shown = [one for one in below if "pixel" in one]
        found.append(
            {
                "number": text(row["attributes"], "00200011"),
                "modality": text(row["attributes"], "00080060"),
                "description": text(row["attributes"], "0008103E"),
                "images": [image for one in _ordered(shown) for image in _images(one)],
                "documents": [one["id"] for one in below if report.is_pdf(one)],
            }
        )
    return [one for one in found if one["images"] or one["documents"]]


def _images(row: Row) -> list[dict[str, Any]]:
    count = max(1, min(_integer(row["attributes"], "00280008", 1), MAX_FRAMES))
    return [_image(row, number) for number in range(1, count + 1)]


def _image(row: Row, number: int) -> dict[str, Any]:
    """One frame; ``grey`` says that its stored values are enough for the viewer."""
    attributes = frames.attributes(row, number)
    picture = Picture(row["transferSyntax"], b"", attributes)
    centers, widths = picture.numbers("00281050"), picture.numbers("00281051")
    spacing = picture.numbers("00280030") or Picture("", b"", row["attributes"]).numbers("00181164")
    grey = picture.photometric.startswith("MONOCHROME") and picture.allocated in (8, 16)
    table = "00283000" in attributes or "00283010" in attributes
    return {
        "id": row["id"], "frame": number, "rows": picture.number("00280010"), "columns": picture.number("00280011"),
        "grey": grey and not table and len(picture.shape) == 2,
        "bytes": 1 if picture.allocated == 8 else 2, "signed": picture.signed,
        "inverse": picture.photometric == "MONOCHROME1",
        "slope": (picture.numbers("00281053") or [1.0])[0], "intercept": (picture.numbers("00281052") or [0.0])[0],
        "center": centers[0] if centers and widths else None, "width": widths[0] if centers and widths else None,
        "spacing": spacing[:2] if len(spacing) >= 2 and min(spacing[:2]) > 0 else None,
        "projected": "00280030" not in attributes,
    }  # fmt: skip


def _ordered(rows: list[Row]) -> list[Row]:
    """By position along the normal of the first image when all are parallel, else by Instance Number."""
    by_number = sorted(rows, key=lambda row: (_integer(row["attributes"], "00200013"), row["uid"]))
    planes = [Picture("", b"", row["attributes"]) for row in by_number]
    directions = {tuple(round(part, 3) for part in plane.numbers("00200037")) for plane in planes}
    positions = [plane.numbers("00200032") for plane in planes]
    if len(directions) != 1 or len(next(iter(directions))) != 6 or any(len(position) != 3 for position in positions):
        return by_number
    a, b, c, d, e, f = planes[0].numbers("00200037")
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    along = [sum(x * y for x, y in zip(position, normal, strict=True)) for position in positions]
    if len(set(along)) != len(along):
        return by_number
    falling = along[0] > along[-1]
    return [row for _, row in sorted(zip(along, by_number, strict=True), key=lambda pair: pair[0], reverse=falling)]


def _integer(attributes: Attributes, tag: str, default: int = 1 << 31) -> int:
    value = text(attributes, tag)
    return int(value) if value.lstrip("-").isdecimal() else default

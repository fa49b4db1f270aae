"""Reads the section files of ``terminology/data`` (of ``scripts/build_terminology.py``), each when first needed."""

from __future__ import annotations

from functools import cache, cached_property
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec
import zstandard

NAMES = (
    "tho-code-systems", "v2-tables", "r4-code-systems", "tho-changed", "tho-value-sets", "r4-value-sets",
    "r4-concept-maps", "dicom-value-sets", "naming-systems", "iso-codes", "languages", "divisions", "ucum", "pinyin",
)  # fmt: skip


class Entry(NamedTuple):
    """Where a record is, and what it is called. ``oid`` (``urn:oid:...``) and ``implicit`` (a value set) may be ""."""

    section: str
    number: int
    type: str
    url: str
    version: str
    oid: str = ""
    implicit: str = ""


class Section:
    """One file: ``source`` and ``licence`` of its header, ``entries``, and ``record(number)``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._file = files("terminology").joinpath("data", f"{name}.zst")
        reader = zstandard.ZstdDecompressor().decompressobj()
        header = msgspec.json.decode(reader.decompress(self._file.read_bytes()))
        self.source: str = header["source"]
        self.licence: str = header["licence"]
        self.entries = [Entry(name, number, *row) for number, row in enumerate(header["entries"])]

    @cached_property
    def _lines(self) -> list[bytes]:
        header = zstandard.ZstdDecompressor().decompressobj()
        header.decompress(self._file.read_bytes())
        return zstandard.ZstdDecompressor().decompressobj().decompress(header.unused_data).split(b"\n")

    def record(self, number: int) -> dict[str, Any]:
        """The record of that number, decoded anew."""
        record: dict[str, Any] = msgspec.json.decode(self._lines[number])
        return record


@cache
def section(name: str) -> Section:
    """The section of that name."""
    return Section(name)


def table(name: str) -> dict[str, Any]:
    """The only record of a section that holds one table."""
    return section(name).record(0)

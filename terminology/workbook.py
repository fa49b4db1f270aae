"""Reads the first sheet of an Office Open XML workbook (ECMA-376 part 1, 18.3) as rows of texts, streaming."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO, Protocol
from xml.etree import ElementTree

from terminology.errors import TerminologyError

MAX_COLUMNS = 200
MAX_TEXTS = 5_000_000

_SPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


class Archive(Protocol):
    """The files of a workbook."""

    names: list[str]

    def open(self, name: str) -> IO[bytes]: ...


def cells(archive: Archive) -> Iterator[tuple[int, list[str]]]:
    """Row number and the texts of its cells. TerminologyError("invalid") if it is no workbook."""
    sheets = [name for name in archive.names if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", name)]
    if not sheets:
        raise TerminologyError("invalid", "the workbook has no sheet")
    try:
        shared = _shared(archive)
        with archive.open(min(sheets, key=lambda n: (len(n), n))) as file:
            for _, node in ElementTree.iterparse(file):
                if node.tag == f"{_SPACE}row":
                    yield int(node.get("r", "0")), _row(node, shared)
                    node.clear()
    except (ElementTree.ParseError, ValueError, IndexError) as error:
        raise TerminologyError("invalid", f"the workbook cannot be read: {error}") from None


def _shared(archive: Archive) -> list[str]:
    """The shared strings."""
    if "xl/sharedStrings.xml" not in archive.names:
        return []
    texts: list[str] = []
    with archive.open("xl/sharedStrings.xml") as file:
        for _, node in ElementTree.iterparse(file):
            if node.tag == f"{_SPACE}si":
                texts.append("".join(t.text or "" for t in node.iter(f"{_SPACE}t")))
                node.clear()
                if len(texts) > MAX_TEXTS:
                    raise ValueError("too many texts")
    return texts


def _row(node: ElementTree.Element, shared: list[str]) -> list[str]:
    row: list[str] = []
    for cell in node.iter(f"{_SPACE}c"):
        place = _column(cell.get("r", "")) if cell.get("r") else len(row)
        if place >= MAX_COLUMNS:
            break
        row += [""] * (place + 1 - len(row))
        if cell.get("t") == "inlineStr":
            row[place] = "".join(t.text or "" for t in cell.iter(f"{_SPACE}t"))
        else:
            value = cell.findtext(f"{_SPACE}v", "")
            row[place] = shared[int(value)] if cell.get("t") == "s" and value else value
    return row


def _column(reference: str) -> int:
    """``AB12`` -> 27."""
    number = 0
    for letter in reference.rstrip("0123456789"):
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1

"""Chinese names in comparable form: simplified characters, readings without tones.

The tables ``pinyin.csv`` and ``variants.csv`` are built by ``scripts/build_hanzi.py``; one reading a character is
enough, because both sides of a comparison get the same one.
"""

from __future__ import annotations

import csv
from functools import cache, lru_cache
from importlib.resources import files

from hub.mpi.compare import name_form


def _rows(name: str) -> list[dict[str, str]]:
    text = files("hub.mpi").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


@cache
def _simplified() -> dict[int, str]:
    return {ord(old): new for row in _rows("variants.csv") for old, new in zip(row["from"], row["to"], strict=True)}


@cache
def _readings() -> tuple[dict[str, str], dict[str, str]]:
    """Readings of any character, and those of the first character of a name."""
    anywhere: dict[str, str] = {}
    first: dict[str, str] = {}
    for row in _rows("pinyin.csv"):
        prefix, _, syllable = row["syllable"].rpartition(":")
        for character in row["characters"]:
            (first if prefix else anywhere)[character] = syllable
    return anywhere, first


@cache
def common() -> str:
    """The characters that have a reading, in the order of the table."""
    return "".join(_readings()[0])


@lru_cache(maxsize=65_536)
def simplified(text: str) -> str:
    """The normal form of a name with simplified characters."""
    return name_form(text).translate(_simplified())


@lru_cache(maxsize=65_536)
def syllables(name: str) -> tuple[str, ...]:
    """The readings of a simplified name, one a character; Latin letters stay one word, what has no reading stays."""
    anywhere, first = _readings()
    if name.isascii():
        return (name,) if name else ()
    return tuple(
        (first.get(character) if not position else None) or anywhere.get(character, character)
        for position, character in enumerate(name)
        if character != "·"
    )

"""Pinyin of Chinese text, without tones: for search and similarity only."""

from __future__ import annotations

from functools import cache
from itertools import product

from terminology import sections

MAX_VARIANTS = 8


@cache
def _table(name: str) -> dict[int, str]:
    table: dict[str, str] = sections.table("pinyin")[name]
    return {ord(character): syllable for syllable, characters in table.items() for character in characters}


@cache
def _others() -> dict[str, tuple[str, ...]]:
    """Character -> all its readings, of those that have several."""
    first = _table("first")
    found: dict[str, tuple[str, ...]] = {}
    for syllable, characters in sections.table("pinyin")["other"].items():
        for character in characters:
            found[character] = (*found.get(character, (first[ord(character)],)), syllable)
    return found


def syllables(text: str) -> list[str]:
    """One item a character: its first reading, or the character itself if it is not Chinese."""
    known = _table("first")
    return [known.get(ord(character), character) for character in text]


def spell(text: str) -> str:
    """``高血压`` -> ``gaoxueya``, by first readings."""
    return text.translate(_table("first"))


def variants(text: str) -> list[str]:
    """Every way to read the text, full and by initials: ``藏族`` -> ``cangzu cz zangzu zz``; at most MAX_VARIANTS."""
    others = _others()
    choices = [others.get(character) for character in text]
    if not any(choices):
        readings = [syllables(text)]
    else:
        first, left = _table("first"), MAX_VARIANTS
        offered: list[tuple[str, ...]] = []
        for character, several in zip(text, choices, strict=True):
            taken = several[: max(1, left)] if several else (first.get(ord(character), character),)
            left //= len(taken)
            offered.append(taken)
        readings = [list(reading) for reading in product(*offered)]
    return [spelled for reading in readings for spelled in ("".join(reading), "".join(s[0] for s in reading))]

"""Pinyin of Chinese text, without tones, first reading of each character: for search and similarity only."""

from __future__ import annotations

from functools import cache

from terminology import sections


@cache
def _syllables() -> dict[int, str]:
    table: dict[str, str] = sections.table("pinyin")["syllables"]
    return {ord(character): syllable for syllable, characters in table.items() for character in characters}


@cache
def _initials() -> dict[int, str]:
    return {point: syllable[0] for point, syllable in _syllables().items()}


def syllables(text: str) -> list[str]:
    """One item a character: its syllable, or the character itself if it is not Chinese."""
    known = _syllables()
    return [known.get(ord(character), character) for character in text]


def spell(text: str) -> str:
    """``高血压`` -> ``gaoxueya``."""
    return text.translate(_syllables())


def initials(text: str) -> str:
    """``高血压`` -> ``gxy``."""
    return text.translate(_initials())

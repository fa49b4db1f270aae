"""How alike two names of a thing are, and which standard codes a local one may mean."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from terminology import pinyin, ucum
from terminology.system import Concept, System

MAX_CANDIDATES = 2_000
MIN_PART = 4  # letters of a Latin name that is part of another to count as such
PART = 0.6
UNIT_PROPERTIES = ("unit", "EXAMPLE_UCUM_UNITS")
WRONG_UNIT = 0.5  # what is left of a score when the units cannot be converted into one another


@dataclass(frozen=True, slots=True)
class Proposal:
    """A standard code that a local one may mean. ``score`` is from 0 to 1; ``why`` names what agreed."""

    system: str
    code: str
    display: str
    score: float
    why: str


def normal(text: str) -> str:
    """Compatibility forms made one, lower case, letters and digits only."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).lower() if c.isalnum())


def dice(one: str, other: str) -> float:
    """The Dice coefficient of the pairs of neighbouring characters; texts of one character are equal or not."""
    if len(one) < 2 or len(other) < 2:
        return float(one == other and bool(one))
    left = [one[i : i + 2] for i in range(len(one) - 1)]
    right = [other[i : i + 2] for i in range(len(other) - 1)]
    rest = list(right)
    common = 0
    for pair in left:
        if pair in rest:
            rest.remove(pair)
            common += 1
    return 2 * common / (len(left) + len(right))


def likeness(one: str, other: str) -> tuple[float, str]:
    """From 0 to 1, by characters or by pinyin (which forgives homophones), whichever is more; and which it was."""
    left, right = normal(one), normal(other)
    if not left or not right:
        return 0.0, ""
    if left == right:
        return 1.0, "name"
    short, long = sorted((left, right), key=len)
    characters = dice(left, right)
    if short in long and (len(short) >= MIN_PART or not short.isascii()):
        characters = max(characters, PART + (1 - PART) * len(short) / len(long))  # 钾 in 血清钾
    if left.isascii() and right.isascii():
        return characters, "name"
    sound = 0.9 * dice(pinyin.spell(left), pinyin.spell(right))
    return (sound, "pinyin") if sound > characters else (characters, "name")


def commensurable(one: str, other: str) -> bool | None:
    """The units measure the same; None if either is no UCUM unit."""
    try:
        left, right = ucum.parse(one), ucum.parse(other)
    except ucum.UnitError:
        return None
    return left.dimension == right.dimension and left.special == right.special


def propose(
    system: System, code: str, display: str, unit: str = "", *, limit: int = 5, least: float = 0.3
) -> list[Proposal]:
    """The concepts of ``system`` most like a local code, best first, none below ``least``."""
    scored = (_scored(system, concept, code, display, unit) for concept in _candidates(system, display or code))
    good = [proposal for proposal in scored if proposal.score >= least]
    return sorted(good, key=lambda p: (-p.score, p.code))[:limit]


def _candidates(system: System, name: str) -> Iterable[Concept]:
    """All concepts, or of a large system those that share a part of the name, longest parts first."""
    found = system.search([name])
    if found is None:
        return system.concepts()
    parts = [name, *(name[i : i + size] for size in (4, 2) for i in range(len(name) - size + 1))]
    kept: dict[str, Concept] = {}
    for part in dict.fromkeys(part for part in parts if part.strip()):
        for concept in system.search([part]) or ():
            kept.setdefault(concept.code, concept)
            if len(kept) >= MAX_CANDIDATES:
                return kept.values()
    return kept.values()


def _scored(system: System, concept: Concept, code: str, display: str, unit: str) -> Proposal:
    score, why = max((likeness(display, name) for name in concept.displays()), default=(0.0, ""))
    if normal(code) and normal(code) == normal(concept.code) and score < 0.95:
        score, why = 0.95, "code"
    units = [commensurable(unit, known) for name in UNIT_PROPERTIES for known in concept.values(name)] if unit else []
    if False in units and True not in units:
        score, why = score * WRONG_UNIT, f"{why}, another kind of unit"
    elif True in units:
        score, why = min(1.0, score + 0.03), f"{why}, unit"
    return Proposal(system.url, concept.code, concept.display, round(score, 3), why)

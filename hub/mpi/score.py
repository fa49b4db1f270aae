"""Fellegi-Sunter: how much the fields of two registrations speak for one person, in bits, field by field.

A field reaches a level (equal, homophone, one digit wrong...); each level has a weight log2(m/u) from ``rules.toml``.
Guards say what no weight may decide: they look at the same levels and name themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

from hub.mpi.features import Features
from hub.mpi.weights import Weights

FIELDS = ("id", "card", "name", "born", "gender", "phone", "address")
MISSING = "missing"
WILD = frozenset("*?\ufffd□■")
HOUSEHOLD_SHARE = 0.25
STREET_PREFIX = 0.75
"""Share of the shorter address that both must begin with to be of one street."""


@dataclass(frozen=True, slots=True)
class Score:
    """The comparison of two registrations: the level of each field, its bits, their sum."""

    levels: dict[str, str]
    parts: dict[str, float]

    @property
    def bits(self) -> float:
        """The sum of all parts."""
        return sum(self.parts.values())

    def evidence(self) -> str:
        """In one line: ``27.3 name=equal born=near``."""
        said = " ".join(f"{field}={level}" for field, level in self.levels.items() if level != MISSING)
        return f"{self.bits:.1f} {said}"


def compare(one: Features, other: Features, weights: Weights) -> Score:
    """The score of two registrations."""
    levels = levels_of(one, other)
    parts = {field: weights.bits[field].get(level, 0.0) for field, level in levels.items()}
    if levels["id"] == "equal":
        for field in weights.inside:
            parts[field] = min(parts[field], 0.0)
    first, second = weights.household
    if parts[first] > 0 and parts[second] > 0:
        weaker = first if parts[first] < parts[second] else second
        parts[weaker] *= HOUSEHOLD_SHARE
    return Score(levels, parts)


def levels_of(one: Features, other: Features) -> dict[str, str]:
    """The level that each field reaches, ``missing`` where either side says nothing."""
    return {
        "id": _id(one, other),
        "card": _card(one, other),
        "name": _name(one, other),
        "born": _born(one.born, other.born),
        "gender": _same(one.gender, other.gender),
        "phone": _phone(one.phones, other.phones),
        "address": _address(one, other),
    }


def _same(one: str, other: str) -> str:
    if not one or not other:
        return MISSING
    return "equal" if one == other else "differs"


def _id(one: Features, other: Features) -> str:
    if one.ids and other.ids:
        return "equal" if one.ids & other.ids else "differs"
    pairs = [(a, b) for a in one.ids | one.wrong_ids for b in other.ids | other.wrong_ids]
    if not pairs:
        return MISSING
    return "near" if any(a == b or slip(a, b) for a, b in pairs) else "differs"


def _card(one: Features, other: Features) -> str:
    if not one.cards or not other.cards:
        return MISSING
    return "differs" if one.cards.isdisjoint(other.cards) else "equal"


def _name(one: Features, other: Features) -> str:
    if not one.named or not other.named:
        return MISSING
    if not set(one.names).isdisjoint(other.names):
        return "equal"
    mine, theirs = ({"".join(reading) for reading in side.readings} for side in (one, other))
    if mine & theirs or any(_wild(a, b) for a in one.names for b in other.names):
        return "homophone"
    if any(_one_character(a, b) for a in one.names for b in other.names):
        return "one-character"
    return "differs"


def _wild(one: str, other: str) -> bool:
    """Names that are equal where neither has a sign for a character that could not be written."""
    if len(one) != len(other) or not (WILD & set(one) or WILD & set(other)):
        return False
    return all(a == b or a in WILD or b in WILD for a, b in zip(one, other, strict=True))


def _one_character(one: str, other: str) -> bool:
    """Names of the same length, at least two characters, of which one differs."""
    if len(one) != len(other) or len(one) < 2 or one.isascii() != other.isascii():
        return False
    return sum(a != b for a, b in zip(one, other, strict=True)) == 1


def _born(one: str, other: str) -> str:
    if len(one) != 10 or len(other) != 10:
        return MISSING
    if one == other:
        return "equal"
    swapped = f"{one[:4]}-{one[8:]}-{one[5:7]}"
    return "near" if swapped == other or slip(one, other) else "differs"


def _phone(one: frozenset[str], other: frozenset[str]) -> str:
    if not one or not other:
        return MISSING
    if one & other:
        return "equal"
    return "near" if any(slip(a, b) for a in one for b in other) else "differs"


def _address(one: Features, other: Features) -> str:
    a, b = one.address, other.address
    if not a or not b:
        return MISSING
    if a == b or a.endswith(b) or b.endswith(a):
        return "equal"
    common = next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    if common >= STREET_PREFIX * min(len(a), len(b)):
        return "street"
    return "county" if one.county and one.county == other.county else "differs"


def slip(one: str, other: str) -> bool:
    """One keystroke apart: a character wrong, missing or too many, or two neighbours swapped."""
    if abs(len(one) - len(other)) > 1:
        return False
    start = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if start is None:
        return True
    if len(one) == len(other):
        rest = one[start + 1 :] == other[start + 1 :]
        swap = one[start : start + 2] == other[start : start + 2][::-1] and one[start + 2 :] == other[start + 2 :]
        return rest or swap
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    return longer[start + 1 :] == shorter[start:]


# --- guards -----------------------------------------------------------------------------------------------------------


def guard(one: Features, other: Features, score: Score) -> str:
    """Why the score alone must not link two registrations (a reason of ``hub.mpi.review``), "" when it may.

    Without a common document the name must be the same or sound the same (one character may differ when the number is
    one keystroke off, which valid numbers of twins never are): twins and siblings share all else. Newborns
    under a parent's data and people without a name are linked by documents only. Without a birth date, the telephone
    must agree, or the address where there is no telephone. One hospital that keeps two numbers may mean two people.
    """
    levels = score.levels
    if levels["id"] == "equal" or levels["card"] == "equal":
        return "shared-document" if levels["name"] == "differs" and levels["born"] == "differs" else ""
    if not one.named or not other.named:
        return "no-own-name"
    if levels["name"] not in ("equal", "homophone") and (levels["id"], levels["name"]) != ("near", "one-character"):
        return "other-name"
    if levels["born"] == "differs" or levels["gender"] == "differs":
        return "other-birth"
    if not one.sources.isdisjoint(other.sources):
        return "same-source"
    reached = levels["phone"] in ("equal", "near") or (levels["phone"] == MISSING and levels["address"] == "equal")
    return "possible-match" if levels["born"] == MISSING and not reached else ""

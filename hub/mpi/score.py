"""Fellegi-Sunter: how much the fields of two registrations speak for one person, in bits, field by field.

A field reaches a level (equal, homophone, one digit wrong...); each level has a weight log2(m/u) from ``rules.toml``.
Guards say what no weight may decide: they look at the same levels and name themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil
from typing import NamedTuple

from hub.mpi.features import Features
from hub.mpi.weights import Weights

MISSING = "missing"
WILD = frozenset("*?\ufffd□■")
HOUSEHOLD_SHARE = 0.25
STREET_PREFIX = 0.75
"""Share of the shorter address that both must begin with to be of one street."""


class Score(NamedTuple):
    """The comparison of two registrations: the level of each field, its bits, their sum."""

    levels: dict[str, str]
    parts: dict[str, float]
    bits: float

    def evidence(self) -> str:
        """In one line: ``27.3 name=equal born=near``."""
        said = " ".join(f"{field}={level}" for field, level in self.levels.items() if level != MISSING)
        return f"{self.bits:.1f} {said}"


def compare(one: Features, other: Features, weights: Weights) -> Score:
    """The score of two registrations."""
    levels = {field: FIELDS[field](one, other) for field in weights.bits}
    parts = {field: weights.bits[field].get(level, 0.0) for field, level in levels.items()}
    if levels.get("id") == "equal":
        for field in weights.inside:
            parts[field] = min(parts[field], 0.0)
    first, second = weights.household
    if first in parts and parts[first] > 0 and parts[second] > 0:
        weaker = first if parts[first] < parts[second] else second
        parts[weaker] *= HOUSEHOLD_SHARE
    return Score(levels, parts, sum(parts.values()))


def hopeless(one: Features, other: Features, weights: Weights) -> bool:
    """Whether the score cannot reach what is asked about: the first fields show it for most that share a key."""
    total = 0.0
    for field, rest in weights.rest:
        total += weights.bits[field].get(FIELDS[field](one, other), 0.0)
        if total + rest < weights.review:
            return True
    return False


def _same(one: str, other: str) -> str:
    if not one or not other:
        return MISSING
    return "equal" if one == other else "differs"


def _near(one: str, other: str) -> str:
    """Equal, one keystroke apart, the same beginning, or different."""
    if not one or not other:
        return MISSING
    if one == other:
        return "equal"
    if slip(one, other):
        return "near"
    return "alike" if alike(one, other) else "differs"


def _part(one: str, other: str, first: str, second: str) -> str:
    """A part of a name: as ``_near``, or swapped with the other part (``first``, ``second``)."""
    level = _near(one, other)
    return "swapped" if level == "differs" and one == second and other == first else level


def _id(one: Features, other: Features) -> str:
    if one.ids and other.ids:
        return "equal" if one.ids & other.ids else "differs"
    if not (one.wrong_ids or one.ids) or not (other.wrong_ids or other.ids):
        return MISSING
    pairs = ((a, b) for a in one.ids | one.wrong_ids for b in other.ids | other.wrong_ids)
    return "near" if any(a == b or slip(a, b) for a, b in pairs) else "differs"


def _card(one: Features, other: Features) -> str:
    """Documents are compared within their kind."""
    if not one.documents.isdisjoint(other.documents):
        return "equal"
    kinds = {kind for kind, _ in one.documents}
    return "differs" if any(kind in kinds for kind, _ in other.documents) else MISSING


def _number(one: Features, other: Features) -> str:
    pairs = [(a, b) for kind, a in one.numbers for other_kind, b in other.numbers if kind == other_kind]
    if not pairs:
        return MISSING
    if any(a == b for a, b in pairs):
        return "equal"
    return "near" if any(slip(a, b) for a, b in pairs) else "differs"


def _name(one: Features, other: Features) -> str:
    if not one.named or not other.named:
        return MISSING
    if one.names == other.names or not set(one.names).isdisjoint(other.names):
        return "equal"
    if not set(one.readings).isdisjoint(other.readings) or any(_wild(a, b) for a in one.names for b in other.names):
        return "homophone"
    if any(_one_character(a, b) for a in one.names for b in other.names):
        return "one-character"
    return "differs"


def _wild(one: str, other: str) -> bool:
    """Names that are equal where neither has a sign for a character that could not be written."""
    if len(one) != len(other) or (WILD.isdisjoint(one) and WILD.isdisjoint(other)):
        return False
    return all(a == b or a in WILD or b in WILD for a, b in zip(one, other, strict=True))


def _one_character(one: str, other: str) -> bool:
    """Names of the same length, at least two characters, of which one differs."""
    if len(one) != len(other) or len(one) < 2 or one.isascii() != other.isascii():
        return False
    return sum(a != b for a, b in zip(one, other, strict=True)) == 1


def _born(one: Features, other: Features) -> str:
    a, b = one.born, other.born
    if len(a) != 10 or len(b) != 10:
        return MISSING
    if a == b:
        return "equal"
    return "near" if f"{a[:4]}-{a[8:]}-{a[5:7]}" == b or slip(a, b) else "differs"


def _phone(one: Features, other: Features) -> str:
    if not one.phones or not other.phones:
        return MISSING
    if not one.phones.isdisjoint(other.phones):
        return "equal"
    return "near" if any(slip(a, b) for a in one.phones for b in other.phones) else "differs"


def _address(one: Features, other: Features) -> str:
    a, b = one.address, other.address
    if not a or not b:
        return MISSING
    if a == b or a.endswith(b) or b.endswith(a):
        return "equal"
    shorter = min(len(a), len(b))
    whole = max(1, ceil(STREET_PREFIX * shorter))
    if a[:whole] == b[:whole]:
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


def alike(one: str, other: str) -> bool:
    """Latin texts that are probably one with several slips: at least two thirds of their pairs of letters in common."""
    first, second = ({text[n : n + 2] for n in range(len(text) - 1)} for text in (one, other))
    return 3 * len(first & second) >= len(first) + len(second) > 2


FIELDS: dict[str, Callable[[Features, Features], str]] = {
    "id": _id,
    "card": _card,
    "number": _number,
    "name": _name,
    "family": lambda one, other: _part(one.family, other.family, one.given, other.given),
    "given": lambda one, other: _part(one.given, other.given, one.family, other.family),
    "born": _born,
    "gender": lambda one, other: _same(one.gender, other.gender),
    "phone": _phone,
    "address": _address,
    "house": lambda one, other: _near(one.house, other.house),
    "street": lambda one, other: _near(one.street, other.street),
    "locality": lambda one, other: _near(one.locality, other.locality),
    "place": lambda one, other: _near(one.place, other.place),
    "postcode": lambda one, other: _near(one.postcode, other.postcode),
    "state": lambda one, other: _near(one.state, other.state),
}
"""Field -> the level that two registrations reach in it, ``missing`` where either side says nothing."""


# --- guards -----------------------------------------------------------------------------------------------------------


def guard(one: Features, other: Features, score: Score, weights: Weights) -> str:
    """Why the score alone must not link two registrations (a reason of ``hub.mpi.review``), "" when it may.

    Without a common document the name must be the same or sound the same (one character may differ when the number is
    one keystroke off, which valid numbers of twins never are): twins and siblings share all else. Newborns
    under a parent's data and people without a name are linked by documents only. Without a birth date, the telephone
    must agree, or the address where there is no telephone. One hospital that keeps two numbers may mean two people.
    """
    return next((name for name in _objections(one, other, score.levels) if name in weights.guards), "")


def _objections(one: Features, other: Features, levels: dict[str, str]) -> Iterator[str]:
    id, name, born = (levels.get(field, MISSING) for field in ("id", "name", "born"))
    if id == "equal" or levels.get("card") == "equal":
        if name == "differs" and born == "differs":
            yield "shared-document"
        return
    if not one.named or not other.named:
        yield "no-own-name"
    if name not in ("equal", "homophone") and (id, name) != ("near", "one-character"):
        yield "other-name"
    if born == "differs" or levels.get("gender") == "differs":
        yield "other-birth"
    if not one.sources.isdisjoint(other.sources):
        yield "same-source"
    phone = levels.get("phone", MISSING)
    reached = phone in ("equal", "near") or (phone == MISSING and levels.get("address") == "equal")
    if born == MISSING and not reached:
        yield "possible-match"

"""What two registrations say about being one person: an edge of the identity graph. Pure, and the same from both sides.

The surest comes first: a human's decision, a document, the hospital's own merge, its own number, the score of the
fields. An edge with an objection (a reason of review) is a question, not a link.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hub.mpi import score
from hub.mpi.features import Features
from hub.mpi.rules import Kind, Rules

DECIDED, DOCUMENT, MERGED, NUMBERED = 10_000.0, 1000.0, 950.0, 900.0
"""Strength of what is surer than any score (which has less than 100 bits)."""
BY_HUMAN, BY_HOSPITAL = "decided by a human", "the same by the hospital"
SHOWN = frozenset({BY_HUMAN, BY_HOSPITAL, "founded"})
"""Evidence that is still to be seen where it was, as long as it holds."""
SCORE_ASSURANCE = "level2"
Commonness = Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Edge:
    """Two registrations (references), what connects them, how sure that is, and what objects."""

    one: str
    other: str
    said_by: str
    assurance: str
    strength: float
    objection: str = ""
    kind: Kind | None = None

    @property
    def pair(self) -> tuple[str, str]:
        """Both references in order."""
        return (self.one, self.other) if self.one < self.other else (self.other, self.one)

    @property
    def rank(self) -> tuple[float, tuple[str, str]]:
        """Sorts the strongest first, ties by reference: the same whatever the order of arrival."""
        return -self.strength, self.pair

    @property
    def joins(self) -> bool:
        """Whether it links."""
        return not self.objection


def decided(one: str, other: str) -> Edge:
    """A human said that they are one."""
    return Edge(one, other, BY_HUMAN, "level4", DECIDED)


def linked(one: str, other: str, said_by: str, assurance: str) -> Edge:
    """They were linked before, by evidence that may be gone from the registrations since."""
    return Edge(one, other, said_by, assurance, DOCUMENT * (assurance == "level4"))


def evidence(one: Features, other: Features, rules: Rules, commonness: Commonness) -> Edge | None:
    """The edge between two registrations, None when they say nothing about each other.

    ``commonness`` gives the bits that an equal name says less or more than the rules assume.
    """
    pair = one.reference, other.reference
    if one.reference in other.merged or other.reference in one.merged:
        return Edge(*pair, BY_HOSPITAL, rules.local_assurance, MERGED)
    if any(number in other.local for number in one.local):
        return Edge(*pair, "patient-number", rules.local_assurance, NUMBERED)
    kind = _common_document(one, other, rules)
    if kind is None and score.hopeless(one, other, rules.score):
        return None
    result = scored(one, other, rules, commonness)
    objection = score.guard(one, other, result, rules.score)
    if kind is not None:
        strength = DOCUMENT + 100 * int(kind.assurance[-1]) + min(result.bits, 99)
        return _unless_two_numbers(one, other, Edge(*pair, kind.name, kind.assurance, strength, objection, kind))
    if result.bits < rules.score.review:
        return None
    if result.bits < rules.score.link:
        if objection not in ("", "possible-match"):
            return None
        objection = "possible-match"
    said = f"score {result.evidence()} rules {rules.version}"
    edge = Edge(*pair, said, SCORE_ASSURANCE, result.bits, objection)
    if objection and two_numbers(one, other):
        return None
    return _unless_two_numbers(one, other, edge)


def scored(one: Features, other: Features, rules: Rules, commonness: Commonness) -> score.Score:
    """The score, with what the commonness of an equal name takes from it or adds."""
    result = score.compare(one, other, rules.score)
    if result.levels.get("name") != "equal" or result.bits < rules.score.review:
        return result
    more = max(map(commonness, set(one.names).intersection(other.names)))
    parts = {**result.parts, "name": result.parts["name"] + more}
    return score.Score(result.levels, parts, result.bits + more)


def two_numbers(one: Features, other: Features) -> bool:
    """Both have valid numbers of a kind of which a person has one only, and not the same: never one person."""
    return bool(one.ids and other.ids) and one.ids != other.ids


def _unless_two_numbers(one: Features, other: Features, edge: Edge) -> Edge:
    return replace(edge, objection="two-documents") if two_numbers(one, other) else edge


def _common_document(one: Features, other: Features, rules: Rules) -> Kind | None:
    """The kind of the surest document that both show."""
    if one.documents.isdisjoint(other.documents) and one.ids.isdisjoint(other.ids):
        return None
    names = {kind for kind, _ in one.documents & other.documents}
    kinds = [kind for kind in rules.kinds if kind.name in names]
    if one.ids & other.ids:
        kinds.append(rules.single)
    return max(kinds, key=lambda kind: kind.assurance, default=None)

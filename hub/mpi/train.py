"""Training of the score: m and u of every level from the registrations themselves, by expectation maximisation.

u comes from pairs taken at random, which are almost never one person. m comes from pairs that share a blocking key: the
EM algorithm (Dempster, Laird and Rubin 1977) tells the two kinds of pair apart without knowing the truth, with a u of
its own for these pairs, which agree more than random ones. Numbers and cards, which random pairs
never share, keep the u of the rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations

from hub.mpi import keys
from hub.mpi.blocks import MAX_BLOCK
from hub.mpi.features import Features
from hub.mpi.rules import Rules
from hub.mpi.score import FIELDS, MISSING

Pattern = tuple[str, ...]
Table = dict[str, dict[str, float]]
ROUNDS = 40
RANDOM_PAIRS = 100_000
FIXED_U = ("id", "card", "number")
"""Fields whose chance agreement is too rare to be seen in a sample."""
FLOOR = 1e-6
LEAST_M = 0.001
"""No level of one person is impossible: a training set has not seen every mistake."""
START = 0.5


def train(
    people: Sequence[Features], rules: Rules, pick: Callable[[int], int]
) -> dict[str, dict[str, dict[str, float]]]:
    """m and u by field and level, in the shape of ``[score.levels]``. ``pick(n)`` gives a random number below n.

    Fewer than 100 registrations teach nothing: the rules are returned as they are.
    """
    known = {field: dict(levels) for field, levels in rules.score.shares.items()}
    if len(people) < 100:
        return {field: {level: {"m": m, "u": u} for level, (m, u) in levels.items()} for field, levels in known.items()}
    fields = tuple(known)
    chance = _shares(_random_patterns(people, fields, pick), known)
    start = {field: {level: m for level, (m, _) in known[field].items()} for field in known}
    matches = _maximise(_blocked_patterns(people, fields, rules), start)
    return {
        field: {
            level: {
                "m": round(max(matches[field][level], LEAST_M), 4),
                "u": known[field][level][1] if field in FIXED_U else round(max(chance[field][level], FLOOR), 7),
            }
            for level in known[field]
        }
        for field in known
    }


def _random_patterns(
    people: Sequence[Features], fields: tuple[str, ...], pick: Callable[[int], int]
) -> Counter[Pattern]:
    patterns: Counter[Pattern] = Counter()
    for _ in range(RANDOM_PAIRS):
        one, other = people[pick(len(people))], people[pick(len(people))]
        if one is not other:
            patterns[_pattern(one, other, fields)] += 1
    return patterns


def _blocked_patterns(people: Sequence[Features], fields: tuple[str, ...], rules: Rules) -> Counter[Pattern]:
    blocks: dict[int, list[int]] = {}
    for place, one in enumerate(people):
        for key in keys.blocks(one, rules):
            blocks.setdefault(key, []).append(place)
    pairs = {pair for members in blocks.values() if len(members) < MAX_BLOCK for pair in combinations(members, 2)}
    return Counter(_pattern(people[one], people[other], fields) for one, other in pairs)


def _pattern(one: Features, other: Features, fields: tuple[str, ...]) -> Pattern:
    return tuple(FIELDS[field](one, other) for field in fields)


def _shares(patterns: Counter[Pattern], known: dict[str, dict[str, tuple[float, float]]]) -> Table:
    """How often each level is reached among the pairs in which the field is not missing."""
    table: Table = {}
    for place, field in enumerate(known):
        counts: Counter[str] = Counter()
        for pattern, count in patterns.items():
            counts[pattern[place]] += count
        total = sum(count for level, count in counts.items() if level != MISSING)
        table[field] = {level: counts[level] / total if total else u for level, (_, u) in known[field].items()}
    return table


def _maximise(patterns: Counter[Pattern], start: Table) -> Table:
    """m of every level: alternate between the chance that a pattern is a match and the shares that follow."""
    m = start
    u = {field: {level: 1 / len(levels) for level in levels} for field, levels in start.items()}
    prior = START
    for _ in range(ROUNDS):
        weights = {pattern: _match_chance(pattern, prior, m, u) for pattern in patterns}
        matched = sum(count * weights[pattern] for pattern, count in patterns.items())
        prior = matched / patterns.total()
        m = _expected(patterns, weights, start)
        u = _expected(patterns, {pattern: 1 - weight for pattern, weight in weights.items()}, start)
    return m


def _match_chance(pattern: Pattern, prior: float, m: Table, u: Table) -> float:
    match, other = prior, 1 - prior
    for field, level in zip(m, pattern, strict=True):
        if level != MISSING:
            match *= max(m[field][level], FLOOR)
            other *= max(u[field][level], FLOOR)
    return match / (match + other)


def _expected(patterns: Counter[Pattern], weights: dict[Pattern, float], start: Table) -> Table:
    table: Table = {}
    for place, field in enumerate(start):
        sums = dict.fromkeys(start[field], 0.0)
        for pattern, count in patterns.items():
            if pattern[place] != MISSING:
                sums[pattern[place]] += count * weights[pattern]
        total = sum(sums.values())
        table[field] = {level: part / total if total else start[field][level] for level, part in sums.items()}
    return table

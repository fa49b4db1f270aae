"""The weights of the probabilistic rule, as ``rules.toml`` states them: m and u of every level."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Any


@dataclass(frozen=True, slots=True)
class Weights:
    """``[score]`` of the rules: thresholds in bits, prior included; m and u and bits of every level."""

    link: float
    review: float
    guards: frozenset[str]
    inside: frozenset[str]
    household: tuple[str, str]
    shares: dict[str, dict[str, tuple[float, float]]]
    bits: dict[str, dict[str, float]]
    rest: tuple[tuple[str, float], ...]
    """Each field, and the most that those after it can add."""

    @classmethod
    def of(cls, table: dict[str, Any]) -> Weights:
        """From the table of the rule file."""
        shares = {
            field: {level: (row["m"], row["u"]) for level, row in levels.items()}
            for field, levels in table["levels"].items()
        }
        bits = {field: {level: log2(m / u) for level, (m, u) in levels.items()} for field, levels in shares.items()}
        first, second = table["household"]
        prior = log2(table["residents"])
        limits = (prior + table["link"], prior + table["review"])
        guards, inside = frozenset(table["guards"]), frozenset(table["inside"])
        most = {field: max(0.0, *levels.values()) for field, levels in bits.items()}
        rest = tuple((field, sum(list(most.values())[place + 1 :])) for place, field in enumerate(most))
        return cls(*limits, guards, inside, (first, second), shares, bits, rest)

    def common_name(self, bearers: int, registrations: int) -> float:
        """What an equal name says less (negative bits) because it is more common than the rules assume, or more.

        The share of its bearers among the registrations, seen together with PRIOR registrations as the rules assume.
        """
        assumed = self.shares["name"]["equal"][1]
        seen = (bearers + PRIOR * assumed) / (registrations + PRIOR)
        return log2(assumed / seen)


PRIOR = 10_000

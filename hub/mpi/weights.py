"""The weights of the probabilistic rule, as ``rules.toml`` states them: m and u of every level."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Any


@dataclass(frozen=True, slots=True)
class Weights:
    """``[score]`` of the rules: thresholds in bits, prior included; the bits of every level; special fields."""

    link: float
    review: float
    inside: frozenset[str]
    household: tuple[str, str]
    bits: dict[str, dict[str, float]]

    @classmethod
    def of(cls, table: dict[str, Any]) -> Weights:
        """From the table of the rule file."""
        bits = {
            field: {level: log2(row["m"] / row["u"]) for level, row in levels.items()}
            for field, levels in table["levels"].items()
        }
        first, second = table["household"]
        prior = log2(table["residents"])
        return cls(prior + table["link"], prior + table["review"], frozenset(table["inside"]), (first, second), bits)

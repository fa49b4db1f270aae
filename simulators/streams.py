"""Named random streams: the same seed and names give the same numbers on every machine and in every Python.

A stream is derived by SHA-256 from the seed and its names, so adding a hospital or a resident does not move the numbers
of the others. Only ``random.Random.random`` is used below it: the one method whose sequence Python promises to keep.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def digest(seed: int, *names: object) -> bytes:
    """SHA-256 of the seed and the names, each ended by a separator that no name contains."""
    return hashlib.sha256("\x1f".join((str(seed), *map(str, names))).encode("utf-8")).digest()


class Stream:
    """An independent sequence of draws."""

    def __init__(self, seed: int, *names: object) -> None:
        self._random = random.Random(int.from_bytes(digest(seed, *names), "big")).random

    def unit(self) -> float:
        """A number in [0, 1)."""
        return self._random()

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random() < probability

    def below(self, limit: int) -> int:
        """A whole number in [0, limit)."""
        return int(self._random() * limit)

    def between(self, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return low + self.below(high - low + 1)

    def pick(self, values: Sequence[T]) -> T:
        """One of the values, each as likely."""
        return values[self.below(len(values))]

    def weighted(self, values: Sequence[T], weights: Sequence[float]) -> T:
        """One of the values, as likely as its weight."""
        point = self._random() * sum(weights)
        for value, weight in zip(values, weights, strict=True):
            point -= weight
            if point < 0:
                return value
        return values[-1]

    def bell(self, mean: float, deviation: float) -> float:
        """A bell-shaped number: the sum of twelve draws, as no library function promises its sequence."""
        return mean + deviation * (sum(self._random() for _ in range(12)) - 6)

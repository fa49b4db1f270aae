"""The access decision, as an expression that is AND-ed to every query: totals stay right and nothing leaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hub.search.expression import ALL, Expression


class Circumstances(Protocol):
    """What a decision rests on: the fields of ``hub.services.context.Context``."""

    @property
    def door(self) -> str: ...
    @property
    def actor(self) -> str: ...
    @property
    def purpose(self) -> str: ...


def decide(context: Circumstances, types: Sequence[str]) -> Expression:
    """What of ``types`` this context may see: ALL of it, as long as no consent policy is loaded."""
    return ALL

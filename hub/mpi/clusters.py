"""Registrations into persons: joined along the strongest edges, never across what keeps them apart. Pure.

The result depends on the registrations and edges only, not on the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from hub.mpi.evidence import Edge

Group = frozenset[str]


class Partition(NamedTuple):
    """The groups, and the strongest edge of each two groups that were kept apart in spite of it."""

    groups: list[Group]
    cut: list[Edge]


def partition(members: Iterable[str], edges: Iterable[Edge], apart: Callable[[Group, Group], bool]) -> Partition:
    """Join members along the edges that link, the strongest first, unless ``apart`` says that two groups are two
    people."""
    group_of = {member: frozenset((member,)) for member in members}
    refused: list[Edge] = []
    for edge in sorted((edge for edge in edges if edge.joins), key=lambda edge: edge.rank):
        one, other = group_of[edge.one], group_of[edge.other]
        if one is other:
            continue
        if apart(one, other):
            refused.append(edge)
            continue
        joined = one | other
        group_of.update(dict.fromkeys(joined, joined))
    strongest: dict[frozenset[Group], Edge] = {}
    for edge in refused:
        strongest.setdefault(frozenset((group_of[edge.one], group_of[edge.other])), edge)
    return Partition(sorted(set(group_of.values()), key=sorted), list(strongest.values()))

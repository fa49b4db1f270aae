"""Whether one resource, by its index entries, meets an expression: for subscriptions, without a store."""

from __future__ import annotations

import operator

from hub.errors import HubError
from hub.search.expression import (
    And,
    Chain,
    Compare,
    Contains,
    Entries,
    Equals,
    Exists,
    Expression,
    Ids,
    In,
    InSystem,
    Match,
    Not,
    Or,
    Prefix,
    Range,
    Reverse,
    Term,
    Test,
)

_SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}


def holds(where: Expression, id: str, entries: Entries) -> bool:
    """The expression's truth. HubError("parameter-value") for what needs other resources (chains, ``_has``)."""
    match where:
        case And(parts):
            return all(holds(part, id, entries) for part in parts)
        case Or(parts):
            return any(holds(part, id, entries) for part in parts)
        case Not(part):
            return not holds(part, id, entries)
        case Ids(ids):
            return id in ids
        case Match(param, test):
            found: list[Term | Range] = [*entries.terms, *entries.ranges]
            return any(_passes(test, entry) for entry in found if entry.param == param)
        case Chain() | Reverse():
            raise HubError("parameter-value", "chains and _has look at other resources and cannot be used here")


def _passes(test: Test, entry: Term | Range) -> bool:
    if isinstance(entry, Range):
        if isinstance(test, Compare):
            return all(_SIGNS[sign](getattr(entry, edge), bound) for edge, sign, bound in test.tests)
        return isinstance(test, Exists)
    match test:
        case Equals(value, system):
            return entry.value == value and system in (None, entry.system)
        case In(values, system):
            return entry.value in values and system in (None, entry.system)
        case InSystem(system):
            return entry.system == system
        case Prefix(text):
            return entry.value.startswith(text)
        case Contains(text):
            return text in entry.value
    return isinstance(test, Exists)

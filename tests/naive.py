"""The meaning of an Expression in its plainest form: what every store is compared with."""

from __future__ import annotations

import operator
from collections.abc import Mapping

from hub.search import expression as e

World = Mapping[tuple[str, str], e.Entries]  # the current resources: (type, id) -> entries

_SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}


def holds(where: e.Expression, type: str, id: str, world: World) -> bool:
    """Whether the current resource ``type``/``id`` of the world meets the expression."""
    match where:
        case e.And(parts):
            return all(holds(part, type, id, world) for part in parts)
        case e.Or(parts):
            return any(holds(part, type, id, world) for part in parts)
        case e.Not(part):
            return not holds(part, type, id, world)
        case e.Ids(ids):
            return id in ids
        case e.Match(param, test):
            entries = world[type, id]
            found: list[e.Term | e.Range] = [*entries.terms, *entries.ranges]
            return any(_passes(test, one) for one in found if one.param == param)
        case e.Chain(param, types, inner):
            named = {one.value for one in world[type, id].terms if one.param == param}
            return any(f"{of}/{key}" in named and holds(inner, of, key, world) for of, key in world if of in types)
        case e.Reverse(source, param, inner):
            return any(
                e.Term(param, f"{type}/{id}") in entries.terms and holds(inner, of, key, world)
                for (of, key), entries in world.items()
                if of == source
            )


def _passes(test: e.Test, entry: e.Term | e.Range) -> bool:
    if isinstance(entry, e.Range):
        if isinstance(test, e.Compare):
            return all(_SIGNS[sign](getattr(entry, edge), bound) for edge, sign, bound in test.tests)
        return isinstance(test, e.Exists)
    match test:
        case e.Equals(value, system):
            return entry.value == value and system in (None, entry.system)
        case e.In(values, system):
            return entry.value in values and system in (None, entry.system)
        case e.InSystem(system):
            return entry.system == system
        case e.Prefix(text):
            return entry.value.startswith(text)
        case e.Contains(text):
            return text in entry.value
        case e.Exists():
            return True
        case e.Compare():
            return False

"""The parameters of a search that say what is done with its result (R4 3.1.1.5).

Each handler takes one pair into the draft and gives None, or in words why it cannot be heeded. A value that is not
valid raises HubError("parameter-value").
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from hub.errors import HubError
from hub.search.criteria import refused
from hub.search.expression import Expression, Order
from hub.search.parameters import Parameter, Registry

MAX_SORT: Final = 8
RANGES: Final = frozenset({"date", "number", "quantity"})


class Limits(Protocol):
    """The part of the settings a search heeds."""

    @property
    def default_count(self) -> int: ...
    @property
    def max_count(self) -> int: ...
    @property
    def max_chain_depth(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Include:
    """``_include`` or ``_revinclude``: ``source`` "" and ``param`` "*" are the wildcards, ``target`` "" any type."""

    source: str
    param: str
    target: str = ""
    iterate: bool = False


@dataclass(slots=True)
class Draft:
    """A search in the making."""

    types: tuple[str, ...]
    count: int
    where: list[Expression] = field(default_factory=list)
    order: list[Order] = field(default_factory=list)
    includes: list[Include] = field(default_factory=list)
    revincludes: list[Include] = field(default_factory=list)
    total: str = ""
    summary: str = ""
    elements: tuple[str, ...] = ()


def _sort(draft: Draft, registry: Registry, limits: Limits, name: str, value: str) -> str | None:
    keys = [key for key in value.split(",") if key]
    if len(keys) > MAX_SORT:
        raise refused(name, value, f"at most {MAX_SORT} sort keys are heeded")
    known = registry.common(draft.types)
    for key in keys:
        code = key.removeprefix("-")
        parameter = known.get(code)
        if parameter is None or parameter.type in ("composite", "special") or parameter.union:
            return f"cannot sort by {code[:80]!r}: it is no parameter that has an order"
    draft.order.extend(_order(known[key.removeprefix("-")], key.startswith("-")) for key in keys)
    return None


def _count(draft: Draft, registry: Registry, limits: Limits, name: str, value: str) -> str | None:
    if not re.fullmatch(r"\d{1,9}", value):
        raise refused(name, value, "expected a number of resources, 0 or more")
    draft.count = min(int(value), limits.max_count)
    return None


def _choice(draft: Draft, registry: Registry, limits: Limits, name: str, value: str) -> str | None:
    allowed = _CHOICES[name]
    if value not in allowed:
        raise refused(name, value, f"expected one of {', '.join(allowed)}")
    if name == "_total":
        draft.total = value
    elif name == "_summary":
        draft.summary = value
    elif value not in ("false", "container"):
        raise HubError(
            "parameter-unknown", f"{name}={value} is not offered: contained resources are not found alone", name
        )
    return None


def _elements(draft: Draft, registry: Registry, limits: Limits, name: str, value: str) -> str | None:
    names = tuple(dict.fromkeys(part for part in value.split(",") if part))
    if not names or not all(re.fullmatch(r"[A-Za-z_][\w.]{0,100}", part) for part in names):
        raise refused(name, value, "expected names of elements, separated by commas")
    draft.elements += names
    return None


def _include(draft: Draft, registry: Registry, limits: Limits, name: str, value: str) -> str | None:
    code, _, modifier = name.partition(":")
    if modifier not in ("", "iterate"):
        raise HubError("parameter-unknown", f"{code} has the modifier :iterate only", name[:80])
    source, _, rest = value.partition(":")
    param, colon, target = rest.partition(":")
    if value == "*":
        source, param = "", "*"
    elif not source or not param or (colon and not target):
        raise refused(name, value, "expected Type:parameter, Type:parameter:Target, Type:* or *")
    if code == "_revinclude" and not source:
        raise refused(name, value, "name the type that refers: Type:* or Type:parameter")
    _check_include(registry, name, value, source, param, target)
    include = Include(source, param, target, modifier == "iterate")
    (draft.includes if code == "_include" else draft.revincludes).append(include)
    return None


def _check_include(registry: Registry, name: str, value: str, source: str, param: str, target: str) -> None:
    for type in (source, target):
        if type and type not in registry.types:
            raise refused(name, value, f"{type[:60]!r} is not an R4 resource type")
    if source and param != "*":
        parameter = registry.of(source).get(param)
        if parameter is None or parameter.type != "reference":
            raise refused(name, value, f"{source} has no reference parameter {param[:60]!r}")
        if target and target not in parameter.targets:
            raise refused(name, value, f"{source}:{param} does not refer to {target}")


def _order(parameter: Parameter, descending: bool) -> Order:
    return Order(parameter.code, descending, "range" if parameter.type in RANGES else "term")


_CHOICES: Final = {
    "_total": ("none", "estimate", "accurate"),
    "_summary": ("true", "text", "data", "count", "false"),
    "_contained": ("false", "true", "both"),
    "_containedType": ("container", "contained"),
}
RESULT: Final[dict[str, Callable[[Draft, Registry, Limits, str, str], str | None]]] = {
    "_sort": _sort,
    "_count": _count,
    "_elements": _elements,
    "_include": _include,
    "_revinclude": _include,
    **dict.fromkeys(_CHOICES, _choice),
}

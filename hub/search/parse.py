"""A search as the client wrote it: pairs of parameter and value, to a Query and what is to be done with its result.

Criteria (R4 3.1.1.4) become the Query's expression; result parameters (R4 3.1.1.5) the other fields of
:class:`Search`. A parameter that the hub does not answer is refused under ``handling=strict``, else left out of
``used_pairs`` and reported in ``issues``: never ignored in silence. A bad value is always refused.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any, Final

from hub.errors import HubError
from hub.search import filter
from hub.search.blind import Blind
from hub.search.criteria import criterion, refused
from hub.search.entries import SEEING
from hub.search.expression import (
    ALL,
    NONE,
    And,
    Chain,
    Expression,
    Ids,
    In,
    Match,
    Not,
    Or,
    Query,
    Reverse,
    both,
    either,
)
from hub.search.matches import Circumstances, Terminology
from hub.search.parameters import Registry
from hub.search.result import RESULT, Draft, Include, Limits

__all__ = ["Include", "Limits", "Parser", "Search"]

Pair = tuple[str, str]

MAX_PARAMETERS: Final = 200
MAX_LENGTH: Final = 100_000  # characters of one value with all its alternatives
GENERAL: Final = frozenset({"_format", "_pretty"})  # of every interaction (R4 3.1.0.1.11), not of the search
_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")


@dataclass(frozen=True, slots=True)
class Search:
    """A whole search.

    ``count`` is the page size, 0 for no entries; ``total`` none, estimate, accurate or "" when not asked; ``summary``
    true, text, data, count, false or ""; ``elements`` the names of ``_elements``; ``used_pairs`` what the self link
    repeats; ``issues`` OperationOutcome issues about what was left out.
    """

    query: Query
    includes: tuple[Include, ...] = ()
    revincludes: tuple[Include, ...] = ()
    count: int = 20
    total: str = ""
    summary: str = ""
    elements: tuple[str, ...] = ()
    used_pairs: tuple[Pair, ...] = ()
    issues: tuple[dict[str, Any], ...] = ()


FullText = Callable[[Sequence[str], str, str], tuple[str, ...]]
"""(types, ``_text`` or ``_content``, words) -> ids of the resources that hold the words."""
FULL_TEXT: Final = frozenset({"_text", "_content"})


class Parser:
    """``limits`` are the settings' search section; ``clock`` (microseconds) dates ``ap``; ``zone`` is the server's.

    ``full_text`` answers ``_text`` and ``_content``; without it they are not offered.
    ``blind`` is that of the index.
    """

    def __init__(
        self,
        registry: Registry,
        limits: Limits,
        *,
        terminology: Terminology | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        zone: tzinfo = UTC,
        full_text: FullText | None = None,
        blind: Blind = SEEING,
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._terminology = terminology
        self._clock = clock
        self._zone = zone
        self._full_text = full_text
        self._blind = blind

    def parse(self, types: Sequence[str], pairs: Sequence[Pair], strict: bool = False, base: str = "") -> Search:
        """The search of ``pairs`` (decoded names and values, in their order) over ``types`` (() is the whole system).

        ``base`` is the server's address without a last slash, for absolute references. Raises HubError
        ``parameter-value`` for a value that is not valid, ``parameter-unknown`` for a modifier that is not offered and,
        when ``strict``, for an unknown parameter; ``too-costly`` above the limits.
        """
        if len(pairs) > MAX_PARAMETERS:
            raise HubError("too-costly", f"a search has at most {MAX_PARAMETERS} parameters, this one {len(pairs)}")
        about = Circumstances(base.rstrip("/"), self._zone, self._clock(), self._terminology)
        draft = Draft(self._types(tuple(types), pairs), self._limits.default_count)
        used: list[Pair] = []
        issues: list[dict[str, Any]] = []
        for name, value in pairs:
            if len(value) > MAX_LENGTH or len(name) > MAX_LENGTH:
                raise HubError(
                    "too-costly", f"the value of {name[:80]!r} is longer than {MAX_LENGTH} characters", name[:80]
                )
            _check_text(name, value)
            unknown = self._one(draft, name, value, about)
            if unknown is None:
                used.append((name, value))
            elif strict:
                raise HubError("parameter-unknown", unknown, name[:80])
            else:
                issues.append(_issue(unknown, name))
        order = tuple(draft.order)
        query = Query(draft.types, self._blind.expression(both(*draft.where)), order, limit=draft.count)
        return Search(
            query,
            tuple(dict.fromkeys(draft.includes)),
            tuple(dict.fromkeys(draft.revincludes)),
            draft.count,
            draft.total,
            draft.summary,
            draft.elements,
            tuple(used),
            tuple(issues),
        )

    def expression(self, types: Sequence[str], name: str, value: str, base: str = "") -> Expression:
        """One criterion alone, for other services. Raises HubError as ``parse`` with ``strict``."""
        about = Circumstances(base.rstrip("/"), self._zone, self._clock(), self._terminology)
        found = self._criterion(tuple(types), name, value, about, self._limits.max_chain_depth)
        if isinstance(found, str):
            raise HubError("parameter-unknown", found, name[:80])
        return self._blind.expression(found)

    def _types(self, types: tuple[str, ...], pairs: Sequence[Pair]) -> tuple[str, ...]:
        for name, value in pairs:
            if name == "_type":
                asked = tuple(dict.fromkeys(value.split(",")))
                for type in asked:
                    if type not in self._registry.types:
                        raise refused(name, value, f"{type[:60]!r} is not an R4 resource type")
                    if types and type not in types:
                        raise refused(name, value, f"the address is of {', '.join(types)} alone")
                types = asked
        return types

    def _one(self, draft: Draft, name: str, value: str, about: Circumstances) -> str | None:
        """Take one pair into the draft; why it is unknown, or None."""
        handler = RESULT.get(name.partition(":")[0])
        if handler is not None:
            return handler(draft, self._registry, self._limits, name, value)
        if name in GENERAL or name == "_type":
            return None
        found = self._criterion(draft.types, name, value, about, self._limits.max_chain_depth)
        if isinstance(found, str):
            return found
        draft.where.append(found)
        return None

    # --- criteria -----------------------------------------------------------------------------------------------------

    def _criterion(
        self, types: tuple[str, ...], name: str, value: str, about: Circumstances, depth: int, operator: str = ""
    ) -> Expression | str:
        """The expression of one criterion, or in words why the parameter is unknown; ``operator`` is one of _filter."""
        if depth < 0:
            raise HubError("too-costly", f"a chain has at most {self._limits.max_chain_depth} links", name[:80])
        if name == "_has" or name.startswith("_has:"):
            return self._has(name, value, about, depth, operator)
        head, dot, rest = name.partition(".")
        code, _, modifier = head.partition(":")
        if dot:
            return self._chain(types, code, modifier, rest, value, about, depth, operator)
        if code == "_filter" and not operator:
            return self._filter(types, value, about)
        if operator not in ("", "eq") and code in ("_id", "_list"):
            raise refused(code, value, f"the operator {operator} is not offered; use eq")
        if code == "_id":
            return _ids(name, modifier, value)
        if code == "_list":
            return _listed(name, modifier, value)
        if code in FULL_TEXT and self._full_text is not None and not modifier and not operator:
            return Ids(self._full_text(types, code, value))
        parameter = self._registry.common(types).get(code)
        if parameter is None:
            return self._unknown(types, code)
        if operator:
            if modifier:
                raise HubError("parameter-unknown", "_filter has operators in place of modifiers", name[:80])
            return filter.compared(types, parameter, operator, value, about, self._registry)
        return criterion(types, parameter, modifier, value, about, self._registry)

    def _filter(self, types: tuple[str, ...], value: str, about: Circumstances) -> Expression:
        """``_filter`` (R4 3.1.3)."""

        def compare(path: str, operator: str, text: str) -> Expression:
            _check_text("_filter", text)
            found = self._criterion(types, path, text, about, self._limits.max_chain_depth, operator)
            if isinstance(found, str):
                raise HubError("parameter-unknown", f"_filter: {found}", "_filter")
            return found

        try:
            return filter.parse(value, compare)
        except ValueError as error:
            raise refused("_filter", value, str(error)) from error

    def _unknown(self, types: tuple[str, ...], code: str) -> str:
        place = ", ".join(types) or "all resource types together"
        reason = self._registry.reason(types, code)
        if reason:
            return f"the search parameter {code!r} of {place} is not supported: {reason}"
        return f"there is no search parameter {code[:80]!r} for {place}"

    def _chain(
        self,
        types: tuple[str, ...],
        code: str,
        modifier: str,
        rest: str,
        value: str,
        about: Circumstances,
        depth: int,
        operator: str,
    ) -> Expression | str:
        """``subject:Patient.name=x`` (R4 3.1.1.4.15): an Or over the target types that know the rest."""
        parameter = self._registry.common(types).get(code)
        if parameter is None:
            return self._unknown(types, code)
        if parameter.type != "reference":
            raise HubError("parameter-unknown", f"{code!r} is not a reference, so nothing can follow it", code)
        if parameter.elements and parameter.elements <= {"canonical", "uri", "Attachment"}:
            raise HubError(
                "parameter-unknown", f"{code!r} is a canonical, which a chain cannot follow; ask for its url", code
            )
        if modifier and modifier not in parameter.targets:
            raise HubError(
                "parameter-unknown", f"{code!r} does not refer to {modifier[:60]!r}", f"{code}:{modifier}"[:80]
            )
        groups: dict[Expression, list[str]] = {}
        why = ""
        for target in (modifier,) if modifier else parameter.targets:
            found = self._criterion((target,), rest, value, about, depth - 1, operator)
            if isinstance(found, str):
                why = found
            else:
                groups.setdefault(found, []).append(target)
        if not groups:
            return why if modifier else f"no type that {code!r} refers to has the search parameter {rest[:80]!r}"
        return either(
            found
            for where, targets in groups.items()
            for found in (Chain(code, tuple(targets), where), _in_contained(code, tuple(targets), where))
        )

    def _has(self, name: str, value: str, about: Circumstances, depth: int, operator: str = "") -> Expression | str:
        """``_has:Observation:patient:code=x`` (R4 3.1.1.4.16)."""
        parts = name.split(":", 3)
        if len(parts) != 4:
            raise HubError("parameter-unknown", "expected _has:Type:reference-parameter:parameter", name[:80])
        _, type, code, rest = parts
        if type not in self._registry.types:
            raise HubError("parameter-unknown", f"{type[:60]!r} is not an R4 resource type", name[:80])
        parameter = self._registry.of(type).get(code)
        if parameter is None or parameter.type != "reference":
            return f"{type} has no reference parameter {code[:80]!r}"
        found = self._criterion((type,), rest, value, about, depth - 1, operator)
        return found if isinstance(found, str) else Reverse(type, code, found)


def _in_contained(code: str, types: tuple[str, ...], where: Expression) -> Expression:
    """A chain into a contained resource, whose entries the container has as ``code.parameter`` (R4 3.1.1.5.5)."""
    inner = _moved(where, f"{code}.")
    return NONE if inner == NONE else both(Match(f"{code}.", In(types)), inner)


def _moved(where: Expression, prefix: str) -> Expression:
    match where:
        case Match(param, test):
            return NONE if param.endswith(".") else Match(prefix + param, test)
        case Chain(param, types, inner):
            return Chain(prefix + param, types, inner)
        case Not(inner):
            return Not(_moved(inner, prefix))
        case And(parts):
            moved = [_moved(part, prefix) for part in parts]
            return NONE if NONE in moved else both(*moved)
        case Or(parts):
            return either(_moved(part, prefix) for part in parts)
        case Ids() | Reverse():
            return NONE  # a contained resource has no identity of its own


def _check_text(name: str, value: str) -> None:
    """No NUL and no half of a surrogate pair, which no resource can have (R4 2.24.0.1 string)."""
    if "\x00" in name + value or any("\ud800" <= char <= "\udfff" for char in name + value):
        raise refused(ascii(name)[:80], ascii(value), "it has characters that no text in FHIR has")


def _ids(name: str, modifier: str, value: str) -> Expression:
    if modifier == "missing" and value in ("true", "false"):
        return NONE if value == "true" else ALL
    ids = tuple(dict.fromkeys(value.split(",")))
    if modifier not in ("", "not"):
        raise HubError("parameter-unknown", f"the modifier :{modifier} is not offered for _id", name[:80])
    for id in ids:
        if not _ID.fullmatch(id):
            raise refused(name, id, "an id has 1 to 64 letters, digits, - or .")
    return Not(Ids(ids)) if modifier else Ids(ids)


def _listed(name: str, modifier: str, value: str) -> Expression:
    """``_list=42``: what List/42 refers to (R4 3.1.1.4.22)."""
    if modifier or not all(_ID.fullmatch(id) for id in value.split(",")):
        raise refused(
            name, value, "expected the id of a List; functional lists such as $current-allergies are not kept"
        )
    return Reverse("List", "item", Ids(tuple(value.split(","))))


def _issue(text: str, name: str) -> dict[str, Any]:
    return {
        "severity": "warning",
        "code": "not-supported",
        "diagnostics": f"{text}; it was left out of the search",
        "expression": [f"http.{name[:80]}"],
    }

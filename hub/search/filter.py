"""The ``_filter`` expression language (R4 3.1.3): comparisons of search parameters joined by and, or, not.

Logical expressions are evaluated left to right; and has no precedence over or (R4 3.1.3.1). What a comparison means is
said here in terms of the ordinary criteria. A filter on parts of a path (``name[use eq official].family``) is refused,
and so is ``ne`` where R4 has no prefix for it: "some value differs" is seldom meant, ``not (x eq y)`` says what is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final

from hub.search.criteria import criterion
from hub.search.expression import Compare, Contains, Equals, Expression, Match, Not, Prefix, Test, both, either
from hub.search.matches import Circumstances
from hub.search.parameters import Parameter, Registry
from hub.search.prefixes import DATE
from hub.search.text import normalised

MAX_COMPARISONS: Final = 200
MAX_DEPTH: Final = 32
OPERATORS: Final = frozenset((*DATE, "co", "sw", "ew", "pr", "po", "ss", "sb", "in", "ni", "re"))
_TOKEN = re.compile(r'\s*(?:(?P<mark>[()])|(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>[^\s()"\[\]]+))')
_MODIFIERS: Final = {
    "token": {"eq": "", "in": "in", "ni": "not-in", "ss": "below", "sb": "above"},
    "reference": {"eq": "", "re": ""},
    "uri": {"eq": ""},
}

Comparison = Callable[[str, str, str], Expression]


def parse(text: str, compare: Comparison) -> Expression:
    """The expression of a filter; ``compare(path, operator, value)`` makes that of one comparison.

    Raises ValueError that says where the text is not a filter.
    """
    return _Filter(text, compare).whole()


class _Filter:
    def __init__(self, text: str, compare: Comparison) -> None:
        self._tokens: list[tuple[str, str]] = []
        self._compare = compare
        self._at = 0
        place, end = 0, len(text.rstrip())
        while place < end:
            found = _TOKEN.match(text, place)
            if found is None:
                raise ValueError(f"not understood from character {place + 1}: {text[place : place + 20]!r}")
            self._tokens.append((str(found.lastgroup), found[found.lastgroup or 0]))
            place = found.end()
        if len(self._tokens) > 6 * MAX_COMPARISONS:
            raise ValueError(f"a filter has at most {MAX_COMPARISONS} comparisons")

    def whole(self) -> Expression:
        found = self._logical(0)
        if self._at != len(self._tokens):
            raise ValueError(f"and or or is expected before {self._tokens[self._at][1][:40]!r}")
        return found

    def _logical(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise ValueError(f"parentheses nest at most {MAX_DEPTH} deep")
        found = self._term(depth)
        while self._at < len(self._tokens) and self._tokens[self._at] in (("word", "and"), ("word", "or")):
            joined = both if self._next()[1] == "and" else lambda *parts: either(parts)
            found = joined(found, self._term(depth))
        return found

    def _term(self, depth: int) -> Expression:
        kind, text = self._next()
        if (kind, text) == ("word", "not"):
            if self._next() != ("mark", "("):
                raise ValueError("not is followed by parentheses")
            return Not(self._group(depth))
        if (kind, text) == ("mark", "("):
            return self._group(depth)
        operator, (form, value) = self._next()[1], self._next()
        if kind != "word" or operator not in OPERATORS or form == "mark":
            raise ValueError(f"expected parameter operator value, not {text[:40]!r} {operator[:40]!r}")
        return self._compare(text, operator, str(json.loads(value, strict=False)) if form == "string" else value)

    def _group(self, depth: int) -> Expression:
        found = self._logical(depth + 1)
        if self._next() != ("mark", ")"):
            raise ValueError("a closing parenthesis is missing")
        return found

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise ValueError("it ends too early")
        self._at += 1
        return self._tokens[self._at - 1]


def compared(
    types: tuple[str, ...],
    parameter: Parameter,
    operator: str,
    value: str,
    about: Circumstances,
    registry: Registry,
) -> Expression:
    """One comparison (R4 3.1.3.2). Raises ValueError for an operator that the parameter's type does not have."""

    def asked(modifier: str, text: str) -> Expression:
        return criterion(types, parameter, modifier, text, about, registry)

    if operator == "pr":
        return asked("missing", {"true": "false", "false": "true"}.get(value, value))
    escaped = re.sub(r"([\\,$])", r"\\\1", value)
    kind = parameter.type
    if kind == "string":
        return either(_text(code, operator, normalised(value)) for code in parameter.union or (parameter.code,))
    if kind == "uri" and operator in ("sw", "co"):
        return Match(parameter.code, Prefix(value) if operator == "sw" else Contains(value))
    if kind in ("date", "number", "quantity") and operator in DATE:
        return asked("", operator + escaped)
    if kind == "date" and operator == "po":
        return _overlap(parameter.code, asked("", escaped))
    modifier = _MODIFIERS.get(kind, {}).get(operator)
    if modifier is None:
        raise ValueError(f"the operator {operator} is not offered for the {kind} parameter {parameter.code!r}")
    return asked(modifier, escaped)


def _text(param: str, operator: str, text: str) -> Expression:
    tests: dict[str, Test] = {"eq": Equals(text), "sw": Prefix(text), "co": Contains(text)}
    if operator not in tests or not text:
        raise ValueError(f"a string has the operators eq, sw, co and pr, and a value with letters; not {operator}")
    return Match(param, tests[operator])


def _overlap(param: str, equal: Expression) -> Expression:
    """``po``: the periods overlap, from the bounds of ``eq``."""
    if not isinstance(equal, Match) or not isinstance(equal.test, Compare):
        raise ValueError("po takes one date")
    (_, _, low), (_, _, high) = equal.test.tests
    return Match(param, Compare((("low", "<", high), ("high", ">", low))))

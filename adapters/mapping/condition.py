"""The condition language of the mapping tables.

``PID-13.2 valued``, ``PV1-2 = "I"``, ``OBX-2 in ("NM", "SN")``, ``count(OBX-5) > 1``, joined by ``and``, ``or``,
``not`` and brackets. A position is a field of a segment in view (``PID-3[2].4.2``) or a component of the data type
(``CX.4.2``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

Test = Callable[[Any], bool]
Value = Callable[[Any], str]
Count = Callable[[Any], int]

_TOKEN = re.compile(
    r'\s*(?:(?P<text>"[^"]*")|(?P<number>\d+(?![\w.-]))|(?P<mark>!=|<=|>=|[=<>(),])'
    r"|(?P<word>[A-Za-z][A-Za-z0-9]*(?:-\d+)?(?:\[\d+])?(?:\.\d+)*))"
)
WORDS = {"and", "or", "not", "in", "valued", "count", "length"}


class Grammar:
    """Compiles conditions; ``value`` and ``count`` turn a position into a reader of what the test is called with."""

    def __init__(self, value: Callable[[str], Value], count: Callable[[str], Count]) -> None:
        self._value = value
        self._count = count

    def compile(self, text: str) -> Test:
        """The condition as a function. ValueError says where it is wrong."""
        parser = _Parser(text, self._value, self._count)
        test = parser.either()
        parser.end()
        return test


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"cannot read {text[at:]!r} in the condition {text!r}")
        yield match[match.lastgroup or 0]
        at = match.end()


def _chain(tests: list[Test], join: Callable[[Test, Test], Test]) -> Test:
    *earlier, whole = tests
    for test in reversed(earlier):
        whole = join(test, whole)
    return whole


def switch(text: str) -> tuple[str, frozenset[str], str] | None:
    """Position and values without which a condition cannot hold, when it begins with such a comparison, and the rest.

    >>> switch('OBX-2 = "SN" and not OBX-5.3 valued')
    ('OBX-2', frozenset({'SN'}), 'not OBX-5.3 valued')
    >>> switch('OBX-2 = "SN" or OBX-5.3 valued') is None
    True
    """
    tokens = list(_tokens(text))
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if token == "or" and depth == 0:
            return None
    if len(tokens) < 3 or tokens[1] not in ("=", "in") or tokens[0] in WORDS:
        return None
    end = tokens.index(")") if tokens[1] == "in" else 2
    values = frozenset(token[1:-1] for token in tokens[2 : end + 1] if token.startswith('"'))
    return tokens[0], values, " ".join(tokens[end + 2 :])


class _Parser:
    def __init__(self, text: str, value: Callable[[str], Value], count: Callable[[str], Count]) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0
        self._value = value
        self._count = count

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self, expected: str = "") -> str:
        token = self._peek()
        if not token or (expected and token != expected):
            raise ValueError(f"expected {expected or 'more'} at {token or 'the end'!r} in the condition {self._text!r}")
        self._at += 1
        return token

    def end(self) -> None:
        if self._peek():
            raise ValueError(f"unexpected {self._peek()!r} in the condition {self._text!r}")

    def either(self) -> Test:
        tests = [self._both()]
        while self._peek() == "or":
            self._next()
            tests.append(self._both())
        return _chain(tests, lambda left, right: lambda scope: left(scope) or right(scope))

    def _both(self) -> Test:
        tests = [self._single()]
        while self._peek() == "and":
            self._next()
            tests.append(self._single())
        return _chain(tests, lambda left, right: lambda scope: left(scope) and right(scope))

    def _single(self) -> Test:
        if self._peek() == "not":
            self._next()
            test = self._single()
            return lambda scope: not test(scope)
        if self._peek() == "(":
            self._next()
            test = self.either()
            self._next(")")
            return test
        return self._comparison()

    def _comparison(self) -> Test:
        if self._peek() in ("count", "length"):
            return self._measure()
        word = self._next()
        if word in WORDS or not word[0].isalpha():
            raise ValueError(f"expected a position at {word!r} in the condition {self._text!r}")
        value = self._value(word)
        operator = self._next()
        if operator == "valued":
            return lambda scope: value(scope) not in ("", '""')
        if operator == "in":
            members = frozenset(self._members())
            return lambda scope: value(scope) in members
        if operator in ("=", "!="):
            literal = self._literal()
            return (
                (lambda scope: value(scope) == literal) if operator == "=" else (lambda scope: value(scope) != literal)
            )
        raise ValueError(f"unknown operator {operator!r} in the condition {self._text!r}")

    def _measure(self) -> Test:
        what = self._next()
        self._next("(")
        word = self._next()
        self._next(")")
        operator = self._next()
        number = int(self._next())
        value = self._value(word)
        measure: Count = self._count(word) if what == "count" else lambda scope: len(value(scope))
        tests: dict[str, Test] = {
            "=": lambda scope: measure(scope) == number,
            ">": lambda scope: measure(scope) > number,
            "<": lambda scope: measure(scope) < number,
        }
        if operator not in tests:
            raise ValueError(f"unknown operator {operator!r} in the condition {self._text!r}")
        return tests[operator]

    def _literal(self) -> str:
        token = self._next()
        if not token.startswith('"'):
            raise ValueError(f"expected a text in quotes at {token!r} in the condition {self._text!r}")
        return token[1:-1]

    def _members(self) -> list[str]:
        self._next("(")
        members = [self._literal()]
        while self._peek() == ",":
            self._next()
            members.append(self._literal())
        self._next(")")
        return members

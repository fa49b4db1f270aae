"""FHIRPath text to syntax tree (FHIRPath N1 2.0, grammar of appendix A)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hub.errors import HubError
from hub.fhir.paths.values import CALENDAR_UNITS, Quantity, Temporal

MAX_EXPRESSION = 16_384
MAX_DEPTH = 96
MAX_NAME = 256


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant collection: of one item, or ``{}``."""

    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class External:
    """``%name``."""

    name: str


@dataclass(frozen=True, slots=True)
class Variable:
    """``$this``, ``$index`` or ``$total``."""

    name: str


@dataclass(frozen=True, slots=True)
class Member:
    """``target.name``; without target, ``name`` on the focus."""

    target: Tree | None
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """``target.name(arguments)``; without target, on the focus."""

    target: Tree | None
    name: str
    arguments: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """``target[index]``."""

    target: Tree
    index: Tree


@dataclass(frozen=True, slots=True)
class Sign:
    """Unary ``-`` or ``+``."""

    operator: str
    operand: Tree


@dataclass(frozen=True, slots=True)
class Binary:
    """``left operator right``."""

    operator: str
    left: Tree
    right: Tree


@dataclass(frozen=True, slots=True)
class TypeTest:
    """``operand is type`` or ``operand as type``."""

    operator: str
    operand: Tree
    type: str


Tree = Literal | External | Variable | Member | Call | Index | Sign | Binary | TypeTest

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\r\n]*|/\*.*?\*/)
    |(?P<moment>@(?:T\d{2}(?::\d{2}(?::\d{2}(?:\.\d+)?)?)?
        |\d{4}(?:-\d{2}(?:-\d{2})?)?(?:T(?:\d{2}(?::\d{2}(?::\d{2}(?:\.\d+)?)?)?(?:Z|[+-]\d{2}:\d{2})?)?)?))
    |(?P<number>\d+(?:\.\d+)?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<delimited>`(?:[^`\\]|\\.)*`)
    |(?P<string>'(?:[^'\\]|\\.)*')
    |(?P<external>%(?:[A-Za-z_][A-Za-z0-9_-]*|`(?:[^`\\]|\\.)*`|'(?:[^'\\]|\\.)*'))
    |(?P<variable>\$(?:this|index|total))
    |(?P<mark><=|>=|!=|!~|[.()\[\]{},|&=~<>+\-*/])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_ESCAPES = {"f": "\f", "n": "\n", "r": "\r", "t": "\t"}

# Binary operators by binding power, loosest first (FHIRPath 2.0, 6.8).
_POWERS = {
    operator: power
    for power, operators in enumerate(
        ("implies", "or xor", "and", "in contains", "= ~ != !~", "<= < > >=", "|", "is as", "+ - &", "* / div mod"), 1
    )
    for operator in operators.split()
}
_UNARY = 11


def parse(text: str) -> Tree:
    """The syntax tree. Raises HubError ``value`` at "column N" for what is not FHIRPath."""
    if len(text) > MAX_EXPRESSION:
        raise HubError("too-costly", f"The expression has {len(text)} characters; at most {MAX_EXPRESSION} are read.")
    return _Parser(text).whole()


class _Parser:
    """Recursive descent with binding powers; one instance, one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._lex())
        self.at = 0
        self.depth = 0

    def _lex(self) -> list[tuple[str, str, int]]:
        tokens = []
        offset = 0
        while offset < len(self.text):
            match = _TOKEN.match(self.text, offset)
            if match is None:
                raise self._wrong(f"{self.text[offset]!r} does not belong here", offset)
            if match.lastgroup in ("name", "delimited") and match.end() - offset > MAX_NAME:
                raise self._wrong(f"a name has more than {MAX_NAME} characters", offset)
            if match.lastgroup != "space":
                tokens.append((match.lastgroup or "", match.group(), offset))
            offset = match.end()
        return [*tokens, ("end", "", offset)]

    def _wrong(self, what: str, offset: int) -> HubError:
        return HubError("value", f"FHIRPath: {what}.", f"column {offset + 1}")

    def _next(self) -> tuple[str, str, int]:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def _take(self, text: str) -> bool:
        kind, found, _ = self.tokens[self.at]
        if found == text and kind in ("mark", "name"):
            self.at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            _, found, offset = self.tokens[self.at]
            raise self._wrong(f"{text} is expected, not {found or 'the end'}", offset)

    def whole(self) -> Tree:
        tree = self.expression(0)
        kind, found, offset = self.tokens[self.at]
        if kind != "end":
            raise self._wrong(f"{found} does not belong here", offset)
        return tree

    def expression(self, power: int) -> Tree:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise HubError("too-costly", f"The expression nests deeper than {MAX_DEPTH} levels.")
        tree = self._operand()
        while True:
            kind, operator, _ = self.tokens[self.at]
            bound = _POWERS.get(operator, 0) if kind in ("mark", "name") else 0
            if bound <= power:
                break
            self.at += 1
            if operator in ("is", "as"):
                tree = TypeTest(operator, tree, self._type())
            else:
                tree = Binary(operator, tree, self.expression(bound))
        self.depth -= 1
        return tree

    def _operand(self) -> Tree:
        for sign in "+-":
            if self._take(sign):
                return Sign(sign, self.expression(_UNARY))
        tree = self._term()
        while True:
            if self._take("."):
                tree = self._invocation(tree)
            elif self._take("["):
                tree = Index(tree, self.expression(0))
                self._expect("]")
            else:
                return tree

    def _term(self) -> Tree:
        kind, text, offset = self.tokens[self.at]
        if kind in ("name", "delimited"):
            return self._invocation(None)
        self.at += 1
        if kind == "number":
            return self._number(text)
        if kind == "string":
            return Literal((_unquote(text),))
        if kind == "moment":
            return Literal((self._moment(text, offset),))
        if kind == "external":
            return External(_unquote(text[1:]) if text[1] in "`'" else text[1:])
        if kind == "variable":
            return Variable(text[1:])
        if text == "(":
            tree = self.expression(0)
            self._expect(")")
            return tree
        if text == "{":
            self._expect("}")
            return Literal(())
        raise self._wrong(f"{text or 'the end'} does not belong here", offset)

    def _invocation(self, target: Tree | None) -> Tree:
        kind, text, offset = self._next()
        if kind == "variable":
            return Variable(text[1:])
        if kind not in ("name", "delimited"):
            raise self._wrong(f"a name is expected, not {text or 'the end'}", offset)
        name = _unquote(text) if kind == "delimited" else text
        if target is None and kind == "name" and name in ("true", "false"):
            return Literal((name == "true",))
        if not self._take("("):
            return Member(target, name)
        arguments: list[Tree] = []
        while not self._take(")"):
            if arguments:
                self._expect(",")
            arguments.append(self._argument(name, len(arguments)))
        return Call(target, name, tuple(arguments))

    def _argument(self, function: str, position: int) -> Tree:
        """One argument; a sort key may be followed by asc or desc, and a leading minus there means descending."""
        tree = self.expression(0)
        if function == "sort" and not isinstance(tree, Sign):
            if self._take("desc"):
                return Sign("-", tree)
            self._take("asc")
        return tree

    def _type(self) -> str:
        parts: list[str] = []
        while not parts or self._take("."):
            kind, text, offset = self._next()
            if kind not in ("name", "delimited"):
                raise self._wrong(f"the name of a type is expected, not {text or 'the end'}", offset)
            parts.append(_unquote(text) if kind == "delimited" else text)
        return ".".join(parts)

    def _number(self, text: str) -> Tree:
        value = Decimal(text) if "." in text else int(text)
        kind, unit, _ = self.tokens[self.at]
        if kind == "string":
            self.at += 1
            return Literal((Quantity(Decimal(value), _unquote(unit)),))
        if kind == "name" and unit in CALENDAR_UNITS:
            self.at += 1
            return Literal((Quantity(Decimal(value), CALENDAR_UNITS[unit]),))
        return Literal((value,))

    def _moment(self, text: str, offset: int) -> Temporal:
        moment = Temporal.literal(text[1:])
        if moment is None:
            raise self._wrong(f"{text} is not a date or time", offset)
        return moment


def _unquote(text: str) -> str:
    if text[0] not in "`'":
        return text
    return _ESCAPE.sub(_plain, text[1:-1])


def _plain(match: re.Match[str]) -> str:
    code = match.group(1)
    if code[0] == "u" and len(code) == 5:
        return chr(int(code[1:], 16))
    return _ESCAPES.get(code, code)

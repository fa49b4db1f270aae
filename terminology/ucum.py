"""UCUM: which texts are units, and how many of the base units they are.

The grammar is that of UCUM 2.1 (terms of components joined by ``.`` and ``/``, each a factor, or a prefixed or plain
unit atom with an exponent, with annotations in braces); prefixes and atoms are the table of ``terminology/data``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

from terminology import sections

MAX_DEPTH = 16
MAX_EXPONENT = 64

_FACTOR = re.compile(r"[0-9]{1,18}")
_ANNOTATION = re.compile(r"\{[\x21-\x7a\x7c\x7e]*\}")


class UnitError(ValueError):
    """Not a UCUM unit; the text says why."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A magnitude and the exponents of the base units, both exact.

    ``special`` names the conversion function of a unit on a scale that is not a ratio scale (``Cel``, ``[pH]``); such
    a unit and an arbitrary one (``[IU]``, its own dimension here) convert to nothing but themselves.
    """

    factor: Fraction
    dimension: tuple[tuple[str, int], ...] = ()
    special: str = ""

    def times(self, other: Unit, exponent: int = 1) -> Unit:
        """self x other^exponent."""
        exponents = dict(self.dimension)
        for base, power in other.dimension:
            exponents[base] = exponents.get(base, 0) + power * exponent
        dimension = tuple(sorted((base, power) for base, power in exponents.items() if power))
        return Unit(self.factor * other.factor**exponent, dimension, self.special or other.special)


ONE = Unit(Fraction(1))


@cache
def _table() -> dict[str, Any]:
    return sections.table("ucum")


def version() -> str:
    """The version of the UCUM table."""
    text: str = _table()["version"]
    return text


@lru_cache(maxsize=8192)
def parse(code: str) -> Unit:
    """The meaning of a case-sensitive UCUM code. UnitError if it is none."""
    if not code or not code.isascii():
        raise UnitError("a UCUM code is not empty and has ASCII characters only")
    unit, rest = _term(code, 0)
    if rest:
        raise UnitError(f"unexpected {rest[0]!r}")
    return unit


def name(code: str) -> str | None:
    """A display for a valid unit, None if it is none."""
    try:
        parse(code)
    except UnitError:
        return None
    atom = _table()["atoms"].get(code)
    return str(atom[3]) if atom else code


def convert(value: Fraction, source: str, target: str) -> Fraction:
    """``value`` of unit ``source`` in unit ``target``, exact. UnitError if they do not measure the same."""
    one, other = parse(source), parse(target)
    if one == other:
        return value
    if one.special or other.special or one.dimension != other.dimension:
        raise UnitError(f"{source} and {target} do not measure the same")
    return value * one.factor / other.factor


def _term(text: str, depth: int) -> tuple[Unit, str]:
    """A term: ``[/] component {(. or /) component}``, up to the end or a closing parenthesis."""
    if depth > MAX_DEPTH:
        raise UnitError("parentheses are nested too deeply")
    unit, sign = ONE, 1
    if text.startswith("/"):
        text, sign = text[1:], -1
    while True:
        part, text = _component(text, depth)
        unit = unit.times(part, sign)
        if not text or text[0] == ")":
            return unit, text
        if text[0] not in "./":
            raise UnitError(f"unexpected {text[0]!r}")
        sign = 1 if text[0] == "." else -1
        text = text[1:]


def _component(text: str, depth: int) -> tuple[Unit, str]:
    """A parenthesised term, an annotation, or a factor or unit with exponent and annotation."""
    if text.startswith("("):
        unit, rest = _term(text[1:], depth + 1)
        if not rest:
            raise UnitError("a parenthesis is not closed")
        return unit, _after_annotation(rest[1:])
    note = _ANNOTATION.match(text)
    if note:
        return ONE, text[note.end() :]
    end = _end(text)
    simple, rest = text[:end], _after_annotation(text[end:])
    if not simple:
        raise UnitError("a unit is missing")
    if _FACTOR.fullmatch(simple):
        if not int(simple):
            raise UnitError("a factor is not 0")
        return Unit(Fraction(int(simple))), rest
    return _power(simple), rest


def _after_annotation(text: str) -> str:
    """The text without the annotation it starts with. HL7's example units have it after parentheses too."""
    note = _ANNOTATION.match(text)
    return text[note.end() :] if note else text


def _end(text: str) -> int:
    """Where the component that starts here ends: at ``. / ( ) {`` outside square brackets."""
    inside = False
    for position, character in enumerate(text):
        if character in "[]":
            inside = character == "["
        elif not inside and character in "./(){}":
            return position
    return len(text)


def _power(text: str) -> Unit:
    """A unit with an optional exponent. ``10*`` and ``10^`` are atoms, so ``10*-3`` has the exponent -3."""
    match = re.search(r"[+-]?[0-9]{1,2}$", text)
    if match and text not in _table()["atoms"]:
        atom, exponent = text[: match.start()], int(match.group())
        if abs(exponent) > MAX_EXPONENT:
            raise UnitError(f"the exponent {exponent} is out of range")
        return ONE.times(_simple(atom), exponent)
    return _simple(text)


def _simple(text: str) -> Unit:
    """A unit atom, or a metric one with a prefix."""
    atoms = _table()["atoms"]
    if text in atoms:
        return _atom(text)
    for length in (1, 2):
        prefix, rest = text[:length], text[length:]
        if prefix in _table()["prefixes"] and rest in atoms and atoms[rest][0]:
            return Unit(Fraction(_table()["prefixes"][prefix])).times(_atom(rest))
    raise UnitError(f"{text!r} is not a unit" if text else "a unit is missing")


@cache
def _atom(code: str) -> Unit:
    _, value, unit, _, special = _table()["atoms"][code]
    if not unit:  # a base unit, or an arbitrary one, which is commensurable with nothing else
        return Unit(Fraction(1), ((code, 1),))
    if special:
        return Unit(Fraction(1), ((code, 1),), special)
    return Unit(Fraction(value)).times(parse(unit))

"""The expression language of conformance statements and predicates (NIST ConformanceContext, Expressions.xsd).

Three-valued: True, False, or None where nothing decides: the element is absent and the expression does not say what
that means (``NotPresentBehavior``), or the expression is a program (``Plugin``), which is never run here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from xml.etree.ElementTree import Element

from adapters.hl7v2.profile.tree import Node

MAX_TEXT = 4096
"""Characters of a value that a regular expression is tried on."""
ABSENT = {"PASS": True, "FAIL": False}
FORMS = {
    "ALPHANUMERIC": r"[0-9A-Za-z]*",
    "OID": r"[0-2](\.(0|[1-9]\d*))+",
    "ISO-COMPLIANT OID": r"[0-2](\.(0|[1-9]\d*))+",
    "POSITIVE INTEGER": r"[1-9]\d*",
    "YYYY": r"\d{4}",
    "YYYYMM": r"\d{4}(0[1-9]|1[0-2])",
    "YYYYMMDD": r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])",
    "LOINC": r"\d{1,7}-\d",
    "SNOMED": r"\d{6,18}",
    "SNOMED CT": r"\d{6,18}",
}
"""Formats of StringFormat."""
Member = Callable[[Element, Node], bool | None]


def _no_sets(_test: Element, _node: Node) -> bool | None:
    return None


def evaluate(test: Element, node: Node, member: Member = _no_sets) -> bool | None:
    """What an expression says of a node; ``member`` decides ValueSet expressions."""
    if test.tag in ("AND", "OR", "NOT", "IMPLY", "XOR", "FORALL", "EXIST"):
        return _joined(test.tag, [evaluate(one, node, member) for one in test])
    if test.tag == "Presence":
        return bool(node.find(test.get("Path", ".")))
    if test.tag == "PathValue":
        return _compared(node, test)
    if test.tag == "SetID":
        return _sequence(node, test.get("Path", "."))
    if test.tag == "IZSetID":
        return _counted(node, test.get("Parent", "."), test.get("Element", "."))
    found = node.find(test.get("Path", "."))
    if not found:
        return ABSENT.get(test.get("NotPresentBehavior", "").upper())
    if test.tag == "ValueSet":
        return member(test, node)
    tests = [outcome for one in found if (outcome := _matches(test, one.value)) is not None]
    if not tests:
        return None
    return any(tests) if test.get("AtLeastOnce") in ("true", "1") else all(tests)


def _joined(tag: str, outcomes: list[bool | None]) -> bool | None:
    """Three-valued logic (Kleene)."""
    if tag == "NOT":
        return None if outcomes[0] is None else not outcomes[0]
    if tag == "IMPLY":
        outcomes, tag = [_joined("NOT", outcomes[:1]), *outcomes[1:]], "OR"
    if tag == "XOR":
        return None if None in outcomes else outcomes.count(True) == 1
    decisive = tag in ("OR", "EXIST")
    if decisive in outcomes:
        return decisive
    return None if None in outcomes else not decisive


def _matches(test: Element, value: str) -> bool | None:
    ignore = test.get("IgnoreCase") in ("true", "1")
    if test.tag == "PlainText":
        text = test.get("Text") or test.get("Value") or ""
        return value.lower() == text.lower() if ignore else value == text
    if test.tag in ("Format", "StringFormat"):
        regex = test.get("Regex") or FORMS.get(test.get("Format", "").upper(), "")
        pattern = _pattern(regex) if regex else None
        return bool(pattern.fullmatch(value[:MAX_TEXT])) if pattern else None
    if test.tag == "StringList":
        listed = [text.strip() for text in test.get("CSV", "").split(",")]
        return value.lower() in [text.lower() for text in listed] if ignore else value in listed
    if test.tag == "NumberList":
        number = _number(value)
        return number is not None and number in [_number(text) for text in test.get("CSV", "").split(",")]
    if test.tag == "SimpleValue":
        return _ordered(test.get("Operator", "EQ"), value, test.get("Value", ""), test.get("Type") == "Number")
    return None


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text)
    except re.error:
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


_OPERATORS: dict[str, Callable[[float | str, float | str], bool]] = {
    "EQ": lambda left, right: left == right,
    "NE": lambda left, right: left != right,
    "GT": lambda left, right: left > right,  # type: ignore[operator]
    "LT": lambda left, right: left < right,  # type: ignore[operator]
    "GE": lambda left, right: left >= right,  # type: ignore[operator]
    "LE": lambda left, right: left <= right,  # type: ignore[operator]
}


def _ordered(operator: str, left: str, right: str, numeric: bool) -> bool | None:
    """As numbers when both are, or must be; else as texts."""
    compare = _OPERATORS.get(operator)
    if compare is None:
        return None
    numbers = _number(left), _number(right)
    if numbers[0] is not None and numbers[1] is not None:
        return compare(numbers[0], numbers[1])
    return False if numeric else compare(left, right)


def _compared(node: Node, test: Element) -> bool | None:
    left, right = (node.find(test.get(name, ".")) for name in ("Path1", "Path2"))
    if not left and not right:
        return ABSENT.get(test.get("NotPresentBehavior", "").upper())
    if not left or not right:
        return False
    operator = test.get("Operator", "EQ")
    if operator in ("EQ", "NE"):
        return (left[0].value == right[0].value) is (operator == "EQ")
    return _ordered(operator, left[0].value, right[0].value, False)


def _sequence(node: Node, path: str) -> bool | None:
    """SetID: one value is the number of its instance; those at a path with ``[*]`` count 1, 2, 3..."""
    values = [one.value for one in node.find(path)]
    if not values:
        return None
    if "*" not in path:
        return values == [str(node.instance)]
    return values == [str(number) for number in range(1, len(values) + 1)]


def _counted(node: Node, parent: str, element: str) -> bool | None:
    """IZSetID: the element counts over all instances of the parent, whichever groups hold them."""
    values = [found.value for one in node.find(parent) for found in one.find(element)]
    return values == [str(number) for number in range(1, len(values) + 1)] if values else None


KNOWN = frozenset(
    "AND OR NOT IMPLY XOR FORALL EXIST Presence PathValue SetID IZSetID PlainText Format StringFormat StringList "
    "NumberList SimpleValue ValueSet".split()
)


def faults(test: Element) -> Iterator[str]:
    """What cannot be evaluated in an expression, and why."""
    for one in test.iter():
        if one.tag == "Plugin":
            yield f"{one.get('QualifiedClassName') or 'Plugin'} is a program that is not run here"
        elif one.tag not in KNOWN:
            yield f"the expression {one.tag} is not known"
        elif one.tag == "Format" and _pattern(one.get("Regex", "")) is None:
            yield f"{one.get('Regex')} is no regular expression"
        elif one.tag == "StringFormat" and one.get("Format", "").upper() not in FORMS:
            yield f"the format {one.get('Format')} is not known"

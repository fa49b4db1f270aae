"""A version's definitions compiled into yes-or-no tests of whole fields, for the messages that are right: most of them.

``validate`` says what is wrong; a plan only says whether there is anything to say. Texts that were found right are
remembered per kind of field, since codes, units, names of places and the like come again and again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from adapters.hl7v2 import spec
from adapters.hl7v2.delimiters import Delimiters
from adapters.hl7v2.message import HEADERS, NULL, Segment
from adapters.hl7v2.spec import Group, Part, Spec

MAX_REMEMBERED = 4096
MAX_LENGTH = 64
"""Longer texts are not remembered."""
MONTH, DAY = r"\d{4}(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
TIME = r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:[0-5]\d(?:\.\d{1,4})?)?)?"
ZONE = r"(?:[+-](?:0\d|1[0-4])[0-5]\d)?"
MOMENT = re.compile(rf"(?:\d{{4}}|{MONTH}|{MONTH}{DAY}(?:{TIME})?){ZONE}$")
FORMATS = {
    "NM": re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*$"),
    "SI": re.compile(r"\d{1,4}$"),
    "DT": re.compile(rf"(?:\d{{4}}|{MONTH}{DAY}?)$"),
    "TM": re.compile(rf"{TIME}{ZONE}$"),
    "DTM": MOMENT,
    "TS": MOMENT,
}
"""Primitive data types whose form is fixed (HL7 v2.5.1 2.A)."""
PRIMITIVES = frozenset((*FORMATS, "ST", "TX", "FT", "ID", "IS", "GTS"))
"""Data types without components; what is neither one of them nor composite (``varies``) can hold anything."""

Test = Callable[[str], object]


class _All:
    """Holds everything."""

    def __contains__(self, text: object) -> bool:
        return True


class Kind:
    """One kind of field: ``right`` are texts known to be right, ``passes`` decides the others."""

    __slots__ = ("_test", "right")

    def __init__(self, test: Test | None) -> None:
        self._test = test
        self.right: set[str] | _All = set() if test else _All()

    def passes(self, text: str) -> bool:
        """Whether nothing is to be said about the text."""
        if self._test is None:
            return True
        if text != NULL and not self._test(text):
            return False
        if len(text) <= MAX_LENGTH and isinstance(self.right, set):
            if len(self.right) >= MAX_REMEMBERED:
                self.right.clear()
            self.right.add(text)
        return True


class Fields:
    """The fields of one segment definition. ``varying`` are the kinds of OBX-5 by OBX-2."""

    __slots__ = ("kinds", "required", "varying")

    def __init__(self, name: str, parts: tuple[Part, ...], plan: Plan) -> None:
        free = 3 if name in HEADERS else 1
        self.kinds = [plan.kind("", "", -1)] * free
        self.kinds += [plan.kind(part.type, part.table, part.max) for part in parts[free - 1 :]]
        self.required = tuple(number for number, part in enumerate(parts, 1) if part.min > 0 and number >= free)
        self.varying = {type: plan.kind(type, "", parts[4].max) for type in plan.types} if name == "OBX" else None

    def right(self, segment: Segment) -> bool:
        """Whether nothing is to be said about the segment's fields."""
        fields, kinds = segment.fields, self.kinds
        count = len(fields)
        for number in self.required:
            if number >= count or not fields[number]:
                return False
        for text, kind in zip(fields, kinds, strict=False):
            if text and text not in kind.right and not kind.passes(text):
                return False
        if self.varying is not None and count > 5 and fields[5]:
            varying = self.varying.get(fields[2])
            if varying is not None and fields[5] not in varying.right and not varying.passes(fields[5]):
                return False
        return count <= len(kinds) or not any(fields[len(kinds) :])


class Plan:
    """One version with one set of delimiters."""

    def __init__(self, version: Spec, delimiters: Delimiters) -> None:
        self._spec = version
        self._delimiters = delimiters
        self._kinds: dict[tuple[str, str, int], Kind] = {}
        self._orders: dict[int, set[tuple[str, ...]]] = {}
        self.types = (*version.types, *PRIMITIVES)
        self._segments: dict[str, Fields] = {}

    def fields(self, name: str) -> Fields | None:
        """The compiled segment, None when the version does not have it."""
        try:
            return self._segments[name]
        except KeyError:
            parts = self._spec.segments.get(name)
            if parts is None:
                return None
            made = self._segments[name] = Fields(name, parts, self)
            return made

    def orders(self, group: Group) -> set[tuple[str, ...]]:
        """Sequences of segments that were found to be of this structure."""
        known = self._orders.setdefault(id(group), set())
        if len(known) >= MAX_REMEMBERED:
            known.clear()
        return known

    def kind(self, type: str, table: str, most: int) -> Kind:
        """The kind of field with this data type, table and number of repetitions."""
        key = (type, table, most)
        if key not in self._kinds:
            test = self._value(type, table, 0)
            self._kinds[key] = Kind(
                self._repeated(test, most) if type in PRIMITIVES or type in self._spec.types else None
            )
        return self._kinds[key]

    def _repeated(self, test: Test | None, most: int) -> Test:
        repetition = self._delimiters.repetition
        test = test or bool

        def right(text: str) -> object:
            if not repetition or repetition not in text:
                return test(text)
            pieces = text.split(repetition)
            if 0 < most < len(pieces):
                return False
            return all(not piece or piece == NULL or test(piece) for piece in pieces)

        return right

    def _value(self, type: str, table: str, level: int) -> Test | None:
        """The test of a value of a data type in a field (0), component (1) or subcomponent (2); None: always right."""
        parts = self._spec.types.get(type)
        inner = (self._delimiters.component, self._delimiters.subcomponent, "")
        if parts is None or not inner[level]:
            return self._primitive(type, table, [letter for letter in inner[level:] if letter])
        tests = [self._value(part.type, part.table or table * (not number), level + 1) for number, part in
                 enumerate(parts)]  # fmt: skip
        return _composite(tests, inner[level])

    def _primitive(self, type: str, table: str, separators: Iterable[str]) -> Test | None:
        form = FORMATS.get(type)
        if form is not None:
            return form.match
        codes = self._spec.tables.get(table) if type == "ID" else None
        if codes:
            return codes.__contains__
        letters = tuple(separators)
        if type not in PRIMITIVES or not letters:
            return None
        return re.compile(f"[^{re.escape(''.join(letters))}]*$").match


def _composite(tests: list[Test | None], separator: str) -> Test:
    count = len(tests)

    def right(text: str) -> bool:
        pieces = text.split(separator)
        for piece, test in zip(pieces, tests, strict=False):
            if piece and test is not None and not test(piece) and piece != NULL:
                return False
        return len(pieces) <= count or not any(pieces[count:])

    return right


@lru_cache(maxsize=64)
def plan_of(version: str, delimiters: Delimiters) -> Plan:
    """The plan of the nearest known version, compiled when first asked."""
    return Plan(spec.load(version), delimiters)

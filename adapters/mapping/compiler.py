"""Compiles segment and data type tables into closures that fill FHIR elements.

A map is another table (``CX[Identifier]``) or a reading of ``adapters.mapping.fields``; a row without one is converted
by its FHIR type.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from adapters.mapping import conversions
from adapters.mapping.condition import Count, Grammar, Test, Value, switch
from adapters.mapping.element import Put, setter
from adapters.mapping.fields import (
    BUILT_IN,
    IMPURE,
    NOTHING,
    NULL,
    Build,
    elsewhere,
    primitive,
    referring,
    remembering,
    translating,
)
from adapters.mapping.tables import Row, Tables

if TYPE_CHECKING:
    from adapters.mapping.run import Entry, Run, Segment

Operation = Callable[["Run", str, int, dict[str, Any], dict[tuple[Any, ...], Any]], bool]
"""One row of a data type table: (run, text, level, element, scope) -> whether it put more than a constant."""
FieldOperation = Callable[["Run", "Entry", str, int], None]
"""One row of a segment table: (run, entry, text of the repetition, its number)."""
Selector = Callable[["Run"], list[FieldOperation]]
MANY = 4


class Reader(Protocol):
    """How the source's notation is read."""

    def value(self, position: str) -> Callable[[Run], str]:
        """``PID-3[2].4.2`` as a function of the run."""

    def count(self, position: str) -> Callable[[Run], int]:
        """The number of repetitions at ``OBX-5``."""


class Compiler:
    """Turns tables into functions, each once."""

    def __init__(self, tables: Tables, reader: Reader) -> None:
        self._tables = tables
        self.reader = reader
        self._types: dict[str, Build] = {}
        self._segments: dict[str, Callable[[Run, Entry, Segment], None]] = {}
        self._grammar = Grammar(reader.value, reader.count)

    def condition(self, text: str) -> Test:
        """A condition of a message or segment table."""
        return self._grammar.compile(text)

    # --- segments

    def segment(self, name: str) -> Callable[[Run, Entry, Segment], None]:
        """``PID[Patient]`` as a function that fills an entry from a segment. ValueError names a faulty row."""
        if name not in self._segments:
            if name not in self._tables.segments:
                raise ValueError(f"there is no segment table {name!r}")
            self._segments[name] = self._fill(name)
        return self._segments[name]

    def _fill(self, name: str) -> Callable[[Run, Entry, Segment], None]:
        before: list[Callable[[Run, Entry], None]] = []
        after: list[Callable[[Run, Entry], None]] = []
        by_field: dict[int, list[Row]] = {}
        for row in self._tables.segments[name]:
            if not row.attribute:
                continue
            try:
                position = re.match(r"[A-Z][A-Z0-9]{2}-(\d+)(?:\.(\d+))?$", row.identifier)
                if position:
                    self._field(row, row.condition, name)
                    by_field.setdefault(int(position[1]), []).append(row)
                else:
                    (before if row.assignment else after).append(self._whole(row))
            except ValueError as error:
                raise ValueError(f"segments/{name}.csv line {row.line}: {error}") from None
        numbered = [(number, self._selector(rows, name)) for number, rows in sorted(by_field.items())]

        def fill(run: Run, entry: Entry, segment: Segment) -> None:
            for operate in before:
                operate(run, entry)
            _take(run, entry, segment.fields, numbered)
            for operate in after:
                operate(run, entry)

        return fill

    def _selector(self, rows: list[Row], name: str) -> Selector:
        """The rows to run on a field. Where many hang on one value (OBX-5 on OBX-2), only its own are tried."""
        switches = [switch(row.condition) if row.condition else None for row in rows]
        positions = [one[0] for one in switches if one]
        if len(positions) < MANY or len(set(positions)) > 1:
            everything = [self._field(row, row.condition, name) for row in rows]
            return lambda run: everything
        read = self.reader.value(positions[0])
        cases: dict[str, list[FieldOperation]] = {}
        for value in frozenset().union(*(one[1] for one in switches if one)):
            own = [(row, one) for row, one in zip(rows, switches, strict=True) if one is None or value in one[1]]
            cases[value] = [self._field(row, one[2] if one else row.condition, name) for row, one in own]
        others = [self._field(row, row.condition, name) for row, one in zip(rows, switches, strict=True) if one is None]
        return lambda run: cases.get(read(run), others)

    def _whole(self, row: Row) -> Callable[[Run, Entry], None]:
        """A row of the segment as a whole: an assignment before the fields, or after them a map that names a field.

        An assignment does not change what an earlier segment said (the status of ORC, when OBR adds to it).
        """
        put = setter(row.attribute)
        build = self._build(row)
        test = self._grammar.compile(row.condition) if row.condition else None
        element = row.attribute.split(".")[0]
        default = bool(row.assignment) and "[" not in row.attribute

        def operate(run: Run, entry: Entry) -> None:
            run.piece = ""
            if default and element in entry.resource and entry.segment is not run.segment:
                return
            if test is None or test(run):
                value = build(run, "", 0)
                if value is not None and value is not NOTHING:
                    put(entry.resource, entry.scope, 1, value)

        return operate

    def _field(self, row: Row, condition: str, name: str) -> FieldOperation:
        """A row on a field, or a component of it, under ``condition``: its own, or what is left of that to test."""
        slot, component = _slot(row, self._tables.segments[name]), int(row.identifier.partition(".")[2] or 0)
        put = setter(row.attribute)
        test = self._field_condition(row, condition)
        build = remembering(self._build(row)) if self._pure(row) else self._build(row)
        at = row.identifier

        def operation(run: Run, entry: Entry, piece: str, repetition: int) -> None:
            if test is not None and not test(run):
                return
            if piece == NULL:
                run.cleared.append((entry, slot))
                return
            text = piece
            level = 0
            if component:
                parts = piece.split(run.delimiters.component)
                text = parts[component - 1] if component <= len(parts) else ""
                level = 1
                if not text:
                    return
            value = build(run, text, level)
            if value is None:
                if text.strip(run.blank):
                    run.refuse(at, text, f"not a {row.type or row.map} value for {row.attribute}")
            elif value is not NOTHING:
                put(entry.resource, entry.scope, repetition, value)

        return operation

    def _field_condition(self, row: Row, condition: str) -> Test | None:
        """A condition on components of the row's own field looks at the repetition under way."""
        if not condition:
            return None
        own = re.match(r"[A-Z][A-Z0-9]{2}-\d+", row.identifier)
        prefix = own[0] if own else ""

        def value(position: str) -> Value:
            match = re.match(rf"{re.escape(prefix)}(?:\.(\d+))?(?:\.(\d+))?$", position)
            if match is None:
                return self.reader.value(position)
            return _component(int(match[1] or 0), int(match[2] or 0))

        return Grammar(value, self.reader.count).compile(condition)

    # --- data types

    def _pure(self, row: Row) -> bool:
        """Whether what the row builds follows from the text alone: it refers to nothing, and reads no other field."""
        if row.type.startswith("Reference(") or ":" in row.map or row.map in IMPURE:
            return False
        return row.map in BUILT_IN or all(map(self._pure, self._tables.datatypes.get(row.map, ())))

    def _build(self, row: Row) -> Build:
        """The builder of a row: a constant, a table, or the conversion of its FHIR type, then its vocabulary."""
        if row.assignment:
            value = _literal(row)
            return lambda run, text, level: value
        if row.map:
            build = self.datatype(row.map)
            reference = re.match(r"Reference\((\w+)\)$", row.type)
            if reference:
                return referring(build, reference[1], all(map(self._pure, self._tables.datatypes[row.map])))
        elif row.type in conversions.PRIMITIVES:
            build = primitive(conversions.PRIMITIVES[row.type])
        elif row.type == "CodeSystem":
            build = primitive(conversions.coding_system)
        else:
            raise ValueError(f"no conversion gives a {row.type!r}")
        if row.vocabulary:
            if row.vocabulary not in self._tables.codes:
                raise ValueError(f"there is no code table {row.vocabulary!r}")
            build = translating(build, self._tables.codes[row.vocabulary], row.type)
        return build

    def datatype(self, name: str) -> Build:
        """``CX[Identifier]`` as a builder. ValueError names a faulty row."""
        if name in BUILT_IN:
            return BUILT_IN[name]
        if ":" in name:
            position, _, name = name.partition(":")
            return elsewhere(position, self.datatype(name))
        if name not in self._types:
            if name not in self._tables.datatypes:
                raise ValueError(f"there is no data type table {name!r}")
            self._types[name] = lambda run, text, level: self._types[name](run, text, level)
            self._types[name] = self._datatype(name)
        return self._types[name]

    def _datatype(self, name: str) -> Build:
        by_component: dict[int, list[Operation]] = {}
        for row in self._tables.datatypes[name]:
            if not row.attribute:
                continue
            try:
                match = re.match(r"[A-Z]{2,3}(?:\.(\d+))?$", row.identifier)
                if match is None:
                    raise ValueError(f"{row.identifier!r} is not a component")
                test = Grammar(_component_value, _no_count).compile(row.condition) if row.condition else None
                operation = _operation(test, setter(row.attribute), self._build(row), bool(row.assignment))
                by_component.setdefault(int(match[1] or 0), []).append(operation)
            except ValueError as error:
                raise ValueError(f"datatypes/{name}.csv line {row.line}: {error}") from None
        whole = by_component.pop(0, [])
        numbered = sorted(by_component.items())
        return lambda run, text, level: None if text == NULL else _assemble(run, text, level, numbered, whole)


def _slot(row: Row, rows: Sequence[Row]) -> str:
    """What a field that says ``""`` deletes: ``gender``, ``period.end``, or of a list the items that it fills.

    Those are told apart by what other rows of the field set: ``extension:http://...``, ``participant:ATND``.
    """
    first, _, rest = row.attribute.partition(".")
    name, indexed, _ = first.partition("[")
    if not indexed:
        part = rest.partition(".")[0].partition("[")[0]
        return f"{name}.{part}" if part else name
    marks = [f"{first}{tail}" for tail in (".url", ".use", ".type[1].coding[1].code", ".type.coding[1].code")]
    literals = (one.assignment.strip('"') for mark in marks for one in rows if one.attribute == mark and one.assignment)
    found = next(literals, "")
    return f"{name}:{found}" if found else name


def _take(run: Run, entry: Entry, fields: Sequence[str], numbered: list[tuple[int, Selector]]) -> None:
    """Run the rows of every field that is there, on every repetition."""
    size = len(fields)
    delimiter, blank = run.delimiters.repetition, run.blank
    for number, select in numbered:
        if number >= size:
            break
        text = fields[number]
        if not text:
            continue
        operations = select(run)
        for repetition, piece in enumerate(text.split(delimiter) if delimiter and delimiter in text else (text,), 1):
            if piece.strip(blank):
                run.piece = piece
                for operation in operations:
                    operation(run, entry, piece, repetition)


def _assemble(
    run: Run, text: str, level: int, numbered: list[tuple[int, list[Operation]]], whole: list[Operation]
) -> Any:
    """Fill an element from the components of ``text``; None unless something of it is more than a constant."""
    delimiters = run.delimiters
    delimiter = delimiters.component if level == 0 else delimiters.subcomponent if level == 1 else ""
    parts = text.split(delimiter) if delimiter else [text]
    size = len(parts)
    element: dict[str, Any] = {}
    scope: dict[tuple[Any, ...], Any] = {}
    outer = run.parts, run.level
    run.parts, run.level = parts, level
    valued = False
    for number, operations in numbered:
        if number > size:
            break
        part = parts[number - 1]
        if part and part != NULL:
            for operation in operations:
                valued |= operation(run, part, level + 1, element, scope)
    for operation in whole:
        valued |= operation(run, text, level, element, scope)
    run.parts, run.level = outer
    return element if valued and element else None


def _operation(test: Test | None, put: Put, build: Build, constant: bool) -> Operation:
    def operate(run: Run, text: str, level: int, element: dict[str, Any], scope: dict[tuple[Any, ...], Any]) -> bool:
        if test is not None and not test(run):
            return False
        value = build(run, text, level)
        if value is None or value is NOTHING:
            return False
        put(element, scope, 1, value)
        return not constant

    return operate


def _component(component: int, subcomponent: int) -> Value:
    """A piece of the repetition under way."""

    def value(run: Run) -> str:
        text = run.piece
        delimiters = run.delimiters
        for number, delimiter in ((component, delimiters.component), (subcomponent, delimiters.subcomponent)):
            if number:
                parts = text.split(delimiter) if delimiter else [text]
                text = parts[number - 1] if number <= len(parts) else ""
        return str(delimiters.unescape(text, run.codec))

    return value


def _component_value(position: str) -> Value:
    """``CX.4.2`` inside a data type table: a component of the data type under way."""
    numbers = [int(number) for number in position.split(".")[1:]]
    if not numbers:
        raise ValueError(f"{position!r} is not a component")

    def value(run: Run) -> str:
        text = run.parts[numbers[0] - 1] if numbers[0] <= len(run.parts) else ""
        if len(numbers) > 1:
            inner = (
                text.split(run.delimiters.subcomponent) if run.level == 0 and run.delimiters.subcomponent else [text]
            )
            text = inner[numbers[1] - 1] if numbers[1] <= len(inner) else ""
        return str(run.delimiters.unescape(text, run.codec))

    return value


def _no_count(position: str) -> Count:
    raise ValueError(f"count({position}) has no meaning inside a data type")


def _literal(row: Row) -> Any:
    """An assignment: ``"home"`` a text, ``true``/``false``/a number itself."""
    text = row.assignment
    if text[:1] == '"' and text[-1:] == '"' and len(text) > 1:
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    if text.lstrip("-").isdigit():
        return int(text)
    raise ValueError(f"{text!r} is not an assignment")

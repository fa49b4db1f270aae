"""Compiles segment and data type tables into closures that fill FHIR elements.

An attribute is an element path: ``gender``, ``name.family``, ``identifier[1]`` (a new list element for every repetition
of the field; rows of the same number and repetition fill the same one), ``contact[0].name`` (one element for the whole
segment). A map is another table (``CX[Identifier]``), or a conversion by the FHIR type of the row.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from adapters.mapping import conversions
from adapters.mapping.condition import Count, Grammar, Test, Value, switch
from adapters.mapping.tables import CodeMap, Row, Tables

if TYPE_CHECKING:
    from adapters.mapping.engine import Entry, Run, Segment

NULL = '""'
NOTHING = object()
"""A code table's word for: known, and without an equivalent. The element is left out without complaint."""
Build = Callable[["Run", str, int], Any]
"""A data type: (run, text as sent, level 0 = components, 1 = subcomponents) -> element or None."""
Put = Callable[[dict[str, Any], dict[tuple[Any, ...], Any], int, Any], None]
"""Set a value in (root, scope, repetition)."""
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


_STEP = re.compile(r"(_?[A-Za-z]+)(?:\[(\d+)])?$")


def setter(attribute: str) -> Put:
    """Compile an element path. ValueError if it is none."""
    steps: list[tuple[str, int | None]] = []
    for part in attribute.split("."):
        match = _STEP.match(part)
        if match is None:
            raise ValueError(f"{attribute!r} is not an element path")
        steps.append((match[1], int(match[2]) if match[2] else None))
    paths = [".".join(f"{name}[{slot}]" for name, slot in steps[: depth + 1]) for depth in range(len(steps))]
    name, slot = steps[-1]
    put = _member(name) if slot is None else _item(name, slot, paths[-1])
    for (name, slot), path in zip(steps[-2::-1], paths[-2::-1], strict=True):
        put = _into(name, put) if slot is None else _into_item(name, slot, path, put)
    return put


def _member(name: str) -> Put:
    def put(root: dict[str, Any], scope: dict[tuple[Any, ...], Any], repetition: int, value: Any) -> None:
        present = root.get(name)
        if present is not None and isinstance(present, dict) and isinstance(value, dict):
            present.update(value)
        else:
            root[name] = value

    return put


def _item(name: str, slot: int, path: str) -> Put:
    def put(root: dict[str, Any], scope: dict[tuple[Any, ...], Any], repetition: int, value: Any) -> None:
        place = (path, repetition if slot else 0, id(root))
        element = scope.get(place)
        if element is not None and isinstance(element, dict) and isinstance(value, dict):
            element.update(value)
            return
        items = root.get(name)
        if items is None:
            root[name] = [value]
        elif value in items:
            value = items[items.index(value)]
        else:
            items.append(value)
        scope[place] = value

    return put


def _into(name: str, inner: Put) -> Put:
    def put(root: dict[str, Any], scope: dict[tuple[Any, ...], Any], repetition: int, value: Any) -> None:
        inner(root.setdefault(name, {}), scope, repetition, value)

    return put


def _into_item(name: str, slot: int, path: str, inner: Put) -> Put:
    def put(root: dict[str, Any], scope: dict[tuple[Any, ...], Any], repetition: int, value: Any) -> None:
        place = (path, repetition if slot else 0, id(root))
        element = scope.get(place)
        if element is None:
            element = scope[place] = {}
            root.setdefault(name, []).append(element)
        inner(element, scope, repetition, value)

    return put


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
        by_field: dict[int, list[tuple[Row, FieldOperation]]] = {}
        for row in self._tables.segments[name]:
            if not row.attribute:
                continue
            try:
                position = re.match(r"[A-Z][A-Z0-9]{2}-(\d+)(?:\.(\d+))?$", row.identifier)
                if position:
                    operation = self._field(row, int(position[2] or 0))
                    by_field.setdefault(int(position[1]), []).append((row, operation))
                else:
                    (before if row.assignment else after).append(self._whole(row))
            except ValueError as error:
                raise ValueError(f"segments/{name}.csv line {row.line}: {error}") from None
        numbered = [(number, self._selector(rows)) for number, rows in sorted(by_field.items())]

        def fill(run: Run, entry: Entry, segment: Segment) -> None:
            for operate in before:
                operate(run, entry)
            _take(run, entry, segment.fields, numbered)
            for operate in after:
                operate(run, entry)

        return fill

    def _selector(self, rows: list[tuple[Row, FieldOperation]]) -> Selector:
        """The rows to run on a field. Where many hang on one value (OBX-5 on OBX-2), only its own are tried."""
        everything = [operation for _, operation in rows]
        switches = [switch(row.condition) if row.condition else None for row, _ in rows]
        positions = [one[0] for one in switches if one]
        if len(positions) < MANY or len(set(positions)) > 1:
            return lambda run: everything
        read = self.reader.value(positions[0])
        values = frozenset().union(*(one[1] for one in switches if one))
        pairs = list(zip(switches, everything, strict=True))
        cases = {value: [operation for one, operation in pairs if one is None or value in one[1]] for value in values}
        others = [operation for one, operation in pairs if one is None]
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

    def _field(self, row: Row, component: int) -> Callable[[Run, Entry, str, int], None]:
        put = setter(row.attribute)
        test = self._field_condition(row)
        element = row.attribute.split(".")[0].split("[")[0]
        build = self._build(row)
        at = row.identifier

        def operation(run: Run, entry: Entry, piece: str, repetition: int) -> None:
            if test is not None and not test(run):
                return
            if piece == NULL:
                run.cleared.append((entry, element))
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
                if text.strip(run.delimiters.component + run.delimiters.subcomponent + " "):
                    run.refuse(at, text, f"not a {row.type or row.map} value for {row.attribute}")
            elif value is not NOTHING:
                put(entry.resource, entry.scope, repetition, value)

        return operation

    def _field_condition(self, row: Row) -> Test | None:
        """A condition on components of the row's own field looks at the repetition under way."""
        if not row.condition:
            return None
        own = re.match(r"[A-Z][A-Z0-9]{2}-\d+", row.identifier)
        prefix = own[0] if own else ""

        def value(position: str) -> Value:
            match = re.match(rf"{re.escape(prefix)}(?:\.(\d+))?(?:\.(\d+))?$", position)
            if match is None:
                return self.reader.value(position)
            return _component(int(match[1] or 0), int(match[2] or 0))

        return Grammar(value, self.reader.count).compile(row.condition)

    # --- data types

    def _build(self, row: Row) -> Build:
        """The builder of a row: a constant, a table, or the conversion of its FHIR type, then its vocabulary."""
        if row.assignment:
            value = _literal(row)
            return lambda run, text, level: value
        if row.map:
            build = self.datatype(row.map)
            reference = re.match(r"Reference\((\w+)\)$", row.type)
            if reference:
                return _referring(build, reference[1])
        elif row.type in conversions.PRIMITIVES:
            build = _primitive(conversions.PRIMITIVES[row.type])
        elif row.type == "CodeSystem":
            build = _primitive(conversions.coding_system)
        else:
            raise ValueError(f"no conversion gives a {row.type!r}")
        if row.vocabulary:
            if row.vocabulary not in self._tables.codes:
                raise ValueError(f"there is no code table {row.vocabulary!r}")
            build = _translating(build, self._tables.codes[row.vocabulary], row.type)
        return build

    def datatype(self, name: str) -> Build:
        """``CX[Identifier]`` as a builder. ValueError names a faulty row."""
        if name in BUILT_IN:
            return BUILT_IN[name]
        if ":" in name:
            position, _, name = name.partition(":")
            return _elsewhere(position, self.datatype(name))
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


def _take(run: Run, entry: Entry, fields: Sequence[str], numbered: list[tuple[int, Selector]]) -> None:
    """Run the rows of every field that is there, on every repetition."""
    size = len(fields)
    delimiter = run.delimiters.repetition
    blank = run.delimiters.component + run.delimiters.subcomponent + " "
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


def _primitive(convert: conversions.Convert) -> Build:
    def build(run: Run, text: str, level: int) -> Any:
        delimiters = run.delimiters
        if level == 0 and delimiters.component in text:
            text = text.split(delimiters.component, 1)[0]
        if level <= 1 and delimiters.subcomponent and delimiters.subcomponent in text:
            text = text.split(delimiters.subcomponent, 1)[0]
        if delimiters.escape and delimiters.escape in text:
            text = delimiters.unescape(text, run.codec)
        return convert(text, run.circumstances)

    return build


def _elsewhere(position: str, build: Build) -> Build:
    """``OBX-3:CWE[CodeableConcept]``: a field, or component, of the segment under way or of another in view."""
    match = re.match(r"([A-Z][A-Z0-9]{2})-(\d+)(?:\.(\d+))?$", position)
    if match is None:
        raise ValueError(f"{position!r} is not a field")
    name, field, component = match[1], int(match[2]), int(match[3] or 0)

    def read(run: Run, text: str, level: int) -> Any:
        segment = run.segment if run.segment.name == name else run.latest.get(name)
        fields = segment.fields if segment is not None else ()
        piece = fields[field] if field < len(fields) else ""
        if run.delimiters.repetition:
            piece = piece.split(run.delimiters.repetition, 1)[0]
        if component:
            parts = piece.split(run.delimiters.component)
            piece = parts[component - 1] if component <= len(parts) else ""
        return build(run, piece, 1 if component else 0) if piece and piece != NULL else NOTHING

    return read


def _referring(build: Build, type: str) -> Build:
    """A reference to the resource that a field describes; the same text is the same resource, looked at once."""

    def refer(run: Run, text: str, level: int) -> Any:
        known = run.referred.get((build, text))
        if known is None:
            content = build(run, text, level)
            reference = None if content is None else run.refer(type, content)
            known = run.referred[build, text] = reference or {}
        return dict(known) if known else None

    return refer


def _translating(build: Build, table: CodeMap, type: str) -> Build:
    """Codes by table. For ``code`` and ``Coding`` the target; for CodeableConcept the target beside the original."""

    def translate(run: Run, text: str, level: int) -> Any:
        value = build(run, text, level)
        if value is None:
            return None
        if isinstance(value, str):
            found = table.codes.get(value) or table.codes.get("*")
            if not found:
                return None
            return value if found[0].code == "=" else found[0].code or NOTHING
        codings = value.get("coding", [value]) if type == "CodeableConcept" else [value]
        found = None
        for coding in codings:
            found = table.codes.get(coding.get("code", "")) or found
            if "system" not in coding and "code" in coding and table.system:
                coding["system"] = table.system
        found = found or table.codes.get("*")
        if type == "CodeableConcept":
            present = {(coding.get("system"), coding.get("code")) for coding in codings}
            added = [_coding(code) for code in found or () if (code.system, code.code) not in present]
            return {**value, "coding": added + codings}
        if type == "Coding":
            return _coding(found[0]) if found else value
        return found[0].code or NOTHING if found else None

    return translate


def _coding(code: Any) -> dict[str, str]:
    names = (("system", code.system), ("code", code.code), ("display", code.display))
    return {name: value for name, value in names if value}


def _authority(*places: int) -> Build:
    """An assigning authority as Identifier.system: its namespace, universal id and type at these components."""

    def build(run: Run, text: str, level: int) -> Any:
        delimiters = run.delimiters
        delimiter = delimiters.component if level == 0 else delimiters.subcomponent if level == 1 else ""
        parts = text.split(delimiter) if delimiter else [text]
        names = [delimiters.unescape(parts[place - 1], run.codec) if place <= len(parts) else "" for place in places]
        return conversions.authority(names[0], names[1], names[2], run.circumstances)

    return build


def _facility(run: Run, text: str, level: int) -> Any:
    """The system of identifiers whose sender names no authority."""
    return conversions.authority("", "", "", run.circumstances)


def _words(run: Run, text: str, level: int) -> Any:
    """Any field as one text, its components joined by blanks."""
    delimiters = run.delimiters
    for delimiter in (delimiters.component, delimiters.subcomponent):
        if delimiter and delimiter in text:
            text = " ".join(part for part in text.split(delimiter) if part)
    return conversions.string(delimiters.unescape(text, run.codec), run.circumstances)


def _number(run: Run, text: str, level: int) -> Any:
    """XTN: ``+country area local Xextension`` of those that are there."""
    parts = [*text.split(run.delimiters.component), *[""] * 8]
    country, area, local, extension = (run.delimiters.unescape(part, run.codec).strip() for part in parts[4:8])
    words = (f"+{country.lstrip('+')}" if country else "", area, local, f"X{extension}" if extension else "")
    return conversions.string(" ".join(word for word in words if word), run.circumstances)


_COMPARED = re.compile(r"(<=|>=|<|>)?\s*(.+)$")


def _measured(run: Run, text: str, level: int) -> Any:
    """NM as a Quantity; ``<5``, which many laboratories send though it is an SN, with its comparator."""
    match = _COMPARED.match(run.delimiters.unescape(text, run.codec).strip())
    number = conversions.decimal(match[2], run.circumstances) if match else None
    if match is None or number is None:
        return NOTHING
    return {"comparator": match[1], "value": number} if match[1] else {"value": number}


def _unmeasured(run: Run, text: str, level: int) -> Any:
    """NM that holds no number, as a text: a result is not lost for its type."""
    return _words(run, text, level) if _measured(run, text, level) is NOTHING else NOTHING


def _media_type(main: int, sub: int) -> Build:
    """MIME type of ED and RP: type of data and its subtype (tables HL70191, HL70291)."""

    def build(run: Run, text: str, level: int) -> Any:
        parts = [*text.split(run.delimiters.component), *[""] * 5]
        kind, subtype = parts[main - 1].strip().lower(), parts[sub - 1].strip().lower()
        if "/" in subtype:
            return conversions.code(subtype, run.circumstances)
        if kind in ("", "ap", "multipart") or kind not in MEDIA:
            kind = "application"
        return f"{kind}/{subtype}" if subtype and re.match(r"[\w.+-]+$", subtype) else None

    return build


MEDIA = {"application", "audio", "image", "text", "video", "model", "message", "multipart"}


def _data(run: Run, text: str, level: int) -> Any:
    """ED.5: base64 as it is, anything else packed; hexadecimal (ED.4 ``Hex``) is read first."""
    encoding = run.parts[3].strip().lower() if len(run.parts) > 3 else ""
    plain = run.delimiters.unescape(text, run.codec)
    if encoding == "base64":
        return conversions.base64(plain, run.circumstances)
    try:
        content = bytes.fromhex(plain) if encoding == "hex" else plain.encode("utf-8", "replace")
    except ValueError:
        return None
    return base64.b64encode(content).decode("ascii")


def _packed_text(run: Run, text: str, level: int) -> Any:
    """A text as base64 of its UTF-8."""
    plain = run.delimiters.unescape(text, run.codec)
    return base64.b64encode(plain.encode("utf-8", "replace")).decode("ascii") or None


def _money(place: int, convert: conversions.Convert) -> Build:
    """A subcomponent of MO: amount or currency."""

    def build(run: Run, text: str, level: int) -> Any:
        parts = text.split(run.delimiters.subcomponent) if run.delimiters.subcomponent else [text]
        return convert(parts[place - 1], run.circumstances) if place <= len(parts) and parts[place - 1] else None

    return build


BUILT_IN: dict[str, Build] = {
    "HD[uri]": _authority(1, 2, 3), "EI[authority]": _authority(2, 3, 4), "CNN[authority]": _authority(9, 10, 11),
    "facility[uri]": _facility, "any[string]": _words, "XTN[number]": _number,
    "ED[mime]": _media_type(2, 3), "RP[mime]": _media_type(3, 4), "ED[base64]": _data,
    "TX[base64]": _packed_text, "MO[amount]": _money(1, conversions.decimal),
    "MO[currency]": _money(2, conversions.code), "ID[code]": _primitive(conversions.code), "NM[Quantity]": _measured, "NM[string]": _unmeasured,
}  # fmt: skip
"""Maps that are no tables."""

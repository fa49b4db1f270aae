"""An HL7 v2 message as received: lossless, split lazily, addressed by position (HL7 v2.5.1 2.5 to 2.7).

The text is cut into segments at once, into fields when a segment is asked, and into repetitions, components and
subcomponents when a value is asked; escape sequences are resolved last. Nothing is dropped: Z-segments, unknown
segments, lines that are no segments and empty lines stay where they were, and ``encode`` gives the received bytes.

>>> head = b"MSH|^~\\\\&|HIS|A|HUB|R|20261120||ADT^A01|1|P|2.5.1\\r"
>>> message = parse(head + b"PID|1||7^^^H&1.2.3&ISO^MR~8||Li\\\\T\\\\Co^A\\r")
>>> message.kind, message["PID-3[1].4.2"], message["PID-3[2]"], message["PID-5.1"], message["PV1-2"]
('ADT^A01', '1.2.3', '8', 'Li&Co', '')
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from adapters.hl7v2.charset import MARKS, Decoded, codec_of, decode
from adapters.hl7v2.delimiters import CONTROL, Delimiters, delimiters_of
from adapters.hl7v2.findings import finding
from hub.errors import HubError
from hub.services.check import Finding

NULL = '""'
"""The field value that means: delete what you have (HL7 v2.5.1 2.5.3.1)."""

MAX_SEGMENTS = 500_000
MAX_FINDINGS = 1000
HEAD = 4096
"""Bytes in which the header segment is looked for."""
BYTE_ORDER_MARKS = tuple(mark for mark, _ in MARKS)
HEADERS = ("MSH", "FHS", "BHS")
_PATH = re.compile(r"([A-Z][A-Z0-9]{2})(?:\[(\d+)])?(?:-(\d+)(?:\[(\d+)])?(?:\.(\d+)(?:\.(\d+))?)?)?$")
UNDECODABLE = re.compile("[\ud800-\udfff]")
_NAME = re.compile(r"[A-Z][A-Z0-9]{2}$")


class Path(NamedTuple):
    """A position, all counts from 1; 0 = not named."""

    segment: str
    occurrence: int = 0
    field: int = 0
    repetition: int = 0
    component: int = 0
    subcomponent: int = 0


@lru_cache(maxsize=4096)
def path(text: str) -> Path:
    """Read ``PID[1]-3[2].4.2``. ValueError if it is no position.

    >>> path("PID-3[2].1")
    Path(segment='PID', occurrence=0, field=3, repetition=2, component=1, subcomponent=0)
    """
    match = _PATH.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not an HL7 v2 position such as PID-3[2].1")
    return Path(match[1], *(int(group or 0) for group in match.groups()[1:]))


class Segment:
    """One segment. ``fields[n]`` is field n as sent (MSH: 1 and 2 are the delimiters), split when first asked."""

    __slots__ = ("_fields", "delimiters", "index", "name", "number", "text")

    def __init__(self, text: str, index: int, delimiters: Delimiters) -> None:
        self.text = text
        self.name = text[:3]
        self.index = index
        self.delimiters = delimiters
        self.number = 0
        self._fields: list[str] | None = None

    @property
    def fields(self) -> list[str]:
        """Field texts; index 0 is the segment ID."""
        if self._fields is None:
            parts = self.text.split(self.delimiters.field)
            if self.name in HEADERS:
                parts.insert(1, self.delimiters.field)
            self._fields = parts
        return self._fields

    def field(self, number: int) -> str:
        """Field ``number`` as sent, "" when there is none."""
        fields = self.fields
        return fields[number] if number < len(fields) else ""

    def repetitions(self, number: int) -> list[str]:
        """The repetitions of a field as sent; [] when it is empty."""
        text = self.field(number)
        if not text:
            return []
        delimiter = self.delimiters.repetition
        return [text] if not delimiter or (self.name in HEADERS and number < 3) else text.split(delimiter)

    def raw(self, number: int, repetition: int = 1, component: int = 0, subcomponent: int = 0) -> str:
        """A piece as sent. Without a component, the whole repetition."""
        pieces = self.repetitions(number)
        if repetition > len(pieces):
            return ""
        text = pieces[repetition - 1]
        for place, delimiter in ((component, self.delimiters.component), (subcomponent, self.delimiters.subcomponent)):
            if place:
                parts = text.split(delimiter) if delimiter else [text]
                text = parts[place - 1] if place <= len(parts) else ""
        return text

    def is_line(self) -> bool:
        """Whether the line is a segment at all: an ID, then the field separator or the end."""
        return bool(_NAME.match(self.name)) and self.text[3:4] in ("", self.delimiters.field)


class Place(NamedTuple):
    """Line and column from 1 (characters), offset from 0 (bytes)."""

    line: int
    column: int
    offset: int


class Message:
    """A message as received. Immutable; see the module's text."""

    __slots__ = ("_names", "_offsets", "decoded", "delimiters", "header", "raw", "segments", "terminators")

    def __init__(self, raw: bytes, decoded: Decoded, delimiters: Delimiters, lines: list[str], ends: list[str]) -> None:
        self.raw = raw
        self.decoded = decoded
        self.delimiters = delimiters
        self.terminators = ends
        self.segments = [Segment(text, index, delimiters) for index, text in enumerate(lines)]
        self.header = next(segment for segment in self.segments if segment.name in HEADERS)
        self._names: dict[str, list[Segment]] | None = None
        self._offsets: list[int] | None = None

    # --- whole message

    @property
    def kind(self) -> str:
        """Type and trigger event of MSH-9: ``ADT^A01``."""
        return self.value(self.header, 9, 1, 1) + (f"^{event}" if (event := self.value(self.header, 9, 1, 2)) else "")

    @property
    def control_id(self) -> str:
        """MSH-10 as sent."""
        return self.header.field(10)

    @property
    def version(self) -> str:
        """MSH-12.1."""
        return self.value(self.header, 12, 1, 1)

    @property
    def codec(self) -> str:
        """The Python codec the message was read in."""
        return self.decoded.codec

    def encode(self) -> bytes:
        """The message's bytes, put together from its segments."""
        lines = (segment.text + end for segment, end in zip(self.segments, self.terminators, strict=True))
        return self.decoded.encode("".join(lines))

    # --- parts

    def all(self, name: str) -> list[Segment]:
        """The segments of this name, in order."""
        if self._names is None:
            self._names = {}
            for segment in self.segments:
                same = self._names.setdefault(segment.name, [])
                same.append(segment)
                segment.number = len(same)
        return self._names.get(name, [])

    def value(
        self, segment: Segment, field: int, repetition: int = 1, component: int = 0, subcomponent: int = 0
    ) -> str:
        """A piece with its escape sequences resolved."""
        text = segment.raw(field, repetition, component, subcomponent)
        return text if segment.name in HEADERS and field < 3 else self.delimiters.unescape(text, self.codec)

    def __getitem__(self, position: str) -> str:
        """The value at ``PID-3[2].1``, "" if there is none. Without a field, the segment's text."""
        where = path(position)
        segments = self.all(where.segment)
        number = where.occurrence or 1
        if number > len(segments):
            return ""
        segment = segments[number - 1]
        if not where.field:
            return segment.text
        return self.value(segment, where.field, where.repetition or 1, where.component, where.subcomponent)

    def place(
        self, segment: Segment, field: int = 0, repetition: int = 1, component: int = 1, subcomponent: int = 1
    ) -> Place:
        """Where a piece begins."""
        if self._offsets is None:
            lines = (piece.text + end for piece, end in zip(self.segments, self.terminators, strict=True))
            sizes = (len(line.encode(self.codec, "surrogateescape")) for line in lines)
            self._offsets = list(accumulate(sizes, initial=len(self.decoded.mark)))
        inside = _head(segment, field, repetition, component, subcomponent)[: len(segment.text)] if field else ""
        offset = self._offsets[segment.index] + len(inside.encode(self.codec, "surrogateescape"))
        return Place(segment.index + 1, len(inside) + 1, offset)

    def position(self, segment: Segment) -> str:
        """``OBX[3]``: the segment by name and occurrence."""
        self.all(segment.name)
        return f"{segment.name}[{segment.number}]"

    def readable(self) -> Message:
        """The message with U+FFFD for every byte that is no character, so that it can be written as JSON or UTF-8."""
        if not self.decoded.damaged:
            return self
        lines = [UNDECODABLE.sub("\ufffd", segment.text) for segment in self.segments]
        return Message(self.raw, self.decoded, self.delimiters, lines, self.terminators)

    # --- what was out of the ordinary in the bytes

    def encoding_findings(self) -> list[Finding]:
        """Findings about character set, terminators and lines that are no segments."""
        found = [finding("byte-order-mark", offset=0)] if self.decoded.mark.startswith(BYTE_ORDER_MARKS) else []
        odd = next((index for index, end in enumerate(self.terminators) if "\n" in end), None)
        if odd is not None:
            found.append(finding("segment-terminator", self.position(self.segments[odd]), odd + 1))
        if self.terminators[-1] == "" and self.segments[-1].text:
            found.append(finding("no-final-terminator", line=len(self.segments)))
        for segment in self.segments:
            if not segment.text.strip():
                found.append(finding("blank-line", line=segment.index + 1, offset=self.place(segment).offset))
            elif not segment.is_line():
                found.append(finding("segment-name", line=segment.index + 1, column=1, value=segment.text[:40],
                                     offset=self.place(segment).offset))  # fmt: skip
            if match := CONTROL.search(segment.text):
                found.append(finding("control-character", segment.name, segment.index + 1, match.start() + 1,
                                     value=f"0x{ord(match[0]):02X}"))  # fmt: skip
            if len(found) > MAX_FINDINGS:
                break
        return found + self._charset_findings()

    def _charset_findings(self) -> list[Finding]:
        declared = self.header.field(18)
        if self.decoded.damaged:
            return [finding("charset-damaged", "MSH-18", 1, value=declared, expected=self.codec)]
        if self.decoded.rule in ("MSH-18", "sender") or self.raw[len(self.decoded.mark) :].isascii():
            return []
        rule = "charset-wrong" if declared and codec_of(declared) != self.codec else "charset-undeclared"
        return [finding(rule, "MSH-18", 1, value=declared, expected=self.codec)]


def _head(segment: Segment, field: int, repetition: int, component: int, subcomponent: int) -> str:
    """The segment's text before a piece."""
    delimiters = segment.delimiters
    fields = segment.fields
    if segment.name in HEADERS:
        head = (
            segment.name if field == 1 else delimiters.field.join([segment.name, *fields[2:field]]) + delimiters.field
        )
    else:
        head = delimiters.field.join(fields[:field]) + delimiters.field
    text = segment.field(field)
    pieces = (
        (repetition, delimiters.repetition),
        (component, delimiters.component),
        (subcomponent, delimiters.subcomponent),
    )
    for number, delimiter in pieces:
        parts = text.split(delimiter) if delimiter else [text]
        head += "".join(part + delimiter for part in parts[: number - 1])
        text = parts[number - 1] if number <= len(parts) else ""
    return head


# --- reading ---------------------------------------------------------------------------------------------------------


def declared_charset(raw: bytes) -> str:
    """MSH-18 as sent, read before decoding.

    A GB 18030 character in an earlier field can hold the byte of the separator and move MSH-18 to the right.
    """
    start = raw.find(b"MSH")
    if start < 0 or start > 8:
        return ""
    line = re.split(rb"[\r\n]", raw[start : start + 4096], maxsplit=1)[0]
    fields = line.split(line[3:4]) if len(line) > 3 else []
    names = [name.decode("ascii", "replace") for name in fields[17:21]]
    return next((name for name in names if codec_of(name)), names[0] if names else "")


def header_of(raw: bytes) -> tuple[Segment, str]:
    """The MSH segment of a message that may be beyond reading, as far as it can be made out, and the message's codec.

    Without any MSH it is an empty one with the usual delimiters.
    """
    wide = next((codec for mark, codec in MARKS[1:] if raw.startswith(mark)), "")
    if wide:
        raw = raw[: 4 * HEAD].decode(wide, "ignore").lstrip("\ufeff").encode("utf-8", "replace")
    start = raw.find(b"MSH", 0, HEAD)
    line = re.split(rb"[\r\n\x1c]", raw[start : start + HEAD], maxsplit=1)[0] if start >= 0 else b"MSH|^~\\&"
    declared = declared_charset(line)
    codec = decode(line if raw.isascii() else raw, declared).codec
    text = line.decode(codec, "surrogateescape")
    try:
        return Segment(text, 0, delimiters_of(text[:64])), wide or codec
    except HubError:
        return Segment("MSH|^~\\&", 0, Delimiters()), wide or codec


def parse(raw: bytes, charset: str = "") -> Message:
    """Read a message; ``charset`` is the codec configured for its sender.

    Raises HubError("structure") when there is no MSH, FHS or BHS segment, when its delimiters are unusable or when
    there are more than 500,000 segments.
    """
    decoded = decode(raw, declared_charset(raw), charset)
    text = decoded.text.lstrip("\r\n \t\ufeff")
    if len(text) < len(decoded.text):
        lead = decoded.text[: len(decoded.text) - len(text)].encode(decoded.codec)
        decoded = replace(decoded, mark=decoded.mark + lead, text=text)
    if text[:3] not in HEADERS:
        raise HubError("structure", "the message does not begin with an MSH segment", "line 1 column 1")
    delimiters = delimiters_of(text[:64])
    if text.count("\r") + text.count("\n") > MAX_SEGMENTS:
        raise HubError("too-long", f"the message has more than {MAX_SEGMENTS} segments")
    lines, ends = _lines(text, delimiters)
    return Message(raw, decoded, delimiters, lines, ends)


def _lines(text: str, delimiters: Delimiters) -> tuple[list[str], list[str]]:
    """Segment texts and the terminator of each.

    CR ends a segment, with a following LF. LF alone ends one where a segment ID and the separator follow, or another
    terminator, or nothing; elsewhere it is a line break that somebody forgot to escape, and stays in its field.
    """
    if "\n" not in text:
        lines = text.split("\r")
        ends = ["\r"] * len(lines)
        ends[-1] = ""
    else:
        separator = re.escape(delimiters.field)
        parts = re.split(rf"(\r\n?|\n(?=[A-Z][A-Z0-9]{{2}}{separator}|[\r\n]|$))", text)
        lines, ends = parts[0::2], [*parts[1::2], ""]
    if lines[-1] == "" and len(lines) > 1:
        lines.pop()
        ends.pop()
    return lines, ends

"""What the message desk shows of an HL7 v2 message (``hub.services.desk.Layout``)."""

from __future__ import annotations

from typing import Any

from adapters.hl7v2 import spec
from adapters.hl7v2.interpret import sender_of
from adapters.hl7v2.message import HEADERS, Message, Segment, header_of, parse
from adapters.hl7v2.spec import Part, Spec
from hub.errors import HubError

PATIENT = {"PID": (2, 3, 4, 18), "MRG": (1, 2, 3, 4), "QPD": (3,)}
ORDER = {"ORC": (2, 3, 4), "OBR": (2, 3), "SCH": (1, 2), "TXA": (12, 14)}
MAX_ROWS = 5000


class Hl7v2Layout:
    """Positions and field names by the version the message names."""

    def keys(self, raw: bytes) -> dict[str, frozenset[str]]:
        """Identifiers of patients (PID, MRG) and orders (ORC, OBR, SCH, TXA); none when the message cannot be read."""
        try:
            message = parse(raw)
        except HubError:
            return {"patient": frozenset(), "order": frozenset()}
        return {"patient": _identifiers(message, PATIENT), "order": _identifiers(message, ORDER)}

    def tree(self, raw: bytes) -> list[dict[str, Any]]:
        """Every valued component with its name. HubError("structure") when the message cannot be read."""
        message = parse(raw)
        version = spec.load(message.version)
        rows: list[dict[str, Any]] = []
        for segment in message.segments:
            if segment.is_line() and len(rows) < MAX_ROWS:
                rows += _fields(message, version, segment)
        return rows

    def address(self, raw: bytes) -> tuple[str, str, str]:
        """Sender, MSH-9, MSH-10."""
        header, _ = header_of(raw)
        return sender_of(header), header.field(9), header.field(10)

    def renewed(self, raw: bytes, control_id: str) -> bytes:
        """The message with another MSH-10, everything else byte by byte as it was."""
        message = parse(raw)
        fields = [*message.header.fields, *[""] * (11 - len(message.header.fields))]
        fields[10] = control_id
        message.header.text = message.delimiters.field.join([fields[0], *fields[2:]])
        return message.encode()


def _identifiers(message: Message, places: dict[str, tuple[int, ...]]) -> frozenset[str]:
    return frozenset(
        message.value(segment, field, repetition, 1, 1)
        for name, fields in places.items()
        for segment in message.all(name)
        for field in fields
        for repetition in range(1, len(segment.repetitions(field)) + 1)
    )


def _fields(message: Message, version: Spec, segment: Segment) -> list[dict[str, Any]]:
    parts = version.segments.get(segment.name, ())
    at = message.position(segment)
    rows = []
    for number in range(1, len(segment.fields)):
        part = parts[number - 1] if number <= len(parts) else None
        plain = segment.name in HEADERS and number < 3
        for repetition, text in enumerate(segment.repetitions(number), 1):
            where = f"{at}-{number}" + (f"[{repetition}]" if repetition > 1 else "")
            pieces = [text] if plain else text.split(message.delimiters.component)
            components = _components(version, part, segment, number)
            for component, piece in enumerate(pieces, 1):
                if piece:
                    name = _name(part, components, component, len(pieces))
                    value = piece if plain else message.delimiters.unescape(piece, message.codec)
                    rows.append(
                        {"at": where + (f".{component}" if len(pieces) > 1 else ""), "name": name, "value": value}
                    )
    return rows


def _components(version: Spec, part: Part | None, segment: Segment, number: int) -> tuple[Part, ...]:
    type = segment.field(2) if (segment.name, number) == ("OBX", 5) else part.type if part else ""
    return version.types.get(type, ())


def _name(part: Part | None, components: tuple[Part, ...], component: int, count: int) -> str:
    field = part.name if part else ""
    inner = components[component - 1].name if count > 1 and component <= len(components) else ""
    return f"{field}: {inner}" if inner else field

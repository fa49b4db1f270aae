"""C-FIND as SCP of the Patient Root and Study Root information models (PS3.4 C.4.1, C.6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adapters.dicom import dataset, encode, query, status
from adapters.dicom.dataset import IMPLICIT, Attributes
from adapters.dicom.ul import dimse
from adapters.dicom.ul.association import Association, Message
from hub.errors import HubError
from hub.services.context import Context
from hub.services.doors import Doors
from hub.services.imaging_index import BY_TAG, LEVELS, Level

PATIENT_ROOT, STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.2.1"
LEVEL_OF: dict[str, dict[str, Level]] = {
    PATIENT_ROOT: {"PATIENT": "study", "STUDY": "study", "SERIES": "series", "IMAGE": "instance"},
    STUDY_ROOT: {"STUDY": "study", "SERIES": "series", "IMAGE": "instance"},
}
NO_KEYS = frozenset(("00080005", "00080052", "00080053", "00080054", "00080056", "00080201"))
"""Elements of an identifier that are not matched."""
COUNTS = frozenset((query.STUDY_SERIES, query.STUDY_INSTANCES, query.SERIES_INSTANCES))
MAX_IDENTIFIER = 1 << 20
MAX_ANSWERS = 10_000
BATCH = 32
"""Answers in one write; a cancel is looked for between two writes."""


def serve(doors: Doors, association: Association, message: Message, context: Context) -> None:
    """Answer with one pending response a match, then the final status."""
    command = message.command
    implicit = message.context.transfer[0] == IMPLICIT
    try:
        asked = identifier(message)
        answers, warned = find(doors, message.context.abstract, asked, context)
    except HubError as error:
        final = dimse.response(command, status.of(error, "find"), status.comment(error))
        return association.send(message.context, final)
    pending = dimse.response(command, status.PENDING_WARNING if warned else status.PENDING)
    bodies = [
        encode.answer(answer, implicit=implicit, asked=terms(asked), held=terms(held)) for answer, held in answers
    ]
    for start in range(0, len(bodies), BATCH):
        if start and association.cancelled(int(command.get("MessageID", 0))):
            return association.send(message.context, dimse.response(command, status.CANCEL))
        association.send_many(message.context, pending, bodies[start : start + BATCH])
    return association.send(message.context, dimse.response(command, status.SUCCESS))


def identifier(message: Message) -> Attributes:
    """The identifier of a query/retrieve request. HubError("structure") when it cannot be read."""
    if len(message.data) > MAX_IDENTIFIER:
        raise HubError("too-costly", "the identifier is too long")
    parsed = dataset.parse(message.data, message.context.transfer[0])
    if parsed.faults:
        raise HubError("structure", parsed.faults[0])
    return parsed.attributes


def terms(attributes: Attributes) -> tuple[str, ...]:
    """Values of Specific Character Set (0008,0005)."""
    return tuple(term or "" for term in attributes.get("00080005", {}).get("Value", ()))


def find(
    doors: Doors, model: str, asked: Attributes, context: Context
) -> tuple[Iterator[tuple[Attributes, Attributes]], bool]:
    """Answers, each with the attributes it was taken from; and whether a key was not matched (status FF01)."""
    name = dataset.text(asked, "00080052").strip()
    level = LEVEL_OF[model].get(name)
    if level is None:
        allowed = ", ".join(LEVEL_OF[model])
        raise HubError("parameter-value", f"Query/Retrieve Level {name!r} is not one of {allowed}", "(0008,0052)")
    matched, warned = keys(asked, level)
    counted = not COUNTS.isdisjoint(asked)
    found = query.search(doors.imaging, context, level, matched, above=True, counted=counted, limit=MAX_ANSWERS)
    if name == "PATIENT":
        found = _patients(found)
    more = {
        "00080052": {"vr": "CS", "Value": [name]},
        "00080054": {"vr": "AE", "Value": [doors.settings.dicom.ae_title]},
    }
    return ((_returned(asked, row | more), row) for row in found), warned


def keys(asked: Attributes, level: Level) -> tuple[list[tuple[str, str]], bool]:
    """Matching keys as keyword and value, and whether one has a value that the archive does not match."""
    found: list[tuple[str, str]] = []
    warned = False
    for tag, element in asked.items():
        if tag in NO_KEYS or not element.get("Value") or element["vr"] == "SQ":
            continue
        attribute = BY_TAG.get(tag)
        if attribute is None or not attribute.match or LEVELS.index(attribute.level) > LEVELS.index(level):
            warned = True
            continue
        found.extend((attribute.keyword, value) for value in _values(element))
    return found, warned


def _values(element: dict[str, Any]) -> list[str]:
    """What one element matches: a list is one key, each component group of a name its own."""
    values = element["Value"]
    if element["vr"] == "PN":
        return [group for value in values if value for group in value.values()]
    return ["\\".join(str(value) for value in values if value is not None)]


def _patients(rows: list[Attributes]) -> list[Attributes]:
    """One row a patient: Patient ID and its issuer."""
    found: dict[tuple[str, str], Attributes] = {}
    for row in rows:
        found.setdefault((dataset.text(row, "00100020"), dataset.text(row, "00100021")), row)
    return list(found.values())


def _returned(asked: Attributes, row: Attributes) -> Attributes:
    """The elements that were asked for; empty where there is no value (PS3.4 C.4.1.1.3.2)."""
    answer = {tag: row.get(tag) or {"vr": element["vr"]} for tag, element in asked.items() if tag != "00080005"}
    return answer | {tag: row[tag] for tag in ("00080052", "00080054")}

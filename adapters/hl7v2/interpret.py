"""HL7 v2 as the inbox sees it: a message in, a Bundle out; an outcome in, an acknowledgement out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from adapters.hl7v2 import ack, masterfile, spec
from adapters.hl7v2.message import HEADERS, Message, Segment, header_of, parse, path
from adapters.mapping import conversions, tables
from adapters.mapping.conversions import Circumstances
from adapters.mapping.engine import Engine, Mapped
from adapters.mapping.run import Run
from hub.errors import HubError
from hub.fhir import definitions, temporal
from hub.fhir.ids import name_id
from hub.fhir.validate.quick import QuickValidator, refuse
from hub.services.inbox import Inbound, Interpretation, Settled

CHANNEL = "hl7v2"
ENVELOPE = {"MSH", "EVN"}
"""Segments that go into the Provenance, not through a table."""


class Positions:
    """Reads positions of the condition language in the segments in view (``adapters.mapping.compiler.Reader``)."""

    def value(self, position: str) -> Callable[[Run], str]:
        """``PID-3[2].4.2`` of the latest PID in view; a bare segment name is its own text."""
        where = path(position)
        if not where.field:
            return lambda run: where.segment if where.segment in run.latest else ""
        name, number, repetition = where.segment, where.field, where.repetition or 1

        def first(run: Run) -> str:
            segment = run.latest.get(name)
            if segment is None:
                return ""
            fields = segment.fields
            text = fields[number] if number < len(fields) else ""
            delimiters = run.delimiters
            if delimiters.repetition and delimiters.repetition in text:
                text = text.split(delimiters.repetition, 1)[0]
            for place, delimiter in inner:
                parts = text.split(cut, place) if (cut := getattr(delimiters, delimiter)) else [text]
                text = parts[place - 1] if place <= len(parts) else ""
            return str(delimiters.unescape(text, run.codec)) if delimiters.escape in text else text

        def value(run: Run) -> str:
            segment = run.latest.get(where.segment)
            if segment is None:
                return ""
            text = segment.raw(where.field, repetition, where.component, where.subcomponent)  # type: ignore[attr-defined]
            return str(run.delimiters.unescape(text, run.codec))

        inner = [(where.component, "component"), (where.subcomponent, "subcomponent")]
        inner = [(place, delimiter) for place, delimiter in inner if place]
        return value if where.repetition or (name in HEADERS and number < 3) else first

    def count(self, position: str) -> Callable[[Run], int]:
        """Repetitions of a field."""
        where = path(position)

        def count(run: Run) -> int:
            segment = run.latest.get(where.segment)
            fields = segment.fields if segment is not None else ()
            text = fields[where.field] if where.field < len(fields) else ""
            delimiter = run.delimiters.repetition
            return (text.count(delimiter) if delimiter else 0) + 1 if text else 0

        return count


@cache
def engine() -> Engine:
    """The compiled mapping tables of this adapter."""
    return Engine(tables.load(files("adapters.hl7v2").joinpath("tables")), Positions())


@cache
def validator() -> QuickValidator:
    """The check of what is to be stored."""
    return QuickValidator(definitions.load())


def sender_of(header: Segment) -> str:
    """MSH-3 and MSH-4 as sent: who the inbox thinks the message is from."""
    return f"{header.field(3)}|{header.field(4)}"


def circumstances_of(message: Message, zone: str) -> Circumstances:
    """Who sent a message and when, as the conversions need it."""
    application, facility = (_name(message, number) for number in (3, 4))
    time = message.header.raw(7, 1, 1)
    offset = time[-5:] if len(time) > 5 and time[-5] in "+-" and time[-4:].isdigit() else ""
    return _circumstances(application, facility, zone, offset)


@lru_cache(maxsize=1024)
def _circumstances(application: str, facility: str, zone: str, offset: str) -> Circumstances:
    return Circumstances(facility or application or "unknown", conversions.source(facility, application), zone, offset)


def _name(message: Message, number: int) -> str:
    """An HD as one name: the namespace, else the universal id."""
    return message.value(message.header, number, 1, 1) or message.value(message.header, number, 1, 2)


@dataclass(frozen=True, slots=True)
class Translation:
    """A message, what became of it, who sent it, and when the event happened (None: the message does not say)."""

    message: Message
    mapped: Mapped
    circumstances: Circumstances
    occurred: str | None


def translate(message: Message, zone: str) -> Translation:
    """Map a message. HubError: ``event-unknown``, or ``structure`` when one block holds two messages."""
    message = message.readable()
    heads = message.all("MSH")
    if len(heads) > 1:
        raise HubError("structure", "the block holds more than one MSH segment; send one message a block", "MSH[2]")
    kind = kind_of(message)
    if needs_patient(message.version, kind) and not message.all("PID"):
        raise HubError("required", f"{kind} says nothing of a patient without PID (HL7 v2.5.1 2.5.2)", "PID")
    circumstances = circumstances_of(message, zone)
    segments = [segment for segment in message.segments if segment.is_line()]
    mapped = engine().run(
        kind, segments, delimiters=message.delimiters, codec=message.codec, circumstances=circumstances
    )
    for resource in mapped.resources:
        resource["meta"] = {"source": circumstances.source}
    return Translation(message, mapped, circumstances, event_time(message, circumstances))


@lru_cache(maxsize=1024)
def needs_patient(version: str, kind: str) -> bool:
    """Whether the base structure of an event has PID outside of any group, and requires it."""
    group = spec.load(version).structures.get(spec.structure_of(kind))
    return group is not None and any(member.name == "PID" and member.min > 0 for member in group.members)


def kind_of(message: Message) -> str:
    """Type and event that choose the table; without an event in MSH-9 that of EVN-1, else ``ORU^``, the type alone.

    HubError("required") without a type.
    """
    if not message.kind:
        raise HubError("required", "MSH-9 does not say which message this is", "MSH-9")
    if "^" in message.kind:
        return message.kind
    event = message["EVN-1"]
    return f"{message.kind}^{event}" if f"{message.kind}^{event}" in engine().tables.events else f"{message.kind}^"


def bundle_of(translation: Translation, origin: str, received: int) -> dict[str, Any]:
    """A transaction Bundle: every resource as PUT under its id, and the Provenance that leads to the raw message."""
    resources = translation.mapped.resources
    kept = [*resources, _provenance(translation, origin, received)] if resources else []
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}} for one in kept
        ],
    }


def _provenance(translation: Translation, origin: str, received: int) -> dict[str, Any]:
    """Where the resources of one message came from: the inbox item, its sender, its event (R4 Provenance)."""
    message, circumstances = translation.message, translation.circumstances
    provenance: dict[str, Any] = {
        "resourceType": "Provenance",
        "id": name_id(f"Provenance\x1f{origin}"),
        "meta": {"source": circumstances.source},
        "target": [{"reference": f"{one['resourceType']}/{one['id']}"} for one in translation.mapped.resources],
        "recorded": datetime.fromtimestamp(received / 1e6, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
        "activity": {"coding": [_event(message)]},
        "agent": [{"who": {"identifier": {"value": circumstances.source}, "display": sender_of(message.header)}}],
        "entity": [
            {
                "role": "source",
                "what": {
                    "identifier": {"system": f"{conversions.OURS}/inbox", "value": origin},
                    "display": f"{message.kind} {message.control_id}".strip(),
                },
            }
        ],
    }
    if translation.occurred:
        provenance["occurredDateTime"] = translation.occurred
    return provenance


def _event(message: Message) -> dict[str, str]:
    event = message.value(message.header, 9, 1, 2)
    if event:
        return {"system": "http://terminology.hl7.org/CodeSystem/v2-0003", "code": event}
    return {"system": "http://terminology.hl7.org/CodeSystem/v2-0076", "code": message.value(message.header, 9, 1, 1)}


def event_time(message: Message, circumstances: Circumstances) -> str | None:
    """When the event happened: EVN-6, else EVN-2, else MSH-7."""
    for position in ("EVN-6", "EVN-2", "MSH-7"):
        time = conversions.date_time(message[position], circumstances)
        if time:
            return time
    return None


def _ranked_time(occurred: str | None, received: int) -> str:
    """When the event happened, for the order of events; the time of receipt when a sender's clock is ahead of us."""
    if occurred is None or temporal.interval(occurred)[0] > received + temporal.DAY:
        return temporal.instant(received)
    return occurred


class Interpreter:
    """The reader of the channel ``hl7v2`` (``hub.services.inbox.Interpreter``)."""

    def __init__(
        self, clock: Callable[[], int], new_id: Callable[[], str], time_zone: str, language: str, *, quiet: bool = False
    ) -> None:
        self._quiet = quiet
        self._clock = clock
        self._new_id = new_id
        self._zone = time_zone
        self._language = language

    def interpret(self, inbound: Inbound) -> Interpretation:
        """HubError: ``structure`` for what is no message, ``event-unknown`` for what no table serves."""
        message = parse(inbound.raw)
        if message.header.raw(9, 1, 1) in ack.ANSWERS and message.kind not in engine().tables.events:
            return Interpretation(None, message.kind, {"answer_to": message["MSA-2"], "code": message["MSA-1"]})
        translation = translate(message, self._zone)
        facts = {
            "version": message.version,
            "charset": message.codec,
            "charset_rule": message.decoded.rule,
            "event_time": _ranked_time(translation.occurred, inbound.received),
            "unmapped": [name for name in translation.mapped.unmapped if name not in ENVELOPE],
            "problems": [[problem.at, problem.value, problem.why] for problem in translation.mapped.problems[:100]],
            "cleared": translation.mapped.cleared,
            "authority": translation.mapped.authority,
            "restores": translation.mapped.restores,
            "inherits": translation.mapped.inherits,
            "findings": [finding.rule for finding in message.encoding_findings()],
        }
        bundle = bundle_of(translation, inbound.id, inbound.received)
        for entry in bundle["entry"]:
            refuse(validator()(entry["resource"]))
        return Interpretation(bundle, message.kind, facts, valid=True)

    def answer(self, inbound: Inbound, settled: Settled) -> bytes:
        """The acknowledgement of a settled message; b"" when none is due."""
        header, codec = header_of(inbound.raw)
        if settled.error is None and header.raw(9, 1, 1) == "MFN":
            return self.refuse(header, codec, None, parse(inbound.raw))
        return self.refuse(header, codec, settled.error)

    def refuse(self, header: Segment, codec: str, error: HubError | None, message: Message | None = None) -> bytes:
        """The acknowledgements that ``header`` asks for, as blocks joined by the block's end and start bytes.

        A master file (``message``) is answered record by record.
        """
        now = datetime.fromtimestamp(self._clock() / 1e6, UTC).astimezone(ZoneInfo(self._zone))
        records = masterfile.lines(message, now.strftime("%Y%m%d%H%M%S%z")) if message is not None else []
        messages = [
            ack.build(
                header, code, error if code not in ("AA", "CA") else None,
                control_id=ack.fresh_control_id(self._new_id), time=now.strftime("%Y%m%d%H%M%S%z"),
                codec=codec, language=self._language, body=records if code == "AA" else (),
            )
            for code in ack.answers(header, error, quiet=self._quiet)
        ]  # fmt: skip
        return b"\x1c\r\x0b".join(messages)

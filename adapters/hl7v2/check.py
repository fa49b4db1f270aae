"""The conformance check of one HL7 v2 message (``hub.services.check.Checker``)."""

from __future__ import annotations

from adapters.hl7v2 import ack
from adapters.hl7v2.desk import Hl7v2Layout
from adapters.hl7v2.findings import finding
from adapters.hl7v2.interpret import CHANNEL, ENVELOPE, translate
from adapters.hl7v2.message import HEADERS, Message, parse
from adapters.hl7v2.validate import validate
from hub.errors import HubError
from hub.services.check import Finding, Report
from hub.services.doors import Doors


class Hl7v2Checker:
    """HL7 v2 by its encoding rules, its base standard, and what the hub can make of it."""

    name = "hl7v2"

    def __init__(self, time_zone: str) -> None:
        self._zone = time_zone

    def recognises(self, data: bytes) -> bool:
        """Whether a header segment is near the start."""
        return (
            data.replace(b"\x00", b"")[:64].lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\x0b")[:3].decode("latin-1") in HEADERS
        )

    def check(self, data: bytes) -> Report:
        """All findings of a message, its encoding first."""
        try:
            message = parse(data.strip(b"\x0b\x1c"))
        except HubError as error:
            return Report("HL7 v2", (finding("unreadable", error.at, detail=error.diagnostics),))
        found = [*message.encoding_findings(), *validate(message), *self._mapping(message)]
        return Report(f"HL7 v{message.version or '2'} {message.kind}".strip(), tuple(found))

    def _mapping(self, message: Message) -> list[Finding]:
        if message.header.raw(9, 1, 1) in ack.ANSWERS:
            return []
        try:
            mapped = translate(message, self._zone).mapped
        except HubError as error:
            rule = "event-unmapped" if error.name == "event-unknown" else "unreadable"
            return [finding(rule, error.at, value=message.kind, detail=error.diagnostics)]
        found = [finding("value-unmapped", one.at, value=one.value, detail=one.why) for one in mapped.problems]
        for name in mapped.unmapped:
            if name not in ENVELOPE:
                segment = message.all(name)[0]
                found.append(
                    finding("segment-unmapped", name, segment.index + 1, 1, offset=message.place(segment).offset)
                )
        return found


def create(doors: Doors) -> Hl7v2Checker:
    """The checker of one hub (entry point group ``hub.checkers``), which also shows the message desk what is in one."""
    doors.desk.register(CHANNEL, Hl7v2Layout())
    return Hl7v2Checker(doors.settings.time_zone)

"""PIX Update Notification (IHE ITI-10): ADT^A31 with the identifiers that are one person's now; the outbound sends it.

Which identifier domains a receiver wants is its configuration; a person without an identifier in any of them is not
worth a message (ITI-10 3.10.4.1.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adapters.hl7v2.delimiters import Delimiters
from adapters.hl7v2.segments import identifier

Resource = dict[str, Any]
VERSION = "2.5"
"""The version of ITI-10."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """MSH-3 to MSH-7 and MSH-10: application and facility of sender and receiver, time (DTM), control id."""

    sender: tuple[str, str]
    receiver: tuple[str, str]
    time: str
    control_id: str


def update(person: Resource, envelope: Envelope) -> bytes:
    """The message about a person as ``hub.services.demographics.Demographics.person`` gives it for the receiver's
    domains, in UTF-8; b"" when it has no identifier in them."""
    if not person["identifier"]:
        return b""
    delimiters = Delimiters()
    names = [delimiters.quote(name) for name in (*envelope.sender, *envelope.receiver)]
    kind = delimiters.component.join(("ADT", "A31", "ADT_A05"))
    head = ["MSH", delimiters.encoding_characters, *names, envelope.time, "", kind, envelope.control_id, "P", VERSION]
    numbers = delimiters.repetition.join(identifier(one, delimiters) for one in person["identifier"])
    nameless = f"{delimiters.repetition}{delimiters.component * 6}S"
    lines = [
        [*head, "", "", "", "", "", "UNICODE UTF-8"],
        ["EVN", "", envelope.time],
        ["PID", "", "", numbers, "", nameless],
        ["PV1", "", "N"],
    ]
    return "".join(delimiters.field.join(line) + "\r" for line in lines).encode()

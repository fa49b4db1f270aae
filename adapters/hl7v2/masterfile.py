"""The acknowledgement of a master file (HL7 v2.5.1 8.4.1, MFK): each record by name, and what became of it."""

from __future__ import annotations

from adapters.hl7v2.message import Message

DONE = "S"
"""Table HL70181: successful posting of the record defined by the MFE."""


def lines(message: Message, time: str) -> list[list[str]]:
    """MFI as received and an MFA for every MFE, as fields; [] when the message is no master file.

    ``time`` is MFA-3, as a DTM.
    """
    files = message.all("MFI")
    if message.kind.partition("^")[0] != "MFN" or not files:
        return []
    answered = [
        ["MFA", record.field(1), record.field(2), time, DONE, record.field(4), record.field(5)]
        for record in message.all("MFE")
    ]
    return [list(files[0].fields), *answered]

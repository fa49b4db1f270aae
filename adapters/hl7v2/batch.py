"""The batch and file protocols: FHS, BHS, messages, BTS, FTS (HL7 v2.5.1 2.10.3)."""

from __future__ import annotations

from adapters.hl7v2.message import parse
from hub.errors import HubError

ENVELOPE = ("FHS", "BHS", "BTS", "FTS")


def messages(raw: bytes) -> list[bytes] | None:
    """The messages of a batch or file, each with its own MSH, as received; None for a plain message."""
    if raw.lstrip(b"\xef\xbb\xbf\r\n \t")[:3] not in (b"FHS", b"BHS"):
        return None
    try:
        whole = parse(raw)
    except HubError:
        return None
    found: list[list[str]] = []
    for segment, end in zip(whole.segments, whole.terminators, strict=True):
        if segment.name == "MSH":
            found.append([])
        if segment.name not in ENVELOPE and found:
            found[-1].append(segment.text + (end or "\r"))
    return ["".join(lines).encode(whole.codec, "surrogateescape") for lines in found]


def answer(raw: bytes, answers: list[bytes]) -> bytes:
    """The acknowledgements of a batch as a batch: its header turned round, what each message got, and their number."""
    whole = parse(raw)
    fields = whole.header.fields
    sent = [fields[number] if number < len(fields) else "" for number in range(7)]
    separator = whole.delimiters.field
    head = separator.join(["BHS", sent[2], sent[5], sent[6], sent[3], sent[4]])
    given = [one for one in answers if one]
    tail = separator.join(["BTS", str(len(given))])
    return head.encode(whole.codec, "surrogateescape") + b"\r" + b"".join(given) + tail.encode(whole.codec) + b"\r"

"""Acknowledgement messages (HL7 v2.5.1 2.9, 2.14; error codes HL70357, severity HL70516).

Original mode (2.9.2): one ACK with MSA-1 AA, AE or AR. Enhanced mode (2.9.3): the commit acknowledgement that MSH-15
asks for (CA, CE, CR) and the application acknowledgement that MSH-16 asks for, as separate messages.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from adapters.hl7v2.charset import MARKS
from adapters.hl7v2.message import HEADERS, Segment, path
from hub.errors import HubError

ANSWERS = frozenset(
    [
        "ACK",
        "MCF",
        "ADR",
        "BPR",
        "DSR",
        "EDR",
        "MFK",
        "MFR",
        "NMR",
        "ORD",
        "ORG",
        "ORI",
        "ORL",
        "ORN",
        "ORR",
        "ORS",
        "OSR",
        "RDR",
        "RRA",
        "RRD",
        "RRE",
        "RRG",
        "RRI",
        "RSP",
        "RTB",
        "SRR",
        "TBR",
        "VXR",
        "VXX",
    ]
)
"""Message types that answer another message: they are never acknowledged in original mode (HL7 v2.5.1 2.9.2.2)."""

ALWAYS, NEVER, ON_ERROR, ON_SUCCESS = "AL", "NE", "ER", "SU"
MAX_DIAGNOSTICS = 2000
MAX_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Code:
    """One row of ``ack.csv``."""

    name: str
    application: str
    commit: str
    hl70357: str
    hl70516: str
    en: str
    zh: str


@cache
def codes() -> dict[str, Code]:
    """Error name -> its acknowledgement codes."""
    lines = files("adapters.hl7v2").joinpath("ack.csv").read_text(encoding="utf-8").splitlines()
    return {row["name"]: Code(**row) for row in csv.DictReader(line for line in lines if not line.startswith("#"))}


def _echoed(error: UnicodeError) -> tuple[str | bytes, int]:
    """What was received and no character goes back as the same bytes; what the sender's character set lacks, as ?."""
    assert isinstance(error, UnicodeEncodeError)
    letter = error.object[error.start]
    return bytes([ord(letter) - 0xDC00]) if "\udc80" <= letter <= "\udcff" else "?", error.start + 1


ECHO = "hl7v2-echo"
codecs.register_error(ECHO, _echoed)


CONDITIONS = {
    "100": "Segment sequence error", "101": "Required field missing", "102": "Data type error",
    "103": "Table value not found", "104": "Value too long", "200": "Unsupported message type",
    "201": "Unsupported event code", "202": "Unsupported processing id", "203": "Unsupported version id",
    "204": "Unknown key identifier", "205": "Duplicate key identifier", "206": "Application record locked",
    "207": "Application internal error",
}  # fmt: skip
"""Table HL70357."""


def answers(header: Segment, error: HubError | None, *, quiet: bool = False) -> tuple[str, ...]:
    """The MSA-1 codes to send, in order; () for none.

    Both MSH-15 and MSH-16 absent or null is original mode. With ``quiet`` two times NE means silence, as the standard
    says; without it the sender, which waits on its connection, is answered as in original mode.
    """
    if header.raw(9, 1, 1) in ANSWERS:
        return ()
    code = codes()[error.name] if error else None
    application = code.application if code else "AA"
    accept, apply = (_condition(header.field(number)) for number in (15, 16))
    if not (accept or apply) or (accept in ("", NEVER) and apply in ("", NEVER) and not quiet):
        return (application,)
    refused = bool(error and error.row.inbound == "rejected")
    first = (code.commit if code and refused else "CA",) if _wanted(accept, refused) else ()
    second = (application,) if _wanted(apply, error is not None) else ()
    return first + second


def _condition(field: str) -> str:
    """A condition of HL70155; what is none of them counts as absent, since its sender waits all the same."""
    condition = field.split("^", 1)[0].strip().upper()
    return condition if condition in (ALWAYS, NEVER, ON_ERROR, ON_SUCCESS) else ""


def _wanted(condition: str, failed: bool) -> bool:
    return condition == ALWAYS or condition == (ON_ERROR if failed else ON_SUCCESS)


def build(
    header: Segment,
    code: str,
    error: HubError | None,
    *,
    control_id: str,
    time: str,
    codec: str,
    language: str = "en",
    body: Sequence[list[str]] = (),
) -> bytes:
    """One acknowledgement of the message whose MSH is ``header``, in its delimiters, version and character set.

    ``code`` is MSA-1; ``control_id`` our own MSH-10; ``time`` our MSH-7; ``body`` the fields of the segments of an MFK.
    """
    version = version_of(header)
    fields = _header_fields(header, version, control_id, time, "MFK" if body else "ACK")
    lines = [fields, ["MSA", code, header.field(10)]]
    if error is not None:
        if version < (2, 5):
            lines[1] += [header.delimiters.quote(_sentence(error)), "", "", _condition_code(error, header, version)]
        lines += errors(header, error, version, language, codec)
    lines += body
    text = "".join(header.delimiters.field.join(_trimmed(line)) + "\r" for line in lines)
    mark = next((mark for mark, name in MARKS if name == codec and codec != "utf-8"), b"")
    return mark + text.encode(codec, "replace" if mark or codec.startswith("utf-16") else ECHO)


def version_of(header: Segment) -> tuple[int, ...]:
    """MSH-12.1 as numbers; (2, 5, 1) when it is missing or not a version.

    >>> from adapters.hl7v2.message import Delimiters
    >>> version_of(Segment("MSH|^~&|||||||ACK|1|P|2.3.1", 0, Delimiters()))
    (2, 3, 1)
    """
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", header.raw(12, 1, 1))
    return tuple(int(part) for part in match.groups() if part) if match else (2, 5, 1)


def _trimmed(fields: list[str]) -> list[str]:
    while fields and not fields[-1]:
        fields = fields[:-1]
    return fields


def _header_fields(header: Segment, version: tuple[int, ...], control_id: str, time: str, type: str) -> list[str]:
    delimiters = header.delimiters
    event = header.raw(9, 1, 2) if header.name in HEADERS else ""
    kind = [type]
    if event and version >= (2, 3):
        structure = "MFK_M01" if type == "MFK" else type
        kind += [event] if version < (2, 3, 1) else [event, structure]
    sent = header.field
    return [
        "MSH", delimiters.encoding_characters, sent(5), sent(6), sent(3), sent(4), time, "",
        delimiters.component.join(kind), control_id, sent(11) or "P", sent(12) or "2.5.1",
        "", "", "", "", sent(17), sent(18) if version >= (2, 3) else "",
    ]  # fmt: skip


def _sentence(error: HubError) -> str:
    return error.diagnostics[:MAX_DIAGNOSTICS]


def _condition_code(error: HubError, header: Segment, version: tuple[int, ...]) -> str:
    """MSA-6, a CE of HL70357 in 2.3 and 2.4."""
    if version < (2, 3):
        return ""
    number = codes()[error.name].hl70357
    return header.delimiters.component.join([number, CONDITIONS[number], "HL70357"])


def errors(header: Segment, error: HubError, version: tuple[int, ...], language: str, codec: str) -> list[list[str]]:
    places = [(error.at, error.diagnostics)]
    for issue in error.issues[1:MAX_ERRORS]:
        expression = issue.get("expression") or [""]
        places.append((str(expression[0]) if isinstance(expression, list) else "", str(issue.get("diagnostics", ""))))
    row = codes()[error.name]
    if version < (2, 5):
        return [["ERR", _eld(header, places[0][0], row)]]
    user = row.zh if language == "zh" and _encodable(row.zh, codec) else row.en
    return [_err(header, at, text, row, user) for at, text in places]


def _where(at: str) -> list[str]:
    """``PID-3[2].1`` as ERL components; [] for another notation."""
    try:
        place = path(at)
    except ValueError:
        return []
    return [place.segment, str(place.occurrence or 1), *(str(number or "") for number in place[2:])]


def _err(header: Segment, at: str, text: str, row: Code, user: str) -> list[str]:
    """ERR of 2.5 and later: ERR-2 ERL, ERR-3 CWE, ERR-4, ERR-7, ERR-8 (HL7 v2.5.1 2.15.5)."""
    delimiters = header.delimiters
    where = _where(at)
    place = delimiters.component.join(_trimmed(where))
    code = delimiters.component.join([row.hl70357, CONDITIONS[row.hl70357], "HL70357"])
    diagnostics = text[:MAX_DIAGNOSTICS] + (f" (at {at})" if at and not where else "")
    return ["ERR", "", place, code, row.hl70516, "", "", delimiters.quote(diagnostics), delimiters.quote(user)]


def _eld(header: Segment, at: str, row: Code) -> str:
    """ERR-1 up to 2.4: segment, sequence, field, and the code as subcomponents (HL7 v2.4 2.16.5.1)."""
    delimiters = header.delimiters
    place = [*_where(at), "", "", ""][:3]
    separator = delimiters.subcomponent or " "
    return delimiters.component.join([*place, separator.join([row.hl70357, CONDITIONS[row.hl70357], "HL70357"])])


def _encodable(text: str, codec: str) -> bool:
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def fresh_control_id(new_id: Callable[[], str]) -> str:
    """Our own MSH-10: at most 20 characters, the limit of the oldest versions."""
    return new_id().replace("-", "")[-20:].upper()

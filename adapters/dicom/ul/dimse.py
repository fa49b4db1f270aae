"""DIMSE command sets (PS3.7 6.3, 9.3, 10.3, Annex E): implicit VR little endian, group 0000."""

from __future__ import annotations

from struct import Struct

from hub.errors import HubError

Command = dict[str, int | str]
"""Keyword -> value. ``CommandDataSetType`` is set by the encoder."""

NO_DATA_SET = 0x0101
MAX_COMMAND = 16 * 1024

C_STORE, C_GET, C_FIND, C_MOVE, C_ECHO = 0x0001, 0x0010, 0x0020, 0x0021, 0x0030
N_EVENT_REPORT, N_GET, N_SET, N_ACTION, N_CREATE, N_DELETE = 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150
C_CANCEL, RESPONSE = 0x0FFF, 0x8000

ELEMENTS = {
    0x0002: ("AffectedSOPClassUID", "UI"),
    0x0003: ("RequestedSOPClassUID", "UI"),
    0x0100: ("CommandField", "US"),
    0x0110: ("MessageID", "US"),
    0x0120: ("MessageIDBeingRespondedTo", "US"),
    0x0600: ("MoveDestination", "AE"),
    0x0700: ("Priority", "US"),
    0x0800: ("CommandDataSetType", "US"),
    0x0900: ("Status", "US"),
    0x0901: ("OffendingElement", "AT"),
    0x0902: ("ErrorComment", "LO"),
    0x0903: ("ErrorID", "US"),
    0x1000: ("AffectedSOPInstanceUID", "UI"),
    0x1001: ("RequestedSOPInstanceUID", "UI"),
    0x1002: ("EventTypeID", "US"),
    0x1008: ("ActionTypeID", "US"),
    0x1020: ("NumberOfRemainingSuboperations", "US"),
    0x1021: ("NumberOfCompletedSuboperations", "US"),
    0x1022: ("NumberOfFailedSuboperations", "US"),
    0x1023: ("NumberOfWarningSuboperations", "US"),
    0x1030: ("MoveOriginatorApplicationEntityTitle", "AE"),
    0x1031: ("MoveOriginatorMessageID", "US"),
}
_BY_KEYWORD = {keyword: (element, vr) for element, (keyword, vr) in ELEMENTS.items()}
_ORDER = {keyword: element for element, (keyword, _) in ELEMENTS.items()}

_HEAD = Struct("<HHL")
_US = Struct("<H")


def decode(raw: bytes) -> Command:
    """A command set. HubError("structure") when it is malformed or has no CommandField."""
    command: Command = {}
    at = 0
    while at < len(raw):
        if at + 8 > len(raw):
            raise HubError("structure", "the command set is cut off", "(0000,0000)")
        group, element, length = _HEAD.unpack_from(raw, at)
        at += 8
        if group or at + length > len(raw):
            raise HubError("structure", "the command set is malformed", f"({group:04X},{element:04X})")
        keyword, vr = ELEMENTS.get(element, ("", ""))
        if vr == "US" and length == 2:
            command[keyword] = _US.unpack_from(raw, at)[0]
        elif vr in ("UI", "AE", "LO"):
            command[keyword] = raw[at : at + length].decode("latin_1").strip(" \0")
        at += length
    if "CommandField" not in command:
        raise HubError("structure", "the command set has no Command Field", "(0000,0100)")
    return command


def encode(command: Command, data_set: bool = False) -> bytes:
    """A command set's bytes; ``data_set`` says whether a data set follows."""
    out = b""
    for keyword, value in sorted({**command, "CommandDataSetType": 1 if data_set else NO_DATA_SET}.items(), key=_place):
        element, vr = _BY_KEYWORD[keyword]
        if vr == "US":
            raw = _US.pack(int(value))
        elif vr == "AT":
            raw = _US.pack(int(value) >> 16) + _US.pack(int(value) & 0xFFFF)
        else:
            raw = str(value).encode("ascii", "replace")
            raw += (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)
        out += _HEAD.pack(0, element, len(raw)) + raw
    return _HEAD.pack(0, 0, 4) + len(out).to_bytes(4, "little") + out


def _place(item: tuple[str, int | str]) -> int:
    return _ORDER[item[0]]


def response(request: Command, status: int, comment: str = "") -> Command:
    """The response to a request: its field, message id, SOP class and instance, the status (PS3.7 9.3, 10.3)."""
    answer: Command = {
        "CommandField": int(request["CommandField"]) | RESPONSE,
        "MessageIDBeingRespondedTo": request.get("MessageID", 0),
        "Status": status,
    }
    for requested, affected in (
        ("RequestedSOPClassUID", "AffectedSOPClassUID"),
        ("RequestedSOPInstanceUID", "AffectedSOPInstanceUID"),
    ):
        value = request.get(affected) or request.get(requested)
        if value:
            answer[affected] = value
    if comment and status:
        answer["ErrorComment"] = comment[:64]
    return answer

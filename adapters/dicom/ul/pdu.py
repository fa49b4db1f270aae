"""Protocol data units of the DICOM Upper Layer: bytes to records and back (PS3.8 9.3).

Lengths are checked before anything is allocated: ``MAX_LENGTH`` by PDU type, then every item against what encloses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct

from hub.errors import HubError

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)

MAX_LENGTH = {
    ASSOCIATE_RQ: 256 * 1024,
    ASSOCIATE_AC: 256 * 1024,
    ASSOCIATE_RJ: 4,
    RELEASE_RQ: 4,
    RELEASE_RP: 4,
    ABORT: 4,
}
"""Longest body by PDU type. 128 contexts of 40 syntaxes are 0.4 % of a P-DATA-TF; its limit is the negotiated one."""
MAX_CONTEXTS = 128

HEADER = Struct(">BxL")
_ITEM = Struct(">BxH")
_ASSOCIATE = Struct(">HH16s16s32x")
_PDV = Struct(">LBB")


@dataclass(frozen=True, slots=True)
class Context:
    """Presentation context (PS3.8 9.3.2.2, 9.3.3.2). ``result`` 0 accepts; 3: no such abstract, 4: transfer syntax."""

    id: int
    abstract: str
    transfer: tuple[str, ...]
    result: int = 0


USERNAME, PASSCODE, KERBEROS, SAML, JWT = range(1, 6)


@dataclass(frozen=True, slots=True)
class Identity:
    """User identity (PS3.7 D.3.3.7): type, primary field (the user, or a token), secondary field (the passcode), and
    whether the requestor wants to be told that it was accepted."""

    kind: int
    primary: bytes
    secondary: bytes = b""
    response: bool = False


@dataclass(frozen=True, slots=True)
class Associate:
    """A-ASSOCIATE-RQ and -AC. ``roles`` is SOP class -> (SCU, SCP) of the role selection items (PS3.7 D.3.3.4);
    ``identity`` is said in a request, in an answer that it was accepted."""

    called: str
    calling: str
    contexts: tuple[Context, ...]
    max_length: int = 0
    implementation: str = ""
    version: str = ""
    roles: dict[str, tuple[int, int]] = field(default_factory=dict)
    application_context: str = APPLICATION_CONTEXT
    protocol: int = 1
    identity: Identity | None = None


def _bad(what: str) -> HubError:
    return HubError("structure", what, "A-ASSOCIATE")


def _items(body: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Item type and content of a run of items."""
    at = 0
    while at < len(body):
        if at + 4 > len(body):
            raise _bad("an item header is cut off")
        kind, length = _ITEM.unpack_from(body, at)
        if at + 4 + length > len(body):
            raise _bad(f"item {kind:02X}H declares {length} bytes, {len(body) - at - 4} are left")
        yield kind, body[at + 4 : at + 4 + length]
        at += 4 + length


def _uid(raw: memoryview) -> str:
    try:
        return bytes(raw).rstrip(b"\0 ").decode("ascii")
    except UnicodeDecodeError:
        raise _bad("a UID is not ASCII") from None


def decode_associate(body: memoryview) -> Associate:
    """A-ASSOCIATE-RQ or -AC without its header. HubError("structure") when malformed."""
    if len(body) < _ASSOCIATE.size:
        raise _bad(f"{len(body)} bytes are too few")
    protocol, _, called, calling = _ASSOCIATE.unpack_from(body)
    contexts: list[Context] = []
    facts: dict[int, str] = {}
    roles: dict[str, tuple[int, int]] = {}
    max_length = 0
    identity = None
    for kind, content in _items(body[_ASSOCIATE.size :]):
        if kind == 0x10:
            facts[kind] = _uid(content)
        elif kind in (0x20, 0x21):
            contexts.append(_context(content))
        elif kind == 0x50:
            for sub, value in _items(content):
                if sub == 0x51 and len(value) == 4:
                    max_length = int.from_bytes(value, "big")
                elif sub in (0x52, 0x55):
                    facts[sub] = bytes(value).decode("latin_1").strip(" \0")
                elif sub == 0x54 and len(value) >= 4:
                    uid = _uid(value[2:-2])
                    roles[uid] = (value[-2], value[-1])
                elif sub == 0x58:
                    identity = _identity(value)
    if len(contexts) > MAX_CONTEXTS:
        raise _bad(f"{len(contexts)} presentation contexts, the standard allows {MAX_CONTEXTS}")
    return Associate(
        _title(called),
        _title(calling),
        tuple(contexts),
        max_length,
        facts.get(0x52, ""),
        facts.get(0x55, ""),
        roles,
        facts.get(0x10, ""),
        protocol,
        identity,
    )


def _identity(value: memoryview) -> Identity:
    """User identity sub-item (PS3.7 table D.3-14)."""
    first = 4 + int.from_bytes(value[2:4], "big")
    second = first + 2 + int.from_bytes(value[first : first + 2], "big")
    if len(value) < 6 or second != len(value):
        raise _bad("the user identity item is malformed")
    return Identity(value[0], bytes(value[4:first]), bytes(value[first + 2 :]), value[1] == 1)


def _title(raw: bytes) -> str:
    return raw.decode("latin_1").strip(" \0")


def _context(content: memoryview) -> Context:
    if len(content) < 4:
        raise _bad("a presentation context item is cut off")
    abstract, transfer = "", []
    for kind, value in _items(content[4:]):
        if kind == 0x30:
            abstract = _uid(value)
        elif kind == 0x40:
            transfer.append(_uid(value))
    return Context(content[0], abstract, tuple(transfer), content[2])


def encode_associate(kind: int, associate: Associate) -> bytes:
    """The whole PDU, ``kind`` being ASSOCIATE_RQ or ASSOCIATE_AC."""
    request = kind == ASSOCIATE_RQ
    items = _item(0x10, APPLICATION_CONTEXT.encode())
    for context in associate.contexts:
        content = bytes((context.id, 0, 0 if request else context.result, 0))
        content += _item(0x30, context.abstract.encode()) if request else b""
        content += b"".join(_item(0x40, uid.encode()) for uid in context.transfer)
        items += _item(0x20 if request else 0x21, content)
    user = _item(0x51, associate.max_length.to_bytes(4, "big")) + _item(0x52, associate.implementation.encode())
    for uid, (scu, scp) in associate.roles.items():
        user += _item(0x54, len(uid).to_bytes(2, "big") + uid.encode() + bytes((scu, scp)))
    user += _item(0x55, associate.version.encode())
    if associate.identity is not None:
        user += _identity_item(associate.identity) if request else _item(0x59, b"\0\0")
    items += _item(0x50, user)
    head = _ASSOCIATE.pack(1, 0, _padded(associate.called), _padded(associate.calling))
    return HEADER.pack(kind, len(head) + len(items)) + head + items


def _identity_item(identity: Identity) -> bytes:
    fields = b"".join(len(part).to_bytes(2, "big") + part for part in (identity.primary, identity.secondary))
    return _item(0x58, bytes((identity.kind, identity.response)) + fields)


def _padded(title: str) -> bytes:
    return title.encode("latin_1", "replace")[:16].ljust(16)


def _item(kind: int, content: bytes) -> bytes:
    return _ITEM.pack(kind, len(content)) + content


def encode_reject(result: int, source: int, reason: int) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return HEADER.pack(ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))


def encode_abort(source: int = 2, reason: int = 0) -> bytes:
    """A-ABORT (PS3.8 9.3.8). ``source`` 0 service user, 2 service provider."""
    return HEADER.pack(ABORT, 4) + bytes((0, 0, source, reason))


RELEASE_REQUEST = HEADER.pack(RELEASE_RQ, 4) + bytes(4)
RELEASE_RESPONSE = HEADER.pack(RELEASE_RP, 4) + bytes(4)


def pdvs(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Context id, message control header and fragment of each presentation data value (PS3.8 9.3.5.1, Annex E)."""
    at = 0
    while at < len(body):
        if at + 6 > len(body):
            raise HubError("structure", "a presentation data value is cut off", "P-DATA-TF")
        length, context, control = _PDV.unpack_from(body, at)
        if length < 2 or at + 4 + length > len(body):
            raise HubError("structure", f"a presentation data value declares {length} bytes", "P-DATA-TF")
        yield context, control, body[at + 6 : at + 4 + length]
        at += 4 + length


def encode_data(context: int, command: bool, content: bytes | memoryview, max_length: int) -> list[bytes | memoryview]:
    """The P-DATA-TF PDUs of one command set or data set, as buffers to gather; ``max_length`` 0 is no limit."""
    room = (max_length - 6) if max_length else (1 << 20)
    out: list[bytes | memoryview] = []
    view = memoryview(content)
    at = 0
    while True:
        piece = view[at : at + room]
        at += len(piece)
        last = at >= len(view)
        control = (1 if command else 0) | (2 if last else 0)
        out.append(HEADER.pack(P_DATA_TF, len(piece) + 6) + _PDV.pack(len(piece) + 2, context, control))
        out.append(piece)
        if last:
            return out

"""DICOM JSON Model Object -> data set bytes in little endian (PS3.5 7, PS3.18 F.2): what the hub answers."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from struct import Struct
from typing import Any

from adapters.dicom import charset
from adapters.dicom.dataset import LONG, TEXT, UNDEFINED, Attributes

_IMPLICIT = Struct("<HHL")
_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2s2xL")
_ITEM = Struct("<HHL")
_NUMBERS = {
    vr: Struct(code)
    for vr, code in {
        "FD": "<d", "FL": "<f", "SL": "<l", "SS": "<h", "SV": "<q", "UL": "<L", "US": "<H", "UV": "<Q"
    }.items()
}  # fmt: skip
_NUL_PADDED = frozenset(("UI", "OB", "UN"))


def encode(attributes: Attributes, *, implicit: bool, terms: Sequence[str] = ()) -> bytes:
    """The data set; ``terms`` are the values of (0008,0005) in force.

    Raises UnicodeEncodeError when they cannot say a text. A value that is only referred to (BulkDataURI) is left empty.
    """
    parts: list[bytes] = []
    for tag in sorted(attributes):
        element = attributes[tag]
        vr = str(element.get("vr", "UN"))
        value = _value(vr, element, implicit, terms)
        value += (b"\0" if vr in _NUL_PADDED else b" ") * (len(value) % 2)
        group, number = int(tag[:4], 16), int(tag[4:], 16)
        if implicit:
            parts.append(_IMPLICIT.pack(group, number, len(value)))
        elif vr.encode() in LONG:
            parts.append(_LONG.pack(group, number, vr.encode(), len(value)))
        else:
            value = value[:0xFFFE]
            parts.append(_SHORT.pack(group, number, vr.encode(), len(value)))
        parts.append(value)
    return b"".join(parts)


def _value(vr: str, element: dict[str, Any], implicit: bool, terms: Sequence[str]) -> bytes:
    values = element.get("Value")
    if not values:
        return base64.b64decode(element.get("InlineBinary", ""))
    if vr == "SQ":
        return b"".join(_item(item or {}, implicit, terms) for item in values)
    if vr in _NUMBERS:
        return b"".join(_NUMBERS[vr].pack(value) for value in values if value is not None)
    if vr == "AT":
        return b"".join(Struct("<HH").pack(int(value[:4], 16), int(value[4:], 16)) for value in values)
    text = "\\".join(_text(vr, value) for value in values)
    if vr in TEXT:
        return charset.encode(text, terms, name=vr == "PN")
    return text.encode("ascii", "replace")


def _item(attributes: Attributes, implicit: bool, terms: Sequence[str]) -> bytes:
    content = encode(attributes, implicit=implicit, terms=terms)
    assert len(content) < UNDEFINED
    return _ITEM.pack(0xFFFE, 0xE000, len(content)) + content


def _text(vr: str, value: Any) -> str:
    if value is None:
        return ""
    if vr == "PN":
        groups = [str(value.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=")
    if isinstance(value, float):
        exact = repr(value)
        return exact if len(exact) <= 16 else f"{value:.9g}"
    return str(value)


def answer(attributes: Attributes, *, implicit: bool, asked: Sequence[str], held: Sequence[str]) -> bytes:
    """An identifier in the caller's character set ``asked``; else in ``held``, the data's own; else in UTF-8.

    The answer names its set (PS3.4 C.4.1.1.3) when the text is not plain ASCII or the caller named one.
    """
    body = {tag: element for tag, element in attributes.items() if tag != "00080005"}
    for terms in (tuple(asked), tuple(held), (charset.UTF_8,)):
        if not all(map(charset.known, terms)):
            continue
        try:
            plain = encode(body, implicit=implicit, terms=terms)
        except UnicodeEncodeError:
            continue
        named = [term or None for term in terms]
        if named and (asked or not plain.isascii() or b"\x1b" in plain):
            body["00080005"] = {"vr": "CS", "Value": named}
            return encode(body, implicit=implicit, terms=terms)
        return plain
    raise AssertionError("UTF-8 can say every text")

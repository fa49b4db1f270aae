"""FHIR JSON in and out, token for token (R4 2.6.2).

``decode`` gives plain dicts and lists in the order of the text. A number with fraction, exponent or minus zero is a
:class:`Decimal` that keeps its literal, because precision is data (R4 2.24.0.1). Everything that two readers could
understand differently (duplicate members, NaN, lone surrogates) and every bomb is refused with its place.
"""

from __future__ import annotations

import codecs
import decimal
import json
import re
from typing import Any, Self

import msgspec

from hub.errors import HubError
from hub.fhir.location import fault

MAX_BYTES = 64_000_000
MAX_NUMBER = 1024  # characters of one number

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Decimal(decimal.Decimal):
    """A decimal that is written as it was read: ``1.10``, ``1E+5``, ``0.00000010``, ``-0``."""

    __slots__ = ("literal",)
    literal: str

    def __new__(cls, literal: str) -> Self:
        if len(literal) > MAX_NUMBER or len(literal.lower().partition("e")[2]) > 6:
            raise ValueError("number too long")
        try:
            made = super().__new__(cls, literal)
        except decimal.InvalidOperation as error:
            raise ValueError("exponent out of range") from error
        made.literal = literal
        return made

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self.literal,)


def _integer(text: str) -> int | Decimal:
    if text == "-0":
        return Decimal(text)
    if len(text) > MAX_NUMBER:
        raise ValueError("number too long")
    return int(text)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=_members, parse_float=Decimal, parse_int=_integer, parse_constant=_constant, strict=True
)


def _hook(value: Any) -> Any:
    if isinstance(value, Decimal):
        return msgspec.Raw(value.literal.encode())
    raise TypeError(f"{type(value).__name__} is not JSON")


_encoder = msgspec.json.Encoder(enc_hook=_hook, decimal_format="number")


def decode(data: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = 64) -> dict[str, Any]:
    """The JSON object in ``data``. Raises HubError as ``decode_value``, and ``structure`` for any other value."""
    value = decode_value(data, max_bytes=max_bytes, max_depth=max_depth)
    if not isinstance(value, dict):
        raise HubError("structure", "A JSON object is expected.", "line 1 column 1")
    return value


def decode_value(data: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = 64) -> Any:
    """The JSON value in ``data`` (UTF-8, with or without byte order mark).

    Raises HubError ``too-long`` above ``max_bytes``; ``structure``, at "line L column C", for what is not well-formed
    JSON, nests deeper than ``max_depth``, repeats a member, or holds NaN, NUL or half a surrogate pair.
    """
    if len(data) > max_bytes:
        raise HubError("too-long", f"The content has {len(data)} bytes; at most {max_bytes} are accepted.")
    if _deep(data, max_depth) or (b"\\u0000" in data and _NUL.search(data)):
        raise fault(data, max_depth)
    try:
        value = _decoder.decode(data.removeprefix(codecs.BOM_UTF8).decode())
        if b"\\u" in data:
            _encoder.encode(value)
    except (ValueError, RecursionError) as error:
        raise fault(data, max_depth) from error
    return value


_stored = msgspec.json.Decoder(float_hook=Decimal)
_MINUS_ZERO = re.compile(rb"[:\[,]-0[,\]}]")


def stored(text: bytes) -> dict[str, Any]:
    """The resource in a text that ``encode`` made: as ``decode``, but eight times as fast: nothing is checked again."""
    value: dict[str, Any] = _decoder.decode(text.decode()) if _MINUS_ZERO.search(text) else _stored.decode(text)
    return value


def encode(value: Any) -> bytes:
    """Compact UTF-8 JSON; decimals as they were received, members in their order."""
    return _encoder.encode(value)


def _deep(data: bytes, limit: int) -> bool:
    """Whether brackets may nest deeper than ``limit``: exact for well-formed JSON, without a parser's recursion."""
    if data.count(b"{") + data.count(b"[") <= limit:
        return False
    skeleton = data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _TEXT)
    skeleton = b"".join(skeleton.split(b'"')[::2])
    for _ in range(limit):
        skeleton = skeleton.replace(b"{}", b"").replace(b"[]", b"")
        if not skeleton:
            return False
    return True


_TEXT = bytes(set(range(256)) - set(b'{}[]"'))

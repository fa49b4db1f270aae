"""Specific Character Set: bytes of text elements to text and back (PS3.5 6.1, PS3.3 C.12.1.1.2).

Code extension (ISO 2022) is read as the standard says it: an escape sequence designates G0 or G1, and a delimiter
takes both back to the initial set (PS3.5 6.1.2.5.3). The set of ISO 2022 IR 58 is GB 2312 in G1, which the codec of
that name in common libraries does not read. Chinese modalities often send GBK or UTF-8 under another label or none:
bytes that cannot be what the label says are read as what they are (``decode``).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

ESC = 0x1B
DELIMITERS = frozenset(b"\r\n\f\t\\")
NAME_DELIMITERS = DELIMITERS | frozenset(b"^=")
UTF_8 = "ISO_IR 192"

_HIGH_RUN = re.compile(rb"[\x80-\xff]+")


@dataclass(frozen=True, slots=True)
class Coding:
    """One row of charset.csv."""

    term: str
    escape: bytes
    element: str
    codec: str
    prefix: bytes


def _load() -> tuple[Coding, ...]:
    lines = files("adapters.dicom").joinpath("charset.csv").read_text(encoding="utf-8").splitlines()
    return tuple(
        Coding(row["term"], bytes.fromhex(row["escape"]), row["element"], row["codec"], bytes.fromhex(row["prefix"]))
        for row in csv.DictReader(line for line in lines if not line.startswith("#"))
    )


CODINGS = _load()
_BY_TERM = {coding.term: coding for coding in reversed(CODINGS)}
_BY_ESCAPE = {coding.escape: coding for coding in CODINGS if coding.escape}
_ASCII = _BY_TERM["ISO_IR 6"]


@lru_cache(maxsize=256)
def _coding(term: str) -> Coding | None:
    """The row of a term as modalities spell it: ``ISO IR 192``, ``iso-ir 100``, ``ISO 2022 GBK``, ``ISO 2022 58``."""
    text = re.sub(r"[-_ ]+", " ", term.strip().upper())
    ir = re.fullmatch(r"ISO(?: 2022)?(?: IR)? ?(\d+)", text)
    if ir:
        found = _BY_TERM.get(f"ISO 2022 IR {ir[1]}" if "2022" in text else f"ISO_IR {ir[1]}")
        return found or _BY_TERM.get(f"ISO 2022 IR {ir[1]}")
    return _BY_TERM.get(text.removeprefix("ISO 2022 "))


def _codings(terms: Sequence[str]) -> list[Coding]:
    """The sets in order; an empty first value is the default repertoire (PS3.3 C.12.1.1.2)."""
    return [coding for coding in (_coding(term) if term else _ASCII for term in terms) if coding] or [_ASCII]


def known(term: str) -> bool:
    """Whether a value of (0008,0005) is one the hub can read."""
    return not term or _coding(term) is not None


def decode(raw: bytes, terms: Sequence[str] = (), *, name: bool = False) -> str:
    """Text of an element's value. ``terms`` are the values of (0008,0005); ``name`` says that the VR is PN.

    Never fails: bytes that no reading explains become U+FFFD.
    """
    if raw.isascii() and ESC not in raw:
        return raw.decode("ascii")
    codings = _codings(terms)
    first = codings[0]
    if first.element == "whole":
        return _whole(raw, first.codec)
    if ESC in raw or len(codings) > 1:
        return _extended(raw, codings, NAME_DELIMITERS if name else DELIMITERS)
    return _single(raw, first)


def _whole(raw: bytes, codec: str) -> str:
    for candidate in (codec, "utf_8", "gb18030"):
        try:
            return raw.decode(candidate)
        except UnicodeDecodeError:
            continue
    return raw.decode(codec, "replace")


def _single(raw: bytes, coding: Coding) -> str:
    """One 8-bit set. Where the label does not allow the bytes, or they spell GB 2312 hanzi, the label is wrong."""
    try:
        return raw.decode("utf_8")
    except UnicodeDecodeError:
        pass
    if coding.codec in ("ascii", "latin_1") and _spells_hanzi(raw):
        return raw.decode("gb18030", "replace")
    if coding is _ASCII:
        return raw.decode("latin_1")
    return raw.decode(coding.codec, "replace")


def _spells_hanzi(raw: bytes) -> bool:
    """Whether all bytes above 0x7F come in pairs that are GB 2312 hanzi (rows 16 to 87)."""
    for run in _HIGH_RUN.findall(raw):
        if len(run) % 2 or not all(0xB0 <= a <= 0xF7 and b >= 0xA1 for a, b in zip(run[::2], run[1::2], strict=True)):
            return False
    return True


def _extended(raw: bytes, codings: Sequence[Coding], delimiters: frozenset[int]) -> str:
    """ISO 2022 code extension: runs between escape sequences, each in the set designated for its half."""
    g0, g1 = initial = _designate(codings[0], (_ASCII, _fallback(codings)))
    out: list[str] = []
    start = at = 0

    def flush(end: int) -> None:
        if end > start:
            out.append(_run(raw[start:end], g0, g1))

    while at < len(raw):
        if raw[at] == ESC:
            flush(at)
            length = next((n for n in (3, 2) if raw[at + 1 : at + 1 + n] in _BY_ESCAPE), 0)
            if length:
                g0, g1 = _designate(_BY_ESCAPE[raw[at + 1 : at + 1 + length]], (g0, g1))
            at += 1 + length
            start = at
        elif raw[at] in delimiters and not g0.prefix:
            flush(at)
            out.append(chr(raw[at]))
            g0, g1 = initial
            at += 1
            start = at
        else:
            at += 1
    flush(at)
    return "".join(out)


def _fallback(codings: Sequence[Coding]) -> Coding:
    """The set for bytes above 0x7F that nothing designated: senders forget to repeat the escape after a delimiter."""
    return next((coding for coding in codings if coding.element == "G1"), _BY_TERM["ISO_IR 100"])


def _designate(coding: Coding, state: tuple[Coding, Coding]) -> tuple[Coding, Coding]:
    return (coding, state[1]) if coding.element == "G0" else (state[0], coding)


def _run(run: bytes, g0: Coding, g1: Coding) -> str:
    if g0.prefix:
        return (g0.prefix + run).decode(g0.codec, "replace")
    return run.decode(g1.codec, "replace")


def encode(text: str, terms: Sequence[str], *, name: bool = False) -> bytes:
    """Bytes of ``text`` under these values of (0008,0005). Raises UnicodeEncodeError when they cannot say it."""
    if text.isascii():
        return text.encode("ascii")
    codings = _codings(terms)
    if len(codings) == 1 and not codings[0].escape:
        return text.encode(codings[0].codec)
    delimiters = NAME_DELIMITERS if name else DELIMITERS
    parts = re.split("([" + re.escape(bytes(sorted(delimiters)).decode("ascii")) + "])", text)
    return b"".join(_encode_part(part, codings) for part in parts)


def _encode_part(part: str, codings: Sequence[Coding]) -> bytes:
    if part.isascii():
        return part.encode("ascii")
    out = b""
    for run in re.findall(r"[\x00-\x7f]+|[^\x00-\x7f]+", part):
        out += run.encode("ascii") if run.isascii() else _encode_run(run, codings)
    return out


def _encode_run(run: str, codings: Sequence[Coding]) -> bytes:
    failure: UnicodeEncodeError | None = None
    for place, coding in enumerate(codings):
        try:
            raw = run.encode(coding.codec)
        except UnicodeEncodeError as error:
            failure = error
            continue
        if coding.prefix:
            return raw  # this codec writes the escape sequences itself, and returns to ASCII
        return raw if place == 0 and not coding.escape else bytes((ESC,)) + coding.escape + raw
    raise failure or UnicodeEncodeError("ascii", run, 0, len(run), "no character set")

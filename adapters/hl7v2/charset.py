"""Character set of a received message, by rule and with the rule reported (HL7 v2.8.2 2.14.9.18 MSH-18, table HL70211).

The order: what is configured for the sender, MSH-18, a byte order mark, strict UTF-8, GB 18030, windows-1252. Decoding
comes before splitting, because the second byte of a GB 18030 character can be ``\\ ^ | ~``.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

CODECS = {
    "": "", "ASCII": "ascii", "8859/1": "iso8859-1", "8859/2": "iso8859-2", "8859/3": "iso8859-3",
    "8859/4": "iso8859-4", "8859/5": "iso8859-5", "8859/6": "iso8859-6", "8859/7": "iso8859-7",
    "8859/8": "iso8859-8", "8859/9": "iso8859-9", "8859/15": "iso8859-15", "GB 18030-2000": "gb18030",
    "BIG-5": "big5hkscs", "KS X 1001": "euc_kr", "UNICODE UTF-8": "utf-8",
    "UNICODE": "utf-8", "UNICODE UTF-16": "utf-16", "UNICODE UTF-32": "utf-32",
}  # fmt: skip
"""Table HL70211 -> Python codec. ``UNICODE`` alone (2.3.1, 2.4) is UTF-8 unless a byte order mark says otherwise."""

ALIASES = {
    "UTF-8": "utf-8", "UTF8": "utf-8", "UNICODE UTF8": "utf-8", "GBK": "gb18030", "GB2312": "gb18030",
    "GB18030": "gb18030", "GB 18030": "gb18030", "GB18030-2000": "gb18030", "BIG5": "big5hkscs",
    "ISO8859_1": "iso8859-1", "ISO-8859-1": "iso8859-1", "8859-1": "iso8859-1", "8859_1": "iso8859-1",
    "LATIN1": "iso8859-1",
    "WINDOWS-1252": "windows-1252", "CP1252": "windows-1252", "CP936": "gb18030", "US-ASCII": "ascii",
}  # fmt: skip
"""Names that senders write though the table does not have them."""

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Text without its byte order mark; the codec; the rule that chose it; whether undecodable bytes were met.

    ``rule`` is one of ``sender``, ``MSH-18``, ``byte order mark``, ``UTF-8``, ``GB18030``, ``windows-1252``.
    Undecodable bytes stand in ``text`` as lone surrogates (PEP 383), so that encoding gives the same bytes back.
    """

    text: str
    codec: str
    rule: str
    mark: bytes = b""
    damaged: bool = False

    def encode(self, text: str) -> bytes:
        """``text`` in the message's own character set, with its byte order mark."""
        return self.mark + text.encode(self.codec, "surrogateescape")


def codec_of(name: str) -> str:
    """Python codec of an MSH-18 value; "" when it is empty or unknown.

    >>> codec_of("GB 18030-2000"), codec_of("utf-8"), codec_of("~8859/1"), codec_of("Klingon")
    ('gb18030', 'utf-8', '', '')
    """
    first = name.split("~", 1)[0].strip().upper()
    return CODECS.get(first) or ALIASES.get(first, "")


def decode(raw: bytes, declared: str = "", override: str = "") -> Decoded:
    """Decode ``raw``; ``declared`` is the content of MSH-18, ``override`` the codec configured for the sender."""
    mark, marked = next(((mark, codec) for mark, codec in MARKS if raw.startswith(mark)), (b"", ""))
    body = raw[len(mark) :]
    for codec, rule in ((override, "sender"), (codec_of(declared), "MSH-18"), (marked, "byte order mark")):
        if not codec or (marked and rule == "MSH-18" and codec != marked):
            continue
        found = _try(body, codec, rule, mark)
        if found or rule == "sender":
            return found or _forced(body, codec, rule, mark)
    for codec, rule in (("utf-8", "UTF-8"), ("gb18030", "GB18030")):
        found = _try(body, codec, rule, mark)
        if found:
            return found
    return _forced(body, "windows-1252", "windows-1252", mark)


def _try(body: bytes, codec: str, rule: str, mark: bytes) -> Decoded | None:
    try:
        return Decoded(body.decode(codec), codec, rule, mark)
    except UnicodeDecodeError:
        return None


def _forced(body: bytes, codec: str, rule: str, mark: bytes) -> Decoded:
    text = body.decode(codec, "surrogateescape")
    return Decoded(text, codec, rule, mark, any("\udc80" <= letter <= "\udcff" for letter in text))

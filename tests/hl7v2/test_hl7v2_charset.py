"""The rule order of the character set, and that decoding comes before splitting."""

from __future__ import annotations

import pytest

from adapters.hl7v2.charset import codec_of, decode
from adapters.hl7v2.message import parse

TRAILS = "".join(bytes([0x81, trail]).decode("gb18030") for trail in (0x5C, 0x5E, 0x7C, 0x7E))
"""Four characters whose second GB 18030 byte is the escape, component, field and repetition delimiter."""


@pytest.mark.parametrize(
    ("raw", "declared", "override", "codec", "rule"),
    [
        ("张".encode("gb18030"), "GB 18030-2000", "", "gb18030", "MSH-18"),
        ("张".encode("gb18030"), "GBK", "", "gb18030", "MSH-18"),
        ("张".encode(), "UNICODE", "", "utf-8", "MSH-18"),
        ("张".encode(), "GB 18030-2000", "utf-8", "utf-8", "sender"),
        (b"\xef\xbb\xbf" + "张".encode(), "", "", "utf-8", "byte order mark"),
        (b"\xef\xbb\xbf" + "张".encode(), "GBK", "", "utf-8", "byte order mark"),
        ("张".encode(), "", "", "utf-8", "UTF-8"),
        ("张三丰".encode("gb18030"), "", "", "gb18030", "GB18030"),
        ("张三丰".encode("gb18030"), "ASCII", "", "gb18030", "GB18030"),
        ("张三丰".encode("gb18030"), "UNICODE UTF-8", "", "gb18030", "GB18030"),
        (b"caf\xe9", "", "", "windows-1252", "windows-1252"),
        (b"caf\xe9 ", "8859/1", "", "iso8859-1", "MSH-18"),
    ],
)
def test_rule_order(raw: bytes, declared: str, override: str, codec: str, rule: str) -> None:
    decoded = decode(raw, declared, override)
    assert (decoded.codec, decoded.rule) == (codec, rule)
    assert decoded.encode(decoded.text) == raw


def test_aliases_of_the_table() -> None:
    names = ("UNICODE UTF-8", "utf8", "GB2312", "ISO8859_1", "BIG-5", "8859/15~UNICODE", "no such")
    assert [codec_of(name) for name in names] == [
        "utf-8", "utf-8", "gb18030", "iso8859-1", "big5hkscs", "iso8859-15", "",
    ]  # fmt: skip


@pytest.mark.parametrize("declared", ["GB 18030-2000", ""])
def test_trail_bytes_that_look_like_delimiters(declared: str) -> None:
    text = f"MSH|^~\\&|HIS|{TRAILS}医院|||2026||ADT^A01|1|P|2.4||||||{declared}\rPID|1||7||{TRAILS}^{TRAILS}\r"
    message = parse(text.encode("gb18030"))
    assert message.codec == "gb18030"
    assert (message["MSH-4"], message["PID-5.1"], message["PID-5.2"], message.kind) == (
        TRAILS + "医院", TRAILS, TRAILS, "ADT^A01",
    )  # fmt: skip


def test_damaged_bytes_survive() -> None:
    raw = b"MSH|^~\\&|HIS|A|||2026||ADT^A01|1|P|2.4\rPID|1||\x81\r"
    assert parse(raw).encode() == raw

"""Specific Character Set against the examples of PS3.5 Annexes H to K and the labels modalities really send."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.dicom import charset

EXAMPLES = [
    # PS3.5 H.3.1, H.3.2: Japanese
    (
        ["", "ISO 2022 IR 87"],
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        ["ISO 2022 IR 13", "ISO 2022 IR 87"],
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    # PS3.5 I.2: Korean
    (
        ["", "ISO 2022 IR 149"],
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    # PS3.5 J.1, J.2: UTF-8 and GB18030
    (["ISO_IR 192"], "Wang^XiaoDong=王^小東".encode(), "Wang^XiaoDong=王^小東"),
    (["GB18030"], b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"),
    # PS3.5 K.2: GB 2312 by code extension
    (
        ["", "ISO 2022 IR 58"],
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东=",
    ),
    (["GBK"], b"\x8e\x9f^\xce\xc4", "師^文"),
    (["ISO_IR 100"], b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    (["ISO_IR 144"], b"\xbb\xee\xdace\xdc\xd1yp\xd3", "Люкceмбypг"),
]


@pytest.mark.parametrize(("terms", "raw", "text"), EXAMPLES)
def test_examples_of_the_standard_are_read(terms: list[str], raw: bytes, text: str) -> None:
    assert charset.decode(raw, terms, name=True) == text


@pytest.mark.parametrize(("terms", "raw", "text"), [EXAMPLES[0], *EXAMPLES[2:8]])
def test_examples_of_the_standard_are_written(terms: list[str], raw: bytes, text: str) -> None:
    assert charset.encode(text, terms, name=True) == raw


@pytest.mark.parametrize(
    ("terms", "raw", "text"),
    [
        (["ISO_IR 100"], "王^小东".encode("gbk"), "王^小东"),  # GBK under the Latin-1 label
        ([], "张三".encode("gbk"), "张三"),  # no label
        ([""], "张三".encode(), "张三"),
        (["ISO_IR 100"], "张三".encode(), "张三"),  # UTF-8 under the Latin-1 label
        (["GB18030"], "张三".encode(), "寮犱笁"),  # valid GB18030 is believed
        (["ISO IR 192"], "张三".encode(), "张三"),
        (["iso_ir_192"], "张三".encode(), "张三"),
        (["ISO 2022 GBK"], "张三".encode("gbk"), "张三"),
        (["ISO 2022 58"], b"\x1b$)A" + "张三".encode("gb2312"), "张三"),
        (["", "ISO 2022 IR 58"], b"Zhang=" + "张三".encode("gb2312"), "Zhang=张三"),  # escape forgotten
        (["NO SUCH SET"], b"Smith", "Smith"),
        (["ISO_IR 100"], b"M\xfcller", "Müller"),
        (["ISO_IR 192"], b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_what_modalities_really_send(terms: list[str], raw: bytes, text: str) -> None:
    assert charset.decode(raw, terms, name=True) == text


def test_unknown_terms_are_known_to_be_unknown() -> None:
    assert charset.known("ISO_IR 192") and charset.known("") and not charset.known("ISO_IR 999")


@settings(deadline=None, max_examples=100)
@given(
    st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), max_size=12),
    st.sampled_from(["GB18030", "GBK", "ISO_IR 192"]),
)
def test_hanzi_come_back(text: str, term: str) -> None:
    name = f"Zhang^San={text[:1]}^{text[1:]}"
    assert charset.decode(charset.encode(name, [term], name=True), [term], name=True) == name


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=40), st.lists(st.sampled_from([row.term for row in charset.CODINGS] + [""]), max_size=3))
def test_no_bytes_break_the_reader(raw: bytes, terms: list[str]) -> None:
    assert isinstance(charset.decode(raw, terms, name=True), str)


def test_text_that_a_set_cannot_say_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        charset.encode("张三", ["ISO_IR 100"])

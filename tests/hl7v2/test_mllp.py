"""Framing: every way in which senders get MLLP wrong, in whole and byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.hl7v2.mllp import Framer, wrap

A, B = b"MSH|^~\\&|A\rPID|1\r", b"MSH|^~\\&|B\rPID|2\r"

CASES = {
    "one": (wrap(A), [A], set()),
    "two in one write": (wrap(A) + wrap(B), [A, B], set()),
    "junk before": (b"\r\n" + b"xyz" + wrap(A), [A], {"mllp-junk"}),
    "line ends between": (wrap(A) + b"\r\n\r\n" + wrap(B), [A, B], set()),
    "NUL between": (wrap(A) + b"\x00" + wrap(B), [A, B], {"mllp-junk"}),
    "no start byte": (A + b"\x1c\r" + wrap(B), [A, B], {"mllp-no-start"}),
    "FS without CR": (b"\x0b" + A + b"\x1c" + wrap(B), [A, B], {"mllp-no-cr"}),
    "FS LF": (b"\x0b" + A + b"\x1c\n" + wrap(B), [A, B], {"mllp-no-cr"}),
    "empty block": (wrap(b"") + wrap(A), [A], {"mllp-empty"}),
    "blank block": (wrap(b"\r\n") + wrap(A), [A], {"mllp-empty"}),
    "begun again": (b"\x0b" + A + wrap(B), [B], {"mllp-unfinished"}),
    "vertical tab in text": (wrap(A + b"NTE|1||a\x0bb\r"), [A + b"NTE|1||a\x0bb\r"], set()),
    "no message at all": (wrap(b"hello"), [b"hello"], set()),
    "junk with FS": (b"abc\x1c\r" + wrap(A), [A], {"mllp-junk"}),
    "GB 18030": (wrap("MSH|^~\\&|县".encode("gb18030")), ["MSH|^~\\&|县".encode("gb18030")], set()),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("step", [1, 2, 7, 10_000])
def test_wrong_framing(case: str, step: int) -> None:
    data, contents, rules = CASES[case]
    framer = Framer(1000)
    frames = [frame for at in range(0, len(data), step) for frame in framer.feed(data[at : at + step])]
    assert [frame.content for frame in frames] == contents
    assert {rule for frame in frames for rule in frame.anomalies} | set(framer.leftovers()) == rules


@pytest.mark.parametrize("step", [1, 64, 10_000])
def test_too_long_a_block_is_told_once_and_skipped(step: int) -> None:
    data = b"\x0b" + A + b"x" * 5000 + b"\x1c\r" + wrap(B)
    framer = Framer(1000)
    frames = [frame for at in range(0, len(data), step) for frame in framer.feed(data[at : at + step])]
    assert [frame.too_long for frame in frames] == [True, False]
    assert frames[0].content.startswith(A)
    assert frames[1].content == B
    assert framer.pending == 0


def test_junk_without_end_holds_no_memory() -> None:
    framer = Framer(1000)
    for _ in range(100):
        assert framer.feed(b"z" * 10_000) == []
        assert framer.pending == 0
    for _ in range(100):
        framer.feed(b"MSH" + b"z" * 10_000)
        assert framer.pending <= 11_000


@given(st.lists(st.binary(max_size=20), max_size=20))
@settings(deadline=None, max_examples=100)
def test_any_bytes_end_and_a_good_block_afterwards_is_found(pieces: list[bytes]) -> None:
    framer = Framer(100)
    for piece in pieces:
        framer.feed(piece)
    frames = framer.feed(b"\x1c\r" + wrap(A))
    assert frames[-1].content == A


@given(
    st.lists(
        st.binary(min_size=1, max_size=50).filter(lambda raw: not set(raw) & {0x0B, 0x1C} and raw.strip(b"\r\n\x00 ")),
        max_size=8,
    ),
    st.randoms(),
)
@settings(deadline=None, max_examples=100)
def test_blocks_survive_any_fragmentation(contents: list[bytes], random: object) -> None:
    data = b"".join(wrap(content) for content in contents)
    framer = Framer(1000)
    frames = []
    while data:
        size = random.randint(1, 30)  # type: ignore[attr-defined]
        frames += framer.feed(data[:size])
        data = data[size:]
    assert [frame.content for frame in frames] == contents

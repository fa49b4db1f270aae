"""The parser: nothing lost, every delimiter, every escape, located refusals."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.hl7v2.delimiters import Delimiters
from adapters.hl7v2.message import Message, header_of, parse, path
from hub.errors import HubError

HEAD = b"MSH|^~\\&|HIS|A|HUB|R|20261120||ADT^A01|1|P|2.5.1\r"


def rules(message: Message) -> set[str]:
    return {one.rule for one in message.encoding_findings()}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (HEAD + b"PID|1\r", set()),
        (HEAD + b"PID|1", {"no-final-terminator"}),
        (HEAD.replace(b"\r", b"\n") + b"PID|1\n", {"segment-terminator"}),
        (HEAD.replace(b"\r", b"\r\n") + b"PID|1\r\n", {"segment-terminator"}),
        (b"\xef\xbb\xbf" + HEAD + b"PID|1\r", {"byte-order-mark"}),
        (HEAD + b"\rPID|1\r", {"blank-line"}),
        (HEAD + b"ZZ1|own\rfree text\r", {"segment-name"}),
        (HEAD + b"PID|1||\x01\r", {"control-character"}),
        (HEAD + "PID|1||张\r".encode(), {"charset-undeclared"}),
        (HEAD + b"PID|1||\xff\xff\xff\r", {"charset-undeclared"}),
    ],
)  # fmt: skip
def test_what_is_odd_is_kept_and_told(raw: bytes, expected: set[str]) -> None:
    message = parse(raw)
    assert message.encode() == raw
    assert rules(message) == expected


def test_positions_reach_every_level() -> None:
    message = parse(HEAD + b"PID|1||7^^^H&1.2.3&ISO^MR~8\rNK1|1|A\rNK1|2|B^C\rZPI|x\r")
    values = {
        at: message[at] for at in ("PID-3.1", "PID-3[1].4.2", "PID-3[2]", "NK1[2]-2.2", "ZPI-1", "PID-99", "PV1-2")
    }
    assert values == {
        "PID-3.1": "7", "PID-3[1].4.2": "1.2.3", "PID-3[2]": "8", "NK1[2]-2.2": "C",
        "ZPI-1": "x", "PID-99": "", "PV1-2": "",
    }  # fmt: skip
    assert (message["MSH-1"], message["MSH-2"], message["MSH-3"], message.kind) == ("|", "^~\\&", "HIS", "ADT^A01")


def test_any_delimiters_and_the_truncation_character() -> None:
    message = parse(b"MSH*:;?!#*HIS*A***2026**ORU:R01*1*P*2.7\rPID*1**a!b:c;d**x?P?y?S?z\r")
    assert message.delimiters == Delimiters("*", ":", ";", "?", "!", "#")
    assert (message["PID-3.1.2"], message["PID-3[2]"], message["PID-5"]) == ("b", "d", "x#y:z")


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [
        ("\\F\\\\S\\\\T\\\\R\\\\E\\", "|^&~\\"),
        ("\\X0D\\", "\r"),
        ("\\XE5BCA0\\", "张"),
        ("a\\.br\\b\\.sp2\\c", "a\nb\n\nc"),
        ("\\H\\bold\\N\\", "bold"),
        ("C:\\temp", "C:\\temp"),
        ("\\Zown\\", "\\Zown\\"),
        ("\\X0\\", "\\X0\\"),
        ("\\.sp9999\\", "\n" * 80),
    ],
)
def test_escape_sequences(escaped: str, plain: str) -> None:
    assert parse(HEAD + f"NTE|1||{escaped}\r".encode())["NTE-3"] == plain


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=40))
@settings(deadline=None, max_examples=100)
def test_quoting_survives_the_wire(text: str) -> None:
    message = parse(HEAD + b"NTE|1||" + Delimiters().quote(text).encode() + b"\r")
    assert message["NTE-3"] == text


@given(st.lists(st.text(alphabet="PIDZ1|^~\\&ab张\x01 \r\n\x1c", max_size=30), max_size=12))
@settings(deadline=None, max_examples=100)
def test_whatever_follows_the_header_comes_back_byte_for_byte(lines: list[str]) -> None:
    raw = HEAD + "\r".join(lines).encode()
    message = parse(raw)
    assert message.encode() == raw
    message.encoding_findings()


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=100)
def test_any_bytes_come_back_or_are_refused_with_a_place(raw: bytes) -> None:
    assert parse(HEAD + raw).encode() == HEAD + raw
    try:
        assert parse(raw).encode() == raw
    except HubError as error:
        assert error.at
    header_of(raw)


@pytest.mark.parametrize(
    ("raw", "at"),
    [
        (b"", "line 1 column 1"),
        (b"hello", "line 1 column 1"),
        (b"PID|1\r" + HEAD, "line 1 column 1"),
        (b"MSH", "MSH-1"),
        (b"MSHA^~\\&A", "MSH-1"),
        (b"MSH||A|B", "MSH-2"),
        (b"MSH|||||", "MSH-2"),
        (b"MSH|^^\\&|A", "MSH-2"),
        (b"MSH|^~\\&&&|A", "MSH-2"),
    ],
)
def test_what_is_no_message_is_refused_where_it_fails(raw: bytes, at: str) -> None:
    with pytest.raises(HubError) as refused:
        parse(raw)
    assert (refused.value.name, refused.value.at) == ("structure", at)


def test_a_line_feed_inside_a_field_stays_there() -> None:
    message = parse(HEAD + b"NTE|1||first\nsecond\rNTE|2||x\r")
    assert (message["NTE-3"], message["NTE[2]-3"]) == ("first\nsecond", "x")


def test_places_count_characters_and_bytes() -> None:
    message = parse("MSH|^~\\&|HIS|县\rPID|1||张^b~c^d&e\r".encode())
    place = message.place(message.all("PID")[0], 3, 2, 2, 2)
    assert place == (2, 16, len("MSH|^~\\&|HIS|县\rPID|1||张^b~c^d&".encode()))


def test_a_position_is_read_or_refused() -> None:
    assert path("PID[1]-3[2].4.2") == ("PID", 1, 3, 2, 4, 2)
    with pytest.raises(ValueError, match="not an HL7 v2 position"):
        path("Patient.name")

"""Acknowledgements: the checklist of HL7 v2.5.1 2.9 and of table HL70357, row by row."""

from __future__ import annotations

import itertools

import pytest

from adapters.hl7v2 import ack
from adapters.hl7v2.delimiters import Delimiters
from adapters.hl7v2.message import Segment, header_of, parse
from hub.errors import ERRORS, HubError

HEAD = (
    "MSH|^~\\&|HIS^1.2^ISO|县医院|HUB|REGION|20261120083000||{kind}|{id}|P|{version}|||{accept}|{apply}|CHN"
    "|UNICODE UTF-8"
)


def header(
    kind: str = "ADT^A01^ADT_A01", id: str = "M 1\\T\\2", version: str = "2.5.1", accept: str = "", apply: str = ""
) -> Segment:
    return header_of(HEAD.format(kind=kind, id=id, version=version, accept=accept, apply=apply).encode())[0]


def build(
    head: Segment, error: HubError | None = None, code: str = "AA", codec: str = "utf-8", language: str = "en"
) -> bytes:
    return ack.build(head, code, error, control_id="OWN1", time="20261120083001+0800", codec=codec, language=language)


def test_every_error_has_a_row_and_nothing_else() -> None:
    assert ack.codes().keys() == ERRORS.keys()
    for code in ack.codes().values():
        assert code.application in ("AE", "AR")
        assert code.commit == "C" + code.application[1]
        assert code.hl70357 in ack.CONDITIONS
        assert code.hl70516 in ("E", "W", "I", "F")
        assert code.en and code.zh


def test_what_was_sent_comes_back() -> None:
    answer = parse(build(header()))
    names = ("MSH-3", "MSH-4", "MSH-5.1", "MSH-5.2", "MSH-6", "MSH-7", "MSH-10", "MSH-11", "MSH-12", "MSH-18", "MSA-1")
    assert [answer[name] for name in names] == [
        "HUB", "REGION", "HIS", "1.2", "县医院", "20261120083001+0800", "OWN1", "P", "2.5.1", "UNICODE UTF-8", "AA",
    ]  # fmt: skip
    assert answer.segments[1].field(2) == "M 1\\T\\2"
    assert answer.encode().endswith(b"\r")


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("2.1", "ACK"),
        ("2.2", "ACK"),
        ("2.3", "ACK^A01"),
        ("2.3.1", "ACK^A01^ACK"),
        ("2.8", "ACK^A01^ACK"),
        ("", "ACK^A01^ACK"),
    ],
)
def test_message_type_by_version(version: str, kind: str) -> None:
    assert parse(build(header(version=version))).header.field(9) == kind


def test_delimiters_and_character_set_of_the_sender() -> None:
    head, codec = header_of("MSH*:;?!*HIS*县*HUB*R*2026**ADT:A01*7*P*2.4******GB 18030-2000\r".encode("gb18030"))
    answer = ack.build(
        head, "AE", HubError("value", "张*", "PID-7"), control_id="1", time="2026", codec=codec, language="zh"
    )
    assert answer.decode("gb18030").split("\r")[:2] == [
        "MSH*:;?!*HUB*R*HIS*县*2026**ACK:A01:ACK*1*P*2.4******GB 18030-2000",
        "MSA*AE*7*张?F?***102:Data type error:HL70357",
    ]  # fmt: skip


def test_errors_of_2_5_and_later_are_located() -> None:
    error = HubError("required", "PID-3 is empty | none", "PID[2]-3[4].5.6")
    segment = parse(build(header(), error, "AE", language="zh")).all("ERR")[0]
    assert segment.field(2) == "PID^2^3^4^5^6"
    assert segment.field(3) == "101^Required field missing^HL70357"
    assert segment.field(4) == "E"
    assert segment.field(7) == "PID-3 is empty \\F\\ none"
    assert segment.field(8) == "缺少必填字段。"


def test_user_text_is_english_when_the_character_set_has_no_chinese() -> None:
    head = header()
    segment = parse(build(head, HubError("required", "x", "PID-3"), "AE", codec="ascii", language="zh")).all("ERR")[0]
    assert segment.field(8) == "A required field is missing."


@pytest.mark.parametrize("version", ["2.1", "2.2", "2.3.1", "2.4"])
def test_errors_before_2_5(version: str) -> None:
    answer = parse(build(header(version=version), HubError("required", "PID-3 is empty", "PID-3"), "AE"))
    assert answer["MSA-3"] == "PID-3 is empty"
    assert answer.all("ERR")[0].field(1) == "PID^1^3^101&Required field missing&HL70357"
    assert answer["MSA-6.1"] == ("" if version in ("2.1", "2.2") else "101")


def test_a_place_in_another_notation_goes_into_the_text() -> None:
    segment = parse(build(header(), HubError("value", "no such day", "Patient.birthDate"), "AE")).all("ERR")[0]
    assert (segment.field(2), segment.field(7)) == ("", "no such day (at Patient.birthDate)")


def test_every_finding_is_an_err() -> None:
    issues: tuple[dict[str, object], ...] = (
        {"diagnostics": "a", "expression": ["PID-3"]},
        {"diagnostics": "b", "expression": ["PID-5.1"]},
    )
    errors = parse(build(header(), HubError("value", "a", "PID-3", issues), "AE")).all("ERR")
    assert [error.field(2) for error in errors] == ["PID^1^3", "PID^1^5^^1"]


@pytest.mark.parametrize("kind", ["ACK^A01^ACK", "ACK", "RSP^K22^RSP_K21", "ORR^O02", "MCF^Q02"])
def test_answers_are_not_answered(kind: str) -> None:
    assert ack.answers(header(kind=kind), None) == ()
    assert ack.answers(header(kind=kind), HubError("structure", "x")) == ()


REJECT = HubError("value", "x", "PID-7")
COMMIT = {"": (), "NE": (), "AL": ("CA", "CE"), "SU": ("CA", None), "ER": (None, "CE")}
APPLY = {"": (), "NE": (), "AL": ("AA", "AE"), "SU": ("AA", None), "ER": (None, "AE")}


@pytest.mark.parametrize(("accept", "apply"), list(itertools.product(("", "NE", "AL", "ER", "SU"), repeat=2)))
@pytest.mark.parametrize("refused", [False, True])
def test_all_combinations_of_msh_15_and_16(accept: str, apply: str, refused: bool) -> None:
    got = ack.answers(header(accept=accept, apply=apply), REJECT if refused else None, quiet=True)
    if not accept and not apply:
        assert got == (("AE",) if refused else ("AA",))
        return
    wanted = [(table[condition] or (None, None))[refused] for table, condition in ((COMMIT, accept), (APPLY, apply))]
    assert got == tuple(code for code in wanted if code)


def test_a_sender_that_wants_nothing_is_answered_unless_told_to_be_quiet() -> None:
    head = header(accept="NE", apply="NE")
    assert (ack.answers(head, None), ack.answers(head, None, quiet=True)) == (("AA",), ())


def test_a_kept_message_is_committed_though_not_processed() -> None:
    head = header(accept="AL", apply="AL")
    assert ack.answers(head, HubError("event-unknown", "x")) == ("CA", "AR")


@pytest.mark.parametrize(
    "raw", [b"", b"hello", b"MSH", b"MSH|", b"MSHxxxx", b"\x00" * 50, b"junk MSH|^~\\&|A|B|C|D|||X^Y|77|P|2.3\r"]
)
def test_what_cannot_be_read_gets_an_answer_all_the_same(raw: bytes) -> None:
    head, codec = header_of(raw)
    answer = parse(build(head, HubError("structure", "no MSH", "line 1 column 1"), "AR", codec))
    assert (answer["MSA-1"], answer["MSA-2"]) == ("AR", "77" if b"77" in raw else "")


def test_our_control_id_is_short_enough_for_every_version() -> None:
    assert len(ack.fresh_control_id(lambda: "0191c0de-0000-7000-8000-0123456789ab")) == 20


def test_no_escape_character_still_gives_a_readable_answer() -> None:
    head = Segment("MSH|^~|A|B|C|D|||ADT^A01|1|P|2.5", 0, Delimiters("|", "^", "~", "", "", ""))
    assert b"a b" in build(head, HubError("value", "a|b", "PID-3"), "AE")

"""Base-standard validation: a valid message has no finding, every mutation has the one expected."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.hl7v2 import spec
from adapters.hl7v2.check import Hl7v2Checker
from adapters.hl7v2.findings import rules
from adapters.hl7v2.message import parse
from adapters.hl7v2.plan import plan_of
from adapters.hl7v2.validate import Fields, validate
from hub.errors import HubError

VALID = "\r".join(
    (
        "MSH|^~\\&|LIS|H1|HUB|R|20261120083000+0800||ORU^R01^ORU_R01|1|P|2.5.1||||||UNICODE UTF-8",
        "PID|1||7^^^H1&1.2.3&ISO^MR||X^Y^^^^^L||19850307|M",
        "PV1|1|I|W1^1^1",
        "ORC|RE|P1|F1",
        "OBR|1|P1|F1|1^a^LN|||20261120||||||||||||||||||F",
        "OBX|1|NM|11^x^LN||5.0|g/L^g/L^UCUM||H|||F|||20261120",
        "NTE|1||text",
        "OBX|2|SN|12^x^LN||>^5||||||F",
        "SPM|1|S1||BLD",
        "ZPI|1|own",
        "OBR|2|P2|F2|2^b^LN",
        "OBX|1|ST|21^x^LN||word||||||F",
        "",
    )
)


def found(text: str) -> set[tuple[str, str]]:
    return {(one.rule, one.at) for one in validate(parse(text.encode()))}


def test_a_valid_message_has_no_finding() -> None:
    assert found(VALID) == set()
    assert Hl7v2Checker("Asia/Shanghai").check(VALID.encode()).valid


@pytest.mark.parametrize(
    ("old", "new", "rule", "at"),
    [
        ("PID|1||7^^^H1&1.2.3&ISO^MR", "PID|1||", "field-required", "PID[1]-3"),
        ("|X^Y^^^^^L|", "||", "field-required", "PID[1]-5"),
        ("PV1|1|I|", "PV1|1||", "field-required", "PV1[1]-2"),
        ("OBR|2|P2|F2|2^b^LN", "OBR|2|P2|F2|", "field-required", "OBR[2]-4"),
        ("OBX|2|SN|12^x^LN", "OBX|2|SN|", "field-required", "OBX[2]-3"),
        ("||||||F\rSPM", "||||||\rSPM", "field-required", "OBX[2]-11"),
        ("|P|2.5.1", "||2.5.1", "field-required", "MSH[1]-11"),
        ("|19850307|M", "|19850307|M~F", "field-repeats", "PID[1]-8[2]"),
        ("|19850307|", "|19851307|", "value-format", "PID[1]-7[1].1"),
        ("|20261120083000+0800|", "|20 Nov|", "value-format", "MSH[1]-7[1].1"),
        ("||5.0|", "||five|", "value-format", "OBX[1]-5[1]"),
        ("||>^5|", "||>^x|", "value-format", "OBX[2]-5[1].2"),
        ("OBX|1|NM|11", "OBX|one|NM|11", "value-format", "OBX[1]-1[1]"),
        ("^^^^^L||", "^^^^^QQ||", "code-unknown", "PID[1]-5[1].7"),
        ("ORC|RE|", "ORC|99|", "code-unknown", "ORC[1]-1[1]"),
        ("|||F|||20261120\r", "|||?|||20261120\r", "code-unknown", "OBX[1]-11[1]"),
        ("H1&1.2.3&ISO^MR", "H1&1.2.3&ISO&more^MR", "component-extra", "PID[1]-3[1].4.4"),
        ("|19850307|M", "|19850307|M" + "|" * 40 + "x", "field-extra", "PID[1]-48"),
        ("NTE|1||text", "NTE|1|a&b|text", "code-unknown", "NTE[1]-2[1]"),
        ("NTE|1||text", "NTE|1||Smith & Sons", "separator-unescaped", "NTE[1]-3[1]"),
        ("||X^Y^", "||X^Y&Z^", "separator-unescaped", "PID[1]-5[1].2"),
        ("PV1|1|I|W1^1^1\r", "PV1|1|I|W1^1^1\rPV1|1|I\r", "segment-misplaced", "PV1[2]"),
        ("PID|1", "XYZ|1\rPID|1", "segment-unexpected", "XYZ[1]"),
        ("PID|1", "EVN|A01|2026\rPID|1", "segment-unexpected", "EVN[1]"),
        ("NTE|1||text\r", "PID|2||8||A^B\rNTE|1||text\r", "segment-misplaced", "OBX[2]"),
        ("ORU^R01^ORU_R01", "ORU^R99^ORU_R99", "structure-unknown", "MSH-9"),
        ("|2.5.1|", "|2.9|", "version-unknown", "MSH-12"),
    ],
)
def test_every_mutation_is_found(old: str, new: str, rule: str, at: str) -> None:
    assert VALID.count(old) >= 1
    assert (rule, at) in found(VALID.replace(old, new, 1))


PIECES = st.sampled_from(
    ["", "x", '""', "^", "&", "~", "|", "^^", "1.5", "20261120", "2026", "M", "X&Y", "A~B", "x^y^z"]
)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(VALID)), st.integers(0, 4), PIECES), min_size=1, max_size=6))
def test_what_a_plan_finds_right_has_no_finding(changes: list[tuple[int, int, str]]) -> None:
    text = VALID
    for at, length, piece in changes:
        text = text[:at] + piece + text[at + length :]
    try:
        message = parse(text.encode())
    except HubError:
        return
    version = spec.load(message.version)
    plan = plan_of(version.version, message.delimiters)
    for segment in message.segments:
        fields = plan.fields(segment.name)
        if fields is not None and segment.is_line() and fields.right(segment):
            assert list(Fields(message, version, segment).check()) == []


def test_a_missing_segment_is_named() -> None:
    text = VALID.replace("ORU^R01^ORU_R01", "ADT^A01^ADT_A01").replace("ORC|", "ZRC|")
    assert {("segment-missing", "EVN")} <= found(text)


def test_a_finding_is_placed_and_explained_in_both_languages() -> None:
    report = Hl7v2Checker("Asia/Shanghai").check(VALID.replace("||5.0|", "||五|").encode())
    one = next(one for one in report.findings if one.rule == "value-format")
    assert (one.line, one.column, one.severity, one.value, one.expected) == (6, 19, "error", "五", "NM")
    assert VALID.replace("||5.0|", "||五|").encode()[one.offset :].startswith("五".encode())
    assert set(one.message) == set(one.mend) == {"en", "zh"}
    assert one.clause


def test_every_rule_has_its_texts() -> None:
    for rule in rules().values():
        assert rule.en and rule.zh
        assert bool(rule.mend_en) == bool(rule.mend_zh)
        assert rule.severity in ("fatal", "error", "warning", "information")
        assert rule.category in ("transport", "encoding", "structure", "content", "value-set")


@pytest.mark.parametrize(
    "version", ["2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2"]
)
def test_every_version_has_its_tables(version: str) -> None:
    loaded = spec.load(version)
    assert loaded.version == version
    assert {"ADT_A01", "ACK"} <= loaded.structures.keys()
    assert loaded.segments["PID"][2].name


def test_choice_groups_are_choices() -> None:
    text = "MSH|^~\\&|A|B|C|D|20261120||ORM^O01^ORM_O01|1|P|2.5.1\rORC|NW|1\rOBR|1|1||1^a\r"
    assert found(text) == set()


def test_validation_is_linear() -> None:
    orders = "OBR|1|P1|F1|1^a^LN\r" + "OBX|1|NM|11^x^LN||5.0||||||F\r" * 2000
    start = time.process_time()
    assert found(VALID.split("ORC|")[0] + orders) == set()
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "raw", [b"", b"hello", b"MSH|", b"MSH|^~\\&|\r\r\r", b"MSH|^~\\&||||||||||\rPID", b"\x0bMSH|^~\\&|A\rPID|1\x1c\r"]
)
def test_the_check_never_fails(raw: bytes) -> None:
    report = Hl7v2Checker("Asia/Shanghai").check(raw)
    assert not report.valid

"""Conformance profiles: a small one of our own, every kind of rule; the public ones when they are there."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from adapters.hl7v2.message import parse
from adapters.hl7v2.profile import load
from adapters.hl7v2.profile.check import check
from adapters.hl7v2.profile.expressions import evaluate
from adapters.hl7v2.profile.records import Profile
from adapters.hl7v2.profile.tree import Node
from hub.errors import HubError

PUBLIC = Path(os.environ.get("REGION_HUB_SHARED", "nowhere")) / "data/hl7v2"
OURS = Path(__file__).parent.parent / "golden/hl7v2/profile"
VALID = "MSH|^~\\&|A|B|||2026||ORU^R01|1|P|2.5.1\rPID|1||7^^^H1~8||Li|||M\rOBX|1|ST|a||x\rOBX|2|CX|b||9^^^h1\r"


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load(OURS)


def found(profile: Profile, text: str) -> set[tuple[str, str]]:
    return {(one.rule, one.at) for one in check(parse(text.encode()), profile)}


def test_a_conforming_message_has_no_finding(profile: Profile) -> None:
    assert found(profile, VALID) == set()


@pytest.mark.parametrize(
    ("old", "new", "rule", "at"),
    [
        ("7^^^H1~8", "", "profile-required", "PID[1]-3"),
        ("7^^^H1", "^^^H1", "profile-required", "PID[1]-3[1].1"),
        ("OBX|1|ST|a", "OBX|1|ST|", "profile-required", "OBX[1]-3"),
        ("||9^^^h1", "||^^^h1", "profile-required", "OBX[2]-5[1].1"),
        ("PID|1||", "PID|1|old|", "profile-forbidden", "PID[1]-2[1]"),
        ("7^^^H1", "7^1^^H1", "profile-forbidden", "PID[1]-3[1].2"),
        ("OBX|1", "NK1|1\rOBX|1", "profile-unexpected", "NK1[1]"),
        ("7^^^H1~8", "7~8~9", "profile-cardinality", "PID[1]-3[3]"),
        ("7^^^H1", "12345^^^H1", "profile-length", "PID[1]-3[1].1"),
        ("|Li|", "|Lizzie|", "profile-length", "PID[1]-5[1]"),
        ("|M\r", "|Q\r", "profile-code", "PID[1]-8[1]"),
        ("|M\r", "|X\r", "profile-excluded", "PID[1]-8[1]"),
        ("|Li|||M", "||||M", "profile-predicate", "PID[1]-5"),
        ("|Li|||M", "|Li", "profile-predicate", "PID[1]-5[1]"),
        ("7^^^H1", "7^^^H2", "profile-constraint", "PID[1]-3[1].4"),
        ("9^^^h1", "9^^^h2", "profile-constraint", "OBX[2]-5[1].4"),
        ("|Li|||M", "|Li||1985|M", "profile-constraint", "PID[1]-7[1]"),
        ("~8||Li", "~8|2|Li", "profile-constraint", "PID[1]-4[1]"),
        ("OBX|2", "OBX|3", "profile-constraint", "OBX[1]-1[1]"),
        ("ORU^R01", "ORU^R30", "profile-other", "MSH[1]-9"),
        ("PID|1", "PV1|1\rPID|1", "profile-unexpected", "PV1[1]"),
    ],
)
def test_every_departure_is_found(profile: Profile, old: str, new: str, rule: str, at: str) -> None:
    assert VALID.count(old) >= 1
    assert (rule, at) in found(profile, VALID.replace(old, new, 1))


def test_a_missing_group_is_named(profile: Profile) -> None:
    assert ("profile-required", "RESULT") in found(profile, VALID.split("\r")[0] + "\r")


@pytest.mark.parametrize(
    ("expression", "outcome"),
    [
        ('<Presence Path="1[1]"/>', True),
        ('<Presence Path="9[1]"/>', False),
        ('<PlainText Path="9[1]" Text="x"/>', None),
        ('<NOT><PlainText Path="9[1]" Text="x"/></NOT>', None),
        ('<AND><Presence Path="9[1]"/><PlainText Path="9[1]" Text="x"/></AND>', False),
        ('<OR><Presence Path="1[1]"/><Plugin QualifiedClassName="x"/></OR>', True),
        ('<IMPLY><Presence Path="9[1]"/><PlainText Path="1[1]" Text="z"/></IMPLY>', True),
        ('<XOR><Presence Path="1[1]"/><Presence Path="9[1]"/></XOR>', True),
        ('<StringList Path="1[*]" CSV="a,b"/>', True),
        ('<NumberList Path="1[1]" CSV="1,2"/>', False),
        ('<SimpleValue Path="1[2]" Operator="GT" Value="a"/>', True),
        ('<PathValue Path1="1[1]" Operator="NE" Path2="1[2]"/>', True),
        ('<FORALL><Presence Path="1[1]"/><Presence Path="1[2]"/></FORALL>', True),
        ('<EXIST><Presence Path="9[1]"/></EXIST>', False),
        ('<Plugin QualifiedClassName="x"/>', None),
    ],
)
def test_expressions(expression: str, outcome: bool | None) -> None:
    message = parse(VALID.encode())
    leaves = [Node(message, None, "x", text) for text in ("a", "b")]
    assert evaluate(ElementTree.fromstring(expression), Node(message, None, "", children={1: leaves})) is outcome


@pytest.mark.parametrize("text", ["<!DOCTYPE x><x/>", "<x", "<ConformanceProfile/>", None])
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "PROFILE.xml").write_text(text)
    with pytest.raises(HubError) as refused:
        load(tmp_path)
    assert refused.value.name == "structure"


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="REGION_HUB_SHARED does not point to the public profiles")
@pytest.mark.parametrize("name", ["CELR-2.5.1", "DAART-LRI_NG_FRN_PROFILE-CDC.ARLN.CRECOL"])
def test_public_profiles_load_and_evaluate(name: str) -> None:
    loaded = load(PUBLIC / "nist-profiles" / name)
    assert loaded.rules
    for file in sorted((PUBLIC / "cdc-pairs").glob("*.hl7")):
        assert isinstance(check(parse(file.read_bytes()), loaded), list)

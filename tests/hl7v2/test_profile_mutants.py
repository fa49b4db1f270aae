"""Each profile finds the faults that are put into a valid message, at their place, and none in the valid one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adapters.hl7v2.message import parse
from adapters.hl7v2.profile import load
from adapters.hl7v2.profile.check import check
from adapters.hl7v2.profile.records import Profile
from tests.hl7v2.mutants import Nist, Static, mutants

GOLDEN = Path(__file__).parent.parent / "golden/hl7v2/mutation"
PUBLIC = Path(os.environ.get("REGION_HUB_SHARED", "nowhere")) / "data/hl7v2/nist-profiles"
DAART = "DAART-LRI_NG_FRN_PROFILE-CDC.ARLN.CRECOL"
COUNT = 200
public = pytest.mark.skipif(not PUBLIC.is_dir(), reason="REGION_HUB_SHARED does not point to the public profiles")
CASES = [
    pytest.param(GOLDEN / "lab", "lab", 160, id="ours"),
    pytest.param(GOLDEN / "static.xml", "static", 90, id="static"),
    pytest.param(PUBLIC / "CELR-2.5.1", "celr", COUNT, id="celr", marks=public),
    pytest.param(PUBLIC / DAART, "daart", COUNT, id="daart", marks=public),
]


def valid(name: str) -> str:
    return (GOLDEN / f"{name}.hl7").read_text(encoding="utf-8").replace("\n", "\r")


def findings(profile: Profile, text: str) -> set[tuple[str, str]]:
    """(rule, place) of what is said against a message."""
    found = check(parse(text.encode()), profile)
    return {(one.rule, one.at) for one in found if one.severity in ("fatal", "error", "warning")}


@pytest.mark.parametrize(("source", "name", "least"), CASES)
def test_mutants_are_found_where_they_are(source: Path, name: str, least: int) -> None:
    profile = load(source)
    assert findings(profile, valid(name)) == set()
    made = mutants(Nist(source) if source.is_dir() else Static(source), valid(name), COUNT, seed=1)
    missed = [one for one in made if not any(at.startswith(one.at) for _, at in findings(profile, one.text))]
    print(f"{name}: {len(made) - len(missed)} of {len(made)} mutants found, {len({one.kind for one in made})} kinds")
    assert len(made) >= least
    assert len(missed) <= 0.05 * len(made), missed


@pytest.mark.parametrize(
    ("old", "new", "rule", "at"),
    [
        ("|131|", "||", "profile-predicate", "OBX[1]-2[1]"),
        ("OBX|1|NM", "OBX|1|", "profile-predicate", "OBX[1]-2"),
        ("|g/L^^UCUM|", "||", "profile-predicate", "OBX[1]-6"),
        ("LIS^1.2.3^ISO", "LIS^1.2.3", "profile-predicate", "MSH[1]-3[1].3"),
        ("LIS^1.2.3^ISO", "LIS^^ISO", "profile-predicate", "MSH[1]-3[1].3"),
        ("LIS^1.2.3^ISO", "LIS^1.x.3^ISO", "profile-constraint", "MSH[1]-3[1].2"),
        ("P1^^^H1", "P1^^^H2", "profile-constraint", "PID[1]-3[1].4.1"),
        ("|19850101|", "|18850101|", "profile-constraint", "PID[1]-7[1]"),
        ("^LN\rOBX", "^L\rOBX", "profile-system", "OBR[1]-4[1].1"),
        ("57021-8^血常规", "57021-9^血常规", "profile-code", "OBR[1]-4[1].1"),
        ("ORC|RE", "ORC|NW", "profile-code", "ORC[1]-1[1]"),
        ("|M1|P|", "|M1|D|", "profile-excluded", "MSH[1]-11[1]"),
        ("|H|||F", "|HH|||F", "profile-code", "OBX[1]-8[1]"),
        ("OBR|1|A1", "OBR|1|A2", "profile-constraint", "ORC[1]-2[1]"),
        ("OBX|2|", "OBX|4|", "profile-constraint", "OBX[2]-1[1]"),
        ("OBR|1|", "OBR|2|", "profile-constraint", "ORU^R01"),
        ("NM|718-7", "NM|718-8", "profile-coconstraint", "ORDER_OBSERVATION[1]"),
        ("|g/L^^UCUM|", "|mg/L^^UCUM|", "profile-coconstraint", "OBX[1]-6[1].1"),
        ("A^A型^OURS", "C^C型^OURS", "profile-coconstraint", "OBX[2]-5[1]"),
        ("DT|11368-8", "DT|11368-9", "profile-coconstraint", "ORDER_OBSERVATION[1]"),
        ("OBX|2|CE|883-9^血型^LN||A^A型^OURS|", "OBX|2|CE|883-9^血型^LN|||", "profile-required", "OBX[2]-5"),
        ("~100001^", "~10001^", "profile-length", "PID[1]-3[2].1"),
        ("OBX|3|DT|", "OBX|3|QQ|", "profile-dynamic", "OBX[3]-2"),
        ("|57021-8^血常规^LN", "|", "profile-required", "OBR[1]-4"),
    ],
)  # fmt: skip
def test_rules_of_the_six_documents(old: str, new: str, rule: str, at: str) -> None:
    assert valid("lab").count(old) == 1
    assert (rule, at) in findings(load(GOLDEN / "lab"), valid("lab").replace(old, new, 1))


def test_an_older_profile_says_what_it_cannot_decide() -> None:
    assert load(GOLDEN / "static.xml").faults == ("PID.3-7: the predicate is prose: If the date of birth is known",)


def test_final_results_are_asked_for_at_least_once() -> None:
    preliminary = valid("lab").replace("||||F\r", "||||P\r").replace("|||F\r", "|||P\r")
    assert ("profile-constraint", "OBX[1]-11[1]") in findings(load(GOLDEN / "lab"), preliminary)

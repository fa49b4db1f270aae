"""UCUM: what is a unit, and what it is in base units."""

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terminology import rules, ucum

UNITS = (Path(__file__).parent / "units.csv").read_text("utf-8").split()[1:]


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_recognised(unit: str) -> None:
    assert ucum.name(unit) is not None


@pytest.mark.parametrize(
    "text",
    ["", " ", "mmHg", "foo", "m/", "/", "m//s", "m..s", "(m", "m)", "((((", "{", "}", "{a", "{中}", "毫升", "kCel2x",
     "0", "m100", "U/L ", "mg/dl/", "[", "]", "[IU", "10*9/L}", "k", "μg", "m-", "m+", "x" * 300, "(" * 300 + "m"],
)  # fmt: skip
def test_what_is_no_unit(text: str) -> None:
    assert ucum.name(text) is None
    assert rules.systems()["http://unitsofmeasure.org"].find(text) is None


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        ("5.5", "mmol/L", "umol/mL", "5.5"),
        ("1", "g/dL", "g/L", "10"),
        ("120", "mm[Hg]", "kPa", "15.99864"),
        ("1", "[lb_av]", "g", "453.59237"),
        ("1", "a", "d", "365.25"),
        ("1", "[in_i]", "cm", "2.54"),
        ("1", "10*9/L", "/uL", "1000"),
        ("37", "Cel", "Cel", "37"),
    ],
)
def test_conversion_is_exact(value: str, source: str, target: str, expected: str) -> None:
    assert ucum.convert(Fraction(value), source, target) == Fraction(expected)


@pytest.mark.parametrize(("source", "target"), [("mmol/L", "mg/dL"), ("Cel", "K"), ("[IU]/L", "U/L"), ("g", "m")])
def test_what_does_not_measure_the_same_is_refused(source: str, target: str) -> None:
    with pytest.raises(ucum.UnitError):
        ucum.convert(Fraction(1), source, target)


@settings(deadline=None, max_examples=100)
@given(st.text("mgLs/.(){}[]0123456789*^-+%IUk", max_size=20) | st.text(max_size=10))
def test_no_text_crashes_the_grammar(text: str) -> None:
    assert ucum.name(text) is None or ucum.parse(text).factor > 0


@pytest.mark.parametrize(
    ("system", "right", "wrong"),
    [
        ("urn:ietf:bcp:47", ["zh", "zh-CN", "zh-Hans-CN", "ZH-cn", "en-US-u-ca-gregory", "x-our-own", "i-klingon",
                             "de-CH-1996", "zh-cmn-Hans"], ["", "xx-YY-ZZ", "zh_CN", "zh-", "qqqq", "en-a", "a-b"]),
        ("urn:ietf:bcp:13", ["text/plain", "application/fhir+json; charset=utf-8", "image/svg+xml",
                             'a/b;q="x y"'], ["text", "text/", "/plain", "a b/c", "text/plain;", "文/本"]),
        ("urn:ietf:rfc:3986", ["http://a.example/b", "urn:oid:1.2.3"], ["a b", "no-scheme", "http://a b"]),
        ("https://www.iana.org/time-zones", ["Asia/Shanghai"], ["Asia/Nowhere"]),
    ],
)  # fmt: skip
def test_systems_by_rule(system: str, right: list[str], wrong: list[str]) -> None:
    ruled = rules.systems()[system]
    assert [code for code in right if ruled.find(code) is None] == []
    assert [code for code in wrong if ruled.find(code) is not None] == []

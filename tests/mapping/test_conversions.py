"""Primitive values: every form that HL7 v2 allows, and what is none."""

from __future__ import annotations

import pytest

from adapters.mapping import conversions
from adapters.mapping.conversions import Circumstances, authority, coding_system
from hub.fhir import json

HERE = Circumstances("H1", "", "Asia/Shanghai")


@pytest.mark.parametrize(
    ("type", "text", "expected"),
    [
        ("date", "1985", "1985"),
        ("date", "198503", "1985-03"),
        ("date", "19850307", "1985-03-07"),
        ("date", "19850307120000", "1985-03-07"),
        ("date", "19850230", None),
        ("date", "85-03-07", None),
        ("date", "19991399", None),
        ("dateTime", "2026", "2026"),
        ("dateTime", "2026112008", "2026-11-20T08:00:00+08:00"),
        ("dateTime", "20261120083015.1234", "2026-11-20T08:30:15.1234+08:00"),
        ("dateTime", "202611200830-0500", "2026-11-20T08:30:00-05:00"),
        ("dateTime", "20261120^D", "2026-11-20"),
        ("dateTime", "198607010000", "1986-07-01T00:00:00+09:00"),
        ("dateTime", "20261120246000", None),
        ("dateTime", "20261120083015+1560", None),
        ("instant", "20261120", None),
        ("instant", "202611200830", "2026-11-20T08:30:00+08:00"),
        ("time", "0830", "08:30:00"),
        ("time", "083015.5", "08:30:15.5"),
        ("time", "2460", None),
        ("boolean", "Y", True),
        ("boolean", "N", False),
        ("boolean", "maybe", None),
        ("positiveInt", "0", None),
        ("positiveInt", "003", 3),
        ("unsignedInt", "0", 0),
        ("integer", "1.5", None),
        ("integer", "2147483648", None),
        ("string", "  a\x00\x1bb ", "ab"),
        ("string", " \t ", None),
        ("code", " a   b ", "a b"),
        ("base64Binary", "JVBE\nRi0=", "JVBERi0="),
        ("base64Binary", "JVB", None),
        ("oid", "1.2.3", "urn:oid:1.2.3"),
        ("oid", "1.02", None),
    ],
)
def test_conversions(type: str, text: str, expected: object) -> None:
    assert conversions.PRIMITIVES[type](text, HERE) == expected


@pytest.mark.parametrize(
    ("text", "literal"),
    [("1.10", "1.10"), ("5", "5"), ("+5", "5"), ("-0.50", "-0.50"), (".5", "0.5"), ("007.0", "7.0"), ("0", "0"),
     ("00", "0"),
     ("5.", "5"), ("1e3", "1e3"), ("<5", None), ("NaN", None), ("", None), ("1,5", None), ("-", None), (".", None)],
)  # fmt: skip
def test_decimals_keep_their_digits(text: str, literal: str | None) -> None:
    number = conversions.decimal(text, HERE)
    assert (None if number is None else json.encode([number]).decode()) == (literal and f"[{literal}]")


def test_the_offset_of_the_header_comes_before_the_zone() -> None:
    there = Circumstances("H1", "", "Asia/Shanghai", "-0500")
    assert conversions.date_time("202611200830", there) == "2026-11-20T08:30:00-05:00"


@pytest.mark.parametrize(
    ("namespace", "universal", "kind", "expected"),
    [
        ("A", "1.2.3", "ISO", "urn:oid:1.2.3"),
        ("", "1.2.3", "", "urn:oid:1.2.3"),
        ("A", "426D2726-51FC-89FE-A946-8596E80A80EB", "GUID", "urn:uuid:426d2726-51fc-89fe-a946-8596e80a80eb"),
        ("A", "http://x.example/y", "URI", "http://x.example/y"),
        ("A", "Lab.Example", "DNS", "https://lab.example"),
        ("A", "not a name", "DNS", "https://region-hub.example/fhir/authority/H1/A"),
        ("甲/乙", "", "", "https://region-hub.example/fhir/authority/H1/%E7%94%B2%2F%E4%B9%99"),
        ("", "", "", "https://region-hub.example/fhir/authority/H1"),
        ("", "own", "L", "https://region-hub.example/fhir/authority/H1/own"),
    ],
)
def test_authorities(namespace: str, universal: str, kind: str, expected: str) -> None:
    assert authority(namespace, universal, kind, HERE) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("LN", "http://loinc.org"), ("HL70001", "http://terminology.hl7.org/CodeSystem/v2-0001"),
     ("2.16.840.1", "urn:oid:2.16.840.1"),
     ("99ABC", "https://region-hub.example/fhir/CodeSystem/H1/99ABC"), ("", None)],
)  # fmt: skip
def test_coding_systems(name: str, expected: str | None) -> None:
    assert coding_system(name, HERE) == expected

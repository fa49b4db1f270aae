"""The condition language, as a table."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from adapters.mapping.condition import Grammar, switch

VALUES = {"PV1-2": "I", "OBX-2": "NM", "PID-7": "19850307", "CX.5": "MR", "PID-8": '""', "ORC": "ORC"}
COUNTS = {"OBX-5": 2, "PID-3": 0}


def value(position: str) -> Callable[[object], str]:
    return lambda _: VALUES.get(position, "")


def count(position: str) -> Callable[[object], int]:
    return lambda _: COUNTS.get(position, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('PV1-2 = "I"', True),
        ('PV1-2 != "I"', False),
        ('PV1-2 in ("O", "I")', True),
        ('OBX-2 in ("SN")', False),
        ("PID-7 valued", True),
        ("PID-8 valued", False),
        ("PID-99 valued", False),
        ("not PID-99 valued", True),
        ("ORC valued", True),
        ("count(OBX-5) > 1", True),
        ("count(PID-3) = 0", True),
        ("count(OBX-5) < 2", False),
        ("length(PID-7) > 8", False),
        ("length(PID-7) = 8", True),
        ('PV1-2 = "I" and OBX-2 = "NM" or PID-99 valued', True),
        ('PID-99 valued or PV1-2 = "I" and OBX-2 = "XX"', False),
        ('PV1-2 = "I" and (OBX-2 = "XX" or CX.5 = "MR")', True),
        ('not (PV1-2 = "I" and PID-99 valued)', True),
        ('PID-99 = ""', True),
    ],
)
def test_meaning(text: str, expected: bool) -> None:
    assert Grammar(value, count).compile(text)(None) is expected


@pytest.mark.parametrize(
    "text",
    ["", "PID-3", "PID-3 =", "PID-3 = X", "PID-3 ~ 1", "and", "(PID-3 valued", "PID-3 valued)", "PID-3 in ()",
     "count(PID-3)",
     'count(PID-3) ! "x"', "PID-3 valued PID-4 valued", 'PID-3 in ("a" "b")', "valued"],
)  # fmt: skip
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="condition"):
        Grammar(value, count).compile(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('OBX-2 = "NM"', ("OBX-2", {"NM"}, "")),
        ('OBX-2 in ("NM", "SN") and PID-7 valued', ("OBX-2", {"NM", "SN"}, "PID-7 valued")),
        ('OBX-2 = "NM" and (PID-7 valued or PID-8 valued)', ("OBX-2", {"NM"}, "( PID-7 valued or PID-8 valued )")),
        ('OBX-2 = "NM" or PID-7 valued', None),
        ('not OBX-2 = "NM"', None),
        ('OBX-2 != "NM"', None),
        ("PID-7 valued", None),
    ],
)
def test_switch_is_a_necessary_condition(text: str, expected: tuple[str, set[str], str] | None) -> None:
    assert switch(text) == (expected and (expected[0], frozenset(expected[1]), expected[2]))

"""Residents do not contradict themselves, and the same seed gives the same residents."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from simulators.population import TODAY, Resident, check_digit, people, table

COUNT = 3000


@pytest.fixture(scope="module")
def residents() -> list[Resident]:
    return people(7, COUNT)


def test_number_birth_date_sex_and_county_agree(residents: list[Resident]) -> None:
    for resident in residents:
        number = resident.number
        assert number[:6] == resident.county
        assert number[:2] == "10", "only the area prefix that is not assigned"
        assert number[6:14] == f"{resident.born:%Y%m%d}"
        assert (int(number[16]) % 2 == 1) == (resident.sex == "male")
        assert number[17] == check_digit(number[:17])
        assert resident.born <= TODAY


def test_numbers_and_cards_are_unique(residents: list[Resident]) -> None:
    assert len({resident.number for resident in residents}) == COUNT
    assert len({resident.card for resident in residents}) == COUNT


def test_households_are_coherent(residents: list[Resident]) -> None:
    homes: dict[int, list[Resident]] = defaultdict(list)
    for resident in residents[:-5]:
        homes[resident.household].append(resident)
    assert len(homes) > COUNT // 5
    for members in homes.values():
        assert len({member.address for member in members}) == 1
        head = members[0]
        mothers = [member for member in members if member.role == "spouse"]
        for child in (member for member in members if member.role == "child"):
            assert child.family == head.family
            assert (child.born - mothers[0].born).days > 18 * 365
            young = (TODAY - child.born).days < 13 * 365
            assert not young or child.phone == mothers[0].phone


def test_surnames_follow_the_table(residents: list[Resident]) -> None:
    found = Counter(resident.family for resident in residents)
    rows = table("surnames")
    total = sum(float(row["share"]) for row in rows)
    for row in rows[:5]:
        expected = float(row["share"]) / total
        assert abs(found[row["surname"]] / COUNT - expected) < 0.025, row["surname"]


def test_more_residents_do_not_change_the_first(residents: list[Resident]) -> None:
    assert people(7, 100) == residents[:100]
    assert people(8, 100) != residents[:100]

"""Residents do not contradict themselves, the same seed gives the same residents, and they are as the census says."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from simulators.population import TODAY, Resident, check_digit, household, people, table

COUNT = 10_000
NOISE = 12.0
"""Per mille by which a share of 10,000 people (household: of 3,900 homes) may differ from its source."""


@pytest.fixture(scope="module")
def residents() -> list[Resident]:
    return people(7, COUNT)


@pytest.fixture(scope="module")
def homes(residents: list[Resident]) -> list[list[Resident]]:
    found: dict[int, list[Resident]] = defaultdict(list)
    for resident in residents:
        found[resident.household].append(resident)
    return list(found.values())[:-1]


def test_number_birth_date_sex_and_age_agree(residents: list[Resident]) -> None:
    for resident in residents:
        number = resident.number
        if resident.nationality == "CHN":
            assert number[:2] == "10", "only the area prefix that is not assigned"
            assert number[4:6] == resident.county[4:6]
        else:
            assert number[:3] == "910"
        assert number[6:14] == f"{resident.born:%Y%m%d}"
        assert (int(number[16]) % 2 == 1) == (resident.sex == "male")
        assert number[17] == check_digit(number[:17])
        assert 0 <= resident.age() <= 110
        assert resident.born <= TODAY


def test_numbers_and_cards_are_unique() -> None:
    many = people(3, 20_000)
    assert len({resident.number for resident in many}) == len(many)
    assert len({resident.card for resident in many}) == len(many)
    assert len({resident.index for resident in many}) == len(many)


def test_households_are_coherent(homes: list[list[Resident]]) -> None:
    for members in homes:
        by_index = {member.index: member for member in members}
        assert len({member.address for member in members}) == 1
        head = members[0]
        assert head.role == "head"
        assert head.age() >= 20
        for member in members[1:]:
            if member.role == "spouse":
                assert member.sex != head.sex
                assert member.age() >= 20
            if member.role == "child":
                assert member.family == head.family
                mother = next(one for one in members if one.sex == "female" and one.role in ("head", "spouse"))
                assert 19 <= mother.age() - member.age() <= 39
            if member.role == "parent":
                assert member.age() - head.age() >= 18
            if member.twin:
                assert any(one.born == member.born and one is not member for one in members)
        for minor in (member for member in members if member.age() < 18):
            guardian = by_index[minor.guardian if minor.guardian is not None else -1]
            assert guardian.age() >= 18
            if minor.age() < 13:
                assert minor.phone == guardian.phone


@pytest.mark.parametrize("kind", ["age", "sex", "household", "insurance"])
def test_shares_follow_the_census(residents: list[Resident], homes: list[list[Resident]], kind: str) -> None:
    values = {
        "age": [str(min(85, one.age() // 5 * 5)) for one in residents],
        "sex": [one.sex for one in residents],
        "household": [str(min(6, len(home))) for home in homes],
        "insurance": [one.insurance for one in residents],
    }[kind]
    found = Counter(values)
    for row in table("census"):
        if row["set"] == kind:
            share = 1000 * found[row["value"]] / len(values)
            assert abs(share - float(row["share"])) < NOISE * (2 if kind == "household" else 1), row


def test_surnames_follow_the_table(residents: list[Resident]) -> None:
    found = Counter(resident.family for resident in residents)
    rows = table("surnames")
    total = sum(float(row["share"]) for row in rows)
    for row in rows[:5]:
        expected = float(row["share"]) / total
        assert abs(found[row["surname"]] / COUNT - expected) < 0.015, row["surname"]


def test_there_are_twins_foreigners_and_minors(residents: list[Resident]) -> None:
    assert any(resident.twin for resident in residents)
    assert any(resident.nationality != "CHN" for resident in people(3, 9_000))
    assert all((resident.guardian is not None) == (resident.age() < 18) for resident in residents)


def test_a_household_depends_on_nothing_else(residents: list[Resident]) -> None:
    assert people(7, 100) == residents[:100]
    assert people(8, 100) != residents[:100]
    assert household(7, residents[500].household)[0].household == residents[500].household
    assert residents[500] in household(7, residents[500].household)

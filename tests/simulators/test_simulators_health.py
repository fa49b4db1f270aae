"""Careers of illness make sense: values follow diagnoses, drugs follow values, next year continues this year."""

from __future__ import annotations

import datetime
from statistics import mean

import pytest

from simulators import health
from simulators.health import Illness
from simulators.population import Resident, people, table
from simulators.streams import Stream

ON = datetime.date(2026, 11, 2)
SEED = 7
ITEMS = {row["code"]: row for row in table("laboratory")}
CONDITIONS = {row["code"]: row for row in table("conditions")}


@pytest.fixture(scope="module")
def residents() -> list[Resident]:
    return people(SEED, 4000)


def measured(resident: Resident, code: str, illnesses: list[Illness], on: datetime.date = ON) -> float:
    stream = Stream(SEED, "test", resident.index, code, on.year)
    return float(health.value(SEED, resident, ITEMS[code], illnesses, on, stream))


@pytest.mark.parametrize(
    ("condition", "item", "out"),
    [
        ("E11.9", "HBA1C", "H"),
        ("N18.3", "CREA", "H"),
        ("E78.5", "LDL", "H"),
        ("J18.9", "WBC", "H"),
        ("O80.9", "HGB", "L"),
    ],
)
def test_values_follow_diagnoses(residents: list[Resident], condition: str, item: str, out: str) -> None:
    some = [one for one in residents if health.suits(CONDITIONS[condition], one, ON)][:60]
    fresh = Illness(CONDITIONS[condition], ON)
    ill = [health.flag(ITEMS[item], str(measured(one, item, [fresh]))) for one in some]
    well = [health.flag(ITEMS[item], str(measured(one, item, []))) for one in some]
    assert ill.count(out) > 0.35 * len(some) > 5 * well.count(out) / 2


def test_treatment_brings_values_back(residents: list[Resident]) -> None:
    some = [one for one in residents if one.age() > 40][:60]
    fresh, treated = (Illness(CONDITIONS["E11.9"], ON - datetime.timedelta(days=days)) for days in (0, 400))
    assert mean(measured(one, "HBA1C", [treated]) for one in some) + 0.8 < mean(
        measured(one, "HBA1C", [fresh]) for one in some
    )


def test_chronic_disease_progresses_over_years(residents: list[Resident]) -> None:
    some = [one for one in residents if one.age() > 55][:60]
    illness = Illness(CONDITIONS["N18.3"], ON)
    years = [
        mean(measured(one, "CREA", [illness], ON + datetime.timedelta(days=365 * year)) for one in some)
        for year in (1, 5, 10)
    ]
    assert years == sorted(years)
    assert years[-1] - years[0] > 20


def test_a_person_has_a_set_point_of_their_own(residents: list[Resident]) -> None:
    values = [
        [measured(one, "K", [], ON + datetime.timedelta(days=365 * year)) for year in range(6)]
        for one in residents[:80]
    ]
    within = mean(max(one) - min(one) for one in values)
    means = [mean(one) for one in values]
    assert within < max(means) - min(means)


def test_a_second_drug_is_given_when_the_value_is_out_of_range() -> None:
    illness = Illness(CONDITIONS["E11.9"], ON)
    assert health.drugs(illness, {"HBA1C": "5.5"}) == ["二甲双胍片 0.5 g"]
    assert health.drugs(illness, {"HBA1C": "8.5"}) == ["二甲双胍片 0.5 g", "格列美脲片 2 mg"]


def test_prevalence_is_that_of_the_table_and_grows_with_age(residents: list[Resident]) -> None:
    for code, lowest in (("I10", 0.12), ("E11.9", 0.05)):
        shares = []
        for first, last in ((35, 50), (50, 65), (65, 105)):
            some = [one for one in residents if first <= one.age() < last]
            ill = [one for one in some if any(it.code == code for it in health.chronic(SEED, one, ON))]
            shares.append(len(ill) / len(some))
        assert shares == sorted(shares)
        assert shares[-1] > lowest


def test_nobody_has_what_their_age_and_sex_exclude(residents: list[Resident]) -> None:
    for resident in residents[:1500]:
        for illness in health.chronic(SEED, resident, ON):
            assert health.suits(illness.row, resident, ON)
            assert illness.since <= ON
            assert illness.since >= resident.born

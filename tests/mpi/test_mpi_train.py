"""Training finds the shares that the generator was given, without being told who is who."""

from __future__ import annotations

import pytest

from hub.mpi import rules
from hub.mpi.features import compile_patient
from hub.mpi.train import train
from simulators.registrations import registrations
from simulators.streams import Stream

RULES = rules.load()


@pytest.fixture(scope="module")
def trained() -> dict[str, dict[str, dict[str, float]]]:
    people = [compile_patient(one.patient, RULES) for one in registrations(5, 1200)]
    return train(people, RULES, Stream(1, "training").below)


@pytest.mark.parametrize(
    ("field", "level", "share"),
    [
        ("phone", "equal", 0.78**2),  # 22 % of the registrations have another number
        ("address", "equal", 0.90**2),  # 10 % have moved
        ("born", "equal", 0.99**2),
        ("id", "equal", 0.988**2),
    ],
)
def test_m_is_what_the_generator_did(
    trained: dict[str, dict[str, dict[str, float]]], field: str, level: str, share: float
) -> None:
    assert trained[field][level]["m"] == pytest.approx(share, abs=0.05)


def test_u_is_chance_agreement(trained: dict[str, dict[str, dict[str, float]]]) -> None:
    assert trained["gender"]["equal"]["u"] == pytest.approx(0.5, abs=0.02)
    assert trained["born"]["equal"]["u"] < 0.002
    assert trained["id"]["equal"]["u"] == RULES.score.shares["id"]["equal"][1]


def test_every_level_keeps_a_chance(trained: dict[str, dict[str, dict[str, float]]]) -> None:
    assert {field: set(levels) for field, levels in trained.items()} == {
        field: set(levels) for field, levels in RULES.score.shares.items()
    }
    assert all(0 < row[part] <= 1 for levels in trained.values() for row in levels.values() for part in ("m", "u"))


def test_too_few_registrations_teach_nothing() -> None:
    people = [compile_patient(one.patient, RULES) for one in registrations(5, 20)]
    learned = train(people, RULES, Stream(1, "training").below)
    assert learned["phone"]["equal"]["m"] == RULES.score.shares["phone"]["equal"][0]

"""Scenarios are byte for byte reproducible, with any number of workers, and speak different dialects."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from hl7apy.parser import parse_message

from simulators import record, region, scenario
from simulators.clock import FIRST_DAY
from simulators.dialect import dialects
from simulators.episode import Episode, fits, places
from simulators.hl7 import Separators
from simulators.journey import journeys
from simulators.population import people
from simulators.record import Sending
from simulators.scenario import Scenario

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/simulators/digests.json").read_text(encoding="utf-8"))
"""SHA-256 of logs. A change is a new VERSION of the simulators."""
DEMO = Scenario("demo", 1, households=12)
DAY = Scenario("day", 1, scale=0.002)


@pytest.fixture(scope="module")
def log() -> list[Sending]:
    return scenario.log(DEMO)


@pytest.fixture(scope="module")
def day() -> list[Sending]:
    return scenario.log(DAY)


def test_golden_digests(log: list[Sending], day: list[Sending]) -> None:
    assert GOLDEN["version"] == scenario.VERSION
    assert record.digest(log) == GOLDEN["demo seed 1"]
    assert record.digest(day) == GOLDEN["day seed 1 scale 0.002"]


def test_one_worker_and_four_give_the_same_log() -> None:
    plan = Scenario("day", 5, scale=0.0008, faulty=True)
    assert plan.homes > 2 * scenario.BLOCK
    assert record.digest(scenario.log(plan, workers=4)) == record.digest(scenario.log(plan, workers=1))


def test_another_process_with_other_hash_seed_gives_the_same_log() -> None:
    command = [sys.executable, "-m", "simulators", "demo", "--json"]
    result = subprocess.run(command, env={"PYTHONHASHSEED": "4711"}, capture_output=True, check=True)
    assert json.loads(result.stdout)["digest"] == GOLDEN["demo seed 1"]


def test_another_seed_gives_other_messages() -> None:
    assert record.digest(scenario.log(Scenario("demo", 2, households=12))) != GOLDEN["demo seed 1"]


def test_a_hospital_does_not_change_when_others_are_added() -> None:
    small, large = region.institutions(0.01), region.institutions(0.05)
    assert set(small) < set(large)
    assert all(large[key] == site for key, site in small.items())
    one, other = (scenario.log(Scenario("day", 3, scale=scale, households=500)) for scale in (0.01, 0.05))
    gone = {sending.control_id for sending in one} - {sending.control_id for sending in other}
    moved = {sending.resident for sending in one if sending.control_id in gone}
    stayed = [sending.line() for sending in one if sending.resident not in moved and sending.resident is not None]
    assert stayed
    assert set(stayed) <= {sending.line() for sending in other}


def test_the_only_hospital_sends_what_it_sends_among_others(day: list[Sending]) -> None:
    alone = scenario.log(Scenario("day", 1, scale=0.002, only=("people",)))
    assert [one.line() for one in day if one.hospital == "people" and one.resident is not None] == [
        one.line() for one in alone if one.resident is not None
    ]


def test_equal_patient_numbers_mean_different_people(log: list[Sending]) -> None:
    holders: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for sending in log:
        for fact in sending.facts:
            if fact.type == "Patient":
                holders[fact.key[1]].add((fact.key[0], fact.values["subject"]))
    assert any(len({resident for _, resident in same}) > 1 for same in holders.values())
    for same in holders.values():
        assert len({facility for facility, _ in same}) == len(same)


def test_someone_visits_every_hospital_and_one_registration_is_merged(log: list[Sending]) -> None:
    places = defaultdict(set)
    for sending in log:
        places[sending.resident].add(sending.hospital)
    assert sum(len(names) == 3 for resident, names in places.items() if resident is not None) >= 1
    assert "ADT^A40" in [sending.kind for sending in log]


def test_control_ids_are_unique_and_short_enough(day: list[Sending]) -> None:
    ids = [sending.control_id for sending in day if sending.link == "mllp"]
    assert len(ids) == len(set(ids))
    assert all(len(control) <= 20 for control in ids), "MSH-10 has 20 characters up to HL7 v2.6"


def test_every_journey_is_travelled_and_sends_what_its_table_says() -> None:
    sites, day, sent = region.institutions(0.02), FIRST_DAY, set[str]()
    crowd = people(1, 400)
    for journey in journeys().values():
        some = [one for one in crowd if fits(journey, one, 1, day.date())]
        assert some, f"nobody can go {journey.name}"
        episodes = [Episode(1, one, journey, day, places(journey, one, sites)) for one in some[:40]]
        sent |= {sending.kind for episode in episodes for sending in episode.sendings()}
    kinds = {kind for journey in journeys().values() for step in journey.steps.values() for _, kind, _ in step.send}
    events = {kind.partition(":")[0] for kind in sent}
    assert kinds - {"STORE", "ORDER", "WRONG^A40", "WRONG^A37"} <= events
    assert {"ORM^O01", "OML^O21", "OMI^O23", "ADT^A37", "CT", "DX", "US", "MR"} <= events


@pytest.mark.parametrize("hospital", ["people", "cloud", "private1"])
def test_hl7apy_reads_the_messages(day: list[Sending], hospital: str) -> None:
    site = region.institutions(0.002)[hospital]
    kinds = {
        one.kind: one for one in day if one.link == "mllp" and one.hospital == hospital and one.resident is not None
    }
    assert len(kinds) >= 3
    for sending in kinds.values():
        message = parse_message(sending.body.decode(site.dialect.charset), find_groups=False)
        assert message.msh.msh_10.value == sending.control_id
        assert message.msh.msh_12.value == site.dialect.version
        assert message.pid.pid_3[0].cx_4.hd_1.to_er7() == site.facility


def test_the_dialects_differ_on_the_wire(log: list[Sending]) -> None:
    heads = {sending.hospital: sending.body[:9] for sending in log if sending.link == "mllp"}
    assert heads == {"people": b"MSH|^~\\&|", "county": b"MSH|$~\\@|", "cloud": b"MSH|^~\\&|"}
    first = {sending.hospital: sending.body for sending in reversed(log) if sending.link == "mllp"}
    with pytest.raises(UnicodeDecodeError):
        first["people"].decode("utf-8")
    assert "|2.3.1|" in first["county"].decode("utf-8")
    assert "|UNICODE UTF-8" in first["cloud"].decode("utf-8")


def test_a_record_is_read_as_it_was_written(log: list[Sending], tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    record.write(file, log, seed=1)
    again = list(record.read(file))
    assert [one.line() for one in again] == [one.line() for one in log]
    broken = file.read_text(encoding="utf-8").replace('"body":"TVNI', '"body":"TVNJ', 1)
    file.write_text(broken, encoding="utf-8")
    with pytest.raises(ValueError, match="hash"):
        list(record.read(file))
    file.write_text("{}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="not a record"):
        list(record.read(file))


def test_institution_codes_have_their_check_digit() -> None:
    codes = [site.code for site in region.institutions(1.0).values()]
    assert len(codes) == len(set(codes)) > 700
    for code in codes:
        assert len(code) == 22
        values = [int(letter, 36) for letter in code[:8]]
        check = 11 - sum(value * weight for value, weight in zip(values, region.ORG_WEIGHTS, strict=True)) % 11
        assert code[8] == {10: "X", 11: "0"}.get(check, str(check))


def test_every_journey_ends_wherever_it_goes() -> None:
    for journey in journeys().values():
        for name, step in journey.steps.items():
            assert all(way.to in journey.steps for way in step.ways), name
            assert all(way.minutes[0] <= way.minutes[1] for way in step.ways)


@pytest.mark.parametrize("text", ["|^~\\", "|^~\\&&", "||~\\&"])
def test_separators_must_be_five_different_characters(text: str) -> None:
    with pytest.raises(ValueError, match="five different"):
        Separators.of(text)


def test_dialects_are_complete() -> None:
    assert set(dialects()) == {"people", "county", "cloud", "modern", "private", "village"}


def test_separators_are_escaped() -> None:
    separators = Separators.of("|^~\\&")
    assert separators.text("a|b^c~d\\e&f") == "a\\F\\b\\S\\c\\R\\d\\E\\e\\T\\f"

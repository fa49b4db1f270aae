"""Every fault does what its row of the table says, on its own stream; the virtual clock; the truth and its file."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulators import faults, record, scenario, truth
from simulators.cli import app
from simulators.clock import FIRST_DAY, Clock, demand
from simulators.population import table
from simulators.record import Fact, Sending
from simulators.scenario import Scenario
from simulators.streams import Stream
from simulators.truth import Truth

PLAN = Scenario("day", 1, scale=0.0015, masters=False)


@pytest.fixture(scope="module")
def calm() -> list[Sending]:
    return scenario.log(PLAN)


@pytest.fixture(scope="module")
def rough() -> list[Sending]:
    return scenario.log(replace(PLAN, faulty=True))


def test_every_row_of_the_table_has_its_code() -> None:
    rows = table("faults")
    assert {row["layer"] for row in rows} == {"message", "wire", "episode", "site"}
    assert {row["name"] for row in rows if row["layer"] == "message"} == set(faults.MESSAGES)


def test_faults_do_not_change_what_is_true_of_messages(calm: list[Sending], rough: list[Sending]) -> None:
    one, other = truth.of(calm), truth.of(rough)
    for key, values in one.resources.items():
        if key[0] not in ("ImagingStudy", "Patient"):
            assert other.resources[key] == values
    assert one.refused == {}
    assert set(other.refused.values()) <= {"missing-segment", "same-id"}


def test_faults_happen_about_as_often_as_the_table_says(rough: list[Sending]) -> None:
    found = Counter(sending.how for sending in rough)
    messages = sum(sending.link == "mllp" for sending in rough)
    for row in table("faults"):
        if row["link"] == "mllp" and row["layer"] in ("message", "wire") and float(row["rate"]) >= 0.01:
            share = found[row["name"]] / messages
            assert share < 3 * float(row["rate"]), row["name"]
    assert found.total() - found[""] > 25


def test_a_fault_of_one_message_leaves_the_others_alone(calm: list[Sending]) -> None:
    messages = [one for one in calm if one.link == "mllp"][:40]
    changed = replace(messages[5], control_id="X" * 20)
    before = {one.control_id: faults.apply(1, [one]) for one in messages}
    after = {one.control_id: faults.apply(1, [one]) for one in [*messages[:5], changed, *messages[6:]]}
    assert all(after[control] == made for control, made in before.items() if control in after)


def apply(name: str, sending: Sending) -> list[Sending]:
    return faults.MESSAGES[name](sending, Stream(1, "test", name))


def message(calm: list[Sending], kind: str, hospital: str) -> Sending:
    return next(one for one in calm if one.kind.startswith(kind) and one.hospital == hospital)


def test_messages_are_harmed_as_told(calm: list[Sending]) -> None:
    one = message(calm, "ADT^A04", "cloud")
    assert [made.body for made in apply("duplicate", one)] == [one.body, one.body]
    assert apply("late", one)[0].at > one.at + datetime.timedelta(minutes=59)
    lied = apply("charset", one)[0].body
    assert b"UNICODE UTF-8" in lied
    assert lied.decode("gb18030") == one.body.decode("utf-8")
    broken, right = apply("delimiters", one)
    assert (broken.expect, right) == ("refuse", one)
    assert broken.body[3:8] == b"|||||"
    missing, right = apply("missing-segment", one)
    assert b"PID" not in missing.body
    assert (missing.expect, right) == ("refuse", one)
    first, other = apply("same-id", one)
    assert first.control_id == other.control_id
    assert (first.body != other.body, other.expect) == (True, "refuse")
    first, again = apply("same-body", one)
    assert first.control_id != again.control_id
    assert first.body == again.body.replace(again.control_id.encode(), first.control_id.encode())
    assert len(apply("oversize", one)[0].body) > 2_000_000
    assert apply("unknown-z", one)[0].body.endswith(b"ZXX|1\r")
    skewed = apply("clock-skew", one)[0].body.split(b"|")
    assert skewed[6] != one.body.split(b"|")[6]
    assert skewed[7:] == one.body.split(b"|")[7:]


def test_only_liars_about_utf8_lie_about_the_character_set(calm: list[Sending]) -> None:
    one = message(calm, "ADT^A04", "people")
    assert apply("charset", one) == [one]


def test_the_clock_waits_as_its_factor_says() -> None:
    slept: list[float] = []
    time = [100.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        time[0] += seconds

    clock = Clock(60, lambda: time[0], sleep)
    for minutes in (0, 1, 3, 3):
        clock.wait(FIRST_DAY + datetime.timedelta(minutes=minutes))
    assert slept == [1.0, 2.0]
    clock.speed(3600)
    clock.wait(FIRST_DAY + datetime.timedelta(minutes=63))
    assert slept[2] == pytest.approx(1.0)
    clock.speed(0)
    clock.wait(FIRST_DAY + datetime.timedelta(days=9))
    assert len(slept) == 3


def test_fewer_come_on_sundays_and_holidays_and_more_in_a_surge() -> None:
    monday, sunday, festival = datetime.date(2026, 11, 2), datetime.date(2026, 11, 8), datetime.date(2026, 2, 17)
    assert demand(monday) > 2 * demand(sunday) > 4 * demand(festival)
    assert demand(monday, surge=3) == 3 * demand(monday)
    crowd, usual = (
        sum(len(list(scenario.episodes(replace(PLAN, surge=surge), home))) for home in range(1000))
        for surge in (3.0, 1.0)
    )
    assert crowd > 2 * usual > 0


def test_arrivals_have_two_peaks(calm: list[Sending]) -> None:
    hours = Counter(one.at.hour for one in calm if one.kind == "ADT^A04")
    assert hours[9] + hours[8] + hours[10] > 3 * (hours[12] + hours[13])
    assert hours[14] + hours[15] > hours[12] + hours[13]


def test_the_latest_event_decides_in_whatever_order_messages_arrive() -> None:
    early, late = FIRST_DAY, FIRST_DAY + datetime.timedelta(hours=1)
    key = ("X", "1")
    facts = [
        Fact("Encounter", key, late, {"status": "finished", "subject": 1}),
        Fact("Encounter", key, early, {"status": "in-progress", "class": "AMB", "subject": 1}),
    ]
    for order in (facts, facts[::-1]):
        log = [
            Sending(early, "x", "mllp", "ADT", str(place), 1, b"", facts=(fact,)) for place, fact in enumerate(order)
        ]
        expected = {"status": "finished", "class": "AMB", "subject": 1}
        assert truth.of(log).resources == {("Encounter", key): expected}


def test_the_oracle_is_read_as_it_was_written(rough: list[Sending], tmp_path: Path) -> None:
    whole = truth.of(rough)
    file = tmp_path / "truth.json"
    whole.write(file, seed=1)
    assert truth.read(file) == whole
    file.write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="not a truth"):
        truth.read(file)
    assert Truth().persons() == {}


def test_record_alone_writes_the_log_and_sends_nothing(tmp_path: Path) -> None:
    log, oracle = tmp_path / "day.jsonl", tmp_path / "truth.json"
    words = [
        "day",
        "--region",
        "neijiang",
        "--scale",
        "0.0005",
        "--seed",
        "4",
        "--speed",
        "60",
        "--workers",
        "2",
        "--faults",
    ]
    result = CliRunner().invoke(app, [*words, "--record", str(log), "--oracle", str(oracle)])
    assert result.exit_code == 0, result.output
    assert " sent" not in result.output.replace("not sent", "")
    made = list(record.read(log))
    assert record.digest(made) in result.output
    assert truth.read(oracle).messages == len(made)
    assert CliRunner().invoke(app, ["day", "--region", "elsewhere"]).exit_code == 2

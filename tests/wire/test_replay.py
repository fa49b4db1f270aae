"""A recorded day again: to a fresh hub, as a dry run, under pseudonyms; and what two logs differ in."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from simulators import record, replay, scenario, traffic, truth, verify
from simulators.population import MEMBERS, check_digit, household
from simulators.record import Sending
from simulators.replay_cli import app
from simulators.scenario import Scenario
from simulators.truth import Truth
from tests.running import Process

PLAN = Scenario("day", 3, 0.0003, faulty=True, masters=False)
IDENTITY = re.compile(rb"(?<![0-9A-Za-z])[1-9]\d{5}(?:19|20)\d{2}[01]\d[0-3]\d\d{3}[\dX](?![0-9A-Za-z])")


@pytest.fixture(scope="module")
def log() -> list[Sending]:
    return scenario.log(PLAN)


@pytest.fixture(scope="module")
def day(log: list[Sending], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("log") / "day.jsonl"
    record.write(file, log)
    return file


def command(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, done.output


def deidentified(day: Path, file: Path, key: str = "k") -> list[Sending]:
    assert command(day, "--deidentify", "--key", key, "--record", file)[0] == 0
    return list(record.read(file))


def state(process: Process, expected: Truth) -> list[Any]:
    """Everything that a hub has once it has the truth (studies are described when they are quiet), by business keys."""
    end = time.monotonic() + 30
    while not verify.verify(process.base, expected, PLAN.sites.values()).sound and time.monotonic() < end:
        time.sleep(0.5)
    hub = verify.Hub(process.base, PLAN.sites.values())
    try:
        held = [(kind, key, owner, repr(sorted(values.items()))) for _, kind, key, owner, values in hub.held()]
        return [
            sorted(held),
            sorted(sorted(person) for person in hub.persons()),
            sorted(hub.refused() - {""}),
        ]  # bytes of a broken wire have no control id
    finally:
        hub.close()


def addresses(process: Process) -> list[str]:
    found = ["mllp://{}:{}".format(*process.mllp), "dicom://HUB@{}:{}".format(*process.dicom), process.base]
    return [word for one in found for word in ("--to", one)]


def patients(process: Process) -> int:
    return int(httpx.get(f"{process.base}/fhir/Patient?_summary=count").json()["total"])


@dataclass(frozen=True)
class Replayed:
    """A hub that was shown the day as a dry run, and then got it."""

    process: Process
    dry: tuple[int, dict[str, Any]]
    then: tuple[int, list[Any]]
    answers: tuple[int, dict[str, Any]]
    state: list[Any]


@pytest.fixture(scope="module")
def replayed(running: Process, day: Path, log: list[Sending]) -> Replayed:
    code, said = command(day, *addresses(running), "--dry-run", "--json")
    then = patients(running), httpx.get(f"{running.base}/api/inbox?limit=1").json()["items"]
    sent, answers = command(day, *addresses(running), "--json")
    found = state(running, truth.of(log))
    return Replayed(running, (code, json.loads(said)), then, (sent, json.loads(answers)), found)


def test_a_dry_run_sends_nothing(replayed: Replayed, log: list[Sending]) -> None:
    code, plan = replayed.dry
    assert (code, plan["left_out"]) == (0, {})
    assert sum(plan["kinds"].values()) == plan["messages"] == len(log) > 100
    assert replayed.then == (0, [])


def test_a_replay_to_a_fresh_hub_gives_the_same_final_state(
    log: list[Sending], replayed: Replayed, start: Callable[..., Process]
) -> None:
    assert (replayed.answers[0], replayed.answers[1]["refused"]) == (0, [])
    first = start()
    assert traffic.send(log, traffic.Targets(first.mllp, first.dicom, first.base), lanes=4).refusals == []
    assert len(replayed.state[0]) > 200
    assert replayed.state == state(first, truth.of(log))
    assert verify.verify(first.base, truth.of(log), PLAN.sites.values()).sound


def test_a_hub_takes_a_deidentified_day_as_other_people(day: Path, replayed: Replayed) -> None:
    before = patients(replayed.process)
    code, said = command(day, *addresses(replayed.process), "--deidentify", "--key", "k", "--json")
    assert (code, json.loads(said)["refused"]) == (0, [])
    assert patients(replayed.process) > before * 1.5


def texts(sendings: Sequence[Sending]) -> bytes:
    """All bytes, and those inside base64 of the bytes."""
    whole = b"\n".join(one.body for one in sendings)
    for held in re.findall(rb'"data":"([A-Za-z0-9+/=]+)"', whole):
        whole += b"\n" + base64.b64decode(held)
    return whole


def identifying(log: Sequence[Sending]) -> set[str]:
    """Names, ID numbers, cards, telephones, addresses: of the residents, and as clerks wrote them (the log's facts)."""
    found: set[str] = set()
    for index in {one.resident for one in log} - {None}:
        members = household(PLAN.seed, index // MEMBERS)
        for resident in members if index % MEMBERS < len(members) else ():
            if resident.index == index:
                found |= {resident.name, resident.number, resident.card, resident.phone, resident.address}
    for fact in (fact for one in log for fact in one.facts if fact.type == "Patient"):
        found |= {str(fact.values[name]) for name in ("name", "phone") if fact.values.get(name)}
    return found - {"无名氏", ""}


def test_pseudonyms_leave_no_name_id_number_or_phone(log: list[Sending], day: Path, tmp_path: Path) -> None:
    originals, before = identifying(log), texts(log)
    numbers = set(IDENTITY.findall(before))
    new = deidentified(day, tmp_path / "new.jsonl")
    after = texts(new) + (tmp_path / "new.jsonl").read_bytes()
    present = [one for one in originals if one.encode() in before or one.encode("gb18030") in before]
    assert len(present) > 40
    left = [one for one in originals if one.encode() in after or (not one.isascii() and one.encode("gb18030") in after)]
    assert left == []
    for name in (one for one in originals if re.fullmatch(r"[\u4e00-\u9fff]{2,3}", one)):
        for mark in b"^$":
            for charset in ("utf-8", "gb18030"):
                assert bytes((mark,)).join((name[:1].encode(charset), name[1:].encode(charset))) not in after, name
    assert numbers
    assert not numbers & set(IDENTITY.findall(after))


def test_pseudonyms_are_consistent_and_keep_intervals(log: list[Sending], day: Path, tmp_path: Path) -> None:
    new = deidentified(day, tmp_path / "one.jsonl")
    assert [one.line() for one in new] == [one.line() for one in deidentified(day, tmp_path / "two.jsonl")]
    other = deidentified(day, tmp_path / "three.jsonl", "another key")
    assert {one.control_id for one in new}.isdisjoint(one.control_id for one in other)
    apart = {(one.at - old.at).days for one, old in zip(new, log, strict=True)}
    assert len(apart) == 1
    assert apart.pop() % 7 == 0
    pairs: dict[bytes, set[bytes]] = {}
    for old, one in zip(log, new, strict=True):
        for before, after in zip(IDENTITY.findall(old.body), IDENTITY.findall(one.body), strict=True):
            pairs.setdefault(before, set()).add(after)
    assert len(pairs) > 5
    assert all(len(found) == 1 for found in pairs.values())
    for before, (after,) in ((before, tuple(found)) for before, found in pairs.items()):
        assert check_digit(after[:17].decode()) == after[17:].decode()
        assert before[16] % 2 == after[16] % 2  # the sex
        assert after[:2] in (b"10", b"91")


def test_ids_are_reissued_and_dates_moved_without_touching_anything_else(log: list[Sending], day: Path) -> None:
    new = replay.rewriter("k", 10, True, False).log(list(record.read(day)))
    for old, one in zip(log, new, strict=True):
        assert (one.at - old.at).days == 10
        if one.link == "mllp":
            assert one.control_id.encode() in one.body.partition(b"\r")[0]
            assert len(one.body.split(b"\r")) == len(old.body.split(b"\r"))
    images = [dcmread(io.BytesIO(one.body)) for one in new if one.link == "dicom"]
    before = [dcmread(io.BytesIO(one.body)) for one in log if one.link == "dicom"]
    assert images
    for one, old in zip(images, before, strict=True):
        assert one.PixelData == old.PixelData
        assert (one.PatientName, one.PatientBirthDate) == (old.PatientName, old.PatientBirthDate)
        assert one.StudyInstanceUID != old.StudyInstanceUID
        assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
    assert len({one.SOPInstanceUID for one in images}) == len({old.SOPInstanceUID for old in before})


def test_a_rewriter_without_options_changes_no_byte(log: list[Sending]) -> None:
    assert replay.rewriter("k", None, False, False).log(log) == log
    assert [one.body for one in replay.rewriter("k", 1, False, False).log(log)] != [one.body for one in log]


def test_diff_names_what_differs(log: list[Sending], day: Path, tmp_path: Path) -> None:
    assert command("diff", day, day)[0] == 0
    at = next(place for place, one in enumerate(log) if one.kind == "ADT^A04" and not one.how)
    changed = replace(log[at], body=log[at].body.replace(b"|A04|", b"|A05|"))
    other = tmp_path / "other.jsonl"
    record.write(other, [*log[:at], changed, *log[at + 2 :]])
    code, said = command("diff", day, other, "--json")
    found = json.loads(said)
    assert (code, found["differences"]) == (1, 2)
    rows = {row["what"]: row for row in found["found"]}
    assert rows["bytes"]["where"] == ["EVN-1 'A04' / 'A05'"]
    assert log[at + 1].control_id in rows["only in A"]["message"]


def test_nulls_short_numbers_and_mail_addresses_have_their_place(log: list[Sending]) -> None:
    """HL7 v2 nulls stay nulls, a number with few pseudonyms is not left, what cannot be read is text."""
    text = (
        'MSH|^~\\&|A|B|C|D|20260101||ADT^A08|1|P|2.5\rPID|1||5^^^B~""||ZHANG^SAN||""|M|||""||zhangsan@mail.example\r'
        "NTE|1||Zhang San, zhangsan@mail.example; ZHANG SAN 20260101\r"
    )
    ten = "".join(f"PID|1||{digit}^^^B\r" for digit in range(10))
    at = log[0].at
    sent = [
        Sending(at, "b", "mllp", "ADT^A08", "1", None, body.encode()) for body in (text, text[:60] + ten, "junk \xff")
    ]
    new = [one.body.decode() for one in replay.rewriter("k", 1, False, True).log(sent)]
    pid = new[0].split("\r")[1].split("|")
    assert pid[3].partition("~")[2] == '""'
    assert (pid[7], pid[11]) == ('""', '""')
    assert not pid[3].startswith("5")
    assert "ZHANG" not in new[0].upper()
    assert "zhangsan@mail.example" not in new[0]
    assert new[2] == "junk \xff"


@pytest.mark.parametrize(
    "words",
    [("nothing.jsonl", "--dry-run"), ("DAY",), ("DAY", "--to", "ftp://x"), ("DAY", "--dry-run", "--filter", "x=1")],
)
def test_wrong_use_exits_with_2(words: tuple[str, ...], day: Path) -> None:
    assert command(*(day if word == "DAY" else word for word in words))[0] == 2

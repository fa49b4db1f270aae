"""kill -9 at random under load, with duplicates and events out of order: the end is that of the same traffic without.

Each lane is one connection that sends its messages one after the other and, like a real sender, sends again what was
not acknowledged. Both hubs get the same messages in the same order within each lane.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub.bench.mllp import END, START
from tests.running import Process

LANES = 4
PATIENTS = 4
"""Patients a lane and round; each has an admission, a change, a result and a discharge."""
TYPES = (
    "Patient", "Encounter", "Observation", "DiagnosticReport", "ServiceRequest", "RelatedPerson", "Condition",
    "AllergyIntolerance", "Practitioner", "Organization", "Location",
)  # fmt: skip
VERSIONED = ("Patient", "Encounter")
SURNAMES, GIVEN = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗", "伟芳娜秀敏静丽强磊军洋勇艳杰娟涛明超霞平"


def stays(lane: int, round: int, chance: random.Random) -> list[bytes]:
    """The messages of one lane in one round: events of a patient out of order, some messages twice."""
    sent: list[bytes] = []
    for patient in range(PATIENTS):
        id = f"L{lane}R{round}P{patient}"
        key = lane * 100_000 + round * 100 + patient
        name = f"{SURNAMES[key % 20]}^{GIVEN[key // 20 % 20]}{GIVEN[key // 400 % 20]}"
        born = f"{1930 + key % 90}{1 + key // 90 % 12:02d}{1 + key // 7 % 28:02d}"
        pid = f"PID|1||{id}^^^CRASH^MR||{name}^^^^^L||{born}|{'FM'[key % 2]}"
        visit = f"PV1|1|I|W1^1^1||||||||||||||||V{id}^^^CRASH^VN"

        def message(kind: str, minute: int, *segments: str, id: str = id) -> bytes:
            moment = f"202611200{8 + minute // 60}{minute % 60:02d}00+0800"
            header = f"MSH|^~\\&|HIS|L{lane}|HUB|R|{moment}||{kind}|{id}M{minute}|P|2.5.1||||||UNICODE UTF-8"
            event = [f"EVN|{kind[4:7]}|{moment}"] if kind.startswith("ADT") else []
            return ("\r".join([header, *event, *segments]) + "\r").encode()

        results = [f"OBX|{n}|NM|{n}^项目{n}^L||{key % 50 + n}|mmol/L|||||F" for n in (1, 2)]
        events = [
            message("ADT^A01^ADT_A01", 1, pid, visit, "DG1|1||I10^高血压^L||20261120|A"),
            message("ADT^A08^ADT_A01", 2, f"{pid}|||{key}号^^新河市", visit),
            message(
                "ORU^R01^ORU_R01",
                3,
                pid,
                visit,
                f"OBR|1|O{id}|F{id}|CBC^血常规^L|||20261120||||||||||||||||||F",
                *results,
            ),
            message("ADT^A03^ADT_A03", 4, pid, f"{visit}{'|' * 26}20261120090000+0800"),
        ]
        chance.shuffle(events)
        for event in events:
            sent.append(event)
            if chance.random() < 0.25:
                sent.append(chance.choice(events[: events.index(event) + 1]))
    return sent


class Lane(threading.Thread):
    """Sends what is left of its messages until the peer is gone or nothing is left."""

    def __init__(self, address: tuple[str, int], left: list[bytes]) -> None:
        super().__init__(daemon=True)
        self.address, self.left = address, left
        self.refused: list[bytes] = []

    def run(self) -> None:
        try:
            with socket.create_connection(self.address, timeout=600) as connection:
                while self.left:
                    connection.sendall(START + self.left[0] + END)
                    answer = b""
                    while not answer.endswith(END):
                        piece = connection.recv(65536)
                        if not piece:
                            return
                        answer += piece
                    if b"MSA|AA" not in answer:
                        self.refused.append(answer)
                        return
                    del self.left[0]
        except OSError:
            return


def deliver(process: Process, left: list[list[bytes]], kill_after: float | None) -> bool:
    """Send; whether the kill met work under way."""
    lanes = [Lane(process.mllp, one) for one in left]
    for lane in lanes:
        lane.start()
    if kill_after is not None:
        time.sleep(kill_after)
        process.kill()
    for lane in lanes:
        lane.join(900)
    assert not any(lane.refused for lane in lanes), lanes[0].refused
    return any(left)


def state(base: str) -> dict[str, Any]:
    """Everything that the traffic brought about, without times and without ids that are drawn at random."""
    found: dict[str, Any] = {}
    with httpx.Client(base_url=base, timeout=120) as client:

        def everything(type: str) -> list[dict[str, Any]]:
            url, all = f"/fhir/{type}?_count=1000", []
            while url:
                bundle = client.get(url).json()
                all += [entry["resource"] for entry in bundle.get("entry", ())]
                url = next((link["url"] for link in bundle.get("link", ()) if link["relation"] == "next"), "")
            return all

        for type in TYPES:
            for resource in everything(type):
                meta = resource.pop("meta", {})
                version = meta.get("versionId") if type in VERSIONED else None
                found[f"{type}/{resource['id']}"] = (resource, version)
        found["persons"] = Counter(
            tuple(sorted(link["target"]["reference"] for link in person.get("link", ())))
            for person in everything("Person")
        )
        found["provenance"] = Counter(
            (one["activity"]["coding"][0]["code"], *sorted(target["reference"] for target in one["target"]))
            for one in everything("Provenance")
        )
        found["inbox"] = client.get("/api/status").json()["inbox"]
    return found


def campaign(start: Callable[..., Process], directory: Path, rounds: int, seed: int) -> tuple[int, int]:
    """Both runs; (kills that met work under way, messages)."""
    chance = random.Random(seed)
    traffic = [[stays(lane, number, chance) for lane in range(LANES)] for number in range(rounds)]
    met = 0
    process = start(directory / "killed")
    for number in range(rounds):
        left = [list(lane) for lane in traffic[number]]
        met += deliver(process, left, chance.uniform(0.02, 0.6))
        process = start(directory / "killed")
        deliver(process, left, None)
        assert not any(left)
    killed = state(process.base)
    assert process.stop() == 0
    process = start(directory / "quiet")
    for lanes in traffic:
        deliver(process, [list(lane) for lane in lanes], None)
    quiet = state(process.base)
    assert process.stop() == 0
    assert killed.keys() == quiet.keys()
    assert {key: (killed[key], quiet[key]) for key in quiet if killed[key] != quiet[key]} == {}
    return met, sum(len(lane) for lanes in traffic for lane in lanes)


def test_a_kill_changes_nothing(start: Callable[..., Process], tmp_path: Path) -> None:
    _, messages = campaign(start, tmp_path, 1, seed=5)
    assert messages > LANES * PATIENTS * 4


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_two_hundred_kills_change_nothing(start: Callable[..., Process], tmp_path: Path) -> None:
    met, messages = campaign(start, tmp_path, 200, seed=200)
    print(f"200 kills, {met} of them with work under way, {messages} messages: the same state")
    assert met > 100

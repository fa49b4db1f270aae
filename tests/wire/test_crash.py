"""kill -9 while HL7 v2 arrives: what was acknowledged is there once, nothing is there by half."""

import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from hub.bench.mllp import END, START, adt
from tests.running import Process

CONNECTIONS = 4


class Sender(threading.Thread):
    """Sends ADT^A01 of different residents, one after the other, until the peer is gone."""

    def __init__(self, address: tuple[str, int], run: str, first: int) -> None:
        super().__init__(daemon=True)
        self.address, self.run_id, self.first = address, run, first
        self.sent: list[int] = []
        self.acknowledged: list[int] = []

    def run(self) -> None:
        number = self.first
        try:
            with socket.create_connection(self.address, timeout=20) as connection:
                while True:
                    self.sent.append(number)
                    connection.sendall(START + adt(number, self.run_id) + END)
                    answer = b""
                    while not answer.endswith(END):
                        piece = connection.recv(65536)
                        if not piece:
                            return
                        answer += piece
                    assert b"MSA|AA" in answer, answer
                    self.acknowledged.append(number)
                    number += 10  # every fifth number is about somebody known: stay on those that are not
        except OSError:
            return


def crash_once(process: Process, run: str, delay: float) -> tuple[list[int], list[int]]:
    senders = [Sender(process.mllp, run, first) for first in range(CONNECTIONS)]
    for sender in senders:
        sender.start()
    time.sleep(delay)
    process.kill()
    for sender in senders:
        sender.join(30)
    sent = [number for sender in senders for number in sender.sent]
    return sent, [number for sender in senders for number in sender.acknowledged]


def verify(base: str, run: str, sent: list[int], acknowledged: list[int]) -> None:
    with httpx.Client(base_url=base, timeout=30) as client:
        counts = client.get("/api/status").json()["inbox"]
        assert counts.get("received", 0) == 0, counts

        def total(type: str, identifier: str) -> int:
            answer = client.get(f"/fhir/{type}", params={"identifier": identifier, "_summary": "count"})
            return int(answer.json()["total"])

        for number in sent:
            patients = total("Patient", f"{run}{number}")
            encounters = total("Encounter", f"{run}V{number}")
            assert patients == encounters, f"message {number} is there by half"
            assert patients <= 1
            if number in set(acknowledged):
                assert patients == 1, f"message {number} was acknowledged and is lost"


def campaign(start: Callable[..., Process], data: Path, rounds: int, seed: int) -> int:
    chance = random.Random(seed)
    acknowledged_in_all = 0
    process = start(data)
    for number in range(rounds):
        run = f"K{seed}R{number}X"
        sent, acknowledged = crash_once(process, run, chance.uniform(0.05, 0.6))
        process = start(data)
        verify(process.base, run, sent, acknowledged)
        acknowledged_in_all += len(acknowledged)
    assert process.stop() == 0
    return acknowledged_in_all


def test_kill_9_three_times(start: Callable[..., Process], tmp_path: Path) -> None:
    assert campaign(start, tmp_path / "data", 3, seed=3) > 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_kill_9_a_hundred_times(start: Callable[..., Process], tmp_path: Path) -> None:
    acknowledged = campaign(start, tmp_path / "data", 100, seed=100)
    print(f"100 crashes, {acknowledged} acknowledged messages, all there once")
    assert acknowledged > 1000

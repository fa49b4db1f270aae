"""Messages to a subscribed system over MLLP: in order, never lost, kept when refused, held when paused, sent again."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.hl7v2 import ack
from adapters.hl7v2.message import Message, parse
from adapters.hl7v2.mllp import Framer, wrap
from adapters.hl7v2.validate import validate
from hub.bench.mllp import END, START, adt, oru
from hub.errors import HubError
from tests.running import Process, free_port


class System(threading.Thread):
    """A system that takes messages; ``refuses`` decides which it answers with AE."""

    def __init__(self, port: int, refuses: Callable[[Message], bool] = lambda message: False) -> None:
        super().__init__(daemon=True)
        self.port, self.refuses = port, refuses
        self.taken: list[Message] = []
        self.ending = False
        self.listening = socket.create_server(("127.0.0.1", port))
        self.listening.settimeout(0.2)

    def run(self) -> None:
        while not self.ending:
            try:
                connection, _ = self.listening.accept()
            except TimeoutError:
                continue
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection: socket.socket) -> None:
        framer = Framer(10_000_000)
        with connection:
            while not self.ending:
                try:
                    data = connection.recv(65536)
                except OSError:
                    return
                if not data:
                    return
                for frame in framer.feed(data):
                    message = parse(frame.content)
                    refused = self.refuses(message)
                    self.taken.append(message)
                    error = HubError("value", "not here", "PID-3") if refused else None
                    given = ack.build(
                        message.header, "AE" if refused else "AA", error, control_id="A", time="2026", codec="utf-8"
                    )
                    connection.sendall(wrap(given))

    def stop(self) -> None:
        self.ending = True
        self.join()
        self.listening.close()

    def kinds(self) -> list[str]:
        return [message.kind for message in self.taken]


def environment(port: int, *sends: str, **more: Any) -> dict[str, str]:
    destination = {"address": f"127.0.0.1:{port}", "sends": list(sends), "seconds": 5.0, **more}
    return {"HUB_MLLP__DESTINATIONS": json.dumps({"peer": destination})}


def give(process: Process, *messages: bytes) -> None:
    with socket.create_connection(process.mllp, timeout=60) as connection:
        for message in messages:
            connection.sendall(START + message + END)
            answer = b""
            while not answer.endswith(END):
                piece = connection.recv(65536)
                assert piece
                answer += piece
            assert b"MSA|AA" in answer, answer


def until(condition: Callable[[], Any], seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def place(process: Process) -> dict[str, Any]:
    (found,) = httpx.get(f"{process.base}/api/outbound", timeout=30).json()["destinations"]
    return dict(found)


def test_feeds_pause_replay_and_refusals(start: Callable[..., Process], tmp_path: Path) -> None:
    port = free_port()
    process = start(tmp_path / "data", **environment(port, "adt", "pix", "orders", "results", application="LIS"))
    system = System(port, lambda message: message.kind == "ORM^O01")
    system.start()
    give(process, adt(1, "O"), oru(2, "O", 2))
    until(lambda: {"ADT^A28", "ADT^A01", "ADT^A31", "ORM^O01", "ORU^R01"} <= set(system.kinds()))
    until(lambda: place(process)["done"] == place(process)["made"])
    assert [one for message in system.taken for one in validate(message) if one.severity == "error"] == []
    report = next(message for message in system.taken if message.kind == "ORU^R01")
    assert (report["PID-3.1"], report["OBX[2]-5"], report["MSH-5"]) == ("O2", "4.20", "LIS")
    (update,) = [message for message in system.taken if message.kind == "ADT^A31" and message["PID-3.1"] == "O1"]
    assert (update["PID-5"], update["PV1-2"]) == (" ", "N")
    ids = [int(message.control_id.removeprefix("peer")) for message in system.taken]
    assert ids == sorted(ids)

    with httpx.Client(base_url=f"{process.base}/api/outbound/peer", timeout=30) as client:
        (refused,) = client.get("/messages", params={"state": "refused"}).json()["messages"]
        assert refused["kind"] == "ORM^O01"
        assert "MSA|AE" in refused["answer"]
        assert client.post("/pause").json()["state"] == "paused"
        before = len(system.taken)
        give(process, adt(5, "O"))
        until(lambda: place(process)["made"] > place(process)["done"])
        time.sleep(1.0)
        assert len(system.taken) == before
        client.post("/resume")
        until(lambda: place(process)["made"] == place(process)["done"])
        assert len(system.taken) > before
        assert client.post("/replay", params={"first": 1, "last": 2}).json() == {"replayed": 2}
        until(lambda: place(process)["made"] == place(process)["done"])
        assert [message.raw for message in system.taken[-2:]] == [message.raw for message in system.taken[:2]]
        assert client.post("/replay", params={"first": 3, "last": 2}).status_code == 400
        assert httpx.get(f"{process.base}/api/outbound/nobody/messages", timeout=30).status_code == 404
    system.stop()


def test_what_came_from_a_system_is_not_sent_back(start: Callable[..., Process], tmp_path: Path) -> None:
    port = free_port()
    process = start(tmp_path / "data", **environment(port, "adt", application="HIS", facility="BENCH"))
    system = System(port)
    system.start()
    give(process, adt(1, "E"), adt(2, "E").replace(b"|HIS|BENCH|", b"|OTHER|BENCH|"))
    until(lambda: any(message["PID-3.1"] == "E2" for message in system.taken))
    assert not any(message["PID-3.1"] == "E1" for message in system.taken)
    system.stop()


def crash(start: Callable[..., Process], data: Path, rounds: int, seed: int) -> int:
    """Kill the hub and take the system away at random; every patient must have been told, in order."""
    chance = random.Random(seed)
    port = free_port()
    taken: list[Message] = []
    numbers: list[int] = []
    process = start(data, **environment(port, "adt"))
    for turn in range(rounds):
        system = System(port) if chance.random() < 0.7 else None
        if system is not None:
            system.start()
        fresh = [turn * 50 + step for step in range(0, 40, 5)]
        give(process, *(adt(number, "K") for number in fresh))
        numbers += fresh
        time.sleep(chance.uniform(0.0, 0.5))
        process.kill()
        if system is not None:
            system.stop()
            taken += system.taken
        process = start(data, **environment(port, "adt"))
    system = System(port)
    system.start()
    until(lambda: place(process)["made"] == place(process)["done"], 120)
    system.stop()
    taken += system.taken
    admitted = [message for message in taken if message.kind == "ADT^A28"]
    first = list(dict.fromkeys(message["PID-3.1"] for message in admitted))
    assert first == [f"K{number}" for number in numbers]
    ids = [int(message.control_id.removeprefix("peer")) for message in taken]
    assert list(dict.fromkeys(ids)) == sorted(set(ids))
    assert process.stop() == 0
    return len(ids) - len(set(ids))


def test_a_kill_loses_no_message(start: Callable[..., Process], tmp_path: Path) -> None:
    assert crash(start, tmp_path / "data", 1, seed=2) <= 1


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_fifty_kills_lose_no_message(start: Callable[..., Process], tmp_path: Path) -> None:
    twice = crash(start, tmp_path / "data", 50, seed=50)
    print(f"50 kills, {twice} messages sent twice, none lost, all in order")
    assert twice <= 50

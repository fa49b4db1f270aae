"""Hostile messages to a running hub: each that deserves an answer gets one, in order, and the hub stays as it was."""

from __future__ import annotations

import socket
import threading

import psutil
import pytest

from adapters.hl7v2 import ack
from adapters.hl7v2.batch import messages
from adapters.hl7v2.message import header_of
from adapters.hl7v2.mllp import COMMIT, REFUSE, Framer, wrap
from hub.errors import HubError
from tests.hl7v2.hostile import Hostile
from tests.running import Process

CONNECTIONS = 4
QUERIES = ("QBP", "QRY")
"""Answered by their responses."""
GROWTH_MB = 150.0
"""Of one hub process; what the inbox keeps is on disk."""


def expected(content: bytes) -> bool | None:
    """Whether a block deserves an answer; None where that depends on what becomes of it."""
    if not content.strip(b"\r\n\x00 ") or content in (COMMIT, REFUSE):
        return False
    if messages(content) is not None:
        return True
    header, _ = header_of(content)
    if header.raw(9, 1, 1) in QUERIES:
        return None
    wanted = {bool(ack.answers(header, error)) for error in (None, HubError("structure", "x"))}
    return wanted.pop() if len(wanted) == 1 else None


class Talk(threading.Thread):
    """One connection: a hostile block, then one whose answer shows that the connection lives, and so on."""

    def __init__(self, address: tuple[str, int], seed: int, count: int) -> None:
        super().__init__(daemon=True)
        self.address, self.seed, self.count = address, seed, count
        self.answered = 0
        self.faults: list[str] = []

    def run(self) -> None:
        hostile, framer = Hostile(self.seed), Framer(10_000_000)
        with socket.create_connection(self.address, timeout=120) as connection:
            for number in range(self.count):
                content = hostile.message().replace(b"\x0b", b"").replace(b"\x1c", b"")
                id = f"S{self.seed}N{number}"
                mark = f"MSH|^~\\&|FUZZ|H1|HUB|R|20261120083000||XXX^Y99|{id}|P|2.5.1\r".encode()
                connection.sendall(wrap(content) + wrap(mark))
                before = 0
                try:
                    while (frames := self.receive(connection, framer)) and not any(
                        id.encode() in one for one in frames
                    ):
                        before += len(frames)
                except OSError as error:
                    self.faults.append(f"{number}: {error!r} after {content!r}")
                    return
                before += sum(id.encode() not in one for one in frames)
                self.answered += before > 0
                if expected(content) is not None and expected(content) is not (before > 0):
                    self.faults.append(f"{number}: {before} answers to {content!r}")

    @staticmethod
    def receive(connection: socket.socket, framer: Framer) -> list[bytes]:
        frames: list[bytes] = []
        while not frames:
            data = connection.recv(65536)
            if not data:
                raise ConnectionResetError("closed")
            frames = [frame.content for frame in framer.feed(data)]
        return frames


def campaign(process: Process, count: int, seed: int) -> None:
    hub = psutil.Process(process.popen.pid)
    talks = [Talk(process.mllp, seed + number, count // CONNECTIONS) for number in range(CONNECTIONS)]
    before = hub.memory_info().rss / 1e6
    for talk in talks:
        talk.start()
    for talk in talks:
        talk.join()
    grown = hub.memory_info().rss / 1e6 - before
    print(f"{count} hostile blocks, {sum(talk.answered for talk in talks)} answered, {grown:.1f} MB more")
    assert [fault for talk in talks for fault in talk.faults] == []
    assert grown < GROWTH_MB
    assert process.popen.poll() is None


def test_hostile_blocks(running: Process) -> None:
    campaign(running, 200, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_ten_thousand_hostile_blocks(running: Process) -> None:
    campaign(running, 10_000, seed=100)

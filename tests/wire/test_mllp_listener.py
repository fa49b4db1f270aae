"""MLLP on real sockets: every row of bad framing against a running hub; limits against a server with small ones."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import httpx
import pytest

from adapters.hl7v2.message import parse
from adapters.hl7v2.mllp import Client, Frame, Limits, Reply, Server, wrap
from tests.running import Process

PERSON = "PID|1||{id}^^^H1^MR||测^试||19850307|M"


def message(id: str, kind: str = "ADT^A04", *segments: str, charset: str = "") -> bytes:
    head = f"MSH|^~\\&|WIRE|H1|HUB|R|20261120083000||{kind}|{id}|P|2.5.1||||||{charset}"
    text = "\r".join((head, *(segments or (PERSON.format(id=id),)))) + "\r"
    return text.encode("gb18030" if charset.startswith("GB") else "utf-8")


def exchange(process: Process, data: bytes, count: int, step: int = 0) -> list[str]:
    """Send bytes, whole or in steps; MSA-1 and MSA-2 of ``count`` answers."""
    with socket.create_connection(process.mllp, timeout=20) as connection:
        for at in range(0, len(data), step or len(data)):
            connection.sendall(data[at : at + (step or len(data))])
        received = b""
        while received.count(b"\x1c\r") < count:
            piece = connection.recv(65536)
            assert piece, received
            received += piece
    answers = [parse(block.lstrip(b"\x0b")) for block in received.split(b"\x1c\r") if block]
    return [f"{answer['MSA-1']} {answer['MSA-2']}".strip() for answer in answers]


ROWS: dict[str, tuple[Callable[[Callable[[int], bytes]], bytes], list[str]]] = {
    "two in one write": (lambda m: wrap(m(1)) + wrap(m(2)), ["AA 1", "AA 2"]),
    "CR LF and junk before": (lambda m: b"\r\njunk" + wrap(m(1)) + wrap(m(2)), ["AA 1", "AA 2"]),
    "NUL between": (lambda m: wrap(m(1)) + b"\x00" + wrap(m(2)), ["AA 1", "AA 2"]),
    "no start block": (lambda m: m(1) + b"\x1c\r" + wrap(m(2)), ["AA 1", "AA 2"]),
    "FS without CR": (lambda m: b"\x0b" + m(1) + b"\x1c" + wrap(m(2)), ["AA 1", "AA 2"]),
    "FS LF": (lambda m: b"\x0b" + m(1) + b"\x1c\n" + wrap(m(2)), ["AA 1", "AA 2"]),
    "LF segments": (lambda m: wrap(m(1).replace(b"\r", b"\n")), ["AA 1"]),
    "empty frame": (lambda m: wrap(b"") + wrap(m(1)), ["AA 1"]),
    "never ended": (lambda m: b"\x0b" + m(1) + wrap(m(2)), ["AA 2"]),
    "no message": (lambda m: wrap(b"hello") + wrap(m(1)), ["AE", "AA 1"]),
    "byte order mark": (lambda m: wrap(b"\xef\xbb\xbf" + m(1)), ["AA 1"]),
    "hostile delimiters": (lambda m: wrap(b"MSH\r\r\r\r\r") + wrap(m(1)), ["AE", "AA 1"]),
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("step", [0, 1])
def test_bad_framing_is_answered(running: Process, row: str, step: int) -> None:
    lead = f"{row.replace(' ', '')}{step}-"
    data, expected = ROWS[row]
    got = exchange(running, data(lambda number: message(f"{lead}{number}")), len(expected), step)
    assert [answer.replace(lead, "") for answer in got] == expected


def test_gb18030_with_trail_bytes_that_look_like_delimiters(running: Process) -> None:
    name = "".join(bytes([0x81, trail]).decode("gb18030") for trail in (0x5C, 0x5E, 0x7C, 0x7E))
    raw = message("GB1", "ADT^A04", f"PID|1||GB1^^^H1^MR||{name}^试||19850307|M", charset="GB 18030-2000")
    assert exchange(running, wrap(raw), 1) == ["AA GB1"]


def test_what_cannot_be_stored_is_refused_or_kept(running: Process) -> None:
    data = wrap(message("U1", "XXX^Y99")) + wrap(
        message("U2", "ADT^A04", "PID|1||U2^^^H1^MR||A^B||19850307|M", "MSH|^~\\&|X")
    )
    assert exchange(running, data, 2) == ["AR U1", "AE U2"]


def test_the_same_again_and_another_body_under_its_id(running: Process) -> None:
    first, other = message("D1"), message("D1", "ADT^A04", "PID|1||OTHER^^^H1^MR")
    assert exchange(running, wrap(first) + wrap(first) + wrap(other), 3) == ["AA D1", "AA D1", "AE D1"]


def test_answers_get_no_answer(running: Process) -> None:
    assert exchange(running, wrap(message("N1", "ACK^A01", "MSA|AA|7")) + wrap(message("N2")), 1) == ["AA N2"]


def test_enhanced_mode_gives_both_acknowledgements(running: Process) -> None:
    raw = message("E1").replace(b"|P|2.5.1|||", b"|P|2.5.1|||AL|AL")
    assert exchange(running, wrap(raw), 2) == ["CA E1", "AA E1"]


def test_a_batch_is_received_message_by_message(running: Process) -> None:
    inside = message("B1") + message("B2", "XXX^Y99") + message("B3")
    raw = b"FHS|^~\\&|WIRE|H1|HUB|R\rBHS|^~\\&|WIRE|H1|HUB|R\r" + inside + b"BTS|3\rFTS|1\r"
    with socket.create_connection(running.mllp, timeout=20) as connection:
        connection.sendall(wrap(raw))
        received = b""
        while not received.endswith(b"\x1c\r"):
            received += connection.recv(65536)
    answer = parse(received.strip(b"\x0b\x1c\r") + b"\r")
    assert [(one.field(1), one.field(2)) for one in answer.all("MSA")] == [("AA", "B1"), ("AR", "B2"), ("AA", "B3")]
    assert (answer["BHS-3"], answer["BHS-5"], answer["BTS-1"]) == ("HUB", "WIRE", "3")


def test_many_connections_at_once(running: Process) -> None:
    async def one(number: int) -> list[str]:
        client = Client(*running.mllp)
        answers = [parse(await client.ask(message(f"C{number}-{turn}")))["MSA-2"] for turn in range(5)]
        await client.close()
        return answers

    async def all_of_them() -> list[list[str]]:
        return await asyncio.gather(*(one(number) for number in range(12)))

    assert asyncio.run(all_of_them()) == [[f"C{number}-{turn}" for turn in range(5)] for number in range(12)]


# --- limits


def serve(limits: Limits, talk: Callable[[tuple[str, int]], Awaitable[None]]) -> list[str]:
    """Run ``talk`` against a server that echoes; the rules that were reported."""
    told: list[str] = []

    async def answer(frame: Frame, peer: str) -> Reply:
        return Reply(b"TOO LONG" if frame.too_long else frame.content, not frame.too_long)

    async def main() -> None:
        server = Server(answer, limits, lambda rule, *_: told.append(rule))
        address = await server.start("127.0.0.1", 0)
        try:
            await asyncio.wait_for(talk(address), 20)
        finally:
            await server.stop(1.0)

    asyncio.run(main())
    return told


def test_a_long_block_is_refused_and_the_connection_lives() -> None:
    async def talk(address: tuple[str, int]) -> None:
        client = Client(*address)
        assert await client.ask(b"MSH|" + b"x" * 300_000) == b"TOO LONG"
        assert await client.ask(b"MSH|short") == b"MSH|short"
        await client.close()

    assert serve(Limits(max_frame_bytes=2000), talk) == ["mllp-too-long"]


@pytest.mark.parametrize(
    ("sent", "rule"),
    [(b"", "mllp-idle"), (wrap(b"MSH|1"), "mllp-idle"), (b"\x0bMSH|", "mllp-slow"), (b"MSH|", "mllp-slow")],
)
def test_silence_and_half_blocks_end_the_connection(sent: bytes, rule: str) -> None:
    async def talk(address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        await reader.read()
        writer.close()

    assert rule in serve(Limits(idle_seconds=0.2, frame_seconds=0.2), talk)


def test_one_byte_at_a_time_does_not_hold_a_connection() -> None:
    async def talk(address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"\x0bMSH|")
        with pytest.raises((ConnectionError, TimeoutError)):
            for _ in range(200):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
                if reader.at_eof():
                    raise ConnectionResetError
        writer.close()

    assert "mllp-slow" in serve(Limits(idle_seconds=5.0, frame_seconds=0.3), talk)


def test_connections_are_counted() -> None:
    async def talk(address: tuple[str, int]) -> None:
        first = Client(*address)
        assert await first.ask(b"MSH|1") == b"MSH|1"
        second = Client(*address)
        with pytest.raises(ConnectionError):
            await second.ask(b"MSH|2")
        await second.close()
        await first.close()

    assert serve(Limits(max_connections=1), talk) == ["mllp-refused"]


# --- release 2


def release_2(stored: bool, *sent: bytes) -> tuple[list[bytes], list[str]]:
    """Blocks sent to a server of release 2 that echoes or cannot store; the blocks it gave back and what it told."""
    told: list[str] = []
    given: list[bytes] = []

    async def answer(frame: Frame, peer: str) -> Reply:
        return Reply(frame.content if stored else b"", stored)

    async def main() -> None:
        server = Server(answer, Limits(), lambda rule, *_: told.append(rule), release=2)
        host, port = await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(host, port)
        for block in sent:
            writer.write(wrap(block))
        writer.write_eof()
        data = await asyncio.wait_for(reader.read(), 20)
        given.extend(piece.lstrip(b"\x0b") for piece in data.split(b"\x1c\r")[:-1])
        writer.close()
        await server.stop(1.0)

    asyncio.run(main())
    return given, told


def test_release_2_commits_before_it_answers() -> None:
    assert release_2(True, b"MSH|1", b"\x06", b"MSH|2") == ([b"\x06", b"MSH|1", b"\x06", b"MSH|2"], [])


def test_release_2_says_nak_when_nothing_is_stored() -> None:
    assert release_2(False, b"MSH|1") == ([b"\x15"], [])


def test_a_peer_that_could_not_commit_our_answer_is_told_of() -> None:
    assert release_2(True, b"MSH|1", b"\x15") == ([b"\x06", b"MSH|1"], ["mllp-nak"])


@pytest.mark.parametrize("stored", [True, False])
def test_a_release_2_client_waits_for_the_commit(stored: bool) -> None:
    async def answer(frame: Frame, peer: str) -> Reply:
        return Reply(b"MSH|answer" if stored else b"", stored)

    async def main() -> bytes:
        server = Server(answer, Limits(), lambda *_: None, release=2)
        client = Client(*await server.start("127.0.0.1", 0), release=2)
        try:
            return await asyncio.wait_for(client.ask(b"MSH|1"), 20)
        finally:
            await client.close()
            await server.stop(1.0)

    if stored:
        assert asyncio.run(main()) == b"MSH|answer"
    else:
        with pytest.raises(ConnectionRefusedError):
            asyncio.run(main())


def test_transport_findings_are_kept(running: Process) -> None:
    exchange(running, b"junk" + wrap(message("T1")) + b"\x00" + wrap(message("T2")), 2)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = httpx.get(f"{running.base}/api/messages/transport", timeout=20).json()["findings"]
        junk = [one for one in found if one["rule"] == "mllp-junk"]
        if junk:
            break
    assert junk[0]["channel"] == "hl7v2"
    assert junk[0]["peer"].startswith("127.0.0.1")
    assert junk[0]["count"] >= 1
    assert junk[0]["last"] >= junk[0]["first"] > 0

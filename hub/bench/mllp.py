"""HL7 v2 load: messages acknowledged after durable commit, over several connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from hub.bench.meter import Meter

START, END = b"\x0b", b"\x1c\r"
PACED_CONNECTIONS, PACED_RATE = 20, 300.0


SURNAMES, GIVEN = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗",
    "伟芳娜秀敏静丽强磊军洋勇艳杰娟涛明超霞平刚桂英华玉萍红鹏云",
)


def resident(number: int, run: str) -> str:
    """PID of a resident of this run: number, name, birth date, sex, address, phone, all different enough."""
    name = f"{SURNAMES[number % 20]}^{GIVEN[number // 20 % 29]}{GIVEN[number // 580 % 29]}"
    born = f"{1930 + number * 7 % 90}{1 + number * 5 % 12:02d}{1 + number * 11 % 28:02d}"
    address = f"{number % 97}路{number % 900}号^^新河市^^10990{1 + number % 5}^CHN^H"
    sex = "FM"[number % 2]
    return f"PID|1||{run}{number}^^^BENCH^MR||{name}^^^^^L||{born}|{sex}|||{address}||1{3900000000 + number}"


def header(kind: str, control: str) -> str:
    """MSH of a message in original acknowledgement mode, UTF-8."""
    time_ = "20261120083000+0800"
    return f"MSH|^~\\&|HIS|BENCH|HUB|REGION|{time_}||{kind}|{control}|P|2.5.1||||||UNICODE UTF-8"


def adt(number: int, run: str) -> bytes:
    """An ADT^A01 of about 1 kB; every fifth is about somebody who was admitted before."""
    person = number - number % 5 if number % 5 == 4 else number
    doctor = f"D{person % 50}^李^医生"
    lines = (
        header("ADT^A01^ADT_A01", f"{run}A{number}"),
        "EVN|A01|20261120083000+0800",
        resident(person, run),
        f"NK1|1|{SURNAMES[person % 19]}^芳|SPO|{person % 97}路1号^^新河市|1{3800000000 + person}",
        f"PV1|1|I|W1^101^{person % 40}^BENCH||||{doctor}|||MED||||1|||{doctor}|IP|{run}V{person}^^^BENCH^VN"
        "|||||||||||||||||||||||||20261120083000+0800",
        "AL1|1|DA|PEN^青霉素^L|SV|皮疹",
        "DG1|1||I10.x00^高血压^L|高血压|20261120|A",
    )
    return ("\r".join(lines) + "\r").encode()


def oru(number: int, run: str, results: int = 20) -> bytes:
    """An ORU^R01 with so many numeric results."""
    ordered = f"OBR|1|{run}O{number}^HIS|{run}F{number}^LIS|CBC^血常规^L|||20261120090000+0800"
    measured = (
        f"OBX|{line}|NM|L{line}^项目{line}^L||{line + number % 7}.{number % 10}0|mmol/L|1-9|N|||F|||20261120092500+0800"
        for line in range(1, results + 1)
    )
    lines = (
        header("ORU^R01^ORU_R01", f"{run}R{number}"),
        resident(number % 200, run),
        f"{ordered}|||||||||D1^李^医生||||||20261120093000+0800||LAB|F",
        *measured,
    )
    return ("\r".join(lines) + "\r").encode()


async def measure(
    host: str,
    port: int,
    make: Callable[[int, str], bytes],
    run: str,
    seconds: float,
    meter: Meter,
    connections: int = 8,
) -> dict[str, float]:
    """The figures of messages with a positive acknowledgement. Raises OSError without a listener."""
    latencies: list[float] = []
    good = 0
    counter = iter(range(10_000_000))
    meter.restart()
    end = time.perf_counter() + seconds

    async def one() -> None:
        nonlocal good
        reader, writer = await asyncio.open_connection(host, port)
        try:
            while time.perf_counter() < end:
                sent = time.perf_counter()
                writer.write(START + make(next(counter), run) + END)
                answer = await reader.readuntil(END)
                latencies.append(time.perf_counter() - sent)
                good += b"MSA|AA" in answer
        finally:
            writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return meter.figures(latencies, good)


async def paced(
    host: str, port: int, name: str, seconds: float, meter: Meter, rate: float = PACED_RATE
) -> dict[str, float]:
    """The figures of ADT at a given rate over 20 connections; a latency counts from when the message was due."""
    latencies: list[float] = []
    good = 0
    meter.restart()
    begin = time.perf_counter()

    async def one(first: int) -> None:
        nonlocal good
        reader, writer = await asyncio.open_connection(host, port)
        try:
            for number in range(first, int(rate * seconds), PACED_CONNECTIONS):
                due = begin + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                writer.write(START + adt(number, name) + END)
                answer = await reader.readuntil(END)
                latencies.append(time.perf_counter() - due)
                good += b"MSA|AA" in answer
        finally:
            writer.close()

    await asyncio.gather(*(one(first) for first in range(PACED_CONNECTIONS)))
    return meter.figures(latencies, good)

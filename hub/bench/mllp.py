"""HL7 v2 load: messages acknowledged after durable commit, over several connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

START, END = b"\x0b", b"\x1c\r"


def adt(number: int, run: str) -> bytes:
    """An ADT^A01 of about 1 kB for resident ``number`` (a fifth of the messages is about somebody already known)."""
    person = number - number % 5 if number % 5 == 4 else number
    control = f"{run}A{number}"
    lines = (
        f"MSH|^~\\&|HIS|BENCH|HUB|REGION|20261120083000+0800||ADT^A01^ADT_A01|{control}|P|2.5.1||||||UNICODE UTF-8",
        "EVN|A01|20261120083000+0800",
        f"PID|1||{run}{person}^^^BENCH^MR||张^伟{person}^^^^^L||19850307|M|||人民路{person % 900}号^^新河市^^109901^CHN^H"
        f"||1390000{person % 10000:04d}|||M",
        f"PV1|1|I|W1^101^{person % 40}^BENCH||||D{person % 50}^李^医生|||MED||||1|||D{person % 50}^李^医生|IP|{run}V{person}"
        "^^^BENCH^VN|||||||||||||||||||||||||20261120083000+0800",
        "NK1|1|王^芳|SPO|人民路1号^^新河市|13900000000",
        "AL1|1|DA|PEN^青霉素^L|SV|皮疹",
        "DG1|1||I10.x00^高血压^L|高血压|20261120|A",
    )
    return ("\r".join(lines) + "\r").encode()


def oru(number: int, run: str) -> bytes:
    """An ORU^R01 with 20 numeric results."""
    control = f"{run}R{number}"
    head = (
        f"MSH|^~\\&|LIS|BENCH|HUB|REGION|20261120093000+0800||ORU^R01^ORU_R01|{control}|P|2.5.1||||||UNICODE UTF-8",
        f"PID|1||{run}{number % 200}^^^BENCH^MR||张^伟{number % 200}^^^^^L||19850307|M",
        f"OBR|1|{run}O{number}^HIS|{run}F{number}^LIS|CBC^血常规^L|||20261120090000+0800|||||||||D1^李^医生||||||20261120093000+0800||LAB|F",
    )
    results = (
        f"OBX|{line}|NM|L{line}^项目{line}^L||{line + number % 7}.{number % 10}0|mmol/L|1-9|N|||F|||20261120092500+0800"
        for line in range(1, 21)
    )
    return ("\r".join((*head, *results)) + "\r").encode()


async def measure(
    host: str, port: int, make: Callable[[int, str], bytes], run: str, seconds: float, connections: int = 8
) -> dict[str, float]:
    """Messages a second with a positive acknowledgement, its latency, and the refusals. Raises OSError without a listener."""
    begin = time.perf_counter()
    end = begin + seconds
    latencies: list[float] = []
    refused = 0
    counter = iter(range(10_000_000))

    async def one() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection(host, port)
        try:
            while time.perf_counter() < end:
                sent = time.perf_counter()
                writer.write(START + make(next(counter), run) + END)
                answer = await reader.readuntil(END)
                latencies.append(time.perf_counter() - sent)
                refused += b"MSA|AA" not in answer and b"MSA|CA" not in answer
        finally:
            writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    took = time.perf_counter() - begin
    latencies.sort()
    return {
        "per_s": round((len(latencies) - refused) / took, 1),
        "refused": refused,
        "p50_ms": round(latencies[len(latencies) // 2] * 1000, 2),
        "p99_ms": round(latencies[len(latencies) * 99 // 100] * 1000, 2),
    }

"""Parse and base validation of HL7 v2 messages in this process, and hl7apy's parse of the same (``hub bench mllp``)."""

from __future__ import annotations

import time
from collections.abc import Callable

from hl7apy.parser import parse_message

from adapters.hl7v2.message import parse
from adapters.hl7v2.validate import validate
from hub.errors import HubError

BATCH = 100
PEER_SHARE = 4
"""hl7apy gets this fraction of the time."""


def measure(seconds: float, make: Callable[[int], bytes]) -> tuple[float, float]:
    """Messages a CPU second of one core: parsed and validated here, and parsed by hl7apy; every message is another.

    HubError("exception") when a message of the measurement is not valid.
    """
    numbers = iter(range(10_000_000))
    ours = _rate(seconds, lambda: make(next(numbers)), _ours)
    return ours, _rate(seconds / PEER_SHARE, lambda: make(next(numbers)), _hl7apy)


def _ours(raw: bytes) -> None:
    found = validate(parse(raw))
    if found:
        raise HubError("exception", f"the measured message is not valid: {found[0].rule} at {found[0].at}")


def _hl7apy(raw: bytes) -> None:
    parse_message(raw.decode())


def _rate(seconds: float, make: Callable[[], bytes], work: Callable[[bytes], None]) -> float:
    work(make())
    spent, done = 0.0, 0
    while spent < seconds:
        batch = [make() for _ in range(BATCH if done else 1)]
        begin = time.process_time()
        for raw in batch:
            work(raw)
        spent += time.process_time() - begin
        done += len(batch)
        if done == 1 and spent > seconds / BATCH:
            break
    while spent < seconds:
        raw = make()
        begin = time.process_time()
        work(raw)
        spent += time.process_time() - begin
        done += 1
    return done / spent

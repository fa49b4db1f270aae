"""Whatever is received: no crash, no hang, the same bytes back, an acknowledgement that can be read, memory flat."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter

import psutil
import pytest

from adapters.hl7v2 import ack
from adapters.hl7v2.batch import messages
from adapters.hl7v2.interpret import translate
from adapters.hl7v2.message import header_of, parse
from adapters.hl7v2.validate import validate
from hub.errors import HubError
from tests.hl7v2.hostile import Hostile

SLOW = 2.0
"""Seconds of CPU that no case of a few kilobytes may take."""
GROWTH_MB = 60.0


def one(raw: bytes) -> str:
    """Run a case through everything in process; what became of it. AssertionError or any other error is a fault."""
    error: HubError | None = None
    fate = "mapped"
    try:
        message = parse(raw)
        assert message.encode() == raw
        found = [*message.encoding_findings(), *validate(message)]
        assert all(0 <= (finding.offset or 0) <= len(raw) for finding in found)
        translate(message, "Asia/Shanghai")
    except HubError as refused:
        error, fate = refused, refused.name
    messages(raw)
    header, codec = header_of(raw)
    for code in ack.answers(header, error):
        given = ack.build(header, code, error, control_id="X1", time="20261120", codec=codec, language="zh")
        answer = parse(given)
        assert answer.all("MSA")[0].field(1) == code
        echoed = answer.all("MSA")[0].field(2).encode(answer.codec, "surrogateescape")
        assert echoed == header.field(10).encode(codec, ack.ECHO)
    return fate


def campaign(count: int, seed: int) -> Counter[str]:
    hostile, fates = Hostile(seed), Counter[str]()
    process = psutil.Process(os.getpid())
    settled, warm = 0.0, max(count // 10, 200)
    for number in range(count):
        raw = hostile.message()
        begin = time.thread_time()
        try:
            fates[one(raw)] += 1
        except Exception as error:
            raise AssertionError(f"case {number} of seed {seed}: {raw!r}") from error
        assert time.thread_time() - begin < SLOW, f"case {number} of seed {seed} is slow: {raw!r}"
        if number == warm:
            gc.collect()
            settled = process.memory_info().rss / 1e6
    gc.collect()
    grown = process.memory_info().rss / 1e6 - settled
    print(f"{count} cases, {grown:.1f} MB more than after {warm}: {dict(fates)}")
    assert grown < GROWTH_MB
    return fates


def test_two_thousand_cases() -> None:
    fates = campaign(2000, seed=1)
    assert {"mapped", "structure", "event-unknown"} <= fates.keys()


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(4))
def test_fifty_thousand_cases(seed: int) -> None:
    campaign(50_000, seed=1000 + seed)

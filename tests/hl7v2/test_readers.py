"""Messages interpreted in a child process: the same answer, the same refusal, and a child that failed is replaced."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from adapters.hl7v2.interpret import Interpreter
from adapters.hl7v2.readers import Readers
from hub.bench.mllp import adt, oru
from hub.errors import HubError
from hub.services.inbox import Inbound

ZONE = "Asia/Shanghai"


def inbound(raw: bytes) -> Inbound:
    return Inbound("i1", "hl7v2", "", "", raw, "", 1_795_000_000_000_000)


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    made = Readers(lambda: 0, str, ZONE, "en", 1)
    yield made
    made.close()


@pytest.mark.parametrize("raw", [adt(1, "r"), oru(1, "r")], ids=["ADT", "ORU"])
def test_the_same_as_in_this_process(readers: Readers, raw: bytes) -> None:
    here = Interpreter(lambda: 0, str, ZONE, "en").interpret(inbound(raw))
    there = readers.interpret(inbound(raw))
    assert (there.kind, there.bundle, there.facts) == (here.kind, here.bundle, here.facts)


@pytest.mark.parametrize("raw", [b"", b"\x00" * 1000, b"MSH|^~\\&|A|B|C|D|2026||XXX^Y99|1|P|2.5\r"])
def test_a_refusal_is_the_same_refusal(readers: Readers, raw: bytes) -> None:
    with pytest.raises(HubError) as here:
        Interpreter(lambda: 0, str, ZONE, "en").interpret(inbound(raw))
    with pytest.raises(HubError) as there:
        readers.interpret(inbound(raw))
    assert (there.value.name, there.value.at) == (here.value.name, here.value.at)


def test_a_child_that_died_is_replaced(readers: Readers) -> None:
    child = readers._children[0]
    os.kill(child._process.pid, signal.SIGKILL)
    child._process.wait()
    with pytest.raises(HubError, match="failed"):
        readers.interpret(inbound(adt(1, "r")))
    assert readers.interpret(inbound(adt(1, "r"))).kind == "ADT^A01"

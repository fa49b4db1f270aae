"""Processes that interpret messages, so that reading one costs the hub's own process nothing but the wait.

Interpretation is pure (``interpret.Interpreter.interpret``): raw bytes in, a Bundle or a located refusal out. It runs
in child processes over pipes: on another core, and with an end to a message that would take for ever or take the
process down. A child lives as long as its pipe; it ends with the hub, however that ends.
"""

from __future__ import annotations

import contextlib
import queue
import select
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO, Any

from adapters.hl7v2.interpret import CHANNEL, Interpreter
from hub.errors import HubError
from hub.fhir import json
from hub.services.inbox import Inbound, Interpretation

SECONDS = 300.0
"""The longest time one message may take; 100,000 results take some ten seconds on an idle core."""
ENDING_SECONDS = 5.0
"""Then a child that is still reading is ended: its message is run again at the next start."""
_LENGTH = struct.Struct("<Q")


class Readers(Interpreter):
    """The reader of the channel ``hl7v2`` with ``count`` child processes; answers are still made here."""

    def __init__(
        self,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        time_zone: str,
        language: str,
        count: int,
        *,
        quiet: bool = False,
    ) -> None:
        super().__init__(clock, new_id, time_zone, language, quiet=quiet)
        self._free: queue.LifoQueue[_Child] = queue.LifoQueue()
        self._children = [_Child(time_zone) for _ in range(count)]
        for child in self._children:
            self._free.put(child)

    def interpret(self, inbound: Inbound) -> Interpretation:
        """As ``Interpreter.interpret``; HubError("too-costly") for a message that takes too long."""
        child = self._free.get()
        try:
            answer = child.ask(inbound)
        finally:
            self._free.put(child)
        if "error" in answer:
            raise HubError(**answer["error"])
        return Interpretation(**answer)

    def close(self) -> None:
        """End the children."""
        for child in self._children:
            child.end()


class _Child:
    """One process and its pipe; started again after it failed."""

    def __init__(self, time_zone: str) -> None:
        self._command = [sys.executable, "-m", "adapters.hl7v2.readers", time_zone]
        self._lock = threading.Lock()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._answers = select.poll()
        self._answers.register(self._pipe(process.stdout), select.POLLIN)
        return process

    def ask(self, inbound: Inbound) -> dict[str, Any]:
        head = json.encode({"id": inbound.id, "received": inbound.received})
        with self._lock:
            try:
                write(self._pipe(self._process.stdin), head, inbound.raw)
                stdout = self._pipe(self._process.stdout)
                if not self._answers.poll(SECONDS * 1000):
                    raise HubError("too-costly", f"the message was not read within {SECONDS:g} s; split it")
                (answer,) = read(stdout, 1)
            except (OSError, EOFError) as error:
                self._again()
                raise HubError("exception", "the process that read this message failed") from error
            except HubError:
                self._again()
                raise
        return json.stored(answer)

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise EOFError
        return pipe

    def _again(self) -> None:
        self._process.kill()
        self.end()
        self._process = self._start()

    def end(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def write(pipe: IO[bytes], *parts: bytes) -> None:
    """Each part with its length before it."""
    for part in parts:
        pipe.write(_LENGTH.pack(len(part)))
        pipe.write(part)
    pipe.flush()


def read(pipe: IO[bytes], count: int) -> list[bytes]:
    """As many parts. EOFError when the other side is gone."""
    parts = []
    for _ in range(count):
        head = pipe.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            raise EOFError
        (length,) = _LENGTH.unpack(head)
        part = pipe.read(length)
        if len(part) < length:
            raise EOFError
        parts.append(part)
    return parts


def serve(source: IO[bytes], sink: IO[bytes], time_zone: str) -> None:
    """Interpret what comes until nothing comes any more."""
    interpreter = Interpreter(lambda: 0, str, time_zone, "en")
    while True:
        try:
            head, raw = read(source, 2)
        except EOFError:
            return
        facts = json.decode(head, max_bytes=len(head))
        try:
            made = interpreter.interpret(Inbound(facts["id"], CHANNEL, "", "", raw, "", facts["received"]))
            answer: dict[str, Any] = {
                "bundle": made.bundle,
                "kind": made.kind,
                "facts": made.facts,
                "valid": made.valid,
            }
        except HubError as error:
            named = {"name": error.name, "diagnostics": error.diagnostics, "at": error.at, "issues": list(error.issues)}
            answer = {"error": named}
        write(sink, json.encode(answer))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        serve(sys.stdin.buffer, sys.stdout.buffer, sys.argv[1])

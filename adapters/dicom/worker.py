"""Processes of their own for pixel work, with limits of memory and time.

Decoders are where archives are broken into. So pixels are decoded beside the hub: what a process fails on is refused
with its reason, a process that exceeds a limit is killed and replaced, and the hub and the other requests go on.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import resource
import threading
from collections.abc import Callable
from functools import lru_cache
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from hub.errors import HubError

MEMORY = 2 << 30
SECONDS = 20.0
WAIT_SECONDS = 30.0
"""How long a request waits for a process that is free."""
START_SECONDS = 60.0
OPEN_FILES = 64
_OTHER = "the pixel data of this instance cannot be processed"


class Workers:
    """At most ``count`` processes; started when they are needed."""

    def __init__(self, count: int, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._free: queue.LifoQueue[tuple[SpawnProcess, Connection] | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(*arguments)`` in a process; all of them picklable.

        HubError("not-acceptable") with the reason when the function raises, "too-costly" when it exceeds the limits of
        memory or time, "timeout" when no process gets free.
        """
        try:
            worker = self._free.get(timeout=WAIT_SECONDS)
        except queue.Empty:
            raise HubError("timeout", "all processes for pixel data are busy; try again later") from None
        try:
            worker = worker if worker and worker[0].is_alive() else _start()
            outcome, failed = self._ask(worker[1], function, arguments)
        except (EOFError, OSError, TimeoutError):
            if worker is not None:
                worker[0].kill()
                worker[0].join()
                worker = None
            raise HubError("too-costly", f"{_OTHER} within the limits of memory and time") from None
        finally:
            self._free.put(worker)
        if failed:
            raise HubError("not-acceptable", f"{_OTHER}: {outcome}")
        return outcome

    def _ask(self, pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, bool]:
        pipe.send((function, arguments))
        if not pipe.poll(self._seconds):
            raise TimeoutError
        answer: tuple[Any, bool] = pipe.recv()
        return answer


def _start() -> tuple[SpawnProcess, Connection]:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # or its buffers, one a core, count against the memory limit
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs,), name="pixels", daemon=True)
    process.start()
    theirs.close()
    if not ours.poll(START_SECONDS):
        process.kill()
        raise HubError("timeout", "no process for pixel data can be started; try again later")
    ours.recv()
    return process, ours


def _serve(pipe: Connection) -> None:
    """In the process: answer until the hub goes away."""
    for what, limit in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        resource.setrlimit(what, (limit, limit))
    pipe.send(None)
    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            answer = (function(*arguments), False)
        except Exception as error:  # noqa: BLE001 - whatever a decoder raises on hostile pixels is a refusal with its reason
            answer = (f"{type(error).__name__}: {error}"[:200], True)
        pipe.send(answer)


_ONE = threading.Lock()


@lru_cache(maxsize=1)
def _shared() -> Workers:
    return Workers(max(1, min(4, os.cpu_count() or 1)))


def run(function: Callable[..., Any], *arguments: Any) -> Any:
    """As ``Workers.run``, in the processes that all doors share."""
    with _ONE:
        workers = _shared()
    return workers.run(function, *arguments)

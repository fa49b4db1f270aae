"""The bounded pool in which searches and writes run, so that the event loop only ever moves bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from hub.errors import HubError

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


class Pool:
    """``threads`` at work and at most ``waiting`` more; beyond that, HubError("timeout") (503) at once.

    Many threads let many writes share one commit; they mostly wait for the disk.
    """

    def __init__(self, threads: int = 64, waiting: int = 2000) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="api")
        self._limit = threads + waiting
        self._under_way = 0

    async def run(self, work: Callable[[Asked], Answered], asked: Asked, seconds: float) -> Answered:
        """``work(asked)`` in a thread. HubError("timeout") when the pool is full or ``seconds`` are over."""
        if self._under_way >= self._limit:
            raise HubError("timeout", "the hub is busy; nothing was done, send it again")
        future = asyncio.get_running_loop().run_in_executor(self._executor, work, asked)
        self._under_way += 1
        future.add_done_callback(self._done)
        finished, _ = await asyncio.wait({future}, timeout=seconds)
        if not finished:  # the thread goes on, and counts as under way until it ends
            raise HubError("timeout", f"no answer within {seconds:g} s; a write may still have been done")
        return future.result()

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._under_way -= 1
        if not future.cancelled():
            future.exception()  # looked at, so that one nobody waits for any more is not reported as lost

    def close(self) -> None:
        """Finish what is under way."""
        self._executor.shutdown(wait=True)

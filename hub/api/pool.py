"""The bounded pool in which searches and writes run, so that the event loop only ever moves bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from hub.errors import HubError

QUICK_SECONDS = 0.05

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


class Pool:
    """``threads`` at work and at most ``waiting`` more; beyond that, HubError("timeout") (503) at once.

    Many threads let many writes share one commit; they mostly wait for the disk. Reads are all computation: more of
    them at once than ``readers`` only get in each other's way (measured: 64 threads cost a search three times what two
    do). A read that takes longer than ``QUICK_SECONDS`` gives its place to the next and goes on.
    """

    def __init__(self, threads: int = 64, waiting: int = 2000, readers: int = 2) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="api")
        self._limit = threads + waiting
        self._under_way = 0
        self._reading = 0
        self._readers = asyncio.Semaphore(readers)

    async def read(self, work: Callable[[Asked], Answered], asked: Asked, seconds: float) -> Answered:
        """As ``run``, for work that only reads."""
        if self._reading >= self._limit:
            raise HubError("timeout", "the hub is busy; nothing was done, send it again")
        self._reading += 1
        try:
            return await self._in_turn(work, asked, seconds)
        finally:
            self._reading -= 1

    async def _in_turn(self, work: Callable[[Asked], Answered], asked: Asked, seconds: float) -> Answered:
        await self._readers.acquire()
        place = [self._readers.release]

        def give() -> None:
            if place:
                place.pop()()

        timer = asyncio.get_running_loop().call_later(QUICK_SECONDS, give)
        try:
            return await self.run(work, asked, seconds)
        finally:
            timer.cancel()
            give()

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

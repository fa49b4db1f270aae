"""The MLLP listener: blocks in, through the durable inbox, acknowledgements out."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from adapters.hl7v2 import batch, mllp
from adapters.hl7v2.interpret import CHANNEL, Interpreter, sender_of
from adapters.hl7v2.message import header_of
from adapters.hl7v2.query import Queries
from adapters.hl7v2.readers import Readers
from hub.errors import HubError
from hub.services.doors import Doors

WORKERS = 32
log = logging.getLogger("hub.mllp")


class MllpListener:
    """HL7 v2 over MLLP as a ``hub.listener.Listener``; its event loop runs in a thread of its own."""

    name = "mllp"

    def __init__(self, doors: Doors) -> None:
        settings = doors.settings
        self.address = (settings.bind, settings.mllp.port)
        self._inbox = doors.inbox
        made = (doors.clock, doors.new_id, settings.time_zone, settings.language)
        readers = settings.mllp.readers
        self._interpreter = Readers(*made, readers) if readers else Interpreter(*made)
        self._queries = Queries(doors.demographics, *made)
        self._inbox.register(CHANNEL, self._interpreter)
        limits = mllp.Limits(
            settings.mllp.max_frame_bytes,
            settings.mllp.idle_seconds,
            settings.mllp.frame_seconds,
            settings.mllp.max_connections,
        )
        self._max_bytes = limits.max_frame_bytes
        self._server = mllp.Server(self._answer, limits, self._report)
        self._patience = settings.shutdown_seconds
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="mllp")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mllp-loop", daemon=True)

    @property
    def anomalies(self) -> Counter[str]:
        """Transport findings since the start: rule of ``findings.csv`` -> number."""
        return self._server.counts

    def start(self) -> None:
        """Bind the port; OSError when it cannot be."""
        self._thread.start()
        try:
            self.address = asyncio.run_coroutine_threadsafe(self._server.start(*self.address), self._loop).result()
        except OSError:
            self._end()
            raise

    def stop(self) -> None:
        """Finish the exchanges under way, close."""
        asyncio.run_coroutine_threadsafe(self._server.stop(self._patience), self._loop).result()
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._workers.shutdown(wait=True)
        if isinstance(self._interpreter, Readers):
            self._interpreter.close()

    async def _answer(self, frame: mllp.Frame, peer: str) -> bytes:
        return await self._loop.run_in_executor(self._workers, self._receive, frame, peer)

    def _receive(self, frame: mllp.Frame, peer: str) -> bytes:
        """A block: one message, or a batch of them, each received by itself."""
        if frame.too_long:
            error = HubError("too-long", f"the block is longer than {self._max_bytes} bytes")
            return self._interpreter.refuse(*header_of(frame.content), error)
        messages = batch.messages(frame.content)
        if messages is None:
            return self._message(frame.content, peer)
        return batch.answer(frame.content, [self._message(one, peer) for one in messages])

    def _message(self, raw: bytes, peer: str) -> bytes:
        """Through the inbox; when the inbox cannot take the message, a refusal that keeps nothing."""
        header, codec = header_of(raw)
        if self._queries.serves(header):
            return self._queries.answer(raw, peer)
        try:
            return self._inbox.receive(
                channel=CHANNEL,
                sender=sender_of(header),
                control_id=header.field(10),
                kind=header.field(9),
                raw=raw,
                peer=peer,
            )
        except HubError as error:
            return self._interpreter.refuse(header, codec, error)

    def _report(self, rule: str, peer: str) -> None:
        log.info("%s from %s", rule, peer)


def create(doors: Doors) -> MllpListener:
    """The listener of one hub (entry point group ``hub.listeners``)."""
    return MllpListener(doors)

"""The MLLP listener: blocks in, through the durable inbox, acknowledgements out."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from adapters.hl7v2 import batch, mllp, tls
from adapters.hl7v2.interpret import CHANNEL, Interpreter, sender_of
from adapters.hl7v2.message import header_of
from adapters.hl7v2.outbound import destinations
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
        quiet = settings.mllp.quiet
        self._interpreter = Readers(*made, readers, quiet=quiet) if readers else Interpreter(*made, quiet=quiet)
        self._queries = Queries(doors.demographics, *made)
        self._inbox.register(CHANNEL, self._interpreter)
        limits = mllp.Limits(
            settings.mllp.max_frame_bytes,
            settings.mllp.idle_seconds,
            settings.mllp.frame_seconds,
            settings.mllp.max_connections,
        )
        self._max_bytes = limits.max_frame_bytes
        self._transport = doors.transport
        self._outbound = doors.outbound
        self._destinations = destinations(doors)
        self._server = mllp.Server(
            self._answer,
            limits,
            self._report,
            release=settings.mllp.release,
            tls=tls.server(settings.mllp.tls_certificate, settings.mllp.tls_key, settings.mllp.tls_client_ca),
        )
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
        self._outbound.start(self._destinations)

    def stop(self) -> None:
        """Finish the exchanges under way, close."""
        self._outbound.close()
        asyncio.run_coroutine_threadsafe(self._server.stop(self._patience), self._loop).result()
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._workers.shutdown(wait=True)
        self._transport.close()
        if isinstance(self._interpreter, Readers):
            self._interpreter.close()

    async def _answer(self, frame: mllp.Frame, peer: str) -> mllp.Reply:
        return await self._loop.run_in_executor(self._workers, self._receive, frame, peer)

    def _receive(self, frame: mllp.Frame, peer: str) -> mllp.Reply:
        """A block: one message, or a batch of them, each received by itself."""
        if frame.too_long:
            error = HubError("too-long", f"the block is longer than {self._max_bytes} bytes")
            return mllp.Reply(self._interpreter.refuse(*header_of(frame.content), error), stored=False)
        messages = batch.messages(frame.content)
        if messages is None:
            return self._message(frame.content, peer)
        replies = [self._message(one, peer) for one in messages]
        content = batch.answer(frame.content, [reply.content for reply in replies])
        return mllp.Reply(content, all(reply.stored for reply in replies))

    def _message(self, raw: bytes, peer: str) -> mllp.Reply:
        """Through the inbox; when the inbox cannot take the message, a refusal that keeps nothing."""
        header, codec = header_of(raw)
        if self._queries.serves(header):
            return mllp.Reply(self._queries.answer(raw, peer))
        try:
            answer = self._inbox.receive(
                channel=CHANNEL,
                sender=sender_of(header),
                control_id=header.field(10),
                kind=header.field(9),
                raw=raw,
                peer=peer,
            )
        except HubError as error:
            return mllp.Reply(self._interpreter.refuse(header, codec, error), stored=False)
        return mllp.Reply(answer)

    def _report(self, rule: str, peer: str, content: bytes) -> None:
        log.info("%s from %s", rule, peer)
        self._transport.note(CHANNEL, rule, peer, content)


def create(doors: Doors) -> MllpListener:
    """The listener of one hub (entry point group ``hub.listeners``)."""
    return MllpListener(doors)

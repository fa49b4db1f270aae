"""Minimal Lower Layer Protocol: ``<VT> message <FS> <CR>`` on a stream (HL7 v2.5.1 appendix C; MLLP R1 and R2).

``Framer`` knows bytes only. ``Server`` and ``Client`` put it on asyncio streams: many messages a connection, answered
in order; every length, time and count is capped; what is out of the ordinary is counted, told, and does no harm. In
release 2 each block is followed by a commit acknowledgement, a block with the one byte ACK or NAK, before any answer.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

VT, FS, CR = 0x0B, 0x1C, 0x0D
COMMIT, REFUSE = b"\x06", b"\x15"
END = b"\x1c\r"
HEADS = (b"MSH", b"FHS", b"BHS")
CHUNK = 256 * 1024
MIN_RATE = 64 * 1024
"""Bytes a second below which a long block counts as stalled."""


def wrap(message: bytes) -> bytes:
    """A message as a block."""
    return b"\x0b" + message + END


@dataclass(frozen=True, slots=True)
class Frame:
    """One block's content. ``anomalies`` are rules of ``findings.csv``; with ``mllp-too-long`` only a head is kept."""

    content: bytes
    anomalies: tuple[str, ...] = ()

    @property
    def too_long(self) -> bool:
        return "mllp-too-long" in self.anomalies


class Framer:
    """Cuts a byte stream into blocks.

    A block ends at FS; the CR that must follow is taken when it comes, so that a sender who forgets it is answered
    without delay. Bytes between blocks are skipped and counted, unless they begin like a message and end with FS: that
    is a block without its start byte. A start byte before MSH inside a block means the earlier block was never ended.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._buffer = bytearray()
        self._scanned = 0
        self._inside = False
        self._ended = False
        self._skipping = False
        self._junk = 0
        self._anomalies: list[str] = []

    @property
    def under_way(self) -> bool:
        """Whether a block has begun and not ended."""
        return self._inside or self._skipping or bool(self._buffer)

    @property
    def pending(self) -> int:
        """Bytes held of the block under way."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """The blocks that ``data`` completes, in order."""
        self._buffer += data
        frames: list[Frame] = []
        while self._buffer:
            if self._ended:
                self._after_end()
                continue
            step = self._within if self._inside or self._skipping else self._between
            if not step(frames):
                break
        return frames

    def _after_end(self) -> None:
        self._ended = False
        if self._buffer[0] == CR:
            del self._buffer[0]
        else:
            self._anomalies.append("mllp-no-cr")

    def _between(self, frames: list[Frame]) -> bool:
        """Skip to the next start byte; a message that lacks it is taken up to FS."""
        start = self._buffer.find(VT)
        end = self._buffer.find(FS, 0, None if start < 0 else start)
        if end >= 0:
            content = bytes(self._buffer[:end]).lstrip(b"\r\n\x00 \xef\xbb\xbf")
            del self._buffer[: end + 1]
            self._ended = True
            if content[:3] in HEADS:
                self._anomalies.append("mllp-no-start")
                self._emit(frames, content)
            else:
                self._skip(end)
            return True
        if start >= 0:
            self._skip(len(bytes(self._buffer[:start]).strip(b"\r\n")))
            del self._buffer[: start + 1]
            self._inside, self._scanned = True, 0
            return True
        head = bytes(self._buffer[:64]).lstrip(b"\r\n\x00 \xef\xbb\xbf")
        if head and not head.startswith(HEADS) and not any(name.startswith(head) for name in HEADS):
            self._skip(len(bytes(self._buffer).strip(b"\r\n")))
            self._buffer.clear()
        elif not head:
            self._skip(bytes(self._buffer).count(b"\x00"))
            self._buffer.clear()
        elif len(self._buffer) > self._max:
            self._too_long(frames)
        return False

    def _skip(self, count: int) -> None:
        self._junk += count
        if count and "mllp-junk" not in self._anomalies:
            self._anomalies.append("mllp-junk")

    def _within(self, frames: list[Frame]) -> bool:
        end = self._buffer.find(FS, self._scanned)
        if end < 0:
            if self._skipping:
                self._buffer.clear()
            elif len(self._buffer) > self._max:
                self._too_long(frames)
            self._scanned = len(self._buffer)
            return False
        content = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        self._ended = True
        if self._skipping:
            self._skipping = self._inside = False
        elif len(content) > self._max:
            self._anomalies.append("mllp-too-long")
            self._emit(frames, content[:4096])
        else:
            self._inside = False
            self._content(frames, content)
        return True

    def _content(self, frames: list[Frame], content: bytes) -> None:
        again = max(content.rfind(b"\x0b" + head) for head in HEADS)
        if again >= 0:
            self._anomalies.append("mllp-unfinished")
            content = content[again + 1 :]
        if content.strip(b"\r\n\x00 "):
            self._emit(frames, content)
        else:
            self._anomalies.append("mllp-empty")

    def _too_long(self, frames: list[Frame]) -> None:
        self._anomalies.append("mllp-too-long")
        head = bytes(self._buffer[:4096])
        self._buffer.clear()
        self._skipping = True
        self._emit(frames, head)

    def _emit(self, frames: list[Frame], content: bytes) -> None:
        self._inside = False
        frames.append(Frame(content, tuple(self._anomalies)))
        self._anomalies.clear()
        self._junk = 0

    def leftovers(self) -> tuple[str, ...]:
        """Anomalies not yet told with a block, when the connection ends."""
        anomalies = list(self._anomalies)
        if self._inside or self._skipping:
            anomalies.append("mllp-unfinished")
        elif self._buffer:
            anomalies.append("mllp-junk")
        return tuple(anomalies)


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps: bytes of a block, seconds of silence, seconds for a block (plus its size at 64 KiB/s), connections."""

    max_frame_bytes: int = 50 * 1024 * 1024
    idle_seconds: float = 600.0
    frame_seconds: float = 30.0
    max_connections: int = 256


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back for a block: content, b"" for none, and whether the block is in safe storage (R2: ACK or NAK)."""

    content: bytes
    stored: bool = True


Answer = Callable[[Frame, str], Awaitable[Reply]]
Report = Callable[[str, str, bytes], None]


class Server:
    """Accepts connections; hands each block to ``answer(frame, peer)`` and sends back what it gives, in order.

    While a block is being answered nothing more is read from its connection: the peer feels back-pressure. ``report``
    is called with (rule of ``findings.csv``, peer, bytes concerned) for every transport anomaly. With ``tls`` the peer
    is named by its certificate too, when it shows one.
    """

    def __init__(
        self, answer: Answer, limits: Limits, report: Report, *, release: int = 1, tls: ssl.SSLContext | None = None
    ) -> None:
        self._release = release
        self._tls = tls
        self._answer = answer
        self._limits = limits
        self._report = report
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None]] = set()
        self.counts: Counter[str] = Counter()

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Bind; the address bound. OSError when it cannot be."""
        patience = {"ssl_handshake_timeout": self._limits.frame_seconds} if self._tls else {}
        self._server = await asyncio.start_server(
            self._connected, host, port, limit=CHUNK, backlog=512, ssl=self._tls, **patience
        )
        address: tuple[str, int] = self._server.sockets[0].getsockname()[:2]
        return address

    async def stop(self, seconds: float) -> None:
        """Accept no more, let the exchanges under way end within ``seconds``, close."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks - self._busy:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        peer = _peer(writer)
        if len(self._tasks) >= self._limits.max_connections:
            self._tell("mllp-refused", peer)
            writer.close()
            return
        self._tasks.add(task)
        _keep_alive(writer.get_extra_info("socket"))
        framer = Framer(self._limits.max_frame_bytes)
        try:
            await self._converse(reader, writer, framer, peer, task)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            for rule in framer.leftovers():
                self._tell(rule, peer)
            self._tasks.discard(task)
            self._busy.discard(task)
            writer.close()

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        framer: Framer,
        peer: str,
        task: asyncio.Task[None],
    ) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            try:
                async with asyncio.timeout(self._patience(framer, loop.time() - begun)):
                    data = await reader.read(CHUNK)
            except TimeoutError:
                self._tell("mllp-slow" if framer.under_way else "mllp-idle", peer)
                return
            if not data:
                return
            was_under_way = framer.under_way
            frames = framer.feed(data)
            if frames or not was_under_way:
                begun = loop.time()
            for frame in frames:
                for rule in frame.anomalies:
                    self._tell(rule, peer, frame.content)
                if frame.content in (COMMIT, REFUSE):
                    if frame.content == REFUSE:
                        self._tell("mllp-nak", peer)
                    continue
                self._busy.add(task)
                reply = await self._answer(frame, peer)
                if self._release == 2:
                    writer.write(wrap(COMMIT if reply.stored else REFUSE))
                if reply.content:
                    writer.write(wrap(reply.content))
                await writer.drain()
                self._busy.discard(task)
                begun = loop.time()

    def _patience(self, framer: Framer, spent: float) -> float:
        if not framer.under_way:
            return self._limits.idle_seconds
        return max(0.0, self._limits.frame_seconds + framer.pending / MIN_RATE - spent)

    def _tell(self, rule: str, peer: str, content: bytes = b"") -> None:
        self.counts[rule] += 1
        self._report(rule, peer, content)


def _peer(writer: asyncio.StreamWriter) -> str:
    """``address:port``, and the common name of the peer's certificate if it showed one."""
    address = ":".join(map(str, writer.get_extra_info("peername", ("?", "?"))[:2]))
    certificate = writer.get_extra_info("peercert") or {}
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return " ".join([address, *names[:1]])


def _keep_alive(connection: socket.socket | None) -> None:
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class Client:
    """Sends messages over one connection and waits for the answer of each."""

    def __init__(
        self,
        host: str,
        port: int,
        limits: Limits | None = None,
        *,
        release: int = 1,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address = (host, port)
        self._release = release
        self._tls = tls
        self._limits = limits or Limits()
        self._framer = Framer(self._limits.max_frame_bytes)
        self._waiting: list[Frame] = []
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connect(self) -> None:
        """Open the connection. OSError when it cannot be."""
        self._streams = await asyncio.open_connection(*self._address, limit=CHUNK, ssl=self._tls)
        _keep_alive(self._streams[1].get_extra_info("socket"))

    async def send(self, message: bytes) -> None:
        """Send one message as a block. ConnectionError: the connection is gone, or (R2) the peer cannot store it."""
        if self._streams is None:
            await self.connect()
        assert self._streams is not None
        self._streams[1].write(wrap(message))
        await self._streams[1].drain()
        if self._release == 2 and await self._next() != COMMIT:
            raise ConnectionRefusedError("the peer did not commit the message")

    async def receive(self) -> bytes:
        """The next message. TimeoutError after ``frame_seconds``, ConnectionError at the end of the stream."""
        content = await self._next()
        while content in (COMMIT, REFUSE):
            content = await self._next()
        if self._release == 2 and self._streams is not None:
            self._streams[1].write(wrap(COMMIT))
            await self._streams[1].drain()
        return content

    async def _next(self) -> bytes:
        """The next block's content."""
        if self._streams is None:
            raise ConnectionError("not connected")
        async with asyncio.timeout(self._limits.frame_seconds):
            while not self._waiting:
                data = await self._streams[0].read(CHUNK)
                if not data:
                    raise ConnectionResetError("the peer closed the connection before it answered")
                self._waiting += self._framer.feed(data)
        return self._waiting.pop(0).content

    async def ask(self, message: bytes) -> bytes:
        """Send a message and give back its answer."""
        await self.send(message)
        return await self.receive()

    async def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

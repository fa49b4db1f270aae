"""One association over one TCP connection: negotiated contexts, whole DIMSE messages in, whole messages out.

Measured: what makes a modality wait is not the work but Nagle's algorithm against delayed acknowledgements. So the
socket has TCP_NODELAY, every message leaves in one gathered write, and TCP_QUICKACK is set again after each read.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from struct import pack

from adapters.dicom.ul import dimse, fsm, pdu
from hub.errors import HubError

IMPLEMENTATION_UID = "2.25.3592023492456821420868763768438637383"
IMPLEMENTATION_VERSION = "REGION-HUB"
ARTIM_SECONDS = 5.0
MAX_DATA_SET = 1 << 30
MIN_LENGTH = 256
"""A peer that takes less in one P-DATA-TF than this wants to keep us busy."""
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)
_BUFFERS = min(os.sysconf("SC_IOV_MAX") if hasattr(os, "sysconf") else 16, 1024)

RELEASED, ABORTED, LOST, TIMED_OUT, REFUSED = "released", "aborted", "lost", "timed out", "refused"


@dataclass(frozen=True, slots=True)
class Message:
    """A DIMSE message: the accepted presentation context it came in, its command set, its data set's bytes."""

    context: pdu.Context
    command: dimse.Command
    data: bytes

    @property
    def field(self) -> int:
        return int(self.command["CommandField"])


Negotiate = Callable[[pdu.Associate], "pdu.Associate | tuple[int, int, int]"]
"""Gives the A-ASSOCIATE-AC, or result, source and reason of the A-ASSOCIATE-RJ (PS3.8 9.3.4)."""


class Association:
    """Made by ``accept`` or ``request``; used by one thread. ``ending`` says how it ended, "" while it lasts; ``busy``
    whether a request is being served."""

    def __init__(self, connection: socket.socket, *, max_length: int, idle_seconds: float) -> None:
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer = str(connection.getpeername()[0])
        self.ending = ""
        self.busy = False
        self.called = self.calling = ""
        self.contexts: dict[int, pdu.Context] = {}
        self.roles: dict[str, tuple[int, int]] = {}
        self._socket = connection
        self._max_length = max_length
        self._peer_length = 0
        self._idle_seconds = idle_seconds
        self._state = fsm.AWAIT_REQUEST
        self._buffer = bytearray(16 * 1024)
        self._start = self._end = 0
        self._pending: deque[Message] = deque()
        self._command = bytearray()
        self._data = bytearray()
        self._header: dimse.Command | None = None
        self._wait_for(idle_seconds)

    def _wait_for(self, seconds: float) -> None:
        """How long a read or write may block."""
        if isinstance(self._socket, ssl.SSLSocket):
            self._socket.settimeout(seconds)
            return
        timeout = pack("ll", int(seconds), int(seconds % 1 * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)

    # --- establishing -------------------------------------------------------------------------------------------------

    @classmethod
    def accept(
        cls, connection: socket.socket, negotiate: Negotiate, *, max_length: int, idle_seconds: float
    ) -> Association | None:
        """Serve A-ASSOCIATE as acceptor (PS3.8 7.1); None when there will be no association."""
        self = cls(connection, max_length=max_length, idle_seconds=idle_seconds)
        self._wait_for(min(ARTIM_SECONDS, idle_seconds))
        body = self._read(ARTIM_SECONDS)
        if body is None:
            self.close()
            return None
        try:
            asked = pdu.decode_associate(body)
        except HubError:
            self._send(pdu.encode_abort(2, 6))
            self.close()
            return None
        answer = negotiate(asked)
        if isinstance(answer, tuple):
            self._send(pdu.encode_reject(*answer))
            self._state, self.ending = fsm.AWAIT_CLOSE, REFUSED
            self.close()
            return None
        self.called, self.calling = asked.called, asked.calling
        self._establish(answer, {context.id: context.abstract for context in asked.contexts}, asked.max_length)
        self._send(pdu.encode_associate(pdu.ASSOCIATE_AC, answer))
        return self

    @classmethod
    def request(cls, address: tuple[str, int], asked: pdu.Associate, *, idle_seconds: float) -> Association:
        """Open an association as requestor. OSError when nobody is there, HubError("forbidden") when it is refused."""
        connection = socket.create_connection(address, timeout=min(idle_seconds, 10.0))
        self = cls(connection, max_length=asked.max_length, idle_seconds=idle_seconds)
        try:
            self._request(asked, address)
        except (OSError, HubError):
            self.close()
            raise
        return self

    def _request(self, asked: pdu.Associate, address: tuple[str, int]) -> None:
        self.called, self.calling = asked.called, asked.calling
        self._state = fsm.AWAIT_ACCEPT
        self._send(pdu.encode_associate(pdu.ASSOCIATE_RQ, asked))
        body = self._read(self._idle_seconds)
        if body is None:
            raise HubError(
                "forbidden",
                f"{asked.called} at {address[0]}:{address[1]} does not accept the association ({self.ending})",
            )
        answer = pdu.decode_associate(body)
        self._establish(answer, {context.id: context.abstract for context in asked.contexts}, answer.max_length)

    def _establish(self, accepted: pdu.Associate, abstract: dict[int, str], peer_length: int) -> None:
        self.contexts = {
            context.id: replace(context, abstract=abstract[context.id])
            for context in accepted.contexts
            if context.result == 0 and context.id in abstract
        }
        self.roles = accepted.roles
        self._peer_length = max(peer_length, MIN_LENGTH) if peer_length else 0
        self._wait_for(self._idle_seconds)
        self._buffer = self._buffer[self._start : self._end].ljust(max(2 * self._max_length, 64 * 1024), b"\0")
        self._start, self._end = 0, self._end - self._start

    # --- messages -----------------------------------------------------------------------------------------------------

    def receive(self) -> Message | None:
        """The next message; None when the association has ended."""
        while not self._pending:
            body = self._read(self._idle_seconds)
            if body is None:
                return None
            try:
                self._take(body)
            except HubError:
                self._abort(2, 6)
                return None
        return self._pending.popleft()

    def _take(self, body: memoryview) -> None:
        """Append the fragments of a P-DATA-TF (PS3.8 Annex E) and finish the messages that end in it."""
        for id, control, fragment in pdu.pdvs(body):
            context = self.contexts.get(id)
            if context is None:
                raise HubError("structure", f"presentation context {id} was not accepted", "P-DATA-TF")
            if control & 1:
                self._command += fragment
                if len(self._command) > dimse.MAX_COMMAND:
                    raise HubError("too-long", "the command set is too long", "P-DATA-TF")
                if control & 2:
                    self._header = dimse.decode(bytes(self._command))
                    self._command = bytearray()
                    if self._header.get("CommandDataSetType") == dimse.NO_DATA_SET:
                        self._finish(context)
            else:
                if self._header is None or len(self._data) + len(fragment) > MAX_DATA_SET:
                    raise HubError("too-long", "a data set without a command set, or beyond the limit", "P-DATA-TF")
                self._data += fragment
                if control & 2:
                    self._finish(context)

    def _finish(self, context: pdu.Context) -> None:
        assert self._header is not None
        self._pending.append(Message(context, self._header, bytes(self._data)))
        self._header, self._data = None, bytearray()

    def send(self, context: pdu.Context, command: dimse.Command, data: bytes | memoryview | None = None) -> None:
        """Send a message in one write. OSError when the connection is gone."""
        parts = pdu.encode_data(context.id, True, dimse.encode(command, data is not None), self._peer_length)
        if data is not None:
            parts += pdu.encode_data(context.id, False, data, self._peer_length)
        self._send(*parts)

    def send_many(self, context: pdu.Context, command: dimse.Command, data: Iterable[bytes]) -> None:
        """Send the same command set with each of these data sets, in one write."""
        head = pdu.encode_data(context.id, True, dimse.encode(command, True), self._peer_length)
        parts: list[bytes | memoryview] = []
        for body in data:
            parts += head
            parts += pdu.encode_data(context.id, False, body, self._peer_length)
        self._send(*parts)

    def cancelled(self, message_id: int) -> bool:
        """Whether a C-CANCEL-RQ for this message has arrived (PS3.7 9.3.2.3); looks without waiting."""
        while not self.ending and (self._start < self._end or self._readable()):
            body = self._read(self._idle_seconds)
            if body is None:
                return True
            try:
                self._take(body)
            except HubError:
                self._abort(2, 6)
                return True
        for message in self._pending:
            if message.field == dimse.C_CANCEL and message.command.get("MessageIDBeingRespondedTo") == message_id:
                self._pending.remove(message)
                return True
        return bool(self.ending)

    # --- ending -------------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Release as requestor (PS3.8 7.2) and close."""
        if not self.ending:
            self._state = fsm.AWAIT_RELEASE
            with contextlib.suppress(OSError):
                self._send(pdu.RELEASE_REQUEST)
                while not self.ending:
                    self._read(ARTIM_SECONDS)
        self.close()

    def abort(self) -> None:
        """A-ABORT of the service user (PS3.8 7.3) and close."""
        if not self.ending:
            self._abort(0, 0)
        self.close()

    def close(self) -> None:
        """Wait for the peer to close, within ARTIM (Sta13), then close."""
        deadline = time.monotonic() + ARTIM_SECONDS
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.settimeout(ARTIM_SECONDS)
            while time.monotonic() < deadline and self._socket.recv(64 * 1024):
                pass
        self._socket.close()

    def kill(self) -> None:
        """End it from another thread: the hub is stopping."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _abort(self, source: int, reason: int) -> None:
        self._state, self.ending = fsm.AWAIT_CLOSE, ABORTED
        with contextlib.suppress(OSError):
            self._send(pdu.encode_abort(source, reason))

    # --- PDUs ---------------------------------------------------------------------------------------------------------

    def _read(self, seconds: float) -> memoryview | None:
        """The body of the next PDU the state table delivers; None when the association has ended."""
        while not self.ending:
            event, body = self._pdu(time.monotonic() + seconds)
            step = fsm.TABLE[self._state][event]
            self._state = step.state
            match step.action:
                case "AE-3" | "AE-6" | "DT-2":
                    return body
                case "AR-6" | "AA-6":
                    continue
                case "AR-2":
                    self.ending = RELEASED
                    self._send(pdu.RELEASE_RESPONSE)
                case "AR-8":
                    self._send(pdu.RELEASE_RESPONSE)
                case "AR-3":
                    self.ending = RELEASED
                case "AE-4":
                    self.ending = REFUSED
                case "AA-1" | "AA-7" | "AA-8":
                    self._abort(0 if step.action == "AA-1" else 2, 2 if step.action == "AA-8" else 0)
                    self.ending = TIMED_OUT if event == fsm.EXPIRED else ABORTED
                case "AA-2" | "AA-3":
                    self.ending = ABORTED
                case _:
                    self.ending = LOST
        return None

    def _pdu(self, deadline: float) -> tuple[str, memoryview]:
        """Event and body of the next PDU. Its length is checked before room is made for it."""
        nothing = memoryview(b"")
        try:
            if not self._fill(pdu.HEADER.size, deadline):
                return fsm.CLOSED, nothing
            kind, length = pdu.HEADER.unpack_from(self._buffer, self._start)
            if length > pdu.MAX_LENGTH.get(kind, self._max_length):
                return fsm.INVALID, nothing
            self._start += pdu.HEADER.size
            if not self._fill(length, deadline):
                return fsm.CLOSED, nothing
        except TimeoutError:
            return fsm.EXPIRED, nothing
        except OSError:
            return fsm.CLOSED, nothing
        body = memoryview(self._buffer)[self._start : self._start + length]
        self._start += length
        return fsm.EVENT.get(kind, fsm.INVALID), body

    def _fill(self, need: int, deadline: float) -> bool:
        """Have ``need`` bytes in the buffer; False when the peer closed. TimeoutError after the deadline."""
        while self._end - self._start < need:
            if self._start and self._start + need > len(self._buffer):
                rest = self._buffer[self._start : self._end]
                self._buffer[: len(rest)] = rest
                self._start, self._end = 0, len(rest)
            elif need > len(self._buffer):
                self._buffer = self._buffer.ljust(need, b"\0")
            elif self._start == self._end:
                self._start = self._end = 0
            try:
                count = self._socket.recv_into(memoryview(self._buffer)[self._end :])
            except BlockingIOError:
                raise TimeoutError from None
            if not count:
                return False
            if _QUICKACK is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            self._end += count
            if time.monotonic() > deadline:
                raise TimeoutError
        return True

    def _send(self, *parts: bytes | memoryview) -> None:
        """Gathered write of all parts."""
        rest = [memoryview(part) for part in parts if len(part)]
        while rest:
            sent = self._sent(rest[:_BUFFERS])
            while rest and sent >= len(rest[0]):
                sent -= len(rest.pop(0))
            if rest and sent:
                rest[0] = rest[0][sent:]

    def _sent(self, parts: list[memoryview]) -> int:
        """One write; TLS has no gathered one."""
        if isinstance(self._socket, ssl.SSLSocket):
            whole = b"".join(parts)
            self._socket.sendall(whole)
            return len(whole)
        return self._socket.sendmsg(parts)

    def _readable(self) -> bool:
        """Whether a read would not wait."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        return bool(select.select([self._socket], [], [], 0)[0])

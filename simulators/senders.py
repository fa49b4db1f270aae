"""The three wires as a hospital's systems use them: MLLP, DIMSE (C-STORE), FHIR over HTTP; and as they misbehave.

Each sender returns what the peer answered; a refusal is an answer, a broken wire is an OSError.
"""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import ssl
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx
from pydicom import dcmread
from pynetdicom import AE

START, END = b"\x0b", b"\x1c\r"
MAX_ANSWER = 1 << 20
LORIS_BYTES = 12

logging.getLogger("pynetdicom").setLevel(logging.ERROR)


class Mllp:
    """An MLLP client: one connection, one message at a time, each answered before the next (HL7 v2.5.1 appendix C)."""

    def __init__(self, host: str, port: int, seconds: float = 60.0) -> None:
        self._address = host, port
        self._seconds = seconds
        self._socket = self._connect()
        self._rest = b""

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self._address, timeout=self._seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def again(self) -> None:
        """Drop the connection and make a new one."""
        self._socket.close()
        self._socket, self._rest = self._connect(), b""

    def send(self, message: bytes, how: str = "") -> bytes:
        """The acknowledgement of a message, without its frame. ``how`` names what happens on the wire before it gets
        there.

        ConnectionError when the peer ends the connection.
        """
        frame = START + message + END
        half = len(frame) // 2
        if how == "lost-ack":
            self._socket.sendall(frame)
            self.again()
        elif how == "truncated":
            self._socket.sendall(frame[:half])
            self.again()
        elif how == "half-frame":
            self._socket.sendall(frame[:half])
        elif how == "slow-loris":
            self._loris(frame)
        elif how == "bad-certificate":
            self._handshake()
        if how == "split":
            for start in range(0, len(frame), max(1, len(frame) // 5)):
                self._socket.sendall(frame[start : start + max(1, len(frame) // 5)])
        else:
            self._socket.sendall(frame)
        return self._answer()

    def send_glued(self, messages: Sequence[bytes]) -> list[bytes]:
        """Several messages in one write; their acknowledgements in order."""
        self._socket.sendall(b"".join(START + message + END for message in messages))
        return [self._answer() for _ in messages]

    def _answer(self) -> bytes:
        while (end := self._rest.find(END)) < 0:
            received = self._socket.recv(65536)
            if not received or len(self._rest) > MAX_ANSWER:
                raise ConnectionError("the peer closed the connection without an acknowledgement")
            self._rest += received
        frame, self._rest = self._rest[:end], self._rest[end + len(END) :]
        return frame.rpartition(START)[2]

    def _loris(self, frame: bytes) -> None:
        """Another connection that sends a byte now and then, and is gone."""
        with contextlib.suppress(OSError), self._connect() as slow:
            for byte in frame[:LORIS_BYTES]:
                slow.sendall(bytes((byte,)))
                time.sleep(0.01)

    def _handshake(self) -> None:
        """Another connection that wants TLS and trusts nobody: it must come to nothing."""
        context = ssl.create_default_context()
        with contextlib.suppress(OSError), socket.create_connection(self._address, timeout=1.0) as plain:
            context.wrap_socket(plain, server_hostname="nobody.example").close()


def acknowledgement(answer: bytes) -> tuple[str, str]:
    """MSA-1 and MSA-2 of an answer; ("", "") when it has no MSA."""
    for segment in answer.split(b"\r"):
        if segment.startswith(b"MSA") and len(segment) > 3:
            fields = [field.decode("ascii", "replace") for field in segment.split(segment[3:4])]
            return fields[1] if len(fields) > 1 else "", fields[2] if len(fields) > 2 else ""
    return "", ""


def store(host: str, port: int, called: str, files: Sequence[bytes]) -> list[int]:
    """C-STORE each file (PS3.10) over one association (PS3.4 B.2); the DIMSE statuses, 0xFFFF where there was none.

    The calling AE title is the one that the first file names as its source (0002,0016).
    """
    datasets = [dcmread(io.BytesIO(file)) for file in files]
    entity = AE(ae_title=str(datasets[0].file_meta.get("SourceApplicationEntityTitle", "SIMULATOR")))
    for dataset in datasets:
        entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate(host, port, ae_title=called)
    if not association.is_established:
        raise ConnectionError(f"{called} at {host}:{port} did not accept the association")
    try:
        answers = [association.send_c_store(dataset) for dataset in datasets]
    finally:
        association.release()
    return [int(answer.Status) if "Status" in answer else 0xFFFF for answer in answers]


class Fhir:
    """A FHIR client that posts transaction Bundles to ``base``; an address without a path means its ``/fhir``."""

    def __init__(self, base: str, seconds: float = 60.0) -> None:
        self._client = httpx.Client(timeout=seconds, trust_env=False)
        self._base = base.rstrip("/") if urlsplit(base).path.strip("/") else f"{base.rstrip('/')}/fhir"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def transaction(self, bundle: bytes, request: str = "") -> tuple[int, str]:
        """HTTP status and body of the answer. ConnectionError when there is none.

        ``request`` names method, path below the base (``/`` for the base) and media type when it is not a transaction.
        """
        method, path, kind = (*request.split(" "), "", "")[:3] if request else ("POST", "", "application/fhir+json")
        headers = {"Accept": "application/fhir+json"} | ({"Content-Type": kind} if kind else {})
        try:
            response = self._client.request(method, self._base + path, content=bundle, headers=headers)
        except httpx.TransportError as error:
            raise ConnectionError(f"{self._base}: {error}") from error
        return response.status_code, response.text

"""A recorder between senders and a hub: it forwards every message, gives back the answer, and writes both down as a
line of a record (``expect`` is what the hub answered).

MLLP frames and HTTP requests pass byte for byte. Images pass as C-STORE over an association of the recorder's own.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import socketserver
import threading
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, evt

from simulators.record import LOCAL, Sending, header
from simulators.senders import END, START, Mllp, acknowledgement, store
from simulators.traffic import DIMSE_SUCCESS, DIMSE_WARNINGS, Targets

MAX_MESSAGE = 64 << 20
SECONDS = 60.0
CANNOT_UNDERSTAND = 0xC000
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host", "date"}
"""Headers of one hop (RFC 9110 7.6.1), and those that this hop writes itself."""


class Recorder:
    """Listens at ``listen``, forwards to ``to``, writes to ``file``; a wire that has no listener or target is off.

    OSError when a port is taken or the file cannot be written.
    """

    def __init__(
        self,
        listen: Targets,
        to: Targets,
        file: Path,
        now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(LOCAL),
    ) -> None:
        self._listen, self.to, self._now = listen, to, now
        self._file = file.open("w", encoding="utf-8", newline="\n")
        self._file.write(header(recorded=now().isoformat(timespec="seconds")) + "\n")
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self.addresses: dict[str, tuple[str, int]] = {}
        self.count = 0

    def __enter__(self) -> Self:
        self._stack.callback(self._file.close)
        if self._listen.mllp and self.to.mllp:
            self._serve("mllp", _MllpServer(self._listen.mllp, _MllpHandler))
        if self._listen.http and self.to.http:
            parts = urlsplit(self._listen.http)
            server = _HttpServer((parts.hostname or "127.0.0.1", parts.port or 0), _HttpHandler)
            server.client = self._stack.enter_context(httpx.Client(timeout=SECONDS, trust_env=False))
            self._serve("http", server)
        if self._listen.dicom and self.to.dicom:
            self._dicom(self._listen.dicom)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def write(self, hospital: str, link: str, kind: str, control: str, body: bytes, fine: bool, request: str) -> None:
        """One line."""
        with self._lock:
            expect = "accept" if fine else "refuse"
            line = Sending(self._now(), hospital, link, kind, control, None, body, "", expect, (), request).line()
            self._file.write(line + "\n")
            self._file.flush()
            self.count += 1

    def _serve(self, name: str, server: Any) -> None:
        server.recorder = self
        self.addresses[name] = server.server_address[:2]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        self._stack.callback(server.server_close)
        self._stack.callback(server.shutdown)

    def _dicom(self, address: tuple[str, int]) -> None:
        entity = AE(ae_title=self._listen.ae_title)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax, AllTransferSyntaxes)
        entity.add_supported_context("1.2.840.10008.1.1")  # C-ECHO
        server = entity.start_server(address, block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        if server is not None:
            self.addresses["dicom"] = server.server_address[:2]
            self._stack.callback(server.shutdown)

    def _store(self, event: Any) -> int:
        """C-STORE: the status is the hub's."""
        host, port = self.to.dicom or ("", 0)
        sender = str(event.assoc.requestor.ae_title).strip()
        event.file_meta.SourceApplicationEntityTitle = sender
        body = _file(event)
        try:
            status = store(host, port, self.to.ae_title, [body])[0]
        except OSError:
            status = CANNOT_UNDERSTAND
        dataset = event.dataset
        fine = status == DIMSE_SUCCESS or status in DIMSE_WARNINGS
        study = str(dataset.get("StudyInstanceUID", ""))
        self.write(sender, "dicom", str(dataset.get("Modality", "")), study, body, fine, "")
        return status


def _file(event: Any) -> bytes:
    """The received data set as a PS3.10 file, its bytes as they came."""
    file = io.BytesIO()
    file.write(bytes(128) + b"DICM")
    write_file_meta_info(file, event.file_meta)
    return file.getvalue() + bytes(event.request.DataSet.getvalue())


class _MllpServer(socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address = True, True
    recorder: Recorder


class _MllpHandler(socketserver.BaseRequestHandler):
    """One connection of a sender, and one to the hub; when either breaks, both end and the sender sends again."""

    server: _MllpServer

    def handle(self) -> None:
        recorder, rest = self.server.recorder, b""
        with contextlib.suppress(OSError), Mllp(*(recorder.to.mllp or ("", 0))) as line:
            while received := self.request.recv(65536):
                rest += received
                while (end := rest.find(END)) >= 0:
                    message, rest = rest[:end].rpartition(START)[2], rest[end + len(END) :]
                    answer = line.send(message)
                    kind, control, sender = _heading(message)
                    fine = acknowledgement(answer)[0] in ("AA", "CA")
                    recorder.write(sender, "mllp", kind, control, message, fine, "")
                    self.request.sendall(START + answer + END)
                if len(rest) > MAX_MESSAGE:
                    return


def _heading(message: bytes) -> tuple[str, str, str]:
    """Event, control id and sending facility (MSH-9, 10, 4); "" for what is not there."""
    fields = [*message.partition(b"\r")[0].decode("latin-1").split(chr((message[3:4] or b"|")[0])), *[""] * 10]
    component = fields[1][:1] or "^"
    return "^".join(fields[8].split(component)[:2]), fields[9].split(component)[0], fields[3].split(component)[0]


class _HttpServer(ThreadingHTTPServer):
    recorder: Recorder
    client: httpx.Client


class _HttpHandler(BaseHTTPRequestHandler):
    """One request, forwarded. The path of the hub's address is the base of what is recorded."""

    server: _HttpServer
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        recorder = self.server.recorder
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MAX_MESSAGE or "Transfer-Encoding" in self.headers:
            self.send_error(413)
            return
        body = self.rfile.read(int(length))
        parts = urlsplit(recorder.to.http or "")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        try:
            answer = self.server.client.request(
                self.command, f"{parts.scheme}://{parts.netloc}{self.path}", content=body, headers=headers
            )
        except httpx.TransportError:
            self.send_error(502)
            return
        kind, control = _described(self.command, self.path, body)
        request = "" if _transaction(self.command, self.path) else self._request()
        recorder.write(self.client_address[0], "http", kind, control, body, answer.status_code < 300, request)
        self.send_response(answer.status_code)
        for name, value in answer.headers.multi_items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def _request(self) -> str:
        media = self.headers.get("Content-Type", "").replace(" ", "")
        return f"{self.command} {self.path.removeprefix('/fhir')} {media}".strip()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the record is the log."""

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _forward


def _transaction(method: str, path: str) -> bool:
    return method == "POST" and urlsplit(path).path.rstrip("/") in ("", "/fhir")


def _described(method: str, path: str, body: bytes) -> tuple[str, str]:
    """What is recorded as kind and control id: ``FHIR:transaction`` and the Bundle's id, or the method and type."""
    if not _transaction(method, path):
        return f"{method} {urlsplit(path).path.removeprefix('/fhir').strip('/').partition('/')[0]}", ""
    try:
        bundle = json.loads(body)
    except (ValueError, RecursionError):
        return "FHIR:", ""
    known = bundle if isinstance(bundle, dict) else {}
    return f"FHIR:{known.get('type', '')}", str(known.get("id", ""))

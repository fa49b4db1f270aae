"""The HTTP listener: uvicorn on a loop of its own, with limits on what a connection may do before it is a request."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hub.api import app
from hub.services.doors import Doors

MAX_HEADER_BYTES = 64 * 1024
HEADER_SECONDS = 20.0
KEEP_ALIVE_SECONDS = 75
MAX_CONNECTIONS = 10_000


class GuardedProtocol(HttpToolsProtocol):
    """HTTP/1.1 that ends a connection whose header is too long or comes too slowly (a slow loris)."""

    _header_bytes = 0
    _in_header = False
    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._await_header()

    def data_received(self, data: bytes) -> None:
        if self._in_header:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES + 65_536:
                self.transport.close()
                return
        super().data_received(data)
        if self._in_header and self._header_timer is None:
            self._await_header()

    def on_message_begin(self) -> None:
        self._in_header, self._header_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_header = False
        self._end_timer()
        if sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > MAX_HEADER_BYTES:
            self.transport.close()
            return
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_timer()
        super().connection_lost(exc)

    def _await_header(self) -> None:
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _end_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class HttpServer:
    """FHIR API, platform API, DICOMweb and pages on one port (``hub.listener.Listener``)."""

    name = "http"

    def __init__(self, doors: Doors, port: int | None = None) -> None:
        """``port`` instead of the setting's; 0 is any free one."""
        settings = doors.settings
        self.address: tuple[str, int] = (settings.bind, settings.http.port if port is None else port)
        self._doors = doors
        self._stop_seconds = settings.shutdown_seconds
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind, and serve in a thread. OSError when the port cannot be had."""
        config: Any = uvicorn.Config(
            app.create(self._doors),
            http=GuardedProtocol,
            ws="none",
            loop="auto",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(self._stop_seconds)),
            limit_concurrency=MAX_CONNECTIONS,
        )
        family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
        bound = socket.create_server(self.address, family=family, backlog=2048)
        self.address = bound.getsockname()[:2]
        self._socket, self._server = bound, uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([bound],), name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the exchanges under way and close."""
        if self._server is None or self._thread is None or self._socket is None:
            return
        self._server.should_exit = True
        self._thread.join(self._stop_seconds + 2)
        self._socket.close()

"""What ``hub serve`` starts besides the HTTP API: one protocol, one class."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """A network listener of an adapter, found by the entry point group ``hub.listeners``.

    An entry point names a factory ``(hub: hub.bootstrap.Hub) -> Listener``; ``hub serve`` starts it when its port is
    not 0. ``start`` returns when the port is bound (OSError when it cannot be); ``stop`` finishes the exchanges under
    way, within ``settings.shutdown_seconds``, and closes.
    """

    name: str
    address: tuple[str, int]

    def start(self) -> None: ...

    def stop(self) -> None: ...

"""Rotation of the keys of what is stored, in the background of a running hub.

``hub keys rotate`` adds a key to the file. A running hub sees that, seals what is new with it, and moves what is there
to it, a little at a time; old keys stay readable until then, and after.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from hub.errors import HubError
from hub.keyring import Keyring
from hub.store.protocol import Store
from hub.store.vault import Vault

LOOK_SECONDS = 5.0
PAUSE_SECONDS = 0.05
log = logging.getLogger("hub.keys")


class KeyService:
    """Keeps the store under the newest key of the ring."""

    def __init__(self, store: Store, keyring: Keyring, vault: Vault) -> None:
        self._store = store
        self._keyring = keyring
        self._vault = vault
        self._seen = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="keys", daemon=True)

    def start(self) -> None:
        """Start the thread that looks for new keys."""
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def state(self) -> dict[str, Any]:
        """The newest key's number (0: nothing is sealed), and how many contents are under which key."""
        return {"newest": self._vault.newest, "contents": self._store.seals()}

    def finish(self) -> int:
        """Move everything to the newest key now; how many steps it took."""
        self._vault.learn(self._keyring.load().content)
        newest = self._vault.newest
        steps, after = 1, self._store.reseal(0)
        while after is not None and not self._closing.is_set():
            steps, after = steps + 1, self._store.reseal(after)
            self._closing.wait(PAUSE_SECONDS)
        if after is None and newest == self._vault.newest:
            self._keyring.moved(newest)
        return steps

    def _stamp(self) -> int:
        return self._keyring.path.stat().st_mtime_ns if self._keyring.path.exists() else 0

    def _watch(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            try:
                if self._vault.newest and (stamp := self._stamp()) != self._seen:
                    keys = self._keyring.load()
                    if keys.moved != max(keys.content, default=0):
                        self.finish()
                    self._seen = stamp
            except HubError:
                log.exception("the store could not be moved to the newest key")

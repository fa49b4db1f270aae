"""The keys of what is stored: a file of the owner's, ``secrets/keys.json``, made at first start, added to by rotation.

Keys of the vault (``hub.store.vault``) encrypt content; the newest does, all open. Keys of the blind index
(``hub.search.blind``) hide identity numbers; the newest hides, all find. Processes that share a
database share the file.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.errors import HubError
from hub.search import blind
from hub.store import vault

ALGORITHMS = {"aes": (vault.AES, blind.SHA256), "sm": (vault.SM, blind.SM3)}
"""Setting privacy.algorithms -> cipher of content, digest of the index."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one region, by number and in the order they were made; ``moved`` is the number of the key that all
    content was last moved to."""

    content: dict[int, vault.Key]
    index: tuple[blind.Key, ...]
    moved: int


class Keyring:
    """The file of keys. HubError("configuration") when it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Keys:
        """The keys there are; none when there is no file."""
        rows = self._rows()
        try:
            return Keys(
                {int(row["number"]): vault.Key(row["cipher"], bytes.fromhex(row["secret"])) for row in rows["content"]},
                tuple(blind.Key(row["digest"], bytes.fromhex(row["secret"])) for row in rows["index"]),
                int(rows.get("moved", 0)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise HubError("configuration", f"{self.path} is damaged ({error}); restore it", str(self.path)) from None

    def begin(self, algorithms: str) -> Keys:
        """The keys, the first made if there are none."""
        return self.load() if self.path.exists() else self.rotate(algorithms, index=True)

    def rotate(self, algorithms: str, *, index: bool = False) -> Keys:
        """A new key for content, and one for the index if asked; what was there stays."""
        rows = self._rows()
        cipher, digest = ALGORITHMS[algorithms]
        number = max((row["number"] for row in rows["content"]), default=0) + 1
        rows["content"].append({"number": number, "cipher": cipher, "secret": secrets.token_hex(32)})
        if index:
            rows["index"].append({"digest": digest, "secret": secrets.token_hex(32)})
        self._write(rows)
        return self.load()

    def moved(self, number: int) -> None:
        """Note that all content is under this key."""
        self._write({**self._rows(), "moved": number})

    def _write(self, rows: dict[str, Any]) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        fresh.replace(self.path)

    def _rows(self) -> dict[str, Any]:
        if not self.path.exists():
            return {"content": [], "index": []}
        try:
            rows: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise HubError("configuration", f"{self.path} cannot be read ({error})", str(self.path)) from None
        return rows

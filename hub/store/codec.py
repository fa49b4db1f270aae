"""How text lies in a store: plain, zstd, or zstd with a shared dictionary; then sealed (``hub.store.vault``).

Resources are short and alike, so a dictionary of what they have in common is worth more than the compressor itself
(``docs/performance.md``). The dictionary a file was made with is kept in that file: a backup can be read by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

import zstandard

from hub.store.vault import Vault

PLAIN = 0
ZSTD = 1
FHIR = 2
LEVEL = 3
SHORT = 64
KEY_STEP = 256
"""A stored code is the codec plus this for each number of the key it is sealed with."""


def dictionaries() -> dict[int, bytes]:
    """Number -> content of the dictionaries that new files get."""
    return {FHIR: files("hub.store").joinpath("fhir.dictionary").read_bytes()}


class Codec:
    """Packs and unpacks; one for each thread, zstd contexts are not to be shared."""

    def __init__(self, dictionaries: Mapping[int, bytes], vault: Vault | None = None) -> None:
        self._vault = vault or Vault()
        shared = {number: zstandard.ZstdCompressionDict(content) for number, content in dictionaries.items()}
        self._pack = {number: zstandard.ZstdCompressor(LEVEL, dict_data=data) for number, data in shared.items()}
        self._pack[ZSTD] = zstandard.ZstdCompressor(LEVEL)
        self._unpack = {number: zstandard.ZstdDecompressor(dict_data=data) for number, data in shared.items()}
        self._unpack[ZSTD] = zstandard.ZstdDecompressor()
        self._newest = max(self._pack)

    def pack(self, data: bytes, *, resource: bool = True, short: int = SHORT) -> tuple[int, bytes]:
        """(stored code, stored bytes); data up to ``short`` bytes is left to the database to compress,
        unless it is sealed, which nobody can compress any more."""
        codec = self._newest if resource else ZSTD
        least = SHORT if self._vault.newest else short
        packed = self._pack[codec].compress(data) if len(data) > least else data
        if len(packed) >= len(data):
            codec, packed = PLAIN, data
        key, packed = self._vault.seal(packed)
        return codec + KEY_STEP * key, packed

    def unpack(self, code: int, data: bytes) -> bytes:
        """The bytes as they were. HubError("configuration") when they cannot be opened."""
        key, codec = divmod(code, KEY_STEP)
        packed = self._vault.open(key, data)
        return packed if codec == PLAIN else self._unpack[codec].decompress(packed)

    @property
    def newest_key(self) -> int:
        """The number of the key that content is sealed with now."""
        return self._vault.newest

    def reseal(self, code: int, data: bytes) -> tuple[int, bytes]:
        """The same content under the newest key."""
        key, codec = divmod(code, KEY_STEP)
        key, packed = self._vault.seal(self._vault.open(key, data))
        return codec + KEY_STEP * key, packed

    def pack_facts(self, facts: bytes) -> str | bytes:
        """JSON facts of a queue's row: as they are, or the key's number in 4 bytes and what is sealed."""
        key, sealed = self._vault.seal(facts)
        return key.to_bytes(4, "big") + sealed if key else facts.decode()

    def unpack_facts(self, stored: str | bytes) -> str | bytes:
        """JSON facts."""
        if isinstance(stored, str):
            return stored
        return self._vault.open(int.from_bytes(stored[:4], "big"), stored[4:])

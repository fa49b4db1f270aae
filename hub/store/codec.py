"""How text lies in the embedded store: plain, zstd, or zstd with a shared dictionary.

Resources are short and alike, so a dictionary of what they have in common is worth more than the compressor itself
(``docs/performance.md``). The dictionary a file was made with is kept in that file: a backup can be read by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

import zstandard

PLAIN = 0
ZSTD = 1
FHIR = 2
LEVEL = 3
SHORT = 64


def dictionaries() -> dict[int, bytes]:
    """Number -> content of the dictionaries that new files get."""
    return {FHIR: files("hub.store").joinpath("fhir.dictionary").read_bytes()}


class Codec:
    """Packs and unpacks; one for each thread, zstd contexts are not to be shared."""

    def __init__(self, dictionaries: Mapping[int, bytes]) -> None:
        shared = {number: zstandard.ZstdCompressionDict(content) for number, content in dictionaries.items()}
        self._pack = {number: zstandard.ZstdCompressor(LEVEL, dict_data=data) for number, data in shared.items()}
        self._pack[ZSTD] = zstandard.ZstdCompressor(LEVEL)
        self._unpack = {number: zstandard.ZstdDecompressor(dict_data=data) for number, data in shared.items()}
        self._unpack[ZSTD] = zstandard.ZstdDecompressor()
        self._newest = max(self._pack)

    def pack(self, data: bytes, *, resource: bool = True) -> tuple[int, bytes]:
        """(codec, stored bytes)."""
        codec = self._newest if resource else ZSTD
        packed = self._pack[codec].compress(data) if len(data) > SHORT else data
        return (codec, packed) if len(packed) < len(data) else (PLAIN, data)

    def unpack(self, codec: int, data: bytes) -> bytes:
        """The bytes as they were."""
        return data if codec == PLAIN else self._unpack[codec].decompress(data)

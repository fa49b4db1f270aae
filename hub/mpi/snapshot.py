"""The memory index on disk, so that a start does not compile every Patient again. Encrypted: it holds identities.

The file is a header (MessagePack) and the arrays, in chunks of AES-256-GCM, each bound to its place. It is only a copy:
one that is damaged, of other rules or of another database is not used.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hub.mpi.index import Index, Segment

FORMAT = 1
CHUNK = 16 * 1024 * 1024
NONCE, TAG = 12, 16
log = logging.getLogger("hub.mpi")


class Snapshot:
    """One file and the key (32 bytes) that it is encrypted with."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._aead = AESGCM(key)

    def save(self, rules: str, seq: int, mark: str, indexes: dict[str, Index]) -> None:
        """Replace the file: the indexes as of change ``seq``, which ``mark`` describes."""
        packed = {name: index.pack() for name, index in indexes.items()}
        sizes = {name: (len(records), len(segment.keys)) for name, (records, segment) in packed.items()}
        header = {"format": FORMAT, "rules": rules, "seq": seq, "mark": mark, "sizes": sizes}
        partial = self._path.with_suffix(".new")
        partial.touch(mode=0o600)
        with partial.open("wb") as file:
            self._write(file, "header", msgspec.msgpack.encode(header))
            for name, (records, segment) in packed.items():
                self._write(file, f"{name} keys", segment.keys.tobytes())
                self._write(file, f"{name} slots", segment.slots.tobytes())
                self._write(file, f"{name} lengths", np.array([len(record) for record in records], np.uint32).tobytes())
                self._write(file, f"{name} records", b"".join(records))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)

    def load(self, rules: str, names: tuple[str, ...]) -> tuple[int, str, dict[str, Index]]:
        """Change number, its mark, and the indexes; 0, "" and empty ones when there is no file that can be used."""
        empty = 0, "", {name: Index() for name in names}
        if not self._path.exists():
            return empty
        try:
            with self._path.open("rb") as file:
                header: dict[str, Any] = msgspec.msgpack.decode(self._read(file, "header"))
                if (header["format"], header["rules"]) != (FORMAT, rules):
                    return empty
                return header["seq"], header["mark"], {name: self._index(file, name) for name in header["sizes"]}
        except (InvalidTag, ValueError, KeyError, OSError, msgspec.DecodeError) as error:
            log.warning("%s is not used (%s): the master patient index is built again", self._path, error)
            return empty

    def _index(self, file: IO[bytes], name: str) -> Index:
        keys = np.frombuffer(self._read(file, f"{name} keys"), np.uint64)
        slots = np.frombuffer(self._read(file, f"{name} slots"), np.uint32)
        lengths = np.frombuffer(self._read(file, f"{name} lengths"), np.uint32)
        return Index(list(_split(self._read(file, f"{name} records"), lengths.tolist())), Segment(keys, slots))

    def _write(self, file: IO[bytes], name: str, data: bytes) -> None:
        whole = memoryview(data)
        file.write(len(data).to_bytes(8, "big"))
        for start in range(0, len(data), CHUNK):
            nonce = os.urandom(NONCE)
            file.write(nonce + self._aead.encrypt(nonce, whole[start : start + CHUNK], f"{name} {start}".encode()))

    def _read(self, file: IO[bytes], name: str) -> bytes:
        length = int.from_bytes(file.read(8), "big")
        parts = []
        for start in range(0, length, CHUNK):
            nonce = file.read(NONCE)
            sealed = file.read(min(CHUNK, length - start) + TAG)
            parts.append(self._aead.decrypt(nonce, sealed, f"{name} {start}".encode()))
        return b"".join(parts)


def _split(data: bytes, lengths: list[int]) -> Iterator[bytes]:
    start = 0
    for length in lengths:
        yield data[start : start + length]
        start += length

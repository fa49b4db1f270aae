"""Content-addressed files: DICOM Part 10 files, attachments, large raw messages.

A blob's name is the SHA-256 of its bytes and nothing a sender said, so that no name can point elsewhere. It is written
beside its place, flushed to disk, renamed, and its directory flushed: when ``put`` returns it survives a power failure,
and nobody ever sees half a file.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path
from typing import BinaryIO

from hub.errors import HubError

CHUNK = 1 << 20
ABANDONED = 86_400
DIGEST = re.compile(r"[0-9a-f]{64}")


class FileBlobs:
    """Blobs in a directory, in 256 folders by the digest's first byte."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        if not self._incoming.is_dir():
            for number in range(256):
                (root / f"{number:02x}").mkdir(parents=True, exist_ok=True)
            self._incoming.mkdir()
            for folder in (root, root.parent):
                _flush(folder)
        for half in self._incoming.iterdir():
            if half.stat().st_mtime < time.time() - ABANDONED:  # of a process that died; others may be at work
                half.unlink(missing_ok=True)

    def put(self, data: bytes | BinaryIO, max_bytes: int | None = None) -> str:
        """Store durably; the SHA-256 in hex.

        Raises HubError("too-long") when there are more than ``max_bytes``, HubError("no-store") when the disk does
        not take them; nothing is kept then.
        """
        try:
            if isinstance(data, bytes):
                return self._put_bytes(data, max_bytes)
            return self._put_stream(data, max_bytes)
        except OSError as error:
            raise HubError("no-store", f"the disk does not take the data ({error}); send again") from error

    def _put_bytes(self, data: bytes, max_bytes: int | None) -> str:
        _limit(len(data), max_bytes)
        name = hashlib.sha256(data).hexdigest()
        if self._path(name).exists():
            _flush(self._path(name).parent)  # another thread may have put it there this moment
            return name
        with self._new_file() as file:
            file.write(data)
            self._place(file, name)
        return name

    def _put_stream(self, source: BinaryIO, max_bytes: int | None) -> str:
        digest, length = hashlib.sha256(), 0
        with self._new_file() as file:
            while chunk := source.read(CHUNK):
                length += len(chunk)
                _limit(length, max_bytes)
                digest.update(chunk)
                file.write(chunk)
            self._place(file, digest.hexdigest())
        return digest.hexdigest()

    @contextmanager
    def _new_file(self) -> Iterator[BufferedWriter]:
        """A file of a name of its own, gone at the end unless it was placed."""
        path = self._incoming / uuid.uuid4().hex
        try:
            with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                yield file
        finally:
            path.unlink(missing_ok=True)

    def _place(self, file: BufferedWriter, name: str) -> None:
        """Flush the file, give it its name, flush the name."""
        file.flush()
        os.fdatasync(file.fileno())
        path = self._path(name)
        Path(str(file.name)).rename(path)
        _flush(path.parent)

    def get(self, digest: str) -> bytes:
        """The bytes. HubError("not-found") if there are none."""
        with self.open(digest) as file:
            return file.read()

    def open(self, digest: str) -> BinaryIO:
        """A readable, seekable file. HubError("not-found") if there is none."""
        try:
            return self._path(digest).open("rb")
        except FileNotFoundError:
            raise HubError("not-found", f"there is no content {digest}") from None

    def size(self, digest: str) -> int | None:
        """Length in bytes, None if absent."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def _path(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):
            raise HubError("not-found", "there is no such content: its name is a SHA-256 in lower-case hex")
        return self._root / digest[:2] / digest


def _limit(length: int, max_bytes: int | None) -> None:
    if max_bytes is not None and length > max_bytes:
        raise HubError("too-long", f"the content is longer than {max_bytes} bytes")


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

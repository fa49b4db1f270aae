"""Content-addressed files: DICOM Part 10 files, attachments, large raw messages.

A blob's name is the SHA-256 of its bytes and nothing a sender said, so that no name can point elsewhere. It is written
beside its place, flushed to disk, renamed, and its directory flushed: when ``put`` returns it survives a power failure,
and nobody ever sees half a file.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

from hub.errors import HubError

CHUNK = 1 << 20
ABANDONED = 86_400
DIGEST = re.compile(r"[0-9a-f]{64}")


class FileBlobs:
    """Blobs in a directory, fanned out over two levels by the digest's first bytes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        for half in self._incoming.iterdir():
            if half.stat().st_mtime < time.time() - ABANDONED:  # of a process that died; others may be at work
                half.unlink(missing_ok=True)

    def put(self, data: bytes | BinaryIO, max_bytes: int | None = None) -> str:
        """Store durably; the SHA-256 in hex.

        Raises HubError("too-long") when there are more than ``max_bytes``, HubError("no-store") when the disk does
        not take them; nothing is kept then.
        """
        try:
            return self._put(io.BytesIO(data) if isinstance(data, bytes) else data, max_bytes)
        except OSError as error:
            raise HubError("no-store", f"the disk does not take the data ({error}); send again") from error

    def _put(self, source: BinaryIO, max_bytes: int | None) -> str:
        digest, length = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=self._incoming, delete=False) as file:
            try:
                while chunk := source.read(CHUNK):
                    length += len(chunk)
                    if max_bytes is not None and length > max_bytes:
                        raise HubError("too-long", f"the content is longer than {max_bytes} bytes")
                    digest.update(chunk)
                    file.write(chunk)
                name = digest.hexdigest()
                if not self._path(name).exists():
                    file.flush()
                    os.fsync(file.fileno())
                    self._place(Path(file.name), name)
            finally:
                Path(file.name).unlink(missing_ok=True)
        return name

    def _place(self, file: Path, name: str) -> None:
        """Rename and make every new directory entry durable."""
        path = self._path(name)
        made = [folder for folder in (path.parent.parent, path.parent) if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        file.chmod(0o600)
        file.rename(path)
        for folder in {path.parent, *(folder.parent for folder in made)}:
            _flush(folder)

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
        return self._root / digest[:2] / digest[2:4] / digest


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

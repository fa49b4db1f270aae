"""Pack files: many images one behind the other in files that only grow, durable with one flush for all who wait.

A record is its head (magic, length of the facts, length of the content, CRC-32 of the facts, SHA-256 of the content),
the facts of whoever stores it, and the content. Whatever stands in a pack and is not yet in an index can be found
again: a pack bears the suffix ``.open`` until all that it holds is indexed, and what a process left open is read at
the next start. So ``put`` is the one flush that an acknowledgement waits for, and the index may follow.

A head is written before the place behind it is given away, and a flush covers all that was written before it: whatever
breaks off, the heads lead past it to the records that are whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import threading
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct

from hub.errors import HubError

MAX_BYTES, MAX_RECORDS = 256 << 20, 20_000
"""A pack is full at this length or number of records."""
OPEN = ".open"
_HEAD = Struct("<4sLQL32s")
_MAGIC = b"HPK1"

log = logging.getLogger("hub.store")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a content is: the pack's name, offset and length in bytes."""

    pack: str
    offset: int
    length: int


@dataclass(slots=True)
class _Pack:
    """The pack that is being written; ``written`` and ``flushed`` count records, ``end`` bytes."""

    name: str
    file: int
    end: int = 0
    given: int = 0
    indexed: int = 0
    full: bool = False
    broken: bool = False
    flushing: bool = False
    written: int = 0
    flushed: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)


class Packs:
    """Packs in a directory. A process writes one at a time; any number may read."""

    def __init__(self, root: Path, max_bytes: int = MAX_BYTES) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._writing: _Pack | None = None
        self._unindexed: dict[str, _Pack] = {}
        if not root.is_dir():
            root.mkdir(parents=True)
            _flush(root.parent)

    # --- writing ------------------------------------------------------------------------------------------------------

    def put(self, facts: bytes, content: Sequence[bytes], digest: bytes) -> Place:
        """Store durably; ``digest`` is the SHA-256 of the content's parts together.

        HubError("no-store") when the disk does not take it: it is not stored then.
        """
        length = sum(map(len, content))
        head = _HEAD.pack(_MAGIC, len(facts), length, zlib.crc32(facts), digest)
        try:
            with self._lock:
                pack, start = self._next(len(head) + len(facts) + length)
                _write(pack.file, [head, facts], start)
            offset = start + len(head) + len(facts)
            _write(pack.file, content, offset)
            self._sync(pack)
        except OSError as error:
            raise HubError("no-store", f"the disk does not take the data ({error}); send again") from error
        return Place(pack.name, offset, length)

    def _next(self, length: int) -> tuple[_Pack, int]:
        """A pack with room, and the offset that is now taken."""
        pack = self._writing
        if pack is None or pack.full or pack.broken:
            pack = self._writing = self._new()
        start = pack.end
        pack.end += length
        pack.given += 1
        pack.full = pack.end >= self._max_bytes or pack.given >= MAX_RECORDS
        return pack, start

    def _new(self) -> _Pack:
        name = uuid.uuid4().hex
        file = os.open(self._root / (name + OPEN), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        _flush(self._root)
        pack = self._unindexed[name] = _Pack(name, file)
        return pack

    def _sync(self, pack: _Pack) -> None:
        """Wait for a flush that began after one's own write: the first who waits flushes for all."""
        with pack.changed:
            pack.written += 1
            mine = pack.written
            while pack.flushing and pack.flushed < mine and not pack.broken:
                pack.changed.wait()
            if pack.flushed >= mine:
                return
            if pack.broken:  # after a flush that failed nobody knows what is on disk
                raise OSError("an earlier flush of this pack failed")
            pack.flushing, covered = True, pack.written
        try:
            os.fdatasync(pack.file)
        except OSError:
            pack.broken = True
            raise
        finally:
            with pack.changed:
                pack.flushing = False
                if not pack.broken:
                    pack.flushed = max(pack.flushed, covered)
                pack.changed.notify_all()

    def indexed(self, place: Place) -> None:
        """Say that the content at ``place`` can be found by an index on disk."""
        with self._lock:
            pack = self._unindexed.get(place.pack)
            if pack is None:
                return
            pack.indexed += 1
            if pack.full and pack.indexed == pack.given:
                self._finish(pack)

    def _finish(self, pack: _Pack) -> None:
        """Everything in it is indexed, and nothing more will come."""
        del self._unindexed[pack.name]
        if self._writing is pack:
            self._writing = None
        (self._root / (pack.name + OPEN)).rename(self._root / pack.name)
        os.close(pack.file)

    def close(self) -> None:
        """Let go of the files; a pack that is all indexed needs no reading at the next start."""
        with self._lock:
            for pack in list(self._unindexed.values()):
                if pack.indexed == pack.given:
                    self._finish(pack)
                else:
                    os.close(pack.file)
            self._unindexed.clear()
            self._writing = None

    # --- what a process left unindexed --------------------------------------------------------------------------------

    def left(self) -> Iterator[tuple[Place, bytes, bytes]]:
        """Place, facts and digest of each whole record in the packs that no living process writes.

        A pack is taken over: it is finished as soon as ``indexed`` was called for all its records.
        """
        for path in sorted(self._root.glob("*" + OPEN)):
            file = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue
            pack = _Pack(path.name.removesuffix(OPEN), file, full=True)
            records = list(_records(pack.name, file))
            with self._lock:
                self._unindexed[pack.name] = pack
                pack.given = len(records)
                if not records:
                    self._finish(pack)
            yield from records

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, place: Place, offset: int = 0, length: int | None = None) -> bytes:
        """The content, or ``length`` bytes of it from ``offset``. HubError("not-found") if it is not there."""
        length = place.length - offset if length is None else max(0, min(length, place.length - offset))
        parts, at, end = [], place.offset + offset, place.offset + offset + length
        with self._file(place.pack, os.O_RDONLY) as file:
            while at < end:
                piece = os.pread(file, end - at, at)
                if not piece:
                    raise HubError("not-found", f"pack {place.pack} ends before byte {end}")
                parts.append(piece)
                at += len(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def holds(self, place: Place, digest: bytes) -> bool:
        """Whether the content is there and is what it was."""
        try:
            return hashlib.sha256(self.read(place)).digest() == digest
        except HubError:
            return False

    def erase(self, place: Place) -> None:
        """Overwrite the content with zeros, durably."""
        zeros = bytes(1 << 20)
        with self._file(place.pack, os.O_RDWR) as file:
            for at in range(0, place.length, len(zeros)):
                _write(file, [zeros[: place.length - at]], place.offset + at)
            os.fdatasync(file)

    @contextmanager
    def _file(self, name: str, flags: int) -> Iterator[int]:
        for path in (self._root / name, self._root / (name + OPEN), self._root / name):  # it may be renamed just now
            try:
                file = os.open(path, flags)
            except FileNotFoundError:
                continue
            try:
                yield file
            finally:
                os.close(file)
            return
        raise HubError("not-found", f"there is no pack {name}")


def _records(name: str, file: int) -> Iterator[tuple[Place, bytes, bytes]]:
    """The whole records of a pack, in order."""
    at, size = 0, os.fstat(file).st_size
    while at + _HEAD.size <= size:
        magic, facts_length, length, check, digest = _HEAD.unpack(os.pread(file, _HEAD.size, at))
        if magic != _MAGIC:
            log.error("pack %s: no record at byte %d", name, at)
            return
        place = Place(name, at + _HEAD.size + facts_length, length)
        at = place.offset + length
        facts = os.pread(file, facts_length, place.offset - facts_length)
        whole = at <= size and zlib.crc32(facts) == check
        if not whole or hashlib.sha256(os.pread(file, length, place.offset)).digest() != digest:
            log.warning("pack %s: the record before byte %d was never finished", name, at)
            continue
        yield place, facts, digest


def _write(file: int, parts: Sequence[bytes], offset: int) -> None:
    """Write all parts from ``offset`` on."""
    rest = [memoryview(part) for part in parts if len(part)]
    while rest:
        written = os.pwritev(file, rest, offset)
        offset += written
        while rest and written >= len(rest[0]):
            written -= len(rest.pop(0))
        if rest:
            rest[0] = rest[0][written:]


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Content-addressed blobs."""

from __future__ import annotations

import hashlib
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hub.errors import HubError
from hub.store.blobs import CHUNK, FileBlobs


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "blobs")


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("length", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_bytes_and_streams_come_back(blobs: FileBlobs, tmp_path: Path, length: int) -> None:
    data = os.urandom(length)
    digest = hashlib.sha256(data).hexdigest()
    assert blobs.put(data) == blobs.put(io.BytesIO(data)) == digest
    assert blobs.get(digest) == data and blobs.size(digest) == length
    with blobs.open(digest) as file:
        file.seek(length // 2)
        assert file.read() == data[length // 2 :]
    (path,) = files(tmp_path)
    assert path.relative_to(tmp_path / "blobs").parts == (digest[:2], digest)
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["0" * 64, "../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 64 + "\n", "..", "a/b"])
def test_what_is_not_there_is_not_found(blobs: FileBlobs, name: str) -> None:
    for ask in (blobs.get, blobs.open):
        with pytest.raises(HubError) as raised:
            ask(name)
        assert raised.value.name == "not-found"


def test_size_of_what_is_not_there(blobs: FileBlobs) -> None:
    assert blobs.size("0" * 64) is None


def test_too_much_leaves_nothing(blobs: FileBlobs, tmp_path: Path) -> None:
    blobs.put(b"x" * 10, max_bytes=10)
    before = files(tmp_path)
    for data in (b"x" * 11, io.BytesIO(b"x" * (2 * CHUNK))):
        with pytest.raises(HubError) as raised:
            blobs.put(data, max_bytes=10)
        assert raised.value.name == "too-long"
    assert files(tmp_path) == before


def test_a_source_that_fails_leaves_nothing(blobs: FileBlobs, tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("gone")

    with pytest.raises(HubError) as raised:
        blobs.put(Broken())
    assert raised.value.name == "no-store" and files(tmp_path) == []


def test_many_at_once(blobs: FileBlobs, tmp_path: Path) -> None:
    contents = [str(number % 5).encode() * 100_000 for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(blobs.put, contents))
    assert [blobs.get(digest) for digest in digests] == contents
    assert len(files(tmp_path)) == 5


def test_half_a_file_of_a_crash_is_cleared(tmp_path: Path) -> None:
    FileBlobs(tmp_path)
    for name, age in (("old", 90_000), ("new", 0)):
        half = tmp_path / "incoming" / name
        half.write_bytes(b"half")
        os.utime(half, (time.time() - age, time.time() - age))
    FileBlobs(tmp_path)
    assert [path.name for path in files(tmp_path)] == ["new"]

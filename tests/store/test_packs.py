"""Pack files: what was put is there, whatever broke off."""

from __future__ import annotations

import hashlib
import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hub.errors import HubError
from hub.store.packs import Packs, Place


def put(packs: Packs, content: bytes, facts: bytes = b"{}") -> Place:
    return packs.put(facts, (content[:3], content[3:]), hashlib.sha256(content).digest())


def test_content_comes_back_whole_and_in_part(tmp_path: Path) -> None:
    packs = Packs(tmp_path / "packs")
    places = {content: put(packs, content) for content in (b"abcdefgh", b"", b"x" * 100_000)}
    for content, place in places.items():
        assert packs.read(place) == content
        assert packs.holds(place, hashlib.sha256(content).digest())
    assert packs.read(places[b"abcdefgh"], 2, 3) == b"cde" and packs.read(places[b"abcdefgh"], 6, 99) == b"gh"
    with pytest.raises(HubError, match="not-found"):
        packs.read(Place("0" * 32, 0, 1))


def test_many_at_once_share_a_pack(tmp_path: Path) -> None:
    packs = Packs(tmp_path)
    contents = [os.urandom(random.Random(n).randrange(50_000)) for n in range(64)]
    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(lambda content: put(packs, content), contents))
    assert [packs.read(place) for place in places] == contents
    assert len({place.pack for place in places}) == 1


def test_what_was_not_indexed_is_found_at_the_next_start(tmp_path: Path) -> None:
    packs = Packs(tmp_path)
    first, second = put(packs, b"first", b"1"), put(packs, b"second", b"2")
    packs.indexed(first)
    assert list(Packs(tmp_path).left()) == []  # a living process writes it
    packs.close()
    later = Packs(tmp_path)
    left = list(later.left())
    assert [(place, facts) for place, facts, _ in left] == [(first, b"1"), (second, b"2")]
    for place, _, _ in left:
        later.indexed(place)
    assert [path.suffix for path in tmp_path.iterdir()] == [""]
    assert later.read(second) == b"second" and list(Packs(tmp_path).left()) == []


def test_a_pack_that_is_full_and_indexed_is_finished(tmp_path: Path) -> None:
    packs = Packs(tmp_path, max_bytes=100)
    places = [put(packs, b"x" * 200) for _ in range(3)]
    assert len({place.pack for place in places}) == 3
    for place in places:
        packs.indexed(place)
    assert [path.suffix for path in tmp_path.iterdir()] == ["", "", ""]
    assert packs.read(places[0]) == b"x" * 200


@pytest.mark.parametrize("cut", ["content", "facts", "end"])
def test_a_record_that_was_never_finished_hides_no_other(tmp_path: Path, cut: str) -> None:
    packs = Packs(tmp_path)
    broken, whole = put(packs, b"broken", b"facts"), put(packs, b"whole", b"facts")
    packs.close()
    path = tmp_path / f"{whole.pack}.open"
    raw = bytearray(path.read_bytes())
    if cut == "end":
        path.write_bytes(raw[:-1])
    else:
        raw[broken.offset - (cut == "facts")] ^= 1
        path.write_bytes(raw)
    left = [place for place, _, _ in Packs(tmp_path).left()]
    assert left == ([broken] if cut == "end" else [whole])


def test_a_disk_that_fails_is_an_error_and_another_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packs = Packs(tmp_path)
    before = put(packs, b"before")

    def fail(file: int) -> None:
        raise OSError("disk")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        with pytest.raises(HubError, match="no-store"):
            put(packs, b"lost")
    assert put(packs, b"after").pack != before.pack


def test_what_is_erased_is_gone(tmp_path: Path) -> None:
    packs = Packs(tmp_path)
    place = put(packs, b"secret")
    packs.erase(place)
    assert packs.read(place) == bytes(6) and not packs.holds(place, hashlib.sha256(b"secret").digest())

"""64-bit keys to records, in the memory of one process: sorted arrays and a small delta.

What is added goes to a dictionary; when that is large enough it becomes a sorted array, and arrays of like size are
merged (a log-structured merge tree without a disk: the database is the truth, this can be built again). A key costs 12
bytes. One thread writes; any number may look things up meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

DELTA = 100_000
"""Keys in the dictionary before they become an array."""
GROWTH = 4
"""A new array is merged with the one before it unless that is this many times larger."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Keys in order, and the number of the record that each belongs to."""

    keys: NDArray[np.uint64]
    slots: NDArray[np.uint32]

    @classmethod
    def of(cls, keys: Any, slots: Any) -> Segment:
        """A segment of pairs in any order; a pair that comes twice in a row is kept once."""
        keys, slots = np.asarray(keys, np.uint64), np.asarray(slots, np.uint32)
        order = keys.argsort(kind="stable")
        keys, slots = keys[order], slots[order]
        fresh = np.ones(len(keys), bool)
        fresh[1:] = (keys[1:] != keys[:-1]) | (slots[1:] != slots[:-1])
        return cls(keys[fresh], slots[fresh])


class Index:
    """Records (bytes) found by keys. The number of a record is its slot; a removed record is empty."""

    def __init__(self, records: list[bytes] | None = None, segment: Segment | None = None) -> None:
        self.records = [] if records is None else records
        self._segments: tuple[Segment, ...] = () if segment is None else (segment,)
        self._delta: dict[int, list[int]] = {}
        self._pending = 0
        self._removed: set[int] = set()
        self._lock = threading.Lock()
        self._merging: threading.Thread | None = None

    def add(self, record: bytes, keys: Iterable[int]) -> int:
        """Add a record under keys; its slot."""
        slot = len(self.records)
        self.records.append(record)
        self.extend(slot, keys)
        return slot

    def extend(self, slot: int, keys: Iterable[int]) -> None:
        """Let a record be found by further keys."""
        for key in keys:
            self._delta.setdefault(key, []).append(slot)
            self._pending += 1
        if self._pending >= DELTA:
            self._settle()

    def take(self, segment: Segment) -> None:
        """Add keys in bulk; the slots are of records that were appended."""
        with self._lock:
            self._segments = (*self._segments, segment)

    def remove(self, slot: int) -> None:
        """Forget a record; its keys go with the next merge."""
        self.records[slot] = b""
        self._removed.add(slot)

    def find(self, keys: Sequence[int], limit: int) -> set[int]:
        """The slots under any of the keys; a key with ``limit`` and more says nothing and is left out."""
        recent = [self._delta.get(key, ()) for key in keys]
        sizes = list(map(len, recent))
        spans = []
        asked = np.array(keys, np.uint64)
        for segment in self._segments:
            start, stop = segment.keys.searchsorted(asked), segment.keys.searchsorted(asked, "right")
            for place in (stop - start).nonzero()[0].tolist():
                first, end = int(start[place]), int(stop[place])
                sizes[place] += end - first
                spans.append((place, segment.slots, first, end))
        found = {slot for size, slots in zip(sizes, recent, strict=True) if size < limit for slot in slots}
        for place, slots, first, end in spans:
            if sizes[place] < limit:
                found.update(slots[first:end].tolist())
        return found

    def size(self, key: int) -> int:
        """How many records a key has."""
        asked = np.array([key], np.uint64)
        return len(self._delta.get(key, ())) + sum(
            int(segment.keys.searchsorted(asked, "right")[0] - segment.keys.searchsorted(asked)[0])
            for segment in self._segments
        )

    def pack(self) -> tuple[list[bytes], Segment]:
        """Records without the removed ones and all keys, as a snapshot holds them."""
        alive = [slot for slot, record in enumerate(self.records) if record]
        number = np.full(len(self.records), len(alive), np.uint32)
        number[alive] = np.arange(len(alive), dtype=np.uint32)
        whole = _merged([*self._segments, _segment(self._delta)])
        slots = number[whole.slots] if len(whole.slots) else whole.slots
        kept = slots < len(alive)
        return [self.records[slot] for slot in alive], Segment(whole.keys[kept], slots[kept])

    def _settle(self) -> None:
        """Make the dictionary an array; readers find all keys at any time, some twice."""
        with self._lock:
            self._segments = (*self._segments, _segment(self._delta))
        self._delta, self._pending = {}, 0
        if self._unequal() and not (self._merging and self._merging.is_alive()):
            self._merging = threading.Thread(target=self._merge, name="mpi-index", daemon=True)
            self._merging.start()

    def _unequal(self) -> bool:
        return any(len(one.keys) < GROWTH * len(next.keys) for one, next in pairwise(self._segments))

    def _merge(self) -> None:
        """Make neighbours of like size one, beside the thread that writes: numpy lets it run."""
        while self._unequal():
            segments = self._segments
            place = next(n for n, (a, b) in enumerate(pairwise(segments)) if len(a.keys) < GROWTH * len(b.keys))
            one = self._without_removed(_merged(segments[place : place + 2]))
            with self._lock:
                self._segments = (*self._segments[:place], one, *self._segments[place + 2 :])

    def _without_removed(self, segment: Segment) -> Segment:
        alive = np.ones(len(self.records), bool)
        alive[list(self._removed)] = False
        kept = alive[segment.slots]
        return Segment(segment.keys[kept], segment.slots[kept])


def _segment(delta: dict[int, list[int]]) -> Segment:
    pairs = [(key, slot) for key, slots in delta.items() for slot in slots]
    return Segment.of([key for key, _ in pairs], [slot for _, slot in pairs])


def _merged(segments: Sequence[Segment]) -> Segment:
    return Segment.of(
        np.concatenate([segment.keys for segment in segments]), np.concatenate([segment.slots for segment in segments])
    )

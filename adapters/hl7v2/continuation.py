"""Long answers in pieces: the continuation pointer of DSC (HL7 v2.5.1 2.10.2.1, 5.6.3; ITI-21 3.21.4.1.3.4)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hub.errors import HubError

MAX_OPEN = 256
"""More open answers than this end the one that was looked at longest ago."""
SECONDS = 900
Group = Callable[[], list[str]]
"""The segments of one piece of an answer, made when they are sent."""


@dataclass(slots=True)
class _Open:
    sender: str
    tag: str
    groups: Sequence[Group]
    until: int


@dataclass(frozen=True, slots=True)
class Page:
    """A part of an answer: its groups, how many there are in all and after it, and DSC-1 ("" at the end)."""

    groups: Sequence[Group]
    total: int
    remaining: int
    pointer: str = ""


class Continuations:
    """The answers that were not sent to their end. ``clock`` gives microseconds since 1970 UTC."""

    def __init__(self, clock: Callable[[], int], new_id: Callable[[], str]) -> None:
        self._clock = clock
        self._new_id = new_id
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, sender: str, tag: str, groups: Sequence[Group], count: int) -> Page:
        """The first ``count`` groups (0: all)."""
        if not count or len(groups) <= count:
            return Page(groups, len(groups), 0)
        id = self._new_id().replace("-", "")[:24]
        with self._lock:
            self._open[id] = _Open(sender, tag, groups, self._clock() + SECONDS * 1_000_000)
            while len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
        return Page(groups[:count], len(groups), len(groups) - count, f"{id}.{count}")

    def go_on(self, sender: str, tag: str, pointer: str, count: int) -> Page:
        """The groups from a pointer on; the same pointer gives the same again. HubError("expired")."""
        id, _, place = pointer.partition(".")
        with self._lock:
            known = self._open.get(id)
            if known is not None:
                self._open.move_to_end(id)
        if known is None or (known.sender, known.tag) != (sender, tag) or known.until < self._clock():
            raise HubError("expired", "this continuation pointer is not open any more; ask again", "DSC[1]-1")
        if not (place.isascii() and place.isdigit() and 0 < int(place[:9]) < len(known.groups)):
            raise HubError("value", "this is no continuation pointer of ours", "DSC[1]-1")
        start = int(place)
        end = min(len(known.groups), start + count) if count else len(known.groups)
        left = len(known.groups) - end
        return Page(known.groups[start:end], len(known.groups), left, f"{id}.{end}" if left else "")

    def cancel(self, sender: str, tag: str) -> None:
        """Forget the answers to a sender's query (QCN^J01)."""
        with self._lock:
            for id in [id for id, one in self._open.items() if (one.sender, one.tag) == (sender, tag)]:
                del self._open[id]

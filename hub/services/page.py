"""What the reading interactions give: pages of a search, of a compartment, of a history."""

from __future__ import annotations

from dataclasses import dataclass

from hub.search.expression import Number
from hub.search.parse import Search
from hub.store.protocol import Version


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next page of a search begins: the query, its snapshot ``at``, and the last row's key.

    ``total`` is the count of the first page (the snapshot's, so that of every page); ``made`` the first page's time in
    microseconds since 1970 UTC.
    """

    pairs: tuple[tuple[str, str], ...]
    at: int
    after: tuple[str | Number | None, ...]
    total: int | None
    made: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search: matches in order, resources included for them, the total, and the cursor of the next.

    ``continued`` says that this is not the first page.
    """

    search: Search
    matches: tuple[Version, ...]
    included: tuple[Version, ...]
    total: int | None
    next: str | None
    continued: bool


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Versions, newest first, how many there are in all (None: that is not told), and the cursor of the next page."""

    versions: tuple[Version, ...]
    total: int | None
    next: str | None


@dataclass(frozen=True, slots=True)
class Members:
    """A page of a compartment: members by type, what they refer to outside it, how many members, and how it goes on."""

    members: tuple[Version, ...]
    referenced: tuple[Version, ...]
    total: int
    next: str | None

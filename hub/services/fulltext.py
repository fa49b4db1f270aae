"""``_text`` and ``_content`` (R4 3.1.1.4.23): the full-text index brought up to date when it is asked."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from html import unescape
from pathlib import Path
from typing import Any, Final

from hub.errors import HubError
from hub.fhir import json
from hub.masking import masked
from hub.store.fulltext import Document, FullText
from hub.store.protocol import Store, Version

UNSEARCHED: Final = frozenset({"AuditEvent"})
PATIENCE: Final = 10.0
"""Seconds a search waits for the index."""
PAGE: Final = 500
MAX_FOUND: Final = 10_000
_INLINE = re.compile(r"</?(?:a|abbr|b|em|i|small|span|strong|sub|sup|tt|u)\b[^>]*>")
_TAG = re.compile(r"<[^>]*>")


class FullTextSearch:
    """The door for full text. The file is made, and filled, when somebody first asks."""

    def __init__(self, store: Store, path: Path) -> None:
        self._store = store
        self._path = path
        self._index: FullText | None = None
        self._lock = threading.Lock()
        self._filler: threading.Thread | None = None
        self._ending = False

    def __call__(self, types: Sequence[str], parameter: str, value: str) -> tuple[str, ...]:
        """The ids of the resources of one type that hold the words.

        HubError("parameter-unknown") for several types, "parameter-value" for what cannot be asked, "timeout" while the
        index is being built, "too-costly" for more than MAX_FOUND.
        """
        if len(types) != 1 or types[0] in UNSEARCHED:
            raise HubError("parameter-unknown", f"{parameter} searches one resource type, not AuditEvent", parameter)
        found = self._current().find(types, parameter, value, MAX_FOUND + 1)
        if len(found) > MAX_FOUND:
            raise HubError("too-costly", f"more than {MAX_FOUND} resources hold this; ask for more words", parameter)
        return tuple(found)

    def _current(self) -> FullText:
        """The index with everything that is in the store now."""
        wanted = self._store.last_seq()
        with self._lock:
            if self._index is None:
                self._index = FullText(self._path)
            index = self._index
            if index.seq() >= wanted:
                return index
            if self._filler is None or not self._filler.is_alive():
                self._filler = threading.Thread(target=self._fill, args=(index,), name="fulltext", daemon=True)
                self._filler.start()
            filler = self._filler
        filler.join(PATIENCE)
        if index.seq() < wanted:
            raise HubError("timeout", "the full-text index is being built; ask again in a while")
        return index

    def _fill(self, index: FullText) -> None:
        """Take over what has changed."""
        seq = index.seq()
        while not self._ending:
            rows = self._store.changes(seq, PAGE)
            if not rows:
                return
            newest = {(row.type, row.id): row for row in rows if row.type not in UNSEARCHED}
            seq = rows[-1].seq
            index.take([_document(row) for row in newest.values()], seq)

    def close(self) -> None:
        """End the filling and close the file."""
        self._ending = True
        if self._filler is not None:
            self._filler.join()
        if self._index is not None:
            self._index.close()


def _document(row: Version) -> Document:
    if row.deleted:
        return Document(row.type, row.id, "", "")
    resource = json.decode(row.text, max_bytes=len(row.text))
    narrative = resource.get("text", {}).get("div", "") if isinstance(resource.get("text"), dict) else ""
    content = " \n".join(_strings({name: value for name, value in resource.items() if name != "text"}))
    shown = unescape(_TAG.sub(" ", _INLINE.sub("", narrative if isinstance(narrative, str) else "")))
    return Document(row.type, row.id, masked(shown), masked(f"{shown} \n{content}"))


def _strings(value: Any) -> Iterator[str]:
    """Every text below but attachments' data."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(part for name, part in item.items() if name not in ("data", "div", "resourceType"))
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str):
            yield item

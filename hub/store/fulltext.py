"""Full text of resources beside the store (SQLite FTS5), in a file of its own: writers never wait for it.

Chinese is cut into overlapping pairs of characters, so that a word of any length is a phrase of pairs.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hub.errors import HubError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS progress (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL);
INSERT OR IGNORE INTO progress VALUES (1, 0);
CREATE TABLE IF NOT EXISTS document (number INTEGER PRIMARY KEY, type TEXT NOT NULL, id TEXT NOT NULL,
  UNIQUE (type, id));
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(narrative, content, tokenize = 'unicode61 remove_diacritics 2');
"""
COLUMNS = {"_text": "narrative", "_content": "content"}
MAX_TERMS = 50
_CHINESE = re.compile("([\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+)")
_PARTS = re.compile(r'[()]|"[^"]*"|[^\s()"]+')
_OPERATORS = {"AND", "OR", "NOT"}


@dataclass(frozen=True, slots=True)
class Document:
    """What of a resource is searched; empty texts of one that is deleted."""

    type: str
    id: str
    narrative: str
    content: str


def words(text: str) -> str:
    """The text as it is indexed: unified forms, each run of Chinese as its pairs and its last character."""
    plain = unicodedata.normalize("NFKC", text)
    return _CHINESE.sub(lambda found: f" {_pairs(found[1])} {found[1][-1]} ", plain)


def _pairs(run: str) -> str:
    return " ".join(run[index : index + 2] for index in range(len(run) - 1))


def expression(value: str) -> str:
    """FTS5 for words, "phrases", AND, OR, NOT and parentheses. HubError("parameter-value") for what is none."""
    parts = _PARTS.findall(unicodedata.normalize("NFKC", value))
    if not 0 < len(parts) <= MAX_TERMS:
        raise HubError("parameter-value", f"a full-text search has 1 to {MAX_TERMS} words")
    made: list[str] = []
    for part in parts:
        operator = part in _OPERATORS or part == ")"
        if made and made[-1] not in _OPERATORS and made[-1] != "(" and not operator:
            made.append("AND")
        made.append(part if operator or part == "(" else _term(part.strip('"')))
    return " ".join(made)


def _term(text: str) -> str:
    """One word or phrase; a single Chinese character begins a pair."""
    found = []
    for piece in filter(None, _CHINESE.split(text)):
        if not _CHINESE.fullmatch(piece):
            found.append(f'"{piece}"')
        else:
            found.append(f'"{piece}"*' if len(piece) == 1 else f'"{_pairs(piece)}"')
    return f"({' AND '.join(found)})" if found else '""'


class FullText:
    """The index in one file; safe from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # what is lost with the machine is read again
        self._db.executescript(_SCHEMA)

    def seq(self) -> int:
        """The change number up to which the index knows the store."""
        with self._lock:
            return int(self._db.execute("SELECT seq FROM progress").fetchone()[0])

    def take(self, documents: Iterable[Document], seq: int) -> None:
        """Take over documents in their newest state; the index then knows the store up to ``seq``."""
        with self._lock:
            self._db.execute("BEGIN")
            for one in documents:
                self._put(one)
            self._db.execute("UPDATE progress SET seq = ?", (seq,))
            self._db.execute("COMMIT")

    def _put(self, one: Document) -> None:
        key = (one.type, one.id)
        row = self._db.execute("SELECT number FROM document WHERE type = ? AND id = ?", key).fetchone()
        if row is not None:
            self._db.execute("DELETE FROM words WHERE rowid = ?", row)
        if not (one.narrative or one.content):
            return
        if row is None:
            row = (self._db.execute("INSERT INTO document (type, id) VALUES (?, ?)", key).lastrowid,)
        texts = (words(one.narrative), words(one.content))
        self._db.execute("INSERT INTO words (rowid, narrative, content) VALUES (?, ?, ?)", (*row, *texts))

    def find(self, types: Sequence[str], parameter: str, value: str, limit: int) -> list[str]:
        """Ids of resources of the types, at most ``limit``. HubError("parameter-value") for what cannot be asked."""
        marks = ",".join("?" * len(types))
        asked = f"{COLUMNS[parameter]} : ({expression(value)})"
        with self._lock:
            try:
                rows = self._db.execute(
                    "SELECT DISTINCT document.id FROM words JOIN document ON document.number = words.rowid"
                    f" WHERE words MATCH ? AND document.type IN ({marks}) LIMIT ?",
                    (asked, *types, limit),
                ).fetchall()
            except sqlite3.OperationalError:
                raise HubError(
                    "parameter-value", f"{value[:80]!r} is not words, AND, OR, NOT, ( )", parameter
                ) from None
        return [str(id) for (id,) in rows]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

"""Loads a release into a file of its own, and answers from it. The only module of the package that knows sqlite3.

``NAME.sqlite`` in the folder is a complete release. While one is loaded its file is ``NAME.loading``: every batch of
rows is committed with the count of lines it covers, so a load that was killed goes on where it was. The last act is the
rename.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path

from terminology.errors import TerminologyError
from terminology.formats import READERS, Row, Source, Step
from terminology.system import Concept, Resource

BATCH = 20_000
CACHED = 65_536
SMALL = 5_000

Progress = Callable[[str, int], None]

_OURS = "https://region-hub.example/fhir/CodeSystem"
_LOINC_NOTICE = (
    "This material contains content from LOINC (http://loinc.org). LOINC is copyright (c) Regenstrief Institute, Inc."
    " and the Logical Observation Identifiers Names and Codes (LOINC) Committee and is available at no cost under the"
    " license at http://loinc.org/license. LOINC(R) is a registered United States trademark of Regenstrief Institute,"
    " Inc."
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be loaded: the code system it becomes, and how its files are read."""

    name: str
    url: str
    title: str
    reader: str = "table"
    language: str = "zh"
    copyright: str = ""


KINDS = {
    kind.name: kind
    for kind in (
        Kind("snomed", "http://snomed.info/sct", "SNOMED CT", "snomed", "en"),
        Kind("loinc", "http://loinc.org", "LOINC", "loinc", "en", _LOINC_NOTICE),
        Kind("icd-10", "http://hl7.org/fhir/sid/icd-10", "ICD-10 (WHO)", language="en"),
        Kind("icd-10-clinical", f"{_OURS}/icd-10-clinical", "疾病分类与代码 国家临床版"),
        Kind("icd-10-insurance", f"{_OURS}/icd-10-insurance", "医疗保障疾病诊断分类与代码"),
        Kind("icd-9-cm-3", f"{_OURS}/icd-9-cm-3-clinical", "手术操作分类代码 国家临床版"),
        Kind("icd-9-cm-3-insurance", f"{_OURS}/icd-9-cm-3-insurance", "医疗保障手术操作分类与代码"),
        Kind("drug", f"{_OURS}/national-drug-code", "国家药品编码本位码"),
        Kind("drug-insurance", f"{_OURS}/insurance-drug-code", "医保药品分类与代码"),
        Kind("tcm-disease", f"{_OURS}/gbt15657-tcm-disease", "中医病证分类与代码 GB/T 15657"),
    )
}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS information (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (step TEXT PRIMARY KEY, lines INTEGER NOT NULL, done INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS concept (code TEXT PRIMARY KEY, display TEXT NOT NULL, definition TEXT NOT NULL,
    inactive INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS designation (code TEXT NOT NULL, language TEXT NOT NULL, use TEXT NOT NULL,
    value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS property (code TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS edge (parent TEXT NOT NULL, child TEXT NOT NULL, PRIMARY KEY (parent, child)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS closure (code TEXT PRIMARY KEY, ancestors TEXT NOT NULL) WITHOUT ROWID;
"""
_INSERT = {
    "concept": "INSERT INTO concept VALUES (?, ?, ?, ?) ON CONFLICT (code) DO UPDATE SET display = excluded.display,"
    " definition = excluded.definition, inactive = excluded.inactive",
    "display": "UPDATE concept SET display = ?2 WHERE code = ?1",
    "designation": "INSERT INTO designation VALUES (?, ?, ?, ?)",
    "property": "INSERT INTO property VALUES (?, ?, ?)",
    "parent": "INSERT OR IGNORE INTO edge (child, parent) VALUES (?, ?)",
}
_INDEXES = """
UPDATE concept SET display = coalesce((SELECT value FROM designation d WHERE d.code = concept.code LIMIT 1), '')
    WHERE display = '';
CREATE INDEX IF NOT EXISTS property_by_value ON property (name, value);
CREATE INDEX IF NOT EXISTS edge_by_child ON edge (child, parent);
"""


def load(
    kind: str, path: Path, folder: Path, *, version: str = "", progress: Progress = lambda step, done: None
) -> LoadedSystem:
    """Load a release from the user's files, going on with a load that was broken off. Returns it, ready.

    ``kind`` is one of KINDS; ``progress`` hears the step and the rows of this run. TerminologyError("not-found",
    "invalid") if files are missing or wrong, "conflict" while another process loads the same.
    """
    if kind not in KINDS:
        raise TerminologyError("not-found", f"{kind!r} cannot be loaded; known are {', '.join(KINDS)}")
    source = Source(path)
    release = READERS[KINDS[kind].reader](source)
    version = version or release.version or "unknown"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{kind}-{''.join(c if c.isalnum() or c in '.-' else '_' for c in version)}"
    unfinished = folder / f"{name}.loading"
    information = {
        "kind": kind, "url": KINDS[kind].url, "version": version, "title": KINDS[kind].title,
        "language": KINDS[kind].language, "copyright": KINDS[kind].copyright,
        "source": f"{path.name} {source.size()}",
    }  # fmt: skip
    try:
        with closing(_open(unfinished, information)) as db:
            for step in release.steps:
                _run(db, step, progress)
            _finish(db, progress)
    except sqlite3.DatabaseError as error:
        raise TerminologyError("conflict", f"{unfinished} cannot be written: {error}") from None
    finished = folder / f"{name}.sqlite"
    unfinished.replace(finished)
    return LoadedSystem(finished)


def _open(file: Path, information: dict[str, str]) -> sqlite3.Connection:
    """The file being loaded; emptied first if it was begun from another source."""
    db = sqlite3.connect(file, isolation_level=None, timeout=1)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA cache_size = -65536")
    db.executescript(_SCHEMA)
    known = dict(db.execute("SELECT name, value FROM information"))
    if known != information:
        db.execute("BEGIN")
        for table in ("information", "progress", "concept", "designation", "property", "edge", "closure"):
            db.execute(f"DELETE FROM {table}")
        db.executemany("INSERT INTO information VALUES (?, ?)", information.items())
        db.execute("COMMIT")
    return db


def _run(db: sqlite3.Connection, step: Step, progress: Progress) -> None:
    """Read a step's rows into the file, after those that are there already."""
    before = db.execute("SELECT lines, done FROM progress WHERE step = ?", (step.name,)).fetchone() or (0, 0)
    if before[1]:
        return
    rows = (item for item in step.rows() if item[0] > before[0])
    done = 0
    for batch in _batches(rows):
        db.execute("BEGIN")
        for kind, values in _by_kind(batch):
            db.executemany(_INSERT[kind], values)
        db.execute("INSERT OR REPLACE INTO progress VALUES (?, ?, 0)", (step.name, batch[-1][0]))
        db.execute("COMMIT")
        done += len(batch)
        progress(step.name, done)
    db.execute("INSERT INTO progress VALUES (?, 0, 1) ON CONFLICT (step) DO UPDATE SET done = 1", (step.name,))


def _batches(rows: Iterator[tuple[int, Row]]) -> Iterator[list[tuple[int, Row]]]:
    """Lists of rows; all rows of one line are in one list, so that a count of lines says what is done."""
    pending: list[tuple[int, Row]] = []
    while taken := list(islice(rows, BATCH)):
        pending += taken
        last = pending[-1][0]
        whole = [item for item in pending if item[0] != last]
        pending = pending[len(whole) :]
        if whole:
            yield whole
    if pending:
        yield pending


def _by_kind(batch: list[tuple[int, Row]]) -> Iterable[tuple[str, list[tuple[str, ...]]]]:
    """The rows by kind; concepts first, since displays change them."""
    found: dict[str, list[tuple[str, ...]]] = {kind: [] for kind in _INSERT}
    for _, row in batch:
        found[row[0]].append(row[1:])
    return found.items()


# --- hierarchy ------------------------------------------------------------------------------------------------------


def _finish(db: sqlite3.Connection, progress: Progress) -> None:
    """Displays, indexes, parents by prefix where none are given, closure; then the file is made a plain one."""
    progress("indexes", 0)
    db.executescript(f"BEGIN; {_INDEXES} COMMIT;")
    if db.execute("SELECT 1 FROM edge LIMIT 1").fetchone() is None:
        db.execute("BEGIN")
        db.executemany("INSERT INTO edge (child, parent) VALUES (?, ?)", _prefixes(db))
        db.execute("COMMIT")
    parents: dict[str, list[str]] = {}
    for child, parent in db.execute("SELECT child, parent FROM edge"):
        parents.setdefault(child, []).append(parent)
    db.execute("BEGIN")
    db.execute("DELETE FROM closure")
    rows = _counted(closure(parents), progress)
    db.executemany("INSERT INTO closure VALUES (?, ?)", rows)
    db.execute("COMMIT")
    db.executescript("CREATE INDEX IF NOT EXISTS designation_by_code ON designation (code)")
    db.executescript("CREATE INDEX IF NOT EXISTS property_by_code ON property (code)")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.execute("PRAGMA journal_mode = DELETE")


def _counted(rows: Iterable[tuple[str, str]], progress: Progress) -> Iterator[tuple[str, str]]:
    for number, row in enumerate(rows, 1):
        if number % BATCH == 0:
            progress("closure", number)
        yield row


def _prefixes(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """Code and the longest other code it starts with."""
    codes = {code for (code,) in db.execute("SELECT code FROM concept")}
    found = []
    for code in codes:
        for length in range(len(code) - 1, 2, -1):
            if code[:length] in codes:
                found.append((code, code[:length]))
                break
    return sorted(found)


def closure(parents: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Every code that has parents, with all its ancestors joined by blanks. TerminologyError("invalid") on a cycle.

    The ancestors of a code are kept only until its last child has been done.
    """
    waiting = {code: sum(parent in parents for parent in above) for code, above in parents.items()}
    children: dict[str, list[str]] = {}
    for code, above in parents.items():
        for parent in above:
            children.setdefault(parent, []).append(code)
    users = {code: len(below) for code, below in children.items()}
    known: dict[str, set[str]] = {}
    ready = [code for code, count in waiting.items() if count == 0]
    done = 0
    while ready:
        code = ready.pop()
        ancestors: set[str] = set(parents[code])
        for parent in parents[code]:
            ancestors |= known.get(parent, set())
            users[parent] -= 1
            if not users[parent]:
                known.pop(parent, None)
        if code in children:
            known[code] = ancestors
            for child in children[code]:
                waiting[child] -= 1
                if not waiting[child]:
                    ready.append(child)
        done += 1
        yield code, " ".join(sorted(ancestors))
    if done < len(parents):
        loop = next(code for code, count in waiting.items() if count)
        raise TerminologyError("invalid", f"the hierarchy has a cycle near code {loop!r}")


# --- answers --------------------------------------------------------------------------------------------------------


class LoadedSystem:
    """A loaded release as a code system (``terminology.system.System``)."""

    enumerable = True

    def __init__(self, file: Path) -> None:
        self.file = file
        self._db = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        about = dict(self._db.execute("SELECT name, value FROM information"))
        self.url: str = about["url"]
        self.version: str = about["version"]
        self.metadata: Resource = {
            "resourceType": "CodeSystem", "url": self.url, "version": self.version, "title": about["title"],
            "language": about["language"], "status": "active", "content": "complete", "hierarchyMeaning": "is-a",
            "caseSensitive": True, "copyright": about["copyright"],
        }  # fmt: skip
        self.find = lru_cache(maxsize=CACHED)(self._find)
        self.subsumes = lru_cache(maxsize=CACHED)(self._subsumes)

    @cached_property
    def count(self) -> int:
        """The number of concepts."""
        number: int = self._db.execute("SELECT count(*) FROM concept").fetchone()[0]
        return number

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _find(self, code: str) -> Concept | None:
        row = self._db.execute(
            "SELECT code, display, definition, inactive FROM concept WHERE code = ?", (code,)
        ).fetchone()
        return None if row is None else self._concept(*row)

    def _concept(self, code: str, display: str, definition: str, inactive: int) -> Concept:
        named = self._db.execute("SELECT language, use, value FROM designation WHERE code = ?", (code,))
        valued = self._db.execute("SELECT name, value FROM property WHERE code = ?", (code,))
        above = self._db.execute("SELECT parent FROM edge WHERE child = ? ORDER BY parent", (code,))
        return Concept(
            code,
            display,
            definition,
            tuple(self._designation(*row) for row in named if row[2] != display),
            tuple({"code": name, "valueString": value} for name, value in valued),
            tuple(parent for (parent,) in above),
            inactive=bool(inactive),
        )

    def _designation(self, language: str, use: str, value: str) -> Resource:
        shown: Resource = {"language": language} if language else {}
        if use:
            shown["use"] = {"system": self.url, "code": use}
        return shown | {"value": value}

    def concepts(self) -> Iterable[Concept]:
        for row in self._db.execute("SELECT code, display, definition, inactive FROM concept ORDER BY rowid"):
            yield self._concept(*row)

    def having(self, name: str, value: str) -> Iterable[Concept]:
        """The concepts with this value of a property."""
        for (code,) in self._db.execute("SELECT code FROM property WHERE name = ? AND value = ?", (name, value)):
            found = self.find(code)
            if found is not None:
                yield found

    def search(self, words: list[str]) -> Iterable[Concept] | None:
        return self._search(words) if self.count > SMALL else None

    def _search(self, words: list[str]) -> Iterator[Concept]:
        conditions = " AND ".join("instr(lower(value), ?)" for _ in words)
        names = "SELECT code, display AS value FROM concept UNION ALL SELECT code, code FROM concept"
        query = f"SELECT DISTINCT code FROM ({names} UNION ALL SELECT code, value FROM designation) WHERE {conditions}"
        for (code,) in self._db.execute(query, [word.lower() for word in words]):
            found = self.find(code)
            if found is not None:
                yield found

    def children(self, code: str) -> Iterable[str]:
        return [child for (child,) in self._db.execute("SELECT child FROM edge WHERE parent = ?", (code,))]

    def descendants(self, code: str) -> Iterable[str]:
        query = (
            "WITH RECURSIVE below (code) AS (SELECT child FROM edge WHERE parent = ?1"
            " UNION SELECT child FROM edge JOIN below ON parent = below.code) SELECT code FROM below WHERE code <> ?1"
        )
        for (found,) in self._db.execute(query, (code,)):
            yield found

    def _subsumes(self, ancestor: str, code: str) -> bool:
        if ancestor == code:
            return True
        row = self._db.execute("SELECT ancestors FROM closure WHERE code = ?", (code,)).fetchone()
        return row is not None and ancestor in row[0].split(" ")


def releases(folder: Path) -> list[LoadedSystem]:
    """The complete releases in a folder, the newest of each kind last."""
    return [LoadedSystem(file) for file in sorted(folder.glob("*.sqlite"))]

"""What only the embedded store promises: one writer, snapshots swept, limits, damage, disk full, backup, plans."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hub.errors import HubError
from hub.search.expression import (
    ALL,
    Chain,
    Compare,
    Contains,
    Entries,
    Equals,
    Exists,
    Expression,
    Ids,
    In,
    InSystem,
    Match,
    Not,
    Order,
    Prefix,
    Query,
    Range,
    Reverse,
    Term,
    both,
)
from hub.store.protocol import Item, Put, Transaction
from hub.store.sqlite import SqliteStore
from tests.conftest import Clock


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hub.sqlite3"


@pytest.fixture
def sqlite(file: Path, clock: Clock) -> Iterator[SqliteStore]:
    store = SqliteStore(file, clock=clock, snapshot_seconds=900)
    yield store
    store.close()


def patient(id: str, version: int = 1, name: str = "x", text: bytes = b"{}") -> Put:
    entries = Entries((Term("name", name), Term("link", f"Patient/{id}")), (Range("when", 1, 2),))
    return Put("population", "Patient", id, version, "PUT", 1, text, entries)


def write(store: SqliteStore, *puts: Put) -> None:
    def work(tx: Transaction) -> None:
        for put in puts:
            tx.put(put)

    store.write(work)


def rows(file: Path, table: str) -> int:
    connection = sqlite3.connect(file)
    try:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        connection.close()


# --- one writer -------------------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_and_a_reader_is_not(sqlite: SqliteStore, file: Path, clock: Clock) -> None:
    write(sqlite, patient("a"))
    with pytest.raises(HubError, match="another process writes") as raised:
        SqliteStore(file, clock=clock)
    assert raised.value.name == "configuration"
    reader = SqliteStore(file, clock=clock, read_only=True)
    assert reader.count(Query(("Patient",), Match("name", Equals("x")))) == 1
    write(sqlite, patient("b"), replace(patient("o"), type="Person"))
    assert reader.count(Query((), Match("name", Equals("x")))) == 3
    for forbidden in (lambda: write(reader, patient("c")), lambda: reader.claim("inbox", (), 0, 1)):
        with pytest.raises(HubError, match="reading only"):
            forbidden()
    reader.close()


def test_the_lock_of_another_process_holds_until_it_dies(file: Path, clock: Clock) -> None:
    script = (
        "import sys, pathlib; from hub.store.sqlite import SqliteStore;"
        "SqliteStore(pathlib.Path(sys.argv[1]), clock=lambda: 0); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "open\n"
        with pytest.raises(HubError, match="another process writes"):
            SqliteStore(file, clock=clock)
        other.kill()
    SqliteStore(file, clock=clock).close()


# --- snapshots --------------------------------------------------------------------------------------------------------


def test_superseded_entries_are_swept_after_a_while(sqlite: SqliteStore, file: Path, clock: Clock) -> None:
    write(sqlite, patient("a"), patient("b"))
    early = sqlite.last_seq()
    write(sqlite, patient("a", 2, "y"))
    later = sqlite.last_seq()
    write(sqlite, patient("a", 3, "z"))
    assert rows(file, "superseded") == 2 and rows(file, "term") == 8
    clock.advance(899)
    write(sqlite, patient("c"))
    assert rows(file, "superseded") == 2
    assert sqlite.count(Query(("Patient",), Match("name", Equals("y")), at=later)) == 1
    clock.advance(2)
    write(sqlite, patient("b", 2))
    assert rows(file, "superseded") == 1 and rows(file, "term") == 8 and rows(file, "range") == 4
    for at in (early, later):
        with pytest.raises(HubError) as raised:
            sqlite.find(Query(("Patient",), at=at))
        assert raised.value.name == "expired"
    assert sqlite.count(Query(("Patient",), Match("name", Equals("z")), at=later + 1)) == 1
    assert len(sqlite.history(("Patient",), "a")) == 3


def test_a_quiet_store_sweeps_too(sqlite: SqliteStore, file: Path, clock: Clock) -> None:
    write(sqlite, patient("a"))
    write(sqlite, patient("a", 2))
    clock.advance(1000)
    until = time.monotonic() + 20
    while rows(file, "superseded") and time.monotonic() < until:
        time.sleep(0.1)
    assert rows(file, "superseded") == 0 and rows(file, "term") == 2


# --- limits and damage ------------------------------------------------------------------------------------------------


def test_a_search_that_takes_too_long_is_ended(file: Path, clock: Clock) -> None:
    store = SqliteStore(file, clock=clock, query_seconds=0.05)
    write(store, *(patient(str(number), name=f"n{number % 7}" * 20) for number in range(3000)))
    many = both(*(Not(Match("name", Contains(f"absent{n}"))) for n in range(500)))
    with pytest.raises(HubError) as raised:
        store.count(Query(("Patient",), many))
    assert raised.value.name == "timeout"

    def work(tx: Transaction) -> int:
        tx.put(patient("new"))
        with pytest.raises(HubError, match="timeout"):
            tx.count(Query(("Patient",), many))
        return tx.count(Query(("Patient",), Ids(("new",))))

    assert store.write(work) == 1
    assert store.read("Patient", "new") is not None
    store.close()


def test_a_search_that_is_too_complex_is_refused(sqlite: SqliteStore) -> None:
    write(sqlite, patient("a"))
    deep: Expression = Match("name", Equals("x"))
    for _ in range(40):
        deep = Chain("link", ("Patient",), deep)
    with pytest.raises(HubError) as raised:
        sqlite.find(Query(("Patient",), deep))
    assert raised.value.name == "too-costly"


def test_a_full_disk_refuses_and_recovers(sqlite: SqliteStore, file: Path) -> None:
    write(sqlite, patient("a"))
    pages = sqlite.write(lambda tx: tx.connection.execute("PRAGMA page_count").fetchone()[0])  # type: ignore[attr-defined]
    sqlite.write(lambda tx: tx.connection.execute(f"PRAGMA max_page_count = {pages + 20}"))  # type: ignore[attr-defined]
    noise = bytes(range(256)) * 8
    stored = ["a"]
    for number in range(200):
        text = noise[number:] + noise[: number % 50] * number
        try:
            write(sqlite, patient(f"p{number}", text=text))
            stored.append(f"p{number}")
        except HubError as error:
            assert error.name == "no-store" and error.row.retry == "transient"
            break
    assert len(stored) < 200
    assert sqlite.count(Query(("Patient",))) == len(stored)
    assert all(sqlite.read("Patient", id) is not None for id in stored)
    sqlite.write(lambda tx: tx.connection.execute("PRAGMA max_page_count = 1000000"))  # type: ignore[attr-defined]
    write(sqlite, patient("after"))
    assert sqlite.check() == []
    assert sqlite.count(Query(("Patient",), Match("name", Equals("x")))) == len(stored) + 1


def test_a_full_disk_in_the_middle_of_a_group_fails_the_whole_group(sqlite: SqliteStore) -> None:
    def fill(tx: Transaction) -> None:
        tx.put(patient("big", text=b"x"))
        raise sqlite3.OperationalError("made up")

    with pytest.raises(HubError, match="made up"):
        sqlite.write(fill)
    assert sqlite.read("Patient", "big") is None
    write(sqlite, patient("big"))


@pytest.mark.parametrize("content", [b"this is not a database" * 400, b"SQLite format 3\x00" + bytes(4096)])
def test_a_damaged_file_is_refused_with_advice(file: Path, clock: Clock, content: bytes) -> None:
    file.write_bytes(content)
    for _ in range(2):
        with pytest.raises(HubError) as raised:
            SqliteStore(file, clock=clock)
        assert raised.value.name == "configuration" and "backup" in raised.value.diagnostics


def test_damage_inside_is_found_by_the_check(file: Path, clock: Clock) -> None:
    store = SqliteStore(file, clock=clock)
    write(store, *(patient(str(number), text=bytes(range(256)) * 9) for number in range(500)))
    store.close()
    content = bytearray(file.read_bytes())
    for page in range(len(content) // 4096 // 2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    file.write_bytes(content)
    store = SqliteStore(file, clock=clock, read_only=True)
    assert any("damaged" in finding for finding in store.check())
    with pytest.raises(HubError, match="restore a backup"):
        store.changes(0)
    store.close()


def test_another_format_is_refused(sqlite: SqliteStore, file: Path, clock: Clock) -> None:
    sqlite.write(lambda tx: tx.connection.execute("UPDATE state SET format = 99"))  # type: ignore[attr-defined]
    sqlite.close()
    for _ in range(2):
        with pytest.raises(HubError, match="format 99"):
            SqliteStore(file, clock=clock)


# --- backup -----------------------------------------------------------------------------------------------------------


def test_a_backup_made_while_writing_is_whole(sqlite: SqliteStore, tmp_path: Path, clock: Clock) -> None:
    write(sqlite, *(patient(str(number)) for number in range(300)))
    sqlite.write(lambda tx: tx.enqueue(Item("inbox", "i", "k", "", "received", {}, b"MSH", 1)))
    futures = [
        sqlite.submit(lambda tx, n=n: [tx.put(patient(f"{n}a")), tx.put(patient(f"{n}b"))])  # type: ignore[misc]
        for n in range(100)
    ]
    copy = tmp_path / "copy.sqlite3"
    sqlite.backup(copy)
    for future in futures:
        future.result()
    with pytest.raises(HubError, match="never overwrites"):
        sqlite.backup(copy)
    restored = SqliteStore(copy, clock=clock)
    assert restored.check() == []
    assert restored.last_seq() >= 300 and restored.last_seq() % 2 == 0
    assert restored.count(Query(("Patient",), Match("name", Equals("x")))) == restored.last_seq()
    assert restored.item("inbox", "i") == sqlite.item("inbox", "i")
    assert restored.changes(0, 10_000) == sqlite.changes(0, 10_000)[: restored.last_seq()]
    write(restored, patient("new"))
    restored.close()


# --- plans ------------------------------------------------------------------------------------------------------------

PLANS = [
    (Match("name", Equals("x")), "PRIMARY KEY (key=? AND value=?"),
    (Match("name", Equals("x", "s")), "PRIMARY KEY (key=? AND value=?"),
    (Match("name", In(("x", "y"))), "PRIMARY KEY (key=? AND value=?"),
    (Match("name", InSystem("s")), "PRIMARY KEY (key=?)"),
    (Match("name", Prefix("x")), "PRIMARY KEY (key=? AND value>? AND value<?)"),
    (Match("name", Contains("x")), "PRIMARY KEY (key=?)"),
    (Match("name", Exists()), "PRIMARY KEY (key=?)"),
    (Match("when", Compare((("low", ">=", 1), ("high", "<=", 2)))), "PRIMARY KEY (key=? AND low>? AND low<?)"),
    (Match("when", Compare((("high", ">", 2),))), "range_high (key=? AND high>?)"),
    (Match("when", Compare((("low", "<", 2),))), "PRIMARY KEY (key=? AND low<?)"),
    (Ids(("a",)), "version_current (type=? AND id=?)"),
    (Chain("link", ("Patient",), Match("name", Equals("x"))), "PRIMARY KEY (key=? AND value=?"),
    (Reverse("Patient", "link", Match("name", Equals("x"))), "version_current (type=? AND id=?)"),
    (both(Match("name", Equals("x")), Match("link", Equals("Patient/a"))), "term_seq (seq=? AND key=? AND value=?)"),
    (both(Match("name", Equals("x")), Not(Match("name", Prefix("y")))), "term_seq (seq=? AND key=? AND value>?"),
    (
        both(Match("name", Equals("x")), Match("when", Compare((("low", "<", 2),)))),
        "range_seq (seq=? AND key=? AND low<",
    ),
    (ALL, "version_kind (type=? AND database=?"),
]


@pytest.mark.parametrize(("where", "index"), PLANS, ids=lambda value: str(value)[:70])
@pytest.mark.parametrize("snapshot", [False, True])
def test_every_kind_of_match_uses_an_index(sqlite: SqliteStore, where: Expression, index: str, snapshot: bool) -> None:
    write(sqlite, patient("a"), patient("b", name="y"))
    if snapshot:
        index = index.replace("version_current", "version_number")
    plan = sqlite.explain(Query(("Patient",), where, at=sqlite.last_seq() if snapshot else None))
    assert any(index in step for step in plan), plan
    tables = [
        step for step in plan if step.startswith("SCAN") and not step.endswith(("json_each", "x", "CONSTANT ROW"))
    ]
    assert not [step for step in tables if "VIRTUAL TABLE" not in step and "(subquery" not in step], plan


def test_a_common_token_streams_without_sorting(sqlite: SqliteStore) -> None:
    write(sqlite, patient("a"))
    for at in (None, sqlite.last_seq()):
        plan = sqlite.explain(Query(("Patient",), Match("name", Equals("x", "")), at=at))
        assert not [step for step in plan if "TEMP B-TREE" in step], plan


def test_the_newest_of_all_are_read_along_an_index(sqlite: SqliteStore) -> None:
    write(sqlite, patient("a"))
    query = Query(("Patient",), order=(Order("_lastUpdated", True),))
    plan = sqlite.explain(query)
    assert plan[0].startswith("SEARCH x USING INDEX version_live (type=? AND database=?)"), plan
    assert plan[1:] == ["USE TEMP B-TREE FOR RIGHT PART OF ORDER BY"]


def test_sort_keys_are_looked_up_not_scanned(sqlite: SqliteStore) -> None:
    write(sqlite, patient("a"))
    order = (Order("when", True, "range"), Order("name"))
    plan = sqlite.explain(Query(("Patient",), Match("name", Equals("x")), order))
    assert sum("range_seq (seq=? AND key=?)" in step for step in plan) == 1, plan
    assert sum("term_seq (seq=? AND key=?)" in step for step in plan) == 1, plan

"""What hub/store/protocol.py promises, on every back end."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from hub.errors import HubError
from hub.search.expression import (
    ALL,
    NONE,
    And,
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
    Or,
    Order,
    Prefix,
    Query,
    Range,
    Reverse,
    Term,
)
from hub.store.protocol import Item, Put, Store, Transaction


def put(
    type: str, id: str, version: int, *entries: Term | Range, database: str = "emr", text: bytes | None = None
) -> Put:
    terms = tuple(entry for entry in entries if isinstance(entry, Term))
    ranges = tuple(entry for entry in entries if isinstance(entry, Range))
    text = f'{{"resourceType":"{type}","id":"{id}","v":{version}}}'.encode() if text is None else text
    return Put(database, type, id, version, "PUT", 1_000 + version, text, Entries(terms, ranges), "inbox/1")


def write(store: Store, *puts: Put) -> None:
    def work(tx: Transaction) -> None:
        for each in puts:
            tx.put(each)

    store.write(work)


def ids(store: Store, *types: str, where: Expression = ALL, **more: object) -> list[str]:
    return [row.version.id for row in store.find(Query(types, where, limit=100, **more))]  # type: ignore[arg-type]


def item(id: str, key: str = "", **more: object) -> Item:
    fresh = Item("inbox", id, key or id, "d", "received", {"n": 1.5, "名": ["a.b", {"$x": None}]}, b"MSH|\x00\xff", 10)
    return replace(fresh, **more)  # type: ignore[arg-type]


# --- versions ---------------------------------------------------------------------------------------------------------


def test_read_gives_the_newest_version_and_vread_each(store: Store) -> None:
    write(store, put("Patient", "a", 1))
    write(store, put("Patient", "a", 2))
    newest = store.read("Patient", "a")
    assert newest is not None
    assert (newest.version, newest.method, newest.updated, newest.origin) == (2, "PUT", 1_002, "inbox/1")
    assert newest.text == b'{"resourceType":"Patient","id":"a","v":2}'
    first = store.vread("Patient", "a", 1)
    assert first is not None and first.text == b'{"resourceType":"Patient","id":"a","v":1}'
    assert first.seq < newest.seq == store.last_seq()
    assert store.vread("Patient", "a", 2) == newest
    assert store.vread("Patient", "a", 3) is store.read("Patient", "b") is store.read("Person", "a") is None


def test_an_empty_store_answers(store: Store) -> None:
    assert store.last_seq() == 0
    assert not store.find(Query(("Patient",))) and not store.find(Query(()))
    assert store.count(Query(("Patient",), Match("name", Exists()))) == 0
    assert not store.history() and not store.changes(0) and not store.items("inbox")
    assert not store.statistics() and not store.item_counts("inbox")
    assert store.check() == []


def test_text_comes_back_byte_for_byte(store: Store) -> None:
    texts = [b"{}", b'{"x":1.10}', "{'name':'王芳𠮷'}".encode() * 5_000, bytes(range(256)) * 30]
    write(store, *(put("Binary", str(place), 1, text=text) for place, text in enumerate(texts)))
    assert [store.read("Binary", str(place)).text for place in range(len(texts))] == texts  # type: ignore[union-attr]


def test_a_deletion_is_a_version_without_text_and_is_not_found(store: Store) -> None:
    write(store, put("Patient", "a", 1, Term("gender", "male")))
    write(store, put("Patient", "a", 2, text=b""))
    newest = store.read("Patient", "a")
    assert newest is not None and newest.deleted and newest.version == 2
    assert ids(store, "Patient") == ids(store, "Patient", where=Match("gender", Equals("male"))) == []
    assert ids(store, "Patient", where=Not(Match("gender", Exists()))) == []
    assert store.statistics() == {}
    write(store, put("Patient", "a", 3, Term("gender", "male")))
    assert ids(store, "Patient", where=Match("gender", Equals("male"))) == ["a"]


@pytest.mark.parametrize(("existing", "version"), [(0, 2), (0, 0), (1, 1), (1, 3), (2, 2)])
def test_a_version_must_follow_the_newest(store: Store, existing: int, version: int) -> None:
    for number in range(existing):
        write(store, put("Patient", "a", number + 1))
    with pytest.raises(HubError) as raised:
        write(store, put("Patient", "a", version))
    assert raised.value.name == "conflict"
    assert store.last_seq() == existing


def test_ids_are_of_a_type_over_all_databases(store: Store) -> None:
    write(store, put("Observation", "a", 1, Term("code", "x"), database="emr"))
    with pytest.raises(HubError):
        write(store, put("Observation", "a", 1, database="ehr"))
    write(store, put("Observation", "a", 2, Term("code", "x"), database="ehr"))
    assert [version.database for version in store.history(("Observation",), "a")] == ["ehr", "emr"]
    assert ids(store, "Observation", databases=("ehr",), where=Match("code", Equals("x"))) == ["a"]
    assert ids(store, "Observation", databases=("emr",)) == []
    assert store.statistics() == {"ehr": {"Observation": 1}}


# --- transactions -----------------------------------------------------------------------------------------------------


def test_what_work_raises_undoes_all_of_it_and_nothing_else(store: Store) -> None:
    def half(tx: Transaction) -> None:
        tx.put(put("Patient", "half", 1, Term("never-seen", "x")))
        tx.enqueue(item("half"))
        assert tx.count(Query(("Patient",), Match("never-seen", Exists()))) == 1
        raise ValueError("no")

    futures = [store.submit(lambda tx, n=n: tx.put(put("Patient", f"p{n}", 1))) for n in range(3)]  # type: ignore[misc]
    futures.insert(1, store.submit(half))
    futures += [store.submit(lambda tx: tx.put(put("Patient", "q", 1, Term("never-seen", "y"))))]
    assert [type(future.exception()) for future in futures] == [type(None), ValueError, *[type(None)] * 3]
    assert sorted(ids(store, "Patient")) == ["p0", "p1", "p2", "q"]
    assert ids(store, "Patient", where=Match("never-seen", Exists())) == ["q"]
    assert store.item("inbox", "half") is None


def test_work_sees_its_own_writes(store: Store) -> None:
    def work(tx: Transaction) -> tuple[object, ...]:
        tx.put(put("Patient", "a", 1, Term("gender", "male")))
        first = tx.find(Query(("Patient",), Match("gender", Equals("male"))))
        tx.put(put("Patient", "a", 2, Term("gender", "female")))
        newest, old = tx.read("Patient", "a"), tx.vread("Patient", "a", 1)
        tx.enqueue(item("i"))
        tx.settle("inbox", "i", "stored", {"x": 1})
        settled = tx.item("inbox", "i")
        assert newest and old and settled
        return (
            [row.version.version for row in first],
            tx.count(Query(("Patient",), Match("gender", Equals("male")))),
            tx.count(Query(("Patient",), Match("gender", Equals("female")))),
            newest.version,
            newest.seq > old.seq > 0,
            settled.state,
        )

    assert store.write(work) == ([1], 0, 1, 2, True, "stored")


def test_results_come_back_and_ten_writers_lose_nothing(store: Store) -> None:
    def count_up(tx: Transaction) -> int:
        current = tx.read("Basic", "counter")
        version = current.version + 1 if current else 1
        tx.put(put("Basic", "counter", version))
        return version

    with ThreadPoolExecutor(10) as pool:
        seen = list(pool.map(lambda _: store.write(count_up), range(60)))
    assert sorted(seen) == list(range(1, 61))
    assert store.last_seq() == 60


def test_conditional_create_by_64_threads_makes_one(store: Store) -> None:
    where = Match("identifier", Equals("42", "urn:oid:2.16.840"))
    start = threading.Barrier(64)

    def create(number: int) -> bool:
        def work(tx: Transaction) -> bool:
            tx.guard("Patient?identifier=urn:oid:2.16.840|42")
            if tx.find(Query(("Patient",), where, limit=2)):
                return False
            tx.put(put("Patient", f"p{number}", 1, Term("identifier", "42", "urn:oid:2.16.840")))
            return True

        start.wait()
        return store.write(work)

    with ThreadPoolExecutor(64) as pool:
        assert sum(pool.map(create, range(64))) == 1
    assert store.count(Query(("Patient",), where)) == 1


# --- queries ----------------------------------------------------------------------------------------------------------

AB, CD = Range("date", 10, 20), Range("date", 30, 40)
PEOPLE = (
    put("Patient", "p1", 1, Term("family", "wang"), Term("code", "a", "s1"), AB, database="population"),
    put("Patient", "p2", 1, Term("family", "wangzi"), Term("code", "a", "s2"), CD, database="population"),
    put("Patient", "p3", 1, Term("family", "li"), Term("code", "b", "s1"), AB, CD, database="population"),
    put("Patient", "p4", 1, database="population"),
    put("Observation", "o1", 1, Term("subject", "Patient/p1"), Term("code", "a", "s1"), Range("value", 1.5, 2.5)),
    put("Observation", "o2", 1, Term("subject", "Patient/p3"), Term("code", "c", ""), Range("value", -3, -1)),
    put("Group", "g1", 1, Term("member", "Patient/p2"), Term("member", "Patient/p3"), database="ehr"),
)


@pytest.fixture
def people(store: Store) -> Iterator[Store]:
    write(store, *PEOPLE)
    yield store


MATCHES = [
    (Match("code", Equals("a")), "p1 p2"),
    (Match("code", Equals("a", "s1")), "p1"),
    (Match("code", Equals("a", "")), ""),
    (Match("code", Equals("s1")), ""),
    (Match("code", In(("a", "b"))), "p1 p2 p3"),
    (Match("code", In(("a", "b"), "s1")), "p1 p3"),
    (Match("code", In(())), ""),
    (Match("code", InSystem("s1")), "p1 p3"),
    (Match("code", InSystem("s")), ""),
    (Match("family", Prefix("wang")), "p1 p2"),
    (Match("family", Prefix("")), "p1 p2 p3"),
    (Match("family", Contains("an")), "p1 p2"),
    (Match("family", Contains("%")), ""),
    (Match("family", Contains("")), "p1 p2 p3"),
    (Match("date", Compare((("low", ">=", 10), ("high", "<=", 20)))), "p1 p3"),
    (Match("date", Compare((("low", ">", 10), ("high", "<", 35)))), ""),
    (Match("date", Compare((("high", ">", 20),))), "p2 p3"),
    (Match("date", Compare((("low", "<", 30),))), "p1 p3"),
    (Match("date", Compare((("low", "=", 30), ("high", "=", 40.0)))), "p2 p3"),
    (Match("date", Compare((("low", ">", 2**70),))), ""),
    (Match("date", Compare((("low", "<", 2**70),))), "p1 p2 p3"),
    (Match("date", Compare(())), "p1 p2 p3"),
    (Match("family", Exists()), "p1 p2 p3"),
    (Match("date", Exists()), "p1 p2 p3"),
    (Match("unknown", Exists()), ""),
    (Not(Match("family", Exists())), "p4"),
    (Not(Match("unknown", Equals("x"))), "p1 p2 p3 p4"),
    (Ids(("p2", "p4", "o1", "p2")), "p2 p4"),
    (Ids(()), ""),
    (And((Match("code", Equals("a")), Match("family", Equals("wang")))), "p1"),
    (And((Match("code", Equals("a")), Not(Match("family", Equals("wang"))))), "p2"),
    (Or((Match("code", Equals("b")), Match("family", Equals("wang")))), "p1 p3"),
    (Or((Match("code", Equals("b")), Not(Match("family", Exists())))), "p3 p4"),
    (And((Or((Ids(("p1",)), Ids(("p2",)))), Match("date", Compare((("low", ">", 20),))))), "p2"),
    (Or((And((Ids(("p1",)), Match("code", Equals("b")))), And((Ids(("p3",)), ALL)))), "p3"),
    (ALL, "p1 p2 p3 p4"),
    (NONE, ""),
    (And((Match("family", Exists()), Match("code", In(())))), ""),
    (And((Match("family", Exists()), Ids(()))), ""),
    (And((Match("unknown", InSystem("")), Ids(("p1",)))), ""),
    (Or((Not(Match("unknown", Exists())), Ids(()))), "p1 p2 p3 p4"),
    (And((Match("family", Exists()), Not(Match("code", In(()))))), "p1 p2 p3"),
    (Not(NONE), "p1 p2 p3 p4"),
    (Or((*(Match("family", Equals(f"x{n}")) for n in range(1500)), Ids(("p4",)))), "p4"),
    (Or((*(Match("family", Prefix(f"x{n}")) for n in range(700)), Match("family", Prefix("l")))), "p3"),
    (Reverse("Observation", "subject", ALL), "p1 p3"),
    (Reverse("Observation", "subject", Match("code", Equals("a"))), "p1"),
    (Not(Reverse("Observation", "subject", ALL)), "p2 p4"),
    (And((Reverse("Observation", "subject", ALL), Reverse("Group", "member", ALL))), "p3"),
    (Reverse("Nothing", "subject", ALL), ""),
]


@pytest.mark.parametrize(("where", "expected"), MATCHES, ids=lambda value: str(value)[:60])
def test_find_and_count(people: Store, where: Expression, expected: str) -> None:
    assert ids(people, "Patient", where=where) == expected.split()
    assert ids(people, "Patient", where=where, at=people.last_seq()) == expected.split()
    assert people.count(Query(("Patient",), where)) == len(expected.split())


CHAINS = [
    (Chain("subject", ("Patient",), Match("family", Equals("li"))), "o2"),
    (Chain("subject", ("Patient", "Group"), ALL), "o1 o2"),
    (Chain("subject", ("Group",), ALL), ""),
    (Not(Chain("subject", ("Patient",), Match("code", Equals("a")))), "o2"),
    (
        And((Match("code", Exists()), Chain("subject", ("Patient",), Match("date", Compare((("high", "<", 30),)))))),
        "o1 o2",
    ),
    (Chain("subject", ("Patient",), Reverse("Group", "member", ALL)), "o2"),
    (Chain("subject", ("Patient",), Reverse("Observation", "subject", Match("code", Equals("a")))), "o1"),
]


@pytest.mark.parametrize(("where", "expected"), CHAINS, ids=lambda value: str(value)[:60])
def test_chains_lead_over_databases(people: Store, where: Expression, expected: str) -> None:
    assert ids(people, "Observation", where=where) == expected.split()
    assert ids(people, "Observation", where=where, at=people.last_seq()) == expected.split()


def test_a_chain_leads_to_current_resources_only(people: Store) -> None:
    write(people, put("Patient", "p3", 2, text=b"", database="population"))
    assert ids(people, "Observation", where=Chain("subject", ("Patient",), ALL)) == ["o1"]
    write(people, put("Observation", "o1", 2, text=b""))
    assert ids(people, "Patient", where=Reverse("Observation", "subject", ALL)) == []


@pytest.mark.parametrize(
    ("types", "databases", "expected"),
    [
        ((), (), "p1 p2 p3 p4 o1 o2 g1"),
        (("Patient", "Group"), (), "p1 p2 p3 p4 g1"),
        ((), ("emr", "ehr"), "o1 o2 g1"),
        (("Patient", "Group"), ("ehr",), "g1"),
        (("Patient",), ("ehr",), ""),
        (("Nothing",), ("nowhere",), ""),
    ],
)
def test_scope(people: Store, types: tuple[str, ...], databases: tuple[str, ...], expected: str) -> None:
    assert ids(people, *types, databases=databases) == expected.split()
    assert ids(people, *types, databases=databases, where=Not(NONE)) == expected.split()


def test_a_parameter_of_several_types(people: Store) -> None:
    assert ids(people, "Patient", "Observation", where=Match("code", Equals("a", "s1"))) == ["p1", "o1"]
    assert ids(people, where=Match("code", Equals("a"))) == ["p1", "p2", "o1"]
    assert ids(people, where=Match("code", Prefix("c"))) == ["o2"]


ORDERS = [
    ((Order("family"),), "p3 p1 p2 p4"),
    ((Order("family", True),), "p2 p1 p3 p4"),
    ((Order("date", shape="range"),), "p1 p3 p2 p4"),
    ((Order("date", True, "range"),), "p2 p3 p1 p4"),
    ((Order("code"), Order("family", True)), "p2 p1 p3 p4"),
    ((Order("_id", True),), "p4 p3 p2 p1"),
    ((Order("_lastUpdated"),), "p1 p2 p3 p4"),
    ((Order("unknown"), Order("_id", True)), "p4 p3 p2 p1"),
]


@pytest.mark.parametrize(("order", "expected"), ORDERS, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_order_and_paging(people: Store, order: tuple[Order, ...], expected: str, limit: int) -> None:
    query, seen = Query(("Patient",), order=order, limit=limit), []
    while page := people.find(query):
        assert len(page) <= limit
        seen += [row.version.id for row in page]
        query = replace(query, after=page[-1].key)
    assert seen == expected.split()


# --- snapshots --------------------------------------------------------------------------------------------------------


def test_a_snapshot_answers_as_of_then(store: Store) -> None:
    write(store, put("Patient", "a", 1, Term("name", "x")), put("Patient", "b", 1, Term("name", "y")))
    at = store.last_seq()
    write(store, put("Patient", "a", 2, Term("name", "y")))
    write(store, put("Patient", "b", 2, text=b""))
    write(store, put("Patient", "c", 1, Term("name", "x")))
    x, y = Match("name", Equals("x")), Match("name", Equals("y"))
    assert ids(store, "Patient", where=x) == ["c"] and ids(store, "Patient", where=y) == ["a"]
    assert ids(store, "Patient", where=x, at=at) == ["a"] and ids(store, "Patient", where=y, at=at) == ["b"]
    assert ids(store, "Patient", at=at) == ["a", "b"] and ids(store, "Patient") == ["a", "c"]
    assert ids(store, "Patient", where=Ids(("a", "b", "c")), at=at) == ["a", "b"]
    assert [row.version.version for row in store.find(Query(("Patient",), at=at))] == [1, 1]
    assert store.count(Query(("Patient",), Not(x), at=at)) == 1
    assert ids(store, "Patient", at=0) == []


@pytest.mark.parametrize("order", [(), (Order("name"),), (Order("when", True, "range"),)])
def test_snapshot_paging_is_exact_under_change(store: Store, order: tuple[Order, ...]) -> None:
    def one(number: int, version: int = 1) -> Put:
        keys = Term("name", f"n{(number * 7 + version) % 13}"), Range("when", number * version, number * version + 1)
        return put("Patient", f"p{number}", version, Term("kind", "k"), *keys)

    write(store, *(one(number) for number in range(40)))
    where = Match("kind", Equals("k"))
    query = Query(("Patient",), where, order, at=store.last_seq(), limit=7)
    expected = [(row.version.id, row.version.text) for row in store.find(replace(query, limit=100))]
    assert len(expected) == 40
    seen: list[tuple[str, bytes]] = []
    for turn in range(6):
        page = store.find(query)
        seen += [(row.version.id, row.version.text) for row in page]
        write(store, *(one(number, turn + 2) for number in range(0, 40, 2)))
        write(
            store, put("Patient", f"p{turn * 2 + 1}", 2, text=b""), put("Patient", f"new{turn}", 1, Term("kind", "k"))
        )
        query = replace(query, after=page[-1].key)
    assert seen == expected
    assert store.find(query) == []
    assert store.count(query) == 40


# --- history and changes ----------------------------------------------------------------------------------------------


def labels(versions: Sequence[object]) -> list[str]:
    return [f"{each.id}{each.version}" for each in versions]  # type: ignore[attr-defined]


def test_history_and_changes(store: Store) -> None:
    write(store, put("Patient", "a", 1), put("Group", "g", 1, database="ehr"))
    write(store, put("Patient", "a", 2), put("Patient", "b", 1))
    write(store, put("Patient", "a", 3, text=b""))
    assert labels(store.history()) == ["a3", "b1", "a2", "g1", "a1"]
    assert labels(store.history(("Patient",))) == ["a3", "b1", "a2", "a1"]
    assert labels(store.history(("Patient",), "a")) == ["a3", "a2", "a1"]
    assert labels(store.history(databases=("ehr",))) == ["g1"]
    assert labels(store.history(since=1_002)) == ["a3", "a2"]
    assert labels(store.history(since=1_002, until=1_002)) == ["a2"]
    assert labels(store.history(lasting=store.history(("Group",))[0].seq)) == ["a3", "b1", "a2", "g1", "a1"]
    changed = store.vread("Patient", "a", 2)
    assert changed is not None and labels(store.history(lasting=changed.seq)) == ["a3", "b1", "a2", "g1"]
    assert store.history_count(until=1_002, lasting=store.last_seq()) == 2
    first = store.history(limit=2)
    assert labels(first) == ["a3", "b1"]
    assert labels(store.history(before=first[-1].seq)) == ["a2", "g1", "a1"]
    assert store.history_count() == 5 and store.history_count(("Patient",), "a") == 3
    assert store.history_count(before=first[-1].seq) == 3
    assert labels(store.changes(0)) == ["a1", "g1", "a2", "b1", "a3"]
    second = store.changes(0, limit=2)
    assert labels(store.changes(second[-1].seq)) == ["a2", "b1", "a3"]
    assert store.changes(store.last_seq()) == []


def test_changes_skip_nothing_while_writers_write(store: Store) -> None:
    done = threading.Event()

    def follow() -> list[int]:
        seen: list[int] = []
        while not done.is_set() or store.last_seq() > (seen[-1] if seen else 0):
            seen += [version.seq for version in store.changes(seen[-1] if seen else 0, limit=7)]
        return seen

    def fill(writer: int) -> None:
        for number in range(15):
            write(store, put("Basic", f"{writer}-{number}", 1))

    with ThreadPoolExecutor(5) as pool:
        follower = pool.submit(follow)
        list(pool.map(fill, range(4)))
        done.set()
        seen = follower.result()
    assert seen == sorted(set(seen)) and len(seen) == 60


# --- queues -----------------------------------------------------------------------------------------------------------


def test_the_same_key_is_the_same_item(store: Store) -> None:
    first = store.write(lambda tx: tx.enqueue(item("i1", "k1")))
    assert first == replace(item("i1", "k1"), seq=first.seq) and first.seq > 0
    second = store.write(lambda tx: tx.enqueue(item("i2", "k1", raw=b"other")))
    assert second == first == store.item("inbox", "i1") == store.item_by_key("inbox", "k1")
    assert store.item("inbox", "i2") is store.item_by_key("inbox", "k2") is store.item("outbox", "i1") is None
    with pytest.raises(HubError, match="duplicate"):
        store.write(lambda tx: tx.enqueue(item("i1", "k2")))
    with ThreadPoolExecutor(16) as pool:
        kept = set(pool.map(lambda n: store.write(lambda tx: tx.enqueue(item(f"j{n}", "same"))).id, range(16)))
    assert len(kept) == 1


def test_leases(store: Store) -> None:
    for number in range(4):
        store.write(lambda tx, n=number: tx.enqueue(item(f"i{n}", state="received" if n else "stored")))  # type: ignore[misc]
    assert store.claim("outbox", ("received",), 100, 50) == []
    (first,) = store.claim("inbox", ("received",), 100, 50)
    assert (first.id, first.attempts, first.leased_until) == ("i1", 1, 150)
    assert [each.id for each in store.claim("inbox", ("received",), 149, 50, limit=9)] == ["i2", "i3"]
    again = store.claim("inbox", ("received", "other"), 150, 50, limit=9)
    assert [(each.id, each.attempts, each.leased_until) for each in again] == [("i1", 2, 200)]
    store.write(lambda tx: tx.settle("inbox", "i1", "failed", {"why": "x", "n": 2}))
    settled = store.item("inbox", "i1")
    assert settled is not None and settled.leased_until == 0
    assert settled.data == {"n": 2, "名": ["a.b", {"$x": None}], "why": "x"}
    assert store.item_counts("inbox") == {"stored": 1, "failed": 1, "received": 2}
    assert [each.id for each in store.claim("inbox", ("failed",), 151, 50)] == ["i1"]
    with pytest.raises(HubError, match="not-found"):
        store.write(lambda tx: tx.settle("inbox", "nobody", "stored", {}))


def test_what_is_discarded_is_gone_and_the_others_stay(store: Store) -> None:
    for number in range(3):
        store.write(lambda tx, n=number: tx.enqueue(item(f"i{n}")))  # type: ignore[misc]
    store.write(lambda tx: tx.discard("inbox", ["i0", "nobody", "i2"]))
    assert [store.item("inbox", f"i{number}") is None for number in range(3)] == [True, False, True]
    again = store.write(lambda tx: tx.enqueue(item("i0")))
    assert store.item("inbox", "i0") == again


def test_each_item_is_leased_once_by_many(store: Store) -> None:
    store.write(lambda tx: [tx.enqueue(item(f"i{number}")) for number in range(30)])
    with ThreadPoolExecutor(6) as pool:
        claimed = pool.map(lambda _: store.claim("inbox", ("received",), 100, 50, limit=3), range(15))
    leased = [each.id for batch in claimed for each in batch]
    assert len(leased) == len(set(leased)) == 30


def test_old_rows_of_a_state_are_forgotten(store: Store) -> None:
    def row(number: int, state: str) -> Item:
        return Item("inbox", f"p{number}", f"p{number}", "", state, {}, b"", number)

    def fill(tx: Transaction) -> None:
        for number in range(6):
            tx.enqueue(row(number, "stored" if number % 2 else "rejected"))

    store.write(fill)
    assert store.write(lambda tx: tx.prune("inbox", ("stored",), 5, 1)) == 1
    assert store.write(lambda tx: tx.prune("inbox", ("stored",), 5, 10)) == 1
    assert store.write(lambda tx: tx.prune("other", ("stored",), 99, 10)) == 0
    assert [item.id for item in store.items("inbox")] == ["p5", "p4", "p2", "p0"]


def test_items_newest_first(store: Store) -> None:
    for number in range(5):
        store.write(lambda tx, n=number: tx.enqueue(item(f"i{n}", state="ab"[n % 2])))  # type: ignore[misc]
    rows = store.items("inbox", limit=2)
    assert [each.id for each in rows] == ["i4", "i3"]
    assert [each.id for each in store.items("inbox", before=rows[-1].seq)] == ["i2", "i1", "i0"]
    assert [each.id for each in store.items("inbox", states=("a",))] == ["i4", "i2", "i0"]


# --- life -------------------------------------------------------------------------------------------------------------


def test_close_finishes_what_waits_and_takes_no_more(store: Store) -> None:
    futures = [store.submit(lambda tx, n=n: tx.put(put("Basic", str(n), 1))) for n in range(50)]  # type: ignore[misc]
    store.close()
    assert all(future.exception() is None for future in futures)
    with pytest.raises(HubError):
        write(store, put("Basic", "late", 1))

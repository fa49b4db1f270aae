"""What the stores cost: CPU time per operation on synthetic resources.

Run from the repository's top: ``python scripts/bench_store.py [--store sqlite|mongodb://...] [--resources 20000]``.
CPU time is that of this process (all threads); a mongod's own is not in it.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import itertools
import random
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path

from store_samples import DAY, LOINC, START, Samples

from hub.search.expression import Chain, Compare, Equals, Expression, Match, Order, Prefix, Query, Reverse, both
from hub.store.protocol import Put, Store, Transaction
from hub.store.sqlite import SqliteStore


def clock() -> int:
    return time.time_ns() // 1000


def opened(address: str, folder: Path) -> Store:
    if address == "sqlite":
        return SqliteStore(folder / "bench.sqlite3", clock=clock)
    from hub.store.mongo import MongoStore

    return MongoStore(address, clock=clock, prefix=f"bench{clock()}_")


def report(name: str, number_of: int, work: Callable[[], object]) -> None:
    """Run once and print operations a second and microseconds of CPU and wall time for each."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    each = 1e6 / number_of
    print(f"{name:44} {number_of / wall:10,.0f} /s  {cpu * each:9.1f} us CPU  {wall * each:9.1f} us wall")


def writing(puts: list[Put]) -> Callable[[Transaction], None]:
    def work(tx: Transaction) -> None:
        for put in puts:
            tx.put(put)

    return work


def load(store: Store, puts: list[Put], size: int) -> None:
    """Write in transactions of ``size``, all waiting at once: group commit."""
    wait([store.submit(writing(puts[place : place + size])) for place in range(0, len(puts), size)])


def queries(puts: list[Put], patients: list[str], pick: random.Random) -> dict[str, Callable[[], Query]]:
    """Name -> a query of that kind, another one with each call."""
    observations = [put for put in puts if put.type == "Observation"]

    def some(param: str) -> Equals:
        entry = next(term for term in pick.choice(observations).entries.terms if term.param == param)
        return Equals(entry.value, entry.system)

    def month() -> tuple[int, int]:
        low = pick.randrange(20_000 * DAY)
        return low, low + 30 * DAY

    def observation(*parts: Expression, order: tuple[Order, ...] = ()) -> Query:
        return Query(("Observation",), both(*parts), order)

    def between(low: int, high: int) -> Match:
        return Match("effectiveDateTime", Compare((("low", ">=", low), ("high", "<=", high))))

    def subject() -> Match:
        return Match("subject", Equals(f"Patient/{pick.choice(patients)}"))

    code = lambda: Match("code", Equals(pick.choice(LOINC)[0], "http://loinc.org"))  # noqa: E731
    male = Match("gender", Equals("male"))
    return {
        "token, unique": lambda: observation(Match("identifier", some("identifier"))),
        "token, common, first 20": lambda: observation(code()),
        "reference, all of a patient": lambda: observation(subject()),
        "AND of two tokens": lambda: observation(code(), Match("interpretation", Equals("N"))),
        "AND of patient and code": lambda: observation(subject(), code()),
        "prefix AND gender": lambda: Query(("Patient",), both(Match("family", Prefix(pick.choice("王李张刘"))), male)),
        "date range, a month": lambda: observation(between(*month())),
        "date >=": lambda: observation(Match("effectiveDateTime", Compare((("high", ">", 19_900 * DAY),)))),
        "patient's newest by date": lambda: observation(subject(), order=(Order("effectiveDateTime", True, "range"),)),
        "code, newest by date": lambda: observation(code(), order=(Order("effectiveDateTime", True, "range"),)),
        "all by _lastUpdated": lambda: observation(order=(Order("_lastUpdated", True),)),
        "chain subject:Patient.identifier": lambda: observation(
            Chain("subject", ("Patient",), Match("_id", Equals(pick.choice(patients))))
        ),
        "chain dense (gender)": lambda: observation(code(), Chain("subject", ("Patient",), male)),
        "_has": lambda: Query(("Patient",), Reverse("Observation", "subject", Match("identifier", some("identifier")))),
        "_has dense": lambda: Query(("Patient",), both(male, Reverse("Observation", "subject", code()))),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--store", default="sqlite")
    options.add_argument("--resources", type=int, default=20_000)
    options.add_argument("--repeat", type=int, default=500)
    given = options.parse_args()
    samples = Samples()
    puts = list(itertools.islice(samples.puts(), given.resources))
    singles = list(itertools.islice(samples.puts(), 1_000))
    patients = [put.id for put in puts if put.type == "Patient"]
    with tempfile.TemporaryDirectory() as folder:
        store = opened(given.store, Path(folder))
        report("insert, transactions of 100", len(puts), lambda: load(store, puts, 100))
        report("insert, transactions of 1, group commit", len(singles), lambda: load(store, singles, 1))
        alone = list(itertools.islice(samples.puts(), 300))
        report("insert, transactions of 1, one after another", 300, lambda: [store.write(writing([p])) for p in alone])
        updates = [Put(p.database, p.type, p.id, 2, "PUT", START, p.text, p.entries) for p in puts[:2000]]
        report("update, transactions of 100", len(updates), lambda: load(store, updates, 100))
        if isinstance(store, SqliteStore):
            print(f"{'bytes a version on disk':44} {store.path.stat().st_size / (len(puts) + 3300):10,.0f}")
        pick = random.Random(3)
        order = [pick.choice(puts) for _ in range(given.repeat * 4)]
        report("read by id", len(order), lambda: [store.read(put.type, put.id) for put in order])
        for name, make in queries(puts, patients, pick).items():
            asked = [make() for _ in range(given.repeat)]
            report(name, given.repeat, lambda asked=asked: [store.find(query) for query in asked])
            if "common" in name or "unique" in name:
                snapshot = [Query(q.types, q.where, q.order, at=store.last_seq()) for q in asked]
                report(f"  snapshot: {name}", given.repeat, lambda at=snapshot: [store.find(query) for query in at])
                report(f"  count: {name}", given.repeat, lambda asked=asked: [store.count(query) for query in asked])
        print(f"{'memory, peak':44} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:10,.0f} MB")
        store.close()


if __name__ == "__main__":
    main()

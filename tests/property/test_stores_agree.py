"""Random resources and random queries: SQLite, MongoDB and the naive evaluator give the same answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.search.expression import (
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
from hub.store.mongo import MongoStore
from hub.store.protocol import Put, Store, Transaction
from hub.store.sqlite import SqliteStore
from tests.naive import World, holds

OWNERS = {"Patient": ("population",), "Observation": ("emr", "ehr"), "Group": ("ehr",)}
TYPES = tuple(OWNERS)
PARAMS = ("code", "name", "value.x:exact|mm[Hg]$")
REFERENCES = ("subject", "member")
IDS = tuple("abcd")
VALUES = ("", "a", "ab", "b", "王", "王芳", "\U0001f600", "%_", "a\x1fb", "\x1e0", "A", "s", "z\U0010ffff", "\ud7ff")
SYSTEMS = ("", "s", "s\x1f", "http://x/y?a=b|c")
NUMBERS = (-(2**70), -1, 0, 0.5, 1, 2, 2.0, 1_795_000_000_000_000, 2**53 + 1, 2.0**53, 2**70, 1e300)

params, values, systems, numbers = map(st.sampled_from, (PARAMS, VALUES, SYSTEMS, NUMBERS))
types, ids = st.sampled_from(TYPES), st.sampled_from(IDS)
references = st.builds("{}/{}".format, types, ids)
terms = st.builds(Term, params, values, systems) | st.builds(Term, st.sampled_from(REFERENCES), references)
ranges = st.builds(lambda p, a, b: Range(p, min(a, b), max(a, b)), params, numbers, numbers)
entries = st.builds(
    lambda some, others: Entries(tuple(dict.fromkeys(some)), tuple(dict.fromkeys(others))),
    st.lists(terms, max_size=6),
    st.lists(ranges, max_size=3),
)
system_or_any = st.none() | systems
comparisons = st.tuples(st.sampled_from(("low", "high")), st.sampled_from(("<", "<=", ">", ">=", "=")), numbers)
tests = st.one_of(
    st.builds(Equals, values, system_or_any),
    st.builds(In, st.lists(values, max_size=3).map(tuple), system_or_any),
    st.builds(InSystem, systems),
    st.builds(Prefix, values),
    st.builds(Contains, values),
    st.builds(Compare, st.lists(comparisons, max_size=3).map(tuple)),
    st.just(Exists()),
)
some_types = st.lists(types, min_size=1, max_size=2, unique=True).map(tuple)
leaves = st.builds(Match, params, tests) | st.builds(Ids, st.lists(ids, max_size=2).map(tuple))


def nested(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    parts = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Not, inner),
        st.builds(And, parts),
        st.builds(Or, parts),
        st.builds(Chain, st.sampled_from(REFERENCES), some_types, inner),
        st.builds(Reverse, types, st.sampled_from(REFERENCES), inner),
    )


expressions = st.recursive(leaves, nested, max_leaves=6)
orders = st.lists(
    st.builds(Order, params, st.booleans(), st.sampled_from(("term", "range")))
    | st.builds(Order, st.sampled_from(("_id", "_lastUpdated")), st.booleans()),
    max_size=2,
).map(tuple)
queries = st.builds(
    Query,
    st.just(()) | some_types,
    expressions,
    orders,
    st.just(()) | st.just(("emr",)) | st.just(("ehr", "population")),
    limit=st.sampled_from((1, 3, 50)),
)
changes = st.lists(
    st.tuples(types, ids, st.integers(0, 1), st.none() | entries).map(
        lambda drawn: (drawn[0], drawn[1], OWNERS[drawn[0]][drawn[2] % len(OWNERS[drawn[0]])], drawn[3])
    ),
    max_size=12,
)
Change = tuple[str, str, str, Entries | None]


@pytest.fixture(scope="module")
def stores(mongod: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Store]]:
    def clock() -> int:
        return 0

    file: Path = tmp_path_factory.mktemp("agree") / "hub.sqlite3"
    opened: list[Store] = [SqliteStore(file, clock=clock), MongoStore(mongod, clock=clock, prefix="agree_")]
    yield opened
    for store in opened:
        store.close()


class Model:
    """The current resources, and how the naive evaluator answers a query about them."""

    def __init__(self) -> None:
        self.world: World = {}
        self.rows: dict[tuple[str, str], tuple[str, int, int]] = {}  # database, time, version

    def found(self, query: Query) -> list[tuple[str, str, int]]:
        hits = [
            key
            for key in self.rows
            if (not query.types or key[0] in query.types)
            and (not query.databases or self.rows[key][0] in query.databases)
            and holds(query.where, *key, self.world)
        ]
        for order in reversed(query.order):
            keyed = [(self._key(order, hit), hit) for hit in hits]
            present = [pair for pair in keyed if pair[0] is not None]
            present.sort(key=lambda pair: pair[0], reverse=order.descending)  # type: ignore[arg-type, return-value]
            hits = [hit for _, hit in present] + [hit for key, hit in keyed if key is None]
        return [(*hit, self.rows[hit][2]) for hit in hits]

    def _key(self, order: Order, hit: tuple[str, str]) -> object:
        if order.param == "_id":
            return hit[1]
        if order.param == "_lastUpdated":
            return self.rows[hit][1]
        pick = max if order.descending else min
        if order.shape == "term":
            return pick((term.value for term in self.world[hit].terms if term.param == order.param), default=None)
        edges = [
            one.high if order.descending else one.low for one in self.world[hit].ranges if one.param == order.param
        ]
        return pick(edges, default=None)


def empty(tx: Transaction) -> None:
    """Delete whatever is there, so that each example begins with nothing current."""
    for row in tx.find(Query((), limit=1000)):
        old = row.version
        tx.put(Put(old.database, old.type, old.id, old.version + 1, "DELETE", 0, b""))


def apply(tx: Transaction, done: list[Change]) -> list[Model]:
    """Make the changes; the model of what is current before the first and after each."""
    models = [Model()]
    for time, (type, id, database, indexed) in enumerate(done):
        current = tx.read(type, id)
        version = current.version + 1 if current else 1
        tx.put(
            Put(database, type, id, version, "PUT", time % 3, b"" if indexed is None else b"{}", indexed or Entries())
        )
        model = Model()
        model.rows = {key: row for key, row in models[-1].rows.items() if key != (type, id)}
        model.world = {key: models[-1].world[key] for key in model.rows}
        if indexed is not None:
            model.rows[type, id] = (database, time % 3, version)
            model.world = {**model.world, (type, id): indexed}
        models.append(model)
    return models


def compare(stores: list[Store], done: list[Change], asked: list[tuple[Query, int]]) -> None:
    """Each query now and as of a moment between two of the changes."""
    for store in stores:
        store.write(empty)
        start = store.last_seq()
        models = store.write(lambda tx: apply(tx, done))
        for query, moment in asked:
            then = moment % len(models)
            for at, model in ((None, models[-1]), (start + then, models[then])):
                question = replace(query, at=at)
                expected = model.found(question)
                assert paged(store, question) == expected, store.name
                assert store.count(question) == len(expected)


examples = {
    "done": changes,
    "asked": st.lists(st.tuples(queries, st.integers(0, 12)), min_size=1, max_size=8),
}
checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.mark.mongo
@settings(deadline=None, max_examples=40, suppress_health_check=checks)
@given(**examples)
def test_stores_and_naive_evaluator_agree(
    stores: list[Store], done: list[Change], asked: list[tuple[Query, int]]
) -> None:
    compare(stores, done, asked)


@pytest.mark.mongo
@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(deadline=None, max_examples=3000, suppress_health_check=checks)
@given(**examples)
def test_stores_agree_for_long(stores: list[Store], done: list[Change], asked: list[tuple[Query, int]]) -> None:
    compare(stores, done, asked)


def paged(store: Store, query: Query) -> list[tuple[str, str, int]]:
    """All rows of a query, page by page."""
    seen = []
    while page := store.find(query):
        seen += [(row.version.type, row.version.id, row.version.version) for row in page]
        query = replace(query, after=page[-1].key)
    return seen

"""What only the MongoDB store promises: refusals at start, swept snapshots, indexes used, size limits."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hub.errors import HubError
from hub.search.expression import (
    Chain,
    Compare,
    Contains,
    Entries,
    Equals,
    Expression,
    Ids,
    In,
    InSystem,
    Match,
    Not,
    Prefix,
    Query,
    Range,
    Reverse,
    Term,
    both,
)
from hub.store.mongo import MongoStore
from hub.store.protocol import Put, Transaction
from tests.conftest import Clock

pytestmark = pytest.mark.mongo


@pytest.fixture
def mongo(mongo_url: str, clock: Clock) -> Iterator[MongoStore]:
    store = MongoStore(mongo_url, clock=clock, prefix=urlsplit(mongo_url).path.strip("/") + "_", snapshot_seconds=900)
    yield store
    store.close()


def patient(id: str, version: int = 1, name: str = "x", text: bytes = b"{}") -> Put:
    entries = Entries((Term("name", name, "s"), Term("link", f"Patient/{id}")), (Range("when", 1, 2),))
    return Put("population", "Patient", id, version, "PUT", 1, text, entries)


def write(store: MongoStore, *puts: Put) -> None:
    def work(tx: Transaction) -> None:
        for put in puts:
            tx.put(put)

    store.write(work)


def test_a_server_that_cannot_be_used_is_refused(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.store.mongo.REACH_MS", 200)
    for address in ("mongodb://127.0.0.1:1/", "mongodb://"):
        with pytest.raises(HubError) as raised:
            MongoStore(address, clock=clock)
        assert raised.value.name == "configuration"


def test_a_standalone_server_is_refused(mongod: str, clock: Clock, tmp_path: Path) -> None:
    from tests.mongod import binary, free_port

    program = binary()
    if program is None:
        pytest.skip("no mongod of our own to start alone")
    port = free_port()
    command = [str(program), "--dbpath", str(tmp_path), "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"]
    with subprocess.Popen([*command, "--logpath", str(tmp_path / "log")], stdout=subprocess.DEVNULL) as alone:
        try:
            with pytest.raises(HubError, match="replica set") as raised:
                MongoStore(f"mongodb://127.0.0.1:{port}", clock=clock)
            assert raised.value.name == "configuration"
        finally:
            alone.kill()


def test_a_resource_beyond_the_document_limit_is_refused_alone(mongo: MongoStore) -> None:
    small = mongo.submit(lambda tx: tx.put(patient("small")))
    big = mongo.submit(lambda tx: tx.put(patient("big", text=os.urandom(16 << 20))))
    error = big.exception()
    assert isinstance(error, HubError) and error.name == "too-long"
    assert small.exception() is None and mongo.read("Patient", "small") is not None
    long = b'{"resourceType":"Patient"}' * 1_000_000
    write(mongo, patient("long", text=long))
    stored = mongo.read("Patient", "long")
    assert stored is not None and stored.text == long


def test_superseded_entries_are_swept_after_a_while(mongo: MongoStore, clock: Clock) -> None:
    write(mongo, patient("a"), patient("b"))
    early = mongo.last_seq()
    write(mongo, patient("a", 2, "y"))
    later = mongo.last_seq()
    write(mongo, patient("a", 3, "z"))
    mongo._sweep()
    assert mongo.count(Query(("Patient",), Match("name", Equals("x")), at=early)) == 2
    clock.advance(901)
    mongo._sweep()
    for at in (early, later):
        with pytest.raises(HubError) as raised:
            mongo.find(Query(("Patient",), at=at))
        assert raised.value.name == "expired"
    assert mongo.count(Query(("Patient",), Match("name", Equals("z")), at=later + 1)) == 1
    assert [version.version for version in mongo.history(("Patient",), "a")] == [3, 2, 1]
    assert mongo.vread("Patient", "a", 1) is not None


def test_a_job_that_raises_late_spares_the_others(mongo: MongoStore) -> None:
    """Its writes had been sent for its own search, so the transaction is run again without it."""

    def late(tx: Transaction) -> None:
        tx.put(patient("late"))
        assert tx.count(Query(("Patient",), Match("name", Equals("x")))) >= 1
        raise ValueError("late")

    futures = [mongo.submit(lambda tx, n=n: tx.put(patient(f"p{n}"))) for n in range(5)]  # type: ignore[misc]
    failing = mongo.submit(late)
    futures += [mongo.submit(lambda tx, n=n: tx.put(patient(f"q{n}"))) for n in range(5)]  # type: ignore[misc]
    assert isinstance(failing.exception(), ValueError)
    assert all(future.exception() is None for future in futures)
    assert mongo.count(Query(("Patient",))) == 10 and mongo.last_seq() == 10


PLANS = [
    (Match("name", Equals("x")), "t"),
    (Match("name", Equals("x", "s")), "t"),
    (Match("name", In(("x", "y"))), "t"),
    (Match("name", InSystem("s")), "t"),
    (Match("name", Prefix("x")), "t"),
    (Match("name", Contains("x")), "t"),
    (Match("when", Compare((("low", ">=", 1), ("high", "<=", 2)))), "g.k"),
    (Ids(("a",)), "key"),
    (Chain("link", ("Patient",), Match("name", Equals("x"))), "t"),
    (Reverse("Patient", "link", Match("name", Equals("x"))), "key"),
    (both(Match("name", Equals("x")), Not(Match("name", Prefix("y")))), "t"),
    (Not(Match("name", Prefix("y"))), "type"),
]


def stages(plan: Any) -> Iterator[dict[str, Any]]:
    """Every node of an explained plan."""
    if isinstance(plan, dict):
        yield plan
        plan = list(plan.values())
    if isinstance(plan, list):
        for each in plan:
            yield from stages(each)


@pytest.mark.parametrize(("where", "field"), PLANS, ids=lambda value: str(value)[:70])
@pytest.mark.parametrize("snapshot", [False, True])
def test_every_kind_of_match_uses_an_index(mongo: MongoStore, where: Expression, field: str, snapshot: bool) -> None:
    write(mongo, *(patient(str(number), name=f"n{number}") for number in range(50)), patient("a"))
    write(mongo, patient("a", 2))
    plans = mongo.explain(Query(("Patient",), where, at=mongo.last_seq() if snapshot else None))
    assert len(plans) == (2 if snapshot else 1)
    for plan in plans:
        nodes = list(stages(plan))
        assert not [node for node in nodes if node.get("stage") == "COLLSCAN"], plan
    winning = [node for node in stages(plans[0]) if node.get("stage") == "IXSCAN"]
    assert any(field in node["keyPattern"] for node in winning), plans[0]

"""Received, processed and acknowledged: what becomes of a message, on both stores."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import bootstrap
from hub.errors import HubError
from hub.services.amend import Statement
from hub.services.context import Context
from hub.services.doors import Doors
from hub.services.inbox import QUEUE, Inbound, Inbox, Interpretation, Settled
from hub.settings import load
from hub.store.protocol import Item, Store


class Lines:
    """A protocol of one line: ``patient N`` is stored, ``wrong`` refused, ``new`` not known yet, ``bug`` our fault."""

    def __init__(self) -> None:
        self.interpreted = 0

    def interpret(self, inbound: Inbound) -> Interpretation:
        self.interpreted += 1
        verb, _, rest = inbound.raw.decode().partition(" ")
        if verb == "wrong":
            raise HubError("required", "a number is missing", "line 1")
        if verb == "new":
            raise HubError("event-unknown", "no table for this yet", "line 1")
        if verb == "bug":
            raise ZeroDivisionError
        if verb == "later":
            raise HubError("no-store", "the disk is full")
        number = rest.split()[0]
        patient = {"resourceType": "Patient", "id": number, "identifier": [{"system": "urn:x", "value": number}]}
        return Interpretation({"resourceType": "Bundle", "entry": [{"resource": patient}]}, "patient")

    def answer(self, inbound: Inbound, settled: Settled) -> bytes:
        name = settled.error.name if settled.error else ""
        return f"{inbound.control_id} {settled.state} {name}".strip().encode()


@pytest.fixture
def doors(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doors]:
    monkeypatch.setattr(bootstrap, "open_store", lambda settings, clock, vault: store)
    built = bootstrap.build(load(data=tmp_path / "data"))
    yield built
    built.imaging.close()
    built.audit.close()


@pytest.fixture
def lines(doors: Doors) -> Lines:
    interpreter = Lines()
    doors.inbox.register("lines", interpreter)
    return interpreter


def send(inbox: Inbox, control_id: str, raw: bytes, **more: Any) -> bytes:
    return inbox.receive(channel="lines", sender="HIS", control_id=control_id, raw=raw, **more)


def only(inbox: Inbox) -> Item:
    (item,) = inbox.list()
    return item


def test_stored(doors: Doors, lines: Lines) -> None:
    assert send(doors.inbox, "1", b"patient p1") == b"1 stored"
    item = only(doors.inbox)
    assert (item.state, item.data["kind"], item.data["references"]) == ("stored", "patient", ["Patient/p1"])
    version = doors.store.read("Patient", "p1")
    assert version is not None
    assert version.origin == item.id


@pytest.mark.parametrize(
    ("raw", "state", "error"),
    [
        (b"wrong", "rejected", "required"),
        (b"new", "quarantined", "event-unknown"),
        (b"bug", "quarantined", "exception"),
    ],
)
def test_refused_and_kept(doors: Doors, lines: Lines, raw: bytes, state: str, error: str) -> None:
    assert send(doors.inbox, "1", raw) == f"1 {state} {error}".encode()
    item = only(doors.inbox)
    assert (item.state, item.data["error"], doors.inbox.raw(item)) == (state, error, raw)
    assert item.data["reason"]
    assert doors.inbox.counts() == {"received": 0, "stored": 0, "rejected": 0, "quarantined": 0, state: 1}


def test_the_same_again_gets_the_stored_answer(doors: Doors, lines: Lines) -> None:
    first = send(doors.inbox, "1", b"patient p1")
    before = doors.store.last_seq()
    assert send(doors.inbox, "1", b"patient p1") == first
    assert doors.store.last_seq() == before
    assert lines.interpreted == 1


def test_the_same_id_with_another_body_is_refused_and_kept(doors: Doors, lines: Lines) -> None:
    send(doors.inbox, "1", b"patient p1")
    answer = send(doors.inbox, "1", b"patient p2")
    assert answer == b"1 rejected duplicate"
    assert send(doors.inbox, "1", b"patient p2") == answer
    assert doors.store.read("Patient", "p2") is None
    assert doors.inbox.counts()["rejected"] == 1


def test_the_same_id_for_another_kind_is_another_message(doors: Doors, lines: Lines) -> None:
    send(doors.inbox, "1", b"patient p1", kind="A01")
    assert send(doors.inbox, "1", b"patient p2", kind="A08") == b"1 stored"
    assert doors.inbox.counts()["stored"] == 2


def test_the_same_message_from_many_threads_is_processed_once(doors: Doors, lines: Lines) -> None:
    answers: list[bytes] = []

    def one() -> None:
        answers.append(send(doors.inbox, "1", b"patient p1"))

    threads = [threading.Thread(target=one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"1 stored"] * 16
    assert lines.interpreted == 1


def test_without_a_control_id_the_content_is_the_key(doors: Doors, lines: Lines) -> None:
    send(doors.inbox, "", b"wrong")
    send(doors.inbox, "", b"wrong")
    send(doors.inbox, "", b"new")
    assert doors.inbox.counts() == {"received": 0, "stored": 0, "rejected": 1, "quarantined": 1}


def test_what_was_not_settled_is_run_again(doors: Doors, lines: Lines, clock: Any) -> None:
    item = Item(
        QUEUE, "left", "lines\x1fHIS\x1f\x1f9", "digest", "received",
        {"channel": "lines", "sender": "HIS", "control_id": "9", "peer": "", "size": 10}, b"patient p9", 1,
    )  # fmt: skip
    doors.store.write(lambda tx: tx.enqueue(item))
    assert doors.inbox.recover() == 1
    assert doors.inbox.get("left").state == "stored"
    assert doors.store.read("Patient", "p9") is not None
    assert doors.inbox.recover() == 0


def test_a_passing_failure_settles_nothing(doors: Doors, lines: Lines) -> None:
    assert b"no-store" in send(doors.inbox, "1", b"later")
    assert only(doors.inbox).state == "received"


def test_rerun_after_a_table_was_mended(doors: Doors, lines: Lines) -> None:
    send(doors.inbox, "1", b"new p1")
    item = only(doors.inbox)
    mended = {"interpret": lambda self, inbound: Interpretation(None, "new")}
    doors.inbox.register("lines", type("Mended", (Lines,), mended)())
    assert doors.inbox.rerun(item.id).state == "stored"


def test_a_large_message_is_kept_as_a_blob(doors: Doors, lines: Lines) -> None:
    raw = b"patient p1 " + b"x" * 1_000_000
    send(doors.inbox, "1", raw)
    item = only(doors.inbox)
    assert item.raw == b""
    assert doors.inbox.raw(item) == raw


def test_unknown_item(doors: Doors) -> None:
    with pytest.raises(HubError, match="not-found"):
        doors.inbox.get("nothing")


def test_an_amendment_keeps_what_it_is_silent_about(doors: Doors, lines: Lines) -> None:
    full = {"resourceType": "Patient", "id": "p1", "gender": "male", "birthDate": "1985-03-07"}
    thin = {"resourceType": "Patient", "id": "p1", "gender": "female"}
    context = Context(door="hl7v2", actor="HIS")
    for resource in (full, thin):
        doors.ingest.submit({"resourceType": "Bundle", "entry": [{"resource": resource}]}, context)
    version = doors.store.read("Patient", "p1")
    assert version is not None
    stored = doors.databases.decode(version)
    assert (stored["gender"], stored["birthDate"], version.version) == ("female", "1985-03-07", 2)


def test_what_a_message_clears_is_deleted(doors: Doors) -> None:
    full = {"resourceType": "Patient", "id": "p1", "gender": "male", "birthDate": "1985-03-07"}
    context = Context(door="hl7v2", actor="HIS")
    doors.ingest.submit({"resourceType": "Bundle", "entry": [{"resource": full}]}, context)
    thin = {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient", "id": "p1"}}]}
    doors.ingest.submit(thin, context, statement=Statement(cleared={"Patient/p1": ["birthDate"]}))
    version = doors.store.read("Patient", "p1")
    assert version is not None
    stored = doors.databases.decode(version)
    assert (stored["gender"], "birthDate" in stored) == ("male", False)

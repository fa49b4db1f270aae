"""The audit trail: every door leaves an AuditEvent, reads do not wait for it, and it is searchable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import bootstrap
from hub.audit.record import MAX_ENTITIES, QUEUE
from hub.errors import HubError
from hub.services.context import Context
from hub.services.doors import Doors
from hub.settings import load
from hub.store.protocol import Store

WHO = Context(door="fhir", actor="Dr Li", peer="127.0.0.1", request="r1")


@pytest.fixture
def doors(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doors]:
    monkeypatch.setattr(bootstrap, "open_store", lambda settings, clock, vault: store)
    built = bootstrap.build(load(data=tmp_path / "data"))
    yield built
    built.imaging.close()
    built.audit.close()


def trail(doors: Doors, **criteria: str) -> list[dict[str, object]]:
    page = doors.query.search(WHO, ("AuditEvent",), list(criteria.items()))
    return [doors.databases.decode(version) for version in page.matches]


def test_a_write_and_a_read_leave_events(doors: Doors) -> None:
    written = doors.ingest.create(WHO, {"resourceType": "Patient", "gender": "male"})
    assert written.version is not None
    reference = f"Patient/{written.version.id}"
    doors.query.read(WHO, "Patient", written.version.id)
    events = trail(doors, entity=reference)
    assert [event["action"] for event in events] == ["C", "R"]
    for event in events:
        assert event["agent"][0]["who"] == {"display": "Dr Li"}  # type: ignore[index]
        assert doors.checks.check(doors.store.read("AuditEvent", str(event["id"])).text).valid  # type: ignore[union-attr]
    assert [event["action"] for event in trail(doors, action="R", entity=reference)] == ["R"]


def test_a_refused_write_leaves_no_event(doors: Doors) -> None:
    with pytest.raises(HubError):
        doors.ingest.create(WHO, {"resourceType": "Patient", "gender": "manly"})
    assert trail(doors) == []


def test_a_search_names_its_query_and_not_its_results_content(doors: Doors) -> None:
    doors.ingest.create(WHO, {"resourceType": "Patient", "id": "p", "name": [{"family": "Secret"}]})
    doors.query.search(WHO, ("Patient",), [("gender", "male")])
    (event,) = trail(doors, subtype="search")
    assert "Patient?gender=male" in str(event)
    assert "Secret" not in str(event)


def test_the_trail_is_durable_before_it_is_expanded(doors: Doors) -> None:
    doors.ingest.create(WHO, {"resourceType": "Patient"})
    assert doors.store.item_counts(QUEUE) == {"noted": 1}
    assert doors.audit.expand() == 1
    assert doors.store.item_counts(QUEUE) == {"expanded": 1}
    assert doors.audit.expand() == 0


def test_many_references_are_counted(doors: Doors) -> None:
    doors.audit.read(WHO, "search", [f"Patient/{number}" for number in range(MAX_ENTITIES + 5)])
    (event,) = trail(doors, subtype="search")
    assert f"{MAX_ENTITIES + 5} resources" in str(event)


def test_close_writes_what_is_gathered(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "open_store", lambda settings, clock, vault: store)
    built = bootstrap.build(load(data=tmp_path / "data"))
    for number in range(10):
        built.audit.read(WHO, "read", (f"Patient/{number}",))
    built.imaging.close()
    built.audit.close()
    assert sum(item.data["notes"] for item in store.items(QUEUE)) == 10

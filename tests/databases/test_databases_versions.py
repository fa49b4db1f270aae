"""Versions of resources through the four databases; what a store could do differently on every store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir import definitions, json, temporal
from hub.search.expression import Equals, Match, Query
from hub.search.parameters import Registry
from hub.search.parse import Parser
from hub.settings import Search as Limits
from hub.store.protocol import Store, Version
from hub.store.sqlite import SqliteStore

registry = Registry(definitions.load())
databases = Databases(registry, lambda: 1_795_000_000_000_000)
parser = Parser(registry, Limits())

NOW = 1_795_000_000_123_456
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "meta": {"profile": ["http://x.test/p"], "versionId": "99", "lastUpdated": "1999-01-01T00:00:00Z"},
    "gender": "male",
    "birthDate": "1985-03-07",
    "extension": [{"url": "http://x.test/e", "valueDecimal": json.Decimal("1.10")}],
}


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Store]:
    opened = SqliteStore(tmp_path / "hub.sqlite3", clock=lambda: NOW)
    yield opened
    opened.close()


def put(store: Store, resource: dict[str, Any], **how: Any) -> tuple[Version, bool]:
    return store.write(lambda tx: databases.put(tx, resource, **{"method": "PUT", "now": NOW, **how}))


def test_first_version(store: Store) -> None:
    version, changed = put(store, PATIENT, origin="inbox-1")
    stored = store.read("Patient", "p1")
    assert stored is not None and changed
    assert (stored.text, stored.database, stored.version, stored.method, stored.origin) == (
        b'{"resourceType":"Patient","id":"p1","meta":{"profile":["http://x.test/p"],"versionId":"1",'
        b'"lastUpdated":"2026-11-18T11:06:40.123Z"},"gender":"male","birthDate":"1985-03-07",'
        b'"extension":[{"url":"http://x.test/e","valueDecimal":1.10}]}',
        "population",
        1,
        "PUT",
        "inbox-1",
    )
    assert version.text == stored.text
    assert databases.decode(stored)["extension"][0]["valueDecimal"].literal == "1.10"


def test_equal_content_makes_no_version(embedded: Store) -> None:
    put(embedded, PATIENT)
    again = {**PATIENT, "meta": {"profile": ["http://x.test/p"]}}
    version, changed = put(embedded, again, now=NOW + 10_000_000)
    assert (version.version, changed) == (1, False)
    turned = dict(reversed(again.items()))
    assert put(embedded, turned, now=NOW + 10_000_000)[1] is False
    other_digits = {**PATIENT, "extension": [{"url": "http://x.test/e", "valueDecimal": json.Decimal("1.1e0")}]}
    assert put(embedded, other_digits, now=NOW + 10_000_000)[1] is True


def test_update_replaces_the_entries(embedded: Store) -> None:
    put(embedded, PATIENT)
    version, changed = put(embedded, {**PATIENT, "gender": "female"}, now=NOW + 1_000_000)
    assert (version.version, changed) == (2, True)
    assert embedded.count(Query(("Patient",), Match("gender", Equals("male")))) == 0
    assert embedded.count(Query(("Patient",), Match("gender", Equals("female")))) == 1


def test_time_never_goes_backwards(embedded: Store) -> None:
    put(embedded, PATIENT)
    version, _ = put(embedded, {**PATIENT, "gender": "other"}, now=NOW - 3_600_000_000)
    assert databases.decode(version)["meta"]["lastUpdated"] == "2026-11-18T11:06:40.123Z"


def test_last_updated_is_searched_in_milliseconds(store: Store) -> None:
    put(store, PATIENT)
    for value, count in (
        ("2026-11-18T11:06:40.123Z", 1),
        ("2026-11-18T11:06:40.124Z", 0),
        ("gt2026-11-18T11:06:40.122Z", 1),
        ("gt2026-11-18T11:06:40.123Z", 0),
        ("2026", 1),
    ):
        where = parser.expression(("Patient",), "_lastUpdated", value)
        assert store.count(Query(("Patient",), where)) == count, value


def test_expected_version(embedded: Store) -> None:
    with pytest.raises(HubError, match="precondition"):
        put(embedded, PATIENT, expected=1)
    put(embedded, PATIENT)
    with pytest.raises(HubError, match="version 2"):
        put(embedded, {**PATIENT, "gender": "other"}, expected=2)
    assert put(embedded, {**PATIENT, "gender": "other"}, expected=1)[0].version == 2
    with pytest.raises(HubError, match="precondition"):
        embedded.write(lambda tx: databases.delete(tx, "Patient", "p1", expected=1, now=NOW))


def test_delete_and_create_again(store: Store) -> None:
    put(store, PATIENT)
    deleted = store.write(lambda tx: databases.delete(tx, "Patient", "p1", now=NOW))
    assert deleted is not None and deleted.deleted and deleted.version == 2
    assert store.write(lambda tx: databases.delete(tx, "Patient", "p1", now=NOW)) is None
    assert store.write(lambda tx: databases.delete(tx, "Patient", "never", now=NOW)) is None
    assert store.count(Query(("Patient",))) == 0
    version, changed = put(store, PATIENT)
    assert (version.version, changed) == (3, True)


def test_a_resource_stays_where_it_was_created(embedded: Store) -> None:
    survey = [{"coding": [{"code": "survey"}]}]
    observation = {"resourceType": "Observation", "id": "o", "status": "final", "category": survey}
    assert put(embedded, observation)[0].database == "ehr"
    assert put(embedded, {"resourceType": "Observation", "id": "o", "status": "final"})[0].database == "ehr"
    assert embedded.count(Query(("Observation",), databases=("emr",))) == 0


def test_prepared_outside_the_transaction_is_the_same(embedded: Store) -> None:
    first, _ = put(embedded, PATIENT, prepared=databases.prepare(PATIENT))
    other, _ = put(embedded, {**PATIENT, "id": "p2"})
    assert first.text.replace(b'"p1"', b'"p2"') == other.text


@pytest.mark.parametrize("id", ["", "a b", "x" * 65, "ä", 1, None, "a/b", "a\n"])
def test_bad_id(embedded: Store, id: Any) -> None:
    with pytest.raises(HubError, match="value"):
        put(embedded, {**PATIENT, "id": id})
    assert embedded.last_seq() == 0


def test_empty_resource(embedded: Store) -> None:
    version, _ = put(embedded, {"resourceType": "Basic", "id": "b"})
    assert json.decode(version.text)["meta"] == {"versionId": "1", "lastUpdated": temporal.instant(NOW)}

"""What lies on disk tells nobody's identity number: bodies, queues, indexes, on SQLite and MongoDB; keys rotate."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pymongo
import pytest
from bson import encode

from hub import bootstrap, doctor
from hub.api.server import HttpServer
from hub.errors import HubError
from hub.keyring import Keyring
from hub.masking import masked
from hub.search.blind import SM3, Blind, Key
from hub.search.expression import Equals, In, Match
from hub.services.doors import Doors
from hub.settings import load
from hub.store.sqlite import SqliteStore
from hub.store.vault import AES, SM, Vault
from hub.store.vault import Key as ContentKey
from tests.conftest import BACK_ENDS

PEOPLE = {"109901198503070013": "王小明", "109901198503070021": "李芳", "109903202001010039": "王宝"}
PASSPORT = "E88776655"
NATIONAL = "urn:oid:2.16.840.1.113883.2.23.1.19.1"


@pytest.fixture(params=BACK_ENDS)
def address(request: pytest.FixtureRequest) -> str:
    return "sqlite" if request.param == "sqlite" else str(request.getfixturevalue("mongo_url"))


@pytest.fixture
def doors(tmp_path: Path, address: str) -> Iterator[Doors]:
    built = bootstrap.build(load(data=tmp_path, store=address))
    yield built
    bootstrap.close(built)


def fill(doors: Doors) -> None:
    """People by FHIR, HL7 v2 and cards; searches for them; messages that are refused and say why."""
    from adapters.hl7v2.interpret import CHANNEL, Interpreter

    doors.inbox.register(CHANNEL, Interpreter(doors.clock, doors.new_id, "Asia/Shanghai", "zh"))
    server = HttpServer(doors, port=0)
    server.start()
    base = f"http://127.0.0.1:{server.address[1]}"
    with httpx.Client(base_url=base, timeout=30, headers={"Content-Type": "application/fhir+json"}) as client:
        for at, (number, name) in enumerate(PEOPLE.items()):
            identifiers = [{"system": NATIONAL, "value": number}, {"value": number[:17] + number[17].lower()}]
            patient = {"resourceType": "Patient", "id": f"p{at}", "identifier": identifiers, "name": [{"text": name}]}
            client.put(f"/fhir/Patient/p{at}", content=json.dumps(patient)).raise_for_status()
            found = client.get("/fhir/Patient", params={"identifier": number}).json()
            assert found["total"] == 1
            assert client.get("/fhir/Patient", params={"identifier": f"{NATIONAL}|{number}"}).json()["total"] == 1
            assert client.get("/fhir/Person", params={"identifier": number}).json()["total"] == 1
            assert client.get("/api/persons", params={"identifier": number}).json()["persons"]
            issued = client.post("/api/cards", json={"number": number, "name": name})
            assert issued.status_code == 201, issued.text
            pid = f"PID|1||M{at}^^^H1^MR~{number}^^^^NI||{name}||19850307|M"
            raw = f"MSH|^~\\&|HIS|H1|HUB|R|20261120083000||ADT^A04|{at}|P|2.5.1\r{pid}\r".encode()
            answer = doors.inbox.receive(channel=CHANNEL, sender="HIS|H1", control_id=str(at), kind="ADT^A04", raw=raw)
            assert b"MSA|AA" in answer
        foreign = {"number": PASSPORT, "name": "MARY", "type": "03", "birth_date": "1990-05-05", "gender": "female"}
        assert client.post("/api/cards", json={**foreign, "verified": "window"}).status_code == 201
        passport = "https://region-hub.example/fhir/document/passport"
        assert client.get("/fhir/Person", params={"identifier": PASSPORT}).json()["total"] == 1
        assert client.get("/fhir/Person", params={"identifier": f"{passport}|{PASSPORT}"}).json()["total"] == 1
        assert client.get("/fhir/AuditEvent", params={"_count": "5"}).status_code == 200
    server.stop()


def leaks(doors: Doors, address: str, tmp_path: Path) -> set[str]:
    """The numbers found in any file, or in any document of the database."""
    places = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    if address != "sqlite":
        client: pymongo.MongoClient[dict[str, Any]]
        with pymongo.MongoClient(
            address.split("/", 3)[0] + "//" + address.split("/")[2] + "/?replicaSet=test"
        ) as client:
            prefix = address.split("/")[3].partition("?")[0] + "_"
            for name in client.list_database_names():
                if name.startswith(prefix):
                    for collection in client[name].list_collection_names():
                        places += [encode(document) for document in client[name][collection].find()]
    return {number for number in (*PEOPLE, PASSPORT) for place in places if number.encode() in place}


def test_no_identity_number_lies_in_the_clear(doors: Doors, address: str, tmp_path: Path) -> None:
    fill(doors)
    assert leaks(doors, address, tmp_path) == set()
    assert set(doors.store.seals()) == {1}
    assert stat.S_IMODE((tmp_path / "secrets" / "keys.json").stat().st_mode) == 0o600


def test_without_protection_they_do(tmp_path: Path) -> None:
    """The search of this test finds what there is to find."""
    doors = bootstrap.build(load(data=tmp_path, privacy={"at_rest": False}))
    fill(doors)
    bootstrap.close(doors)
    assert set(PEOPLE) <= leaks(doors, "sqlite", tmp_path)
    assert not (tmp_path / "secrets" / "keys.json").exists()


@pytest.mark.parametrize("algorithms", ["aes", "sm"])
def test_keys_rotate_and_old_content_stays_readable(address: str, tmp_path: Path, algorithms: str) -> None:
    doors = bootstrap.build(load(data=tmp_path, store=address))
    fill(doors)
    ring = Keyring(tmp_path / "secrets" / "keys.json")
    ring.rotate(algorithms, index=True)
    doors.keys.finish()
    assert set(doors.store.seals()) == {2}
    assert ring.load().moved == 2
    assert leaks(doors, address, tmp_path) == set()
    version = doors.store.read("Patient", "p0")
    assert version is not None and b"109901198503070013" in version.text
    bootstrap.close(doors)
    again = bootstrap.build(load(data=tmp_path, store=address))
    assert again.identity.persons_by_identifier("109901198503070013"), "hidden with the key before"
    assert again.inbox.raw(again.inbox.list()[0]).startswith(b"MSH")
    bootstrap.close(again)


def test_protection_begins_on_a_store_that_had_none(tmp_path: Path) -> None:
    doors = bootstrap.build(load(data=tmp_path, privacy={"at_rest": False}))
    fill(doors)
    bootstrap.close(doors)
    settings = load(data=tmp_path, http={"port": 0}, mllp={"port": 0}, dicom={"port": 0})
    (row,) = [row for row in doctor.examine(settings) if row["check"] == "encryption"]
    assert not row["ok"]
    doors = bootstrap.build(settings)
    assert doors.identity.persons_by_identifier("109901198503070013"), "indexed before hiding began"
    doors.keys.finish()
    assert set(doors.store.seals()) == {1}
    bootstrap.close(doors)
    (row,) = [row for row in doctor.examine(settings) if row["check"] == "encryption"]
    assert row["ok"], row


def test_a_lost_key_is_named(tmp_path: Path) -> None:
    doors = bootstrap.build(load(data=tmp_path))
    fill(doors)
    bootstrap.close(doors)
    store = SqliteStore(tmp_path / "hub.sqlite3", clock=lambda: 0, vault=Vault({1: ContentKey(AES, b"k" * 32)}))
    with pytest.raises(HubError, match="wrong key"):
        store.read("Patient", "p0")
    store.close()


@pytest.mark.parametrize("cipher", [AES, SM])
def test_sealed_content_opens_unchanged_only(cipher: str) -> None:
    vault = Vault({1: ContentKey(cipher, b"k" * 32)})
    number, sealed = vault.seal(b"content")
    assert (number, vault.open(number, sealed)) == (1, b"content")
    assert vault.seal(b"content")[1] != sealed
    for place in (0, 13, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(HubError, match="does not open"):
            vault.open(1, bytes(changed))
    with pytest.raises(HubError, match="lacks"):
        vault.open(2, sealed)


def test_hidden_values_are_found_by_equality_only() -> None:
    old, new = Key("sha256", b"a" * 32), Key(SM3, b"b" * 32)
    before, after = Blind((old,)), Blind((old, new))
    hidden = before.hide("109901198503070013", NATIONAL)
    assert hidden.startswith("~") and hidden != after.hide("109901198503070013", NATIONAL)
    asked = after.expression(Match("identifier", Equals("109901198503070013", NATIONAL)))
    assert isinstance(asked, Match) and isinstance(asked.test, In)
    assert {hidden, after.hide("109901198503070013", NATIONAL), "109901198503070013"} == set(asked.test.values)
    assert before.hide("718-7", "http://loinc.org") == "718-7"
    assert Blind((old,), hides=False).hide("109901198503070013", NATIONAL) == "109901198503070013"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ID 109901198503070013.", "ID 109901********0013."),
        ("身份证10990119850307002X号", "身份证109901********002X号"),
        ("old 109901850307001", "old 109901******001"),
        ("1.2.840.109901198503070013", "1.2.840.109901198503070013"),
        ("control id 202611200830001", "control id 202611200830001"),
        ("1099011985030700133", "1099011985030700133"),
    ],
)
def test_masking(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert HubError("value", text).diagnostics == shown

"""The e-health card: issue, states, codes, and every attack refused for its own reason."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir import definitions
from hub.healthcard.card import SYSTEM, sm3
from hub.mpi import golden
from hub.mpi.link import Linker
from hub.search.parameters import Registry
from hub.services.healthcards import USES, HealthCards, Use
from hub.store.sqlite import SqliteStore

MALE, FEMALE = "109901198503070013", "109901198503070021"
INDEX = "AB" * 32
NOW = 1_700_000_000_000_000


class Service:
    """Cards on a real store with a clock that the test moves."""

    def __init__(self, directory: Path, salt: bytes = b"s" * 32) -> None:
        self.now = NOW
        self.store = SqliteStore(directory / "hub.sqlite3", clock=lambda: self.now, snapshot_seconds=900)
        self.databases = Databases(Registry(definitions.load()), lambda: self.now)
        self.linker = Linker(self.databases)
        self.cards = HealthCards(
            self.store, self.databases, self.linker, lambda: self.now, lambda: str(uuid.uuid4()), salt=salt
        )

    def refusal(self, act: Any, *arguments: Any) -> str:
        with pytest.raises(HubError) as error:
            act(*arguments)
        return error.value.name

    def register(self, resource: dict[str, Any]) -> None:
        def work(tx: Any) -> None:
            self.databases.put(tx, resource, method="PUT", now=self.now)
            self.linker.link(tx, resource, now=self.now)

        self.store.write(work)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.store.close()


def test_sm3_known_answer() -> None:
    """GB/T 32905-2016, A.1."""
    assert sm3(b"abc").hex() == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"


def test_issue_is_idempotent_and_depends_on_the_salt(service: Service, tmp_path: Path) -> None:
    card = service.cards.issue(MALE, "王小明")
    again = service.cards.issue("109901850307001", "王 小明")
    assert (again.index, again.state, again.person["id"]) == (card.index, card.state, card.person["id"])
    assert len(card.index) == 64
    assert card.code == f"{card.index}:1"
    other_region = tmp_path / "other"
    other_region.mkdir()
    other = Service(other_region, b"t" * 32)
    assert other.cards.issue(MALE, "王小明").index != card.index
    other.store.close()


@pytest.mark.parametrize(
    ("number", "name", "more", "reason"),
    [
        ("109901198503070014", "王小明", {}, "value"),
        ("109902200102290011", "王小明", {}, "value"),
        (MALE, "王小明", {"birth_date": "1985-03-08"}, "value"),
        (MALE, "王小明", {"gender": "female"}, "value"),
        (MALE, "王小明", {"type": "03"}, "value"),
        (FEMALE, "李四", {}, "business-rule"),
    ],
)
def test_what_is_not_verified_gets_no_card(
    service: Service, number: str, name: str, more: dict[str, str], reason: str
) -> None:
    service.cards.issue(FEMALE, "张三")
    with pytest.raises(HubError) as error:
        service.cards.issue(number, name, **more)
    assert error.value.name == reason


def test_a_card_belongs_to_the_person_the_hospitals_know(service: Service) -> None:
    identifier = {"system": "urn:oid:2.16.840.1.113883.2.23.1.19.1", "value": MALE}
    service.register({"resourceType": "Patient", "id": "a", "identifier": [identifier], "name": [{"text": "王小明"}]})
    card = service.cards.issue(MALE, "王小明")
    assert golden.links(card.person) == ["Patient/a"]
    service.register({"resourceType": "Patient", "id": "b", "identifier": [{"system": SYSTEM, "value": card.index}]})
    found = service.cards.find(card.code)
    assert found is not None
    assert golden.links(found.person) == ["Patient/a", "Patient/b"]


def test_a_card_issued_before_the_first_visit_survives_it(service: Service) -> None:
    card = service.cards.issue(MALE, "王小明")
    identifier = {"system": SYSTEM, "value": card.index}
    service.register({"resourceType": "Patient", "id": "a", "identifier": [identifier], "name": [{"text": "王小明"}]})
    found = service.cards.find(card.index)
    assert found is not None
    assert found.person["id"] == card.person["id"]
    assert {golden.pair(one)[1] for one in found.person["identifier"]} == {MALE, card.index}


@pytest.mark.parametrize(
    ("actions", "state", "next_refused"),
    [
        (["suspend"], "suspended", "suspend"),
        (["suspend", "resume"], "active", "resume"),
        (["report-lost"], "lost", "suspend"),
        (["report-lost", "resume"], "active", "resume"),
        (["cancel"], "cancelled", "resume"),
    ],
)
def test_states(service: Service, actions: list[str], state: str, next_refused: str) -> None:
    card = service.cards.issue(MALE, "王小明")
    for action in actions:
        card = service.cards.change(card.index, action)
    assert card.state == state
    assert service.refusal(service.cards.change, card.index, next_refused) == "business-rule"
    if state != "active":
        assert service.refusal(service.cards.verify, card.code, Use()) == "business-rule"
        assert service.refusal(service.cards.dynamic_code, card.index) == "business-rule"


def test_a_cancelled_card_is_not_issued_again(service: Service) -> None:
    card = service.cards.issue(MALE, "王小明")
    service.cards.change(card.index, "cancel")
    assert service.refusal(service.cards.issue, MALE, "王小明") == "business-rule"


def test_static_codes_verify_and_leave_a_use(service: Service) -> None:
    card = service.cards.issue(MALE, "王小明")
    for _ in range(2):
        found = service.cards.verify(card.code.lower(), Use("XHRM", "T1", "10101"))
    assert found.person["id"] == card.person["id"]
    uses = service.store.items(USES)
    assert [use.data["step"] for use in uses] == ["10101", "10101"]


def test_a_dynamic_code_works_once_within_60_seconds(service: Service) -> None:
    card = service.cards.issue(MALE, "王小明")
    code = service.cards.dynamic_code(card.index)
    assert len(code) <= 130
    service.now += 59_000_000
    assert service.cards.verify(code, Use()).index == card.index
    assert service.refusal(service.cards.verify, code, Use()) == "duplicate"
    late = service.cards.dynamic_code(card.index)
    service.now += 62_000_000
    assert service.refusal(service.cards.verify, late, Use()) == "expired"


def test_64_parallel_replays_succeed_once(service: Service) -> None:
    code = service.cards.dynamic_code(service.cards.issue(MALE, "王小明").index)

    def once(_: int) -> str:
        try:
            service.cards.verify(code, Use())
        except HubError as error:
            return error.name
        return "ok"

    with ThreadPoolExecutor(16) as pool:
        answers = sorted(pool.map(once, range(64)))
    assert answers == ["duplicate"] * 63 + ["ok"]


def test_a_suspended_card_refuses_a_code_made_before(service: Service) -> None:
    card = service.cards.issue(MALE, "王小明")
    code = service.cards.dynamic_code(card.index)
    service.cards.change(card.index, "suspend")
    assert service.refusal(service.cards.verify, code, Use()) == "business-rule"


@given(data=st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_code_is_never_accepted(service: Service, data: st.DataObject) -> None:
    code = service.cards.dynamic_code(service.cards.issue(MALE, "王小明").index)
    place = data.draw(st.integers(0, len(code) - 1))
    forged = code[:place] + data.draw(st.sampled_from("0123456789ABCDEFabcdef:x ")) + code[place + 1 :]
    if forged.strip() != code:
        assert service.refusal(service.cards.verify, forged, Use()) in ("forbidden", "value", "not-found")


@pytest.mark.parametrize("code", ["", ":", INDEX, f"{INDEX}:2", f"{INDEX}:0:1", "x" * 10_000, f"{INDEX}:1:"])
def test_what_is_no_code_is_refused(service: Service, code: str) -> None:
    assert service.refusal(service.cards.verify, code, Use()) == "value"


def test_an_unknown_card_is_not_found(service: Service) -> None:
    assert service.refusal(service.cards.verify, f"{INDEX}:1", Use()) == "not-found"
    assert service.cards.find(INDEX) is None


@pytest.mark.parametrize("first", ["binding", "patient"])
def test_a_bound_patient_number_links_now_or_later(service: Service, first: str) -> None:
    card = service.cards.issue(MALE, "王小明")
    patient = {"resourceType": "Patient", "id": "p", "identifier": [{"system": "urn:oid:2.999.1", "value": "7"}]}
    if first == "patient":
        service.register(patient)
    service.cards.bind(card.code, "urn:oid:2.999.1", "7")
    if first == "binding":
        service.register(patient)
    found = service.cards.find(card.index)
    assert found is not None
    assert golden.links(found.person) == ["Patient/p"]

"""The e-health card: issue, states, bindings, documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.errors import ERRORS, HubError
from hub.healthcard.card import SYSTEM, documents, refusals, sm3, transitions
from hub.mpi import golden
from hub.services.carduse import Use
from hub.store.sqlite import SqliteStore
from tests.healthcard.service import CONTEXT, FEMALE, MALE, NATIONAL, Service

PASSPORT = {"type": "03", "birth_date": "1990-05-05", "gender": "female", "verified": "window"}


def test_sm3_known_answer() -> None:
    """GB/T 32905-2016, A.1."""
    assert sm3(b"abc").hex() == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"


def test_the_tables_hold_together() -> None:
    assert {row.error for row in refusals().values()} <= set(ERRORS)
    states = {state for state, _ in transitions()} | set(transitions().values())
    assert states <= {"active"} | set(refusals())
    assert all(row.system.startswith(("urn:oid:", "https://region-hub.example/")) for row in documents().values())


def test_issue_is_idempotent_and_depends_on_the_salt(service: Service, tmp_path: Path) -> None:
    card = service.issue()
    again = service.issue("109901850307001", "王 小明")
    assert (again.index, again.state, again.person["id"]) == (card.index, card.state, card.person["id"])
    assert len(card.index) == 64
    assert card.code == f"{card.index}:1"
    other = Service(SqliteStore(tmp_path / "other.sqlite3", clock=lambda: 0), b"t" * 32)
    assert other.issue().index != card.index
    other.audit.close()
    other.store.close()


@pytest.mark.parametrize(
    ("number", "name", "more", "reason"),
    [
        ("109901198503070014", "王小明", {}, "value"),
        ("109902200102290011", "王小明", {}, "value"),
        (MALE, "王小明", {"birth_date": "1985-03-08"}, "value"),
        (MALE, "王小明", {"gender": "female"}, "value"),
        (MALE, "王小明", {"type": "03"}, "value"),
        (MALE, "王小明", {"type": "77"}, "value"),
        ("E12345678", "MARY", {"type": "03"}, "required"),
        (FEMALE, "李四", {}, "business-rule"),
    ],
)
def test_what_is_not_verified_gets_no_card(
    service: Service, number: str, name: str, more: dict[str, str], reason: str
) -> None:
    service.issue(FEMALE, "张三")
    with pytest.raises(HubError) as error:
        service.issue(number, name, **more)
    assert error.value.name == reason


def test_a_passport_gets_a_card_and_the_hospital_with_it_the_same_person(service: Service) -> None:
    card = service.issue("E12345678", "MARY SMITH", **PASSPORT)
    assert service.issue("e12345678", "Mary Smith", **PASSPORT).index == card.index
    identifier = {"system": SYSTEM, "value": card.index}
    service.register(
        {"resourceType": "Patient", "id": "m", "identifier": [identifier], "name": [{"text": "Mary Smith"}]}
    )
    found = service.cards.find(card.index)
    assert found is not None and golden.links(found.person) == ["Patient/m"]


def test_a_card_belongs_to_the_person_the_hospitals_know(service: Service) -> None:
    identifier = {"system": NATIONAL, "value": MALE}
    service.register({"resourceType": "Patient", "id": "a", "identifier": [identifier], "name": [{"text": "王小明"}]})
    card = service.issue()
    assert golden.links(card.person) == ["Patient/a"]
    service.register({"resourceType": "Patient", "id": "b", "identifier": [{"system": SYSTEM, "value": card.index}]})
    found = service.cards.find(card.code)
    assert found is not None
    assert golden.links(found.person) == ["Patient/a", "Patient/b"]


def test_a_card_issued_before_the_first_visit_survives_it(service: Service) -> None:
    card = service.issue()
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
    card = service.issue()
    for action in actions:
        card = service.change(card.index, action)
    assert card.state == state
    assert service.refusal(service.change, card.index, next_refused) == "business-rule"
    if state != "active":
        assert service.refusal(service.verify, card.code) == state
        assert service.refusal(service.cards.dynamic_code, card.index) == state


def test_a_lost_card_is_replaced_and_the_old_one_is_of_no_use(service: Service) -> None:
    old = service.issue()
    code = service.cards.dynamic_code(old.index)
    service.change(old.index, "report-lost")
    new = service.change(old.index, "replace")
    assert new.index != old.index and new.state == "active"
    assert service.refusal(service.verify, old.code) == "replaced"
    assert service.refusal(service.verify, code) == "replaced"
    assert service.verify(new.code).person["id"] == old.person["id"]
    assert service.issue().index == new.index
    assert service.refusal(service.change, old.index, "resume") == "business-rule"


def test_a_cancelled_card_is_not_issued_again(service: Service) -> None:
    card = service.issue()
    service.change(card.index, "cancel")
    assert service.refusal(service.issue) == "business-rule"


@pytest.mark.parametrize("first", ["binding", "patient"])
def test_a_bound_patient_number_links_now_or_later(service: Service, first: str) -> None:
    card = service.issue()
    patient = {"resourceType": "Patient", "id": "p", "identifier": [{"system": "urn:oid:2.999.1", "value": "7"}]}
    if first == "patient":
        service.register(patient)
    service.cards.bind(CONTEXT, card.code, "urn:oid:2.999.1", "7", "H1")
    if first == "binding":
        service.register(patient)
    found = service.cards.find(card.index)
    assert found is not None
    assert golden.links(found.person) == ["Patient/p"]
    assert service.verify(card.code, Use("H1")).numbers("H1") == [{"system": "urn:oid:2.999.1", "value": "7"}]
    assert found.numbers("H2") == []


def test_a_binding_is_taken_back_by_who_made_it(service: Service) -> None:
    card = service.issue()
    service.cards.bind(CONTEXT, card.index, "urn:oid:2.999.1", "7", "H1")
    take_back = service.cards.unbind
    assert service.refusal(take_back, CONTEXT, card.index, "urn:oid:2.999.1", "7", "H2") == "wrong-institution"
    assert service.refusal(take_back, CONTEXT, card.index, "urn:oid:2.999.1", "8", "H1") == "not-found"
    assert take_back(CONTEXT, card.index, "urn:oid:2.999.1", "7", "H1").numbers("H1") == []

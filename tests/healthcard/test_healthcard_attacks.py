"""Attacks on the e-health card, each refused for its own reason; replay succeeds exactly once on either store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.errors import HubError
from hub.healthcard.card import Codes, reason_of
from hub.healthcard.signature import signer
from hub.mpi import golden
from hub.services.carduse import SHOWN, USES, Use
from hub.services.healthcards import Application, HealthCards
from tests.healthcard.service import CHILD, CONTEXT, FEMALE, MALE, NATIONAL, Service

INDEX = "AB" * 32
SECOND = 1_000_000


def test_a_dynamic_code_works_once_within_60_seconds(service: Service) -> None:
    card = service.issue()
    code = service.cards.dynamic_code(card.index)
    assert len(code) <= 256
    service.now += 59 * SECOND
    assert service.verify(code).index == card.index
    assert service.refusal(service.verify, code) == "used", "a screenshot of it"
    late = service.cards.dynamic_code(card.index)
    service.now += 62 * SECOND
    assert service.refusal(service.verify, late) == "expired"


def test_64_parallel_replays_succeed_once(any_service: Service) -> None:
    service = any_service
    code = service.cards.dynamic_code(service.issue().index)

    def once(_: int) -> str:
        try:
            service.verify(code, Use("H1", "T1", "10101"))
        except HubError as error:
            return reason_of(error)
        return "ok"

    with ThreadPoolExecutor(64) as pool:
        answers = sorted(pool.map(once, range(64)))
    assert answers == ["ok"] + ["used"] * 63
    assert [(row["used"], row["refused"]) for row in service.uses.statistics(("step",))] == [(1, 63)]


@pytest.mark.parametrize("profile", ["es256", "sm2"])
def test_a_code_signed_by_another_key_is_forged(service: Service, profile: str) -> None:
    if profile == "sm2":
        pytest.importorskip("tongsuopy", reason="the extra sm is not installed")
    stranger = Codes(b"s" * 32, signer(profile, b"another key" * 3))
    card = service.issue()
    forged = stranger.dynamic(card.index, service.now // SECOND, "0" * 12)
    assert service.refusal(service.verify, forged) == "forged"


def test_sm2_signs_and_checks(service: Service) -> None:
    pytest.importorskip("tongsuopy", reason="the extra sm is not installed")
    codes = Codes(b"s" * 32, signer("sm2", b"k" * 32))
    cards = HealthCards(
        service.store, service.databases, service.linker, service.audit, service.uses, codes,
        lambda: service.now, service.new_id,
    )  # fmt: skip
    card = cards.issue(CONTEXT, Application(MALE, "王小明"))
    assert cards.verify(CONTEXT, cards.dynamic_code(card.index), Use()).index == card.index
    assert codes.public()["crv"] == "SM2"


@given(data=st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_code_is_never_accepted(service: Service, data: st.DataObject) -> None:
    code = service.cards.dynamic_code(service.issue().index)
    place = data.draw(st.integers(0, len(code) - 1))
    forged = code[:place] + data.draw(st.sampled_from("0123456789ABCDEFabcdefXYZ-_:x ")) + code[place + 1 :]
    if forged.strip() != code:
        assert service.refusal(service.verify, forged) in ("forged", "no-code", "unknown")


@pytest.mark.parametrize("code", ["", ":", INDEX, f"{INDEX}:2", f"{INDEX}:0:1", "x" * 10_000, f"{INDEX}:1:"])
def test_what_is_no_code_is_refused(service: Service, code: str) -> None:
    assert service.refusal(service.verify, code) == "no-code"


def test_an_unknown_card(service: Service) -> None:
    assert service.refusal(service.verify, f"{INDEX}:1") == "unknown"
    assert service.cards.find(INDEX) is None


@pytest.mark.parametrize(
    ("action", "reason"), [("suspend", "suspended"), ("report-lost", "lost"), ("cancel", "cancelled")]
)
def test_a_code_made_before_the_card_was_stopped(service: Service, action: str, reason: str) -> None:
    card = service.issue()
    code = service.cards.dynamic_code(card.index)
    service.change(card.index, action)
    assert service.refusal(service.verify, code) == reason


def test_a_code_for_one_institution_is_refused_elsewhere_and_then_still_good(service: Service) -> None:
    code = service.cards.dynamic_code(service.issue().index, "H1")
    assert service.refusal(service.verify, code, Use("H2")) == "wrong-institution"
    assert service.refusal(service.verify, code, Use()) == "wrong-institution"
    assert service.refusal(service.verify, code.replace(":H1:", ":H2:"), Use("H2")) == "forged"
    assert service.verify(code, Use("H1")).state == "active"


def test_the_card_of_a_merged_person(service: Service) -> None:
    """Two cards, by resident ID and by passport; a human says that both are one person, and takes it back."""
    first = service.issue()
    service.now += SECOND
    more = {"type": "03", "birth_date": "1985-03-07", "gender": "male", "verified": "window"}
    second = service.issue("E12345678", "王小明", **more)
    code = service.cards.dynamic_code(second.index)
    for id, card in (("one", first), ("two", second)):
        bound = {"system": f"urn:oid:2.999.{id == 'one'}1", "value": id}
        service.cards.bind(CONTEXT, card.index, bound["system"], id)
        service.register({"resourceType": "Patient", "id": id, "identifier": [bound], "name": [{"text": "王小明"}]})
    decide(service, same=True)
    found = service.cards.find(second.index)
    assert found is not None and set(golden.links(found.person)) == {"Patient/one", "Patient/two"}
    assert service.refusal(service.verify, code) == "merged"
    assert service.refusal(service.verify, second.code) == "merged"
    assert service.verify(first.code).person["id"] == found.person["id"]
    decide(service, same=False)
    back = service.verify(second.code)
    assert (back.state, golden.links(back.person)) == ("active", ["Patient/two"])
    assert golden.links(service.verify(first.code).person) == ["Patient/one"]


def decide(service: Service, *, same: bool) -> None:
    """A human's decision about the two registrations."""
    asked = {"one": "Patient/one", "other": "Patient/two", "same": same, "actor": "Li", "note": "passport seen"}
    service.store.write(lambda tx: service.linker.decide(tx, now=service.now, **asked))


def test_an_offline_use_is_judged_by_its_time_and_once(service: Service) -> None:
    code = service.cards.dynamic_code(service.issue().index)
    scanned = service.now + 30 * SECOND
    service.now += 3600 * SECOND
    assert service.refusal(service.verify, code) == "expired"
    assert service.refusal(service.verify, code, Use(), scanned + 60 * SECOND) == "expired"
    assert service.verify(code, Use("H1", "T1", "10103"), scanned).state == "active"
    assert service.refusal(service.verify, code, Use("H2"), scanned) == "used"
    assert service.uses.log()[1]["seen"] == scanned
    late = service.cards.dynamic_code(service.issue().index)
    at = service.now
    service.now += 86_401 * SECOND
    assert service.refusal(service.verify, late, Use(), at) == "too-late"
    assert service.refusal(service.verify, late, Use(), service.now + 60 * SECOND) == "value"


def test_the_log_and_its_statistics(service: Service) -> None:
    card = service.issue()
    for step, terminal in (("10101", "T1"), ("10101", "T2"), ("10103", "T1")):
        service.verify(card.code, Use("H1", terminal, step))
    service.refusal(service.verify, "nonsense", Use("H2", "T9", "10105"))
    rows = service.uses.log()
    assert [(row["state"], row["result"], row["step"]) for row in rows] == [
        ("refused", "no-code", "10105"),
        ("used", "ok", "10103"),
        ("used", "ok", "10101"),
        ("used", "ok", "10101"),
    ]
    assert {row["index"] for row in service.uses.log(index=card.index)} == {card.index}
    assert service.uses.statistics(("institution", "step")) == [
        {"institution": "H1", "step": "10101", "used": 2, "refused": 0},
        {"institution": "H1", "step": "10103", "used": 1, "refused": 0},
        {"institution": "H2", "step": "10105", "used": 0, "refused": 1},
    ]
    service.now += 3600 * SECOND
    service.verify(card.code, Use("H1", "T1", "10101"))
    for _ in range(2):
        assert service.uses.statistics(("terminal",))[0] == {"terminal": "T1", "used": 3, "refused": 0}
    with pytest.raises(HubError, match="statistics are by"):
        service.uses.statistics(("name",))


def test_a_guardian_shows_the_card_of_a_child(service: Service) -> None:
    child, mother = service.issue(CHILD, "王宝"), service.issue(FEMALE, "李芳")
    shown = service.family.relate(CONTEXT, child.index, mother.code, "MTH", guardian=True)
    assert shown == {"card": mother.index, "name": "李芳", "relationship": "MTH", "guardian": True}
    assert service.family.of(child.index) == [shown]
    code = service.family.code_by_guardian(child.index, mother.index)
    used = service.verify(code)
    assert (used.index, used.shown_by) == (child.index, mother.index)
    service.change(mother.index, "suspend")
    assert service.refusal(service.family.code_by_guardian, child.index, mother.index) == "suspended"
    service.change(mother.index, "resume")
    service.family.end(CONTEXT, child.index, mother.index)
    assert service.refusal(service.family.code_by_guardian, child.index, mother.index) == "not-guardian"
    assert service.family.of(child.index) == []


def test_who_is_no_guardian(service: Service) -> None:
    child, mother, uncle = service.issue(CHILD, "王宝"), service.issue(FEMALE, "李芳"), service.issue(MALE, "王小明")
    service.family.relate(CONTEXT, child.index, uncle.index, "FAMMEMB", guardian=False)
    assert service.refusal(service.family.code_by_guardian, child.index, uncle.index) == "not-guardian"
    assert service.refusal(service.family.code_by_guardian, mother.index, child.index) == "not-guardian"

    def relate(holder: str, other: str, relationship: str, guardian: bool) -> None:
        service.family.relate(CONTEXT, holder, other, relationship, guardian=guardian)

    assert service.refusal(relate, child.index, uncle.index, "FAMMEMB", True) == "business-rule"
    assert service.refusal(relate, mother.index, child.index, "CHILD", True) == "business-rule"
    assert service.refusal(relate, child.index, child.index, "SIB", False) == "business-rule"
    assert service.refusal(relate, child.index, uncle.index, "FRIEND", False) == "code-invalid"
    assert service.refusal(relate, child.index, INDEX, "MTH", False) == "unknown"


class SocialSecurity:
    """Another issuer: codes ``SS:<resident ID number>``."""

    name = "e-social-security"

    def document(self, code: str, use: Use) -> tuple[str, str] | None:
        return (NATIONAL, code[3:]) if code.startswith("SS:") else None


def test_the_code_of_another_issuer_counts_once_it_is_federated(service: Service) -> None:
    card = service.issue()
    assert service.refusal(service.verify, f"SS:{MALE}") == "no-code"
    service.cards.federate(SocialSecurity())
    found = service.verify(f"SS:{MALE}", Use("H1", "T1", "10101"))
    assert (found.person["id"], found.issuer, found.index) == (card.person["id"], "e-social-security", "")
    assert service.refusal(service.verify, f"SS:{FEMALE}") == "not-found"
    assert service.refusal(service.verify, "else") == "no-code"
    assert service.store.items(USES)[2].state == "used"
    assert service.store.items(SHOWN) == []

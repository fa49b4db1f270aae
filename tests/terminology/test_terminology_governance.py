"""Local codes from first sight to approved mapping, over a ledger in memory."""

import csv
from collections.abc import Iterable
from importlib.resources import files
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terminology import governance as g
from terminology.errors import TerminologyError
from terminology.service import Terminology
from terminology.similarity import commensurable, dice, likeness

LAB = "https://hospital.example/codes/lab"
ITEM = "https://region-hub.example/fhir/CodeSystem/recognition-item"
LOINC = "http://loinc.org"
NOW = 1_750_000_000_000_000


class Memory:
    """A ledger as the hub's store would be one."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}

    def read(self, kind: str, key: str) -> dict[str, Any] | None:
        return self.rows.get((kind, key), (None, None))[1]

    def write(self, kind: str, key: str, state: str, data: dict[str, Any]) -> None:
        self.rows[kind, key] = (state, data)

    def list(self, kind: str, states: Iterable[str] = ()) -> list[dict[str, Any]]:
        wanted = tuple(states)
        return [data for (k, _), (state, data) in self.rows.items() if k == kind and (not wanted or state in wanted)]


TERMINOLOGY = Terminology(lambda: NOW)


@pytest.fixture
def ledger() -> Memory:
    return Memory()


@pytest.fixture
def governance() -> g.Governance:
    ticks = count(NOW)
    return g.Governance(TERMINOLOGY, lambda: next(ticks), {"laboratory": (ITEM, LOINC)})


def potassium(message: str = "m1", example: str = "Observation/1") -> g.Sighting:
    return g.Sighting(LAB, "X-K", "血清钾", "county-hospital", "laboratory", "mmol/L", example, message)


OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "meta": {"tag": [{"system": "http://x.example", "code": "keep"}]},
    "code": {"coding": [{"system": LAB, "code": "X-K", "display": "血清钾"}], "text": "血清钾"},
    "component": [{"code": {"coding": [{"system": LAB, "code": "other"}]}}],
}


def test_from_an_unknown_code_to_the_enriched_observation(governance: g.Governance, ledger: Memory) -> None:
    governance.see(ledger, potassium())
    governance.see(ledger, potassium("m2", "Observation/2"))
    stored = g.flagged(OBSERVATION)
    assert g.UNMAPPED in stored["meta"]["tag"]

    (item,) = governance.work_list(ledger)
    assert (item.count, item.waiting, item.examples) == (2, ("m1", "m2"), ("Observation/1", "Observation/2"))
    best = governance.proposals(item)[0]
    assert (best.system, best.code) in {(ITEM, "K"), (LOINC, "2823-3")}

    target = g.Target(LOINC, "2823-3", "Potassium [Moles/volume] in Serum or Plasma")
    governance.map(ledger, LAB, "X-K", target, actor="li")
    governance.act_on_code(ledger, LAB, "X-K", "submit", actor="li", role="institution")
    decision = governance.act_on_code(ledger, LAB, "X-K", "approve", actor="wang", role="region")

    assert decision.messages == ("m1", "m2")
    assert not governance.work_list(ledger)
    service = Terminology(lambda: NOW)
    for resource in decision.resources:
        service.put(resource)
    answer = service.translate(LAB, "X-K")
    assert answer["parameter"][0] == {"name": "result", "valueBoolean": True}
    assert service.lookup(LAB, "X-K")["parameter"][2] == {"name": "display", "valueString": "血清钾"}

    assert isinstance(decision.record, g.WorkItem)
    new = g.enriched(stored, decision.record)
    assert [c["code"] for c in new["code"]["coding"]] == ["X-K", "2823-3"]
    assert new["meta"]["tag"] == OBSERVATION["meta"]["tag"]
    assert g.enriched(new, decision.record) == new
    assert stored["code"]["coding"] == OBSERVATION["code"]["coding"]  # the stored version is not changed


def test_nobody_approves_what_he_submitted(governance: g.Governance, ledger: Memory) -> None:
    governance.see(ledger, potassium())
    governance.map(ledger, LAB, "X-K", g.Target(LOINC, "2823-3"), actor="li")
    governance.act_on_code(ledger, LAB, "X-K", "submit", actor="li", role="institution")
    with pytest.raises(TerminologyError, match="another has to approve"):
        governance.act_on_code(ledger, LAB, "X-K", "approve", actor="li", role="region")
    with pytest.raises(TerminologyError, match="for the region"):
        governance.act_on_code(ledger, LAB, "X-K", "approve", actor="wang", role="institution")


def test_a_returned_code_is_mapped_again_and_says_why(governance: g.Governance, ledger: Memory) -> None:
    governance.see(ledger, potassium())
    governance.map(ledger, LAB, "X-K", g.Target(LOINC, "2951-2"), actor="li")
    governance.act_on_code(ledger, LAB, "X-K", "submit", actor="li", role="institution")
    with pytest.raises(TerminologyError, match="a reason is needed"):
        governance.act_on_code(ledger, LAB, "X-K", "return", actor="wang", role="region")
    governance.act_on_code(ledger, LAB, "X-K", "return", actor="wang", role="region", note="that is sodium")
    (item,) = governance.work_list(ledger)
    assert (item.state, item.history[-1].note) == ("returned", "that is sodium")
    governance.map(ledger, LAB, "X-K", g.Target(LOINC, "2823-3"), actor="li")


def test_a_target_has_to_exist(governance: g.Governance, ledger: Memory) -> None:
    governance.see(ledger, potassium())
    with pytest.raises(TerminologyError, match="not known here"):
        governance.map(ledger, LAB, "X-K", g.Target(LOINC, "0-0"), actor="li")


def test_a_system_is_registered_revised_and_retired(governance: g.Governance, ledger: Memory) -> None:
    governance.register(ledger, LAB, "county-hospital", "Lab items", actor="li")
    with pytest.raises(TerminologyError, match="cannot register"):
        governance.register(ledger, LAB, "county-hospital", "Lab items", actor="li")
    for action, actor, role in (
        ("submit", "li", "institution"), ("approve", "wang", "region"), ("revise", "li", "institution"),
        ("submit", "li", "institution"), ("approve", "wang", "region"),
    ):  # fmt: skip
        decision = governance.act_on_system(ledger, LAB, action, actor=actor, role=role)
    code_system, concept_map = decision.resources
    assert (code_system["version"], code_system["status"], concept_map["version"]) == ("2", "active", "2")
    retired = governance.act_on_system(ledger, LAB, "retire", actor="wang", role="region")
    assert [r["status"] for r in retired.resources] == ["retired", "retired"]


def test_codes_seen_most_often_come_first(governance: g.Governance, ledger: Memory) -> None:
    for code, times in (("a", 1), ("b", 3), ("c", 2)):
        for n in range(times):
            governance.see(ledger, g.Sighting(LAB, code, message=str(n)))
    assert [item.code for item in governance.work_list(ledger)] == ["b", "c", "a"]


ROWS = list(
    csv.DictReader(
        line
        for line in files("terminology").joinpath("governance.csv").read_text("utf-8").splitlines()
        if not line.startswith("#")
    )
)
ACTIONS = sorted({row["action"] for row in ROWS})


def test_every_state_of_the_table_can_be_reached() -> None:
    for entity in ("system", "code"):
        rows = [row for row in ROWS if row["entity"] == entity]
        reached = {""}
        for _ in rows:
            reached |= {row["after"] for row in rows if row["before"] in reached}
        assert {row["before"] for row in rows} <= reached
        assert len(rows) == len({(row["before"], row["action"]) for row in rows})


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.sampled_from([*ACTIONS, "nonsense"]), st.sampled_from(["li", "wang"])), max_size=12))
def test_no_order_of_acts_loses_a_waiting_message_or_approves_unseen(steps: list[tuple[str, str]]) -> None:
    ledger, ticks = Memory(), count(NOW)
    governance = g.Governance(TERMINOLOGY, lambda: next(ticks), {})
    governance.see(ledger, potassium("m0"))
    waiting = {"m0"}
    for number, (action, actor) in enumerate(steps, 1):
        role = {row["action"]: row["role"] for row in ROWS}.get(action, "region")
        try:
            if action == "map":
                governance.map(ledger, LAB, "X-K", g.Target(LOINC, "2823-3"), actor=actor)
            elif action == "see":
                item = governance.see(ledger, potassium(f"m{number}"))
                waiting |= {f"m{number}"} if item.state not in ("approved", "retired") else set()
            else:
                decision = governance.act_on_code(ledger, LAB, "X-K", action, actor=actor, role=role, note="because")
                if action == "approve":
                    assert set(decision.messages) == waiting
                if action in ("approve", "retire"):
                    waiting = set()
        except TerminologyError as error:
            assert error.code in ("conflict", "forbidden")
        data = ledger.read("code", f"{LAB}|X-K")
        assert data is not None
        assert set(data["waiting"]) == waiting
        assert data["state"] != "approved" or data["target"]


@pytest.mark.parametrize(
    ("one", "other", "least", "most"),
    [
        ("血清钾", "血清钾", 1, 1),
        ("丙氨酸氨基转移酶", "丙氨酸转氨酶", 0.5, 0.95),
        ("血小板计数", "血小扳计数", 0.8, 0.95),  # a homophone
        ("ＷＢＣ", "wbc", 1, 1),
        ("Total protein", "Protein, total", 0.5, 1),
        ("血清钾", "总蛋白", 0, 0.2),
        ("", "x", 0, 0),
    ],
)
def test_likeness(one: str, other: str, least: float, most: float) -> None:
    assert least <= likeness(one, other)[0] <= most
    assert likeness(one, other)[0] == likeness(other, one)[0]


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=12), st.text(max_size=12))
def test_dice_is_symmetric_and_between_0_and_1(one: str, other: str) -> None:
    assert dice(one, other) == dice(other, one)
    assert 0 <= dice(one, other) <= 1


def test_a_unit_of_another_kind_halves_the_score(governance: g.Governance) -> None:
    assert commensurable("mmol/L", "umol/mL") is True
    assert commensurable("mmol/L", "mg/dL") is False
    assert commensurable("mmol/L", "摩尔") is None
    item = g.WorkItem(LAB, "GLU", "葡萄糖", "open", "laboratory", "mmol/L")
    scores = {p.code: p.score for p in governance.proposals(item)}
    assert scores["14749-6"] == 1
    assert scores.get("2345-7", 0) < 0.6

"""Scores link, guards ask, humans decide, and what was merged comes apart again without a trace but its history."""

from __future__ import annotations

import itertools
import random
from typing import Any

from hub.mpi import golden, review
from tests.mpi.region import Region

NOW = 1_700_000_000_000_000
Resource = dict[str, Any]
RESIDENT_ID = "urn:oid:2.16.840.1.113883.2.23.1.19.1"
MALE = "109901198503070013"


def patient(
    id: str, name: str = "王小明", born: str = "1985-03-07", phone: str = "13900001111", **more: Any
) -> Resource:
    """A Patient; every one is of a hospital of its own."""
    number = {"system": f"urn:oid:2.999.{int.from_bytes(id.encode(), 'big')}", "value": "1"}
    return {
        "resourceType": "Patient", "id": id, "identifier": [number, *more.pop("identifier", [])],
        "name": [{"text": name}], "gender": "male", "birthDate": born,
        "telecom": [{"system": "phone", "value": phone}] if phone else [],
        "address": [{"text": "示例省信和市安平县青年路1号"}], **more,
    }  # fmt: skip


TWINS = (patient("tom", "王小明", "2015-01-02"), patient("tim", "王小亮", "2015-01-02"))


def test_registrations_without_documents_are_linked_by_score(region: Region) -> None:
    region.register(patient("a"), patient("b", name="王晓鸣"), patient("c", born="1985-07-03"))
    assert region.together() == {frozenset("abc")}
    (person,) = [one for one in region.all("Person") if one["active"]]
    assert "name=homophone" in golden.link_of(person, "Patient/b")[1]


def test_twins_are_asked_about_once_and_never_guessed(region: Region) -> None:
    region.register(*TWINS)
    region.register(*reversed([{**twin, "maritalStatus": {"text": "S"}, "telecom": []} for twin in TWINS]))
    assert region.together() == {frozenset({"tom"}), frozenset({"tim"})}
    assert region.open_reasons() == ["other-name"]


def test_a_decision_that_they_differ_holds_when_the_data_become_equal(region: Region) -> None:
    region.register(*TWINS)
    region.decide("tom", "tim", same=False)
    assert region.open_reasons() == []
    region.register(patient("tim", "王小明", "2015-01-02"))
    assert region.together() == {frozenset({"tom"}), frozenset({"tim"})}


def test_a_decision_that_they_are_one_holds_when_the_data_diverge(region: Region) -> None:
    region.register(*TWINS)
    region.decide("tim", "tom", same=True)
    assert region.together() == {frozenset({"tom", "tim"})}
    region.register(patient("tim", "李大刚", "1950-11-11", phone=""))
    assert region.together() == {frozenset({"tom", "tim"})}


def test_a_decision_keeps_apart_what_a_third_registration_fits_both(region: Region) -> None:
    region.register(patient("a"), patient("x", "李大刚", "1950-11-11", phone="13800002222"))
    region.decide("a", "x", same=False)
    document = [{"system": RESIDENT_ID, "value": MALE}]
    region.register(patient("b", identifier=document))
    region.register(patient("x", "王小明", "1985-03-07", identifier=document))
    assert region.together() == {frozenset({"a"}), frozenset({"b", "x"})}, "the document is surer than the score"
    assert "decided-different" in region.open_reasons()


def test_an_answered_question_is_closed(region: Region) -> None:
    region.register(*TWINS)
    region.decide("tom", "tim", same=True)
    assert region.open_reasons() == []
    weak = patient("w", "周大海", phone=""), patient("v", "周大海", phone="")
    region.register(*({**one, "address": []} for one in weak))
    assert region.open_reasons() == ["possible-match"]
    document = [{"system": RESIDENT_ID, "value": MALE}]
    region.register(*({**patient(one["id"], "周大海", identifier=document), "address": []} for one in weak))
    assert region.open_reasons() == []
    assert frozenset({"v", "w"}) in region.together()


def test_undoing_a_merge_brings_back_the_persons_and_their_ids(region: Region) -> None:
    region.register(*TWINS)
    before = region.clusters()
    region.decide("tom", "tim", same=True)
    assert len(region.clusters()) == 1
    region.decide("tom", "tim", same=False)
    assert region.clusters() == before


def test_history_keeps_every_link_with_its_evidence(region: Region) -> None:
    region.register(*TWINS)
    region.decide("tom", "tim", same=True)
    region.decide("tom", "tim", same=False)
    texts = b"".join(version.text for version in region.store.history(("Person",)))
    assert "decided by a human" in texts.decode()


def test_replaying_any_history_gives_the_state_again(region: Region) -> None:
    draw = random.Random(11)
    names, days, phones = ["王小明", "王晓明", "李芳"], ["1985-03-07", "1985-07-03", "1990-12-31"], ["13900001111", ""]
    ids = "abcdefghij"
    people = {id: patient(id, draw.choice(names), draw.choice(days), draw.choice(phones)) for id in ids}
    for _ in range(60):
        if draw.random() < 0.25:
            one, other = draw.sample(ids, 2)
            if all(region.store.read("Patient", id) for id in (one, other)):
                region.decide(one, other, same=draw.random() < 0.5)
        else:
            region.register(people[draw.choice(ids)])
        members = [id for cluster in region.clusters().values() for id in cluster]
        assert len(members) == len(set(members))
        decided = {review.pair(task): review.verdict(task) for task in region.all("Task")}
        for cluster in region.together():
            for pair in itertools.combinations(sorted(cluster), 2):
                assert decided.get(frozenset(f"Patient/{id}" for id in pair)) != review.DIFFERENT
    before = region.together()
    for person in list(region.clusters()):
        region.store.write(lambda tx, person=person: region.linker.replay(tx, person, now=region.clock()))
    assert region.together() == before

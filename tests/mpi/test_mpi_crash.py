"""kill -9 in the middle of merges and unmerges: the identity graph is whole, and nothing happened half or twice."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub.mpi import golden
from tests.running import Process, serve

PAIRS = 8
Resource = dict[str, Any]


def patient(pair: int, side: str) -> Resource:
    """One of two registrations that only a human joins."""
    return {
        "resourceType": "Patient",
        "id": f"{side}{pair}",
        "identifier": [{"system": f"urn:oid:2.999.{side == 'a'}.{pair}", "value": "1"}],
        "name": [{"text": "王小明" if side == "a" else "李大刚"}],
        "birthDate": "1985-03-07" if side == "a" else "1950-11-11",
    }


def decide(base: str, pair: int, verdicts: dict[int, list[bool]], until: threading.Event) -> None:
    """Merge and unmerge one pair again and again; ``verdicts`` are those that were acknowledged."""
    with contextlib.suppress(httpx.HTTPError), httpx.Client(base_url=base, timeout=30) as client:
        while not until.is_set():
            same = not (verdicts[pair][-1] if verdicts[pair] else False)
            body = {"a": f"Patient/a{pair}", "b": f"Patient/b{pair}", "same": same, "actor": "Li", "note": "x"}
            client.post("/api/mpi/decisions", json=body).raise_for_status()
            verdicts[pair].append(same)


def search(client: httpx.Client, query: str) -> list[Resource]:
    answer = client.get(f"/fhir/{query}").raise_for_status().json()
    return [entry["resource"] for entry in answer.get("entry", ())]


def check(base: str, verdicts: dict[int, list[bool]]) -> None:
    """The graph as it is, against what was acknowledged; what was not acknowledged happened wholly or not at all."""
    with httpx.Client(base_url=base, timeout=60) as client:
        persons = {one["id"]: one for one in search(client, "Person?_count=1000")}
        links = Counter(link for one in persons.values() if one["active"] for link in golden.links(one))
        assert links == {f"Patient/{side}{pair}": 1 for side in "ab" for pair in range(PAIRS)}
        for person in persons.values():
            successor = golden.successor(person)
            assert person["active"] or (successor is not None and persons[successor]["active"])
        tasks = {task["focus"]["reference"]: task for task in search(client, "Task?_count=1000")}
        for pair in range(PAIRS):
            task = next((tasks[key] for key in (f"Patient/a{pair}", f"Patient/b{pair}") if key in tasks), None)
            decided = task is not None and "businessStatus" in task
            same = decided and task["businessStatus"]["coding"][0]["code"] == "same-person"
            owners = {id for id, one in persons.items() if one["active"] and {f"Patient/a{pair}", f"Patient/b{pair}"}
                      & set(golden.links(one))}  # fmt: skip
            assert len(owners) == (1 if same else 2)
            made = int(task["meta"]["versionId"]) if task else 0
            assert made in (len(verdicts[pair]), len(verdicts[pair]) + 1), "a decision was lost, or counted twice"
            if made > len(verdicts[pair]):
                verdicts[pair].append(same)
            assert not made or verdicts[pair][-1] == same
        for id in persons:
            history = client.get(f"/fhir/Person/{id}/_history?_count=1000").raise_for_status().json()["entry"]
            versions = [int(entry["resource"]["meta"]["versionId"]) for entry in history]
            assert versions == sorted(set(versions), reverse=True)
            texts = [{**entry["resource"], "meta": None} for entry in history]
            assert all(one != other for one, other in itertools.pairwise(texts)), "a change was written twice"


def campaign(data: Path, kills: int, seed: int = 1) -> dict[int, list[bool]]:
    """Kill the hub so many times while pairs are merged and unmerged."""
    draw = random.Random(seed)
    verdicts: dict[int, list[bool]] = {pair: [] for pair in range(PAIRS)}
    hub: Process = serve(data)
    with httpx.Client(base_url=hub.base, timeout=60) as client:
        for pair in range(PAIRS):
            for side in "ab":
                made = patient(pair, side)
                client.put(f"/fhir/Patient/{made['id']}", json=made).raise_for_status()
    for _ in range(kills):
        until = threading.Event()
        deciding = [threading.Thread(target=decide, args=(hub.base, pair, verdicts, until)) for pair in range(PAIRS)]
        for thread in deciding:
            thread.start()
        time.sleep(draw.uniform(0.02, 0.5))
        hub.kill()
        until.set()
        for thread in deciding:
            thread.join()
        hub = serve(data)
        check(hub.base, verdicts)
    assert hub.stop() == 0
    return verdicts


@pytest.mark.soak
@pytest.mark.timeout(5400)
def test_a_crash_in_the_middle_of_a_merge(tmp_path: Path) -> None:
    verdicts = campaign(tmp_path / "data", 100)
    assert sum(map(len, verdicts.values())) > 100

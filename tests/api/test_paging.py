"""Pages are one snapshot: exact while other clients create, change and delete (R4 3.1.1.4.12)."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import httpx
import pytest

from tests.conftest import BACK_ENDS

FHIR = {"Content-Type": "application/fhir+json"}
MARK = "urn:oid:1.2.840.7"


@pytest.fixture(scope="module", params=BACK_ENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def person(number: int, gender: str = "male") -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": f"page-{number}",
        "identifier": [{"system": MARK, "value": str(number)}],
        "gender": gender,
        "birthDate": f"{1950 + number % 7}-01-01",
    }


@pytest.fixture(scope="module")
def people(client: httpx.Client) -> httpx.Client:
    entries = [{"resource": person(n), "request": {"method": "PUT", "url": f"Patient/page-{n}"}} for n in range(150)]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    client.post("/fhir", json=bundle, headers=FHIR).raise_for_status()
    return client


def pages(client: httpx.Client, url: str) -> list[dict[str, Any]]:
    found = []
    following: str | None = url
    while following:
        response = client.get(following)
        assert response.status_code == 200, response.text
        found.append(response.json())
        following = link(found[-1], "next")
    return found


def link(bundle: dict[str, Any], relation: str) -> str | None:
    return next((one["url"] for one in bundle["link"] if one["relation"] == relation), None)


def ids(bundles: list[dict[str, Any]]) -> list[str]:
    return [entry["resource"]["id"] for bundle in bundles for entry in bundle.get("entry", [])]


@pytest.mark.parametrize("sort", ["", "&_sort=birthdate", "&_sort=-birthdate,_id", "&_sort=-_lastUpdated"])
def test_pages_are_exact_while_others_write(people: httpx.Client, sort: str) -> None:
    stop = threading.Event()

    def disturb() -> None:
        with httpx.Client(base_url=people.base_url, verify=False) as other:
            for number in itertools.cycle(range(150)):
                if stop.is_set():
                    return
                again = (number + 70) % 150
                other.put(f"/fhir/Patient/page-{number}", json=person(number, "female"), headers=FHIR)
                other.delete(f"/fhir/Patient/page-{again}")
                other.put(f"/fhir/Patient/page-{again}", json=person(again), headers=FHIR)
                body = {**person(number), "id": f"page-new-{number}{sort.count('-')}"}
                other.put(f"/fhir/Patient/{body['id']}", json=body, headers=FHIR)

    url = f"/fhir/Patient?identifier={MARK}|&_count=7{sort}"
    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range(3):
            found = pages(people, url)
            listed = ids(found)
            assert len(listed) == len(set(listed)), "a resource came twice"
            assert {bundle["total"] for bundle in found} == {len(listed)}
            assert all(len(bundle["entry"]) == 7 for bundle in found[:-1])
    finally:
        stop.set()
        thread.join()


def test_a_page_shows_the_version_of_its_snapshot(people: httpx.Client) -> None:
    people.put("/fhir/Patient/page-149", json=person(149, "other"), headers=FHIR).raise_for_status()
    first = people.get(f"/fhir/Patient?identifier={MARK}|149,{MARK}|148&_count=1&_sort=_id").json()
    people.put("/fhir/Patient/page-149", json=person(149, "unknown"), headers=FHIR).raise_for_status()
    second = people.get(str(link(first, "next"))).json()
    assert [entry["resource"]["gender"] for entry in second["entry"]] == ["other"]
    again = people.get(str(link(second, "self")))
    assert again.json()["entry"] == second["entry"]
    assert people.get(str(link(second, "first"))).json()["entry"][0]["resource"]["id"] == "page-148"


def test_a_link_of_one_search_opens_no_other(people: httpx.Client) -> None:
    url = str(link(people.get(f"/fhir/Patient?identifier={MARK}|&_count=1").json(), "next"))
    token = url.partition("_cursor=")[2]
    for path in ("/fhir/Observation", "/population/Patient", "/fhir", "/fhir/Patient/_history"):
        assert people.get(f"{path}?_cursor={token}").status_code == 400


def test_an_old_link_is_gone(people: httpx.Client, doors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(link(people.get(f"/fhir/Patient?identifier={MARK}|&_count=1").json(), "next"))
    later = doors.clock() + 10 * 3600 * 1_000_000
    monkeypatch.setattr(doors.query, "_clock", lambda: later)
    assert people.get(url).status_code == 410


def test_history_pages_are_exact(people: httpx.Client) -> None:
    found = pages(people, "/fhir/Patient/page-5/_history?_count=2")
    versions = [int(entry["response"]["etag"][3:-1]) for bundle in found for entry in bundle["entry"]]
    assert versions == list(range(versions[0], 0, -1))
    assert {bundle["total"] for bundle in found} == {len(versions)}


def test_history_at_a_time_is_what_was_current_then(people: httpx.Client) -> None:
    """R4 3.1.0.12: the versions that were current at some point of the period."""
    moments = []
    for number in range(3):
        resource = {**person(5), "name": [{"text": f"at {number}"}]}
        changed = people.put("/fhir/Patient/page-5", json=resource, headers=FHIR)
        moments.append((changed.json()["meta"]["versionId"], changed.json()["meta"]["lastUpdated"]))
        time.sleep(0.005)
    for version, moment in moments:
        found = people.get("/fhir/Patient/page-5/_history", params={"_at": moment}).json()
        assert [entry["response"]["etag"] for entry in found["entry"]] == [f'W/"{version}"']
    paged = pages(people, f"/fhir/Patient/_history?_count=40&_at={moments[0][1].replace('+', '%2B')}")
    assert len(ids(paged)) == len(set(ids(paged))) == paged[0]["total"] >= 150
    after = people.get("/fhir/Patient/page-5/_history", params={"_at": moments[0][1], "_since": moments[1][1]}).json()
    assert after["total"] == 0

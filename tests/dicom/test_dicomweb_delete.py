"""Deletion by policy: off unless the setting says so; then the rows, the bytes and the description go."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Hub, image, running

MARK = b"these bytes are pixels of somebody"


def study(hub: Hub) -> dict:  # type: ignore[type-arg]
    (found,) = hub.resources("ImagingStudy")
    return found


def test_nothing_is_deleted_unless_the_setting_allows_it(hub: Hub) -> None:
    hub.store(image())
    answer = hub.web.request("DELETE", "/studies/1.2.3")
    assert (answer.status_code, answer.json()["name"]) == (403, "forbidden")
    assert len(hub.web.get("/studies").json()) == 1


@pytest.fixture
def deleting(tmp_path: Path):  # type: ignore[no-untyped-def]
    with running(tmp_path, deletion=True) as hub:
        hub.store(
            image("1.1", study="1", series="1.0", BitsAllocated=8, PixelData=MARK),
            image("1.2", study="1", series="1.0", BitsAllocated=8, PixelData=MARK),
            image("1.3", study="1", series="1.9", BitsAllocated=8, PixelData=MARK),
        )
        hub.until(lambda: [found for found in hub.resources("ImagingStudy") if found["numberOfInstances"] == 3])
        yield hub


def test_an_instance_and_a_series_go(deleting: Hub) -> None:
    assert deleting.web.request("DELETE", "/studies/1/series/1.0/instances/1.1").status_code == 204
    assert deleting.web.get("/studies/1/series/1.0/instances/1.1").status_code == 404
    deleting.until(lambda: study(deleting)["numberOfInstances"] == 2)
    assert deleting.web.request("DELETE", "/studies/1/series/1.9").status_code == 204
    deleting.until(lambda: study(deleting)["numberOfSeries"] == 1)
    assert [found["uid"] for found in study(deleting)["series"]] == ["1.0"]
    assert [found["0020000E"]["Value"] for found in deleting.web.get("/series").json()] == [["1.0"]]


def test_a_study_goes_with_its_bytes_and_can_come_again(deleting: Hub) -> None:
    def kept() -> bool:
        files = (file for file in deleting.doors.data.rglob("*") if file.is_file())
        return any(MARK in file.read_bytes() for file in files)

    assert kept()
    assert deleting.web.request("DELETE", "/studies/1").status_code == 204
    deleting.until(lambda: study(deleting)["status"] == "cancelled")
    assert not kept()
    assert "series" not in study(deleting) and study(deleting)["numberOfInstances"] == 0
    deleting.until(lambda: deleting.web.get("/studies").json() == [])
    assert deleting.web.request("DELETE", "/studies/1").status_code == 404
    assert deleting.store(image("1.1", study="1", series="1.0")) == [0]
    deleting.until(lambda: study(deleting)["status"] == "available")
    assert len(deleting.web.get("/studies").json()) == 1

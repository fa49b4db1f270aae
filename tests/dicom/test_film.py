"""Shares of the cloud film: what opens one, what does not, and what leaves no way around."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pydicom
import pytest

from adapters.dicom import film, film_study, part10, report
from hub.errors import HubError
from hub.services.context import Context
from hub.services.films import HOUR, MAX_ATTEMPTS, NewShare

from .conftest import FILES, Hub, Web, image, running

DESK = Context(door="web", actor="web desk")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A CT image, an image of somebody else, a Structured Report and a PDF."""
    with running(tmp_path_factory.mktemp("hub")) as hub:
        ct = next(FILES.rglob("CT_small.dcm"))
        hub.store(part10.split(ct.read_bytes()), image("9.9.1", study="9.9", series="9.9.0", PatientID="20002"))
        hub.until(lambda: len(hub.resources("ImagingStudy")) == 2)
        yield hub


@pytest.fixture
def shared(hub: Hub) -> NewShare:
    return hub.doors.films.share(study(hub, "9.9", other=True), DESK, passcode="open sesame")


def study(hub: Hub, uid: str, *, other: bool = False) -> str:
    """Id of the ImagingStudy with this UID, or of the one without."""
    for found in hub.resources("ImagingStudy"):
        if (found["identifier"][0]["value"] == f"urn:oid:{uid}") != other:
            return str(found["id"])
    raise AssertionError(uid)


def pages(hub: Hub) -> Web:
    prefix, application = film.create(hub.doors)
    return Web(application, prefix)


def enter(hub: Hub, token: str, passcode: str) -> httpx.Response:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    return pages(hub).request("POST", f"/{token}", content=f"passcode={passcode.replace(' ', '+')}", headers=kind)


def opened(hub: Hub, shared: NewShare) -> dict[str, str]:
    """Headers of a session."""
    answer = enter(hub, shared.token, shared.passcode)
    assert answer.status_code == 303
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


def test_the_right_passcode_opens_the_page_and_its_images(hub: Hub, shared: NewShare) -> None:
    web = pages(hub)
    asked = web.get(f"/{shared.token}")
    assert asked.status_code == 200 and 'name="passcode"' in asked.text and "<script" not in asked.text
    answer = enter(hub, shared.token, shared.passcode)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and f"Path=/film/{shared.token}" in cookie
    session = opened(hub, shared)
    page = web.get(f"/{shared.token}", headers=session)
    assert page.status_code == 200 and "film.js" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "<script>" not in page.text
    (series,) = web.get(f"/{shared.token}/study", headers=session).json()["series"]
    (shown,) = series["images"]
    assert (shown["rows"], shown["columns"], shown["grey"], shown["intercept"]) == (128, 128, True, -1024.0)
    url = f"/{shared.token}/instances/{shown['id']}"
    values = web.get(f"{url}/frames/1/values", headers=session).content
    assert values == pydicom.dcmread(next(FILES.rglob("CT_small.dcm"))).PixelData
    for what in ("frames/1/picture", "thumbnail"):
        assert web.get(f"{url}/{what}", headers=session).content[:3] == b"\xff\xd8\xff"
    assert web.get(f"{url}/document", headers=session).status_code == 404


def test_only_the_shared_study_is_shown(hub: Hub, shared: NewShare) -> None:
    other = hub.doors.imaging.instance(DESK, "9.9", "9.9.0", "9.9.1")["id"]
    answer = pages(hub).get(f"/{shared.token}/instances/{other}/frames/1/values", headers=opened(hub, shared))
    assert answer.status_code == 404


def test_without_the_right_session_nothing_is_shown(hub: Hub, shared: NewShare) -> None:
    stranger = hub.doors.films.share(study(hub, "9.9"), DESK)
    for headers in ({}, {"Cookie": "film=1.00"}, {"Cookie": "film=x"}, opened(hub, stranger)):
        assert pages(hub).get(f"/{shared.token}/study", headers=headers).status_code == 401
        assert "film.js" not in pages(hub).get(f"/{shared.token}", headers=headers).text


@pytest.mark.parametrize(
    "change", [lambda token: token[:-4] + "AAAA", lambda token: "A" * 64, lambda token: "x", lambda token: token + "A"]
)
def test_a_forged_link_is_no_link(hub: Hub, shared: NewShare, change) -> None:  # type: ignore[no-untyped-def]
    answer = pages(hub).get(f"/{change(shared.token)}")
    assert answer.status_code == 404 and 'name="passcode"' not in answer.text


def test_guessing_in_parallel_locks_the_share(hub: Hub, shared: NewShare) -> None:
    with ThreadPoolExecutor(16) as pool:
        tried = list(pool.map(lambda number: enter(hub, shared.token, f"{number:06d}").status_code, range(24)))
    assert tried.count(401) == MAX_ATTEMPTS and tried.count(429) == 24 - MAX_ATTEMPTS
    assert enter(hub, shared.token, shared.passcode).status_code == 429
    assert pages(hub).get(f"/{shared.token}").status_code == 429


def test_a_revoked_share_closes_open_sessions(hub: Hub, shared: NewShare) -> None:
    session = opened(hub, shared)
    hub.doors.films.revoke(shared.share.id, DESK)
    assert pages(hub).get(f"/{shared.token}/study", headers=session).status_code == 403
    assert enter(hub, shared.token, shared.passcode).status_code == 403
    assert next(one for one in hub.doors.films.shares() if one.id == shared.share.id).state == "revoked"


def test_a_share_expires(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    short = hub.doors.films.share(study(hub, "9.9"), DESK, hours=1)
    session = opened(hub, short)
    later = hub.doors.clock() + HOUR + 1
    monkeypatch.setattr(hub.doors.films, "_clock", lambda: later)
    assert pages(hub).get(f"/{short.token}/study", headers=session).status_code == 410
    assert pages(hub).get(f"/{short.token}").status_code == 410


def test_neither_token_nor_passcode_is_stored(hub: Hub, shared: NewShare) -> None:
    hub.doors.films.share(study(hub, "9.9"), DESK, passcode="a long secret 7351")
    stored = b"".join(file.read_bytes() for file in hub.doors.data.glob("hub.sqlite3*"))
    assert shared.token.encode() not in stored
    assert b"open sesame" not in stored and b"secret 7351" not in stored


def test_every_opening_is_audited(hub: Hub, shared: NewShare) -> None:
    opened(hub, shared)
    enter(hub, shared.token, "000000")
    hub.doors.audit.expand()
    events = [one for one in hub.resources("AuditEvent") if one["source"]["site"] in ("film", "web")]
    named = [
        one for one in events if {"reference": shared.share.imaging_study} in [e.get("what") for e in one["entity"]]
    ]
    assert {"110106", "110103", "110114"} <= {one["type"]["code"] for one in named}


@pytest.mark.parametrize(("hours", "passcode"), [(0, ""), (721, ""), (1, "12345"), (1, "x" * 33)])
def test_a_share_has_bounds(hub: Hub, hours: int, passcode: str) -> None:
    with pytest.raises(HubError, match="parameter-value"):
        hub.doors.films.share(study(hub, "9.9"), DESK, hours=hours, passcode=passcode)
    with pytest.raises(HubError, match="not-found"):
        hub.doors.films.share("none", DESK)


def test_every_text_has_both_languages_and_is_used() -> None:
    tables = film.texts()
    assert [key for table in tables.values() for key, text in table.items() if not text] == []
    folder = Path(film.__file__).parent
    templates = "".join(file.read_text(encoding="utf-8") for file in (folder / "templates").glob("*.html"))
    groups = ("closed.", "heading.sex.", "report.status.", "tool.", "preset.")
    assert [key for key in tables["zh"] if f'"{key}"' not in templates and not key.startswith(groups)] == []
    assert set(re.findall(r't\["([a-z.-]+)"\]', templates)) <= set(tables["zh"])
    lines = (folder / "presets.csv").read_text(encoding="utf-8").splitlines()
    assert {row["name"] for row in csv.DictReader(line for line in lines if line[0] != "#")} <= set(tables["zh"])


def test_images_are_in_order_of_space_else_of_number(hub: Hub) -> None:
    def placed(number: int, z: float | None) -> dict:  # type: ignore[type-arg]
        attributes = {"00200013": {"vr": "IS", "Value": [number]}}
        if z is not None:
            attributes["00200032"] = {"vr": "DS", "Value": [0.0, 0.0, z]}
            attributes["00200037"] = {"vr": "DS", "Value": [1, 0, 0, 0, 1, 0]}
        return {"uid": f"1.{number}", "attributes": attributes}

    def numbers(*rows: dict) -> list[int]:  # type: ignore[type-arg]
        return [row["attributes"]["00200013"]["Value"][0] for row in film_study._ordered(list(rows))]

    assert numbers(placed(2, 5.0), placed(1, 0.0), placed(3, 2.5)) == [1, 3, 2]
    assert numbers(placed(1, 9.0), placed(2, 0.0), placed(3, 4.0)) == [1, 3, 2]
    assert numbers(placed(3, None), placed(1, None), placed(2, None)) == [1, 2, 3]


def test_a_structured_report_is_read_as_text() -> None:
    from .conftest import row

    written = report.structured(row(next(FILES.rglob("test-SR.dcm")))[0]["attributes"])
    assert written is not None and written.title and len(written.lines) > 5

"""The three pages as a person sees them: a real hub, simulated hospitals, headless Chromium."""

import html
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub.api.pages import LANGUAGES, texts
from tests.running import Process

CHROMIUM = shutil.which("chromium")
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=4000""".split()


@pytest.fixture(scope="module")
def manifest(running: Process) -> dict[str, Any]:
    """What three simulated hospitals sent to the running hub."""
    command = [sys.executable, "-m", "hub.cli", "simulate", "demo", "--http", running.base, "--seed", "1", "--json"]
    for name in ("mllp", "dicom"):
        command += [f"--{name}", "{}:{}".format(*running.addresses[name])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=True)
    return dict(json.loads(done.stdout))


def browse(url: str, profile: Path, picture: Path | None = None, size: str = "1280,1400") -> str:
    """The page's DOM after rendering; a screenshot too when asked for."""
    assert CHROMIUM is not None
    base = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"--window-size={size}"]
    if picture is not None:
        subprocess.run([*base, f"--screenshot={picture}", url], capture_output=True, timeout=90, check=True)
        assert picture.stat().st_size > 10_000
    return subprocess.run([*base, "--dump-dom", url], capture_output=True, text=True, timeout=90, check=True).stdout


def test_every_text_has_both_languages_and_is_used() -> None:
    tables = texts()
    assert set(tables["zh"]) == set(tables["en"])
    assert [key for table in tables.values() for key, text in table.items() if not text] == []
    folder = Path(__file__).parents[2] / "hub/api/templates"
    templates = "".join(file.read_text(encoding="utf-8") for file in folder.glob("*.html"))
    groups = ("state.", "severity.", "database.", "person.sex.", "person.card", "person.identifier", "person.name")
    assert [key for key in tables["zh"] if f'"{key}"' not in templates and not key.startswith(groups)] == []


@pytest.mark.parametrize("path", ["/", "/person?name=zz", "/check", "/message/none"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_answer_in_both_languages_with_a_strict_policy(running: Process, path: str, language: str) -> None:
    answer = httpx.get(running.base + path, headers={"Accept-Language": language})
    assert answer.status_code == (404 if "message" in path else 200)
    assert f'<html lang="{language}">' in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<script" not in answer.text


def test_a_name_cannot_become_markup(running: Process) -> None:
    answer = httpx.get(running.base + "/person", params={"name": "<script>alert(1)</script>"})
    assert "<script>" not in answer.text


@pytest.mark.chromium
@pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
class TestInChromium:
    def test_state(self, running: Process, manifest: dict[str, Any], tmp_path: Path) -> None:
        page = browse(running.base + "/?lang=en", tmp_path / "profile", tmp_path / "state.png")
        assert "The four master databases" in page
        assert "received = stored + rejected + quarantined" in page
        assert "ADT^A" in html.unescape(page)

    def test_person_by_card(self, running: Process, manifest: dict[str, Any], tmp_path: Path) -> None:
        card = manifest["lookup"]["card"]
        page = browse(f"{running.base}/person?lang=en&card={card}", tmp_path / "profile", tmp_path / "person.png")
        assert manifest["lookup"]["name"] in page
        lanes = {number for number in range(5) if f"lane{number}" in page}
        assert len(lanes) >= 3, "the record shows fewer than three hospitals"
        assert 'href="/message/' in page

    def test_check_finds_what_is_wrong(self, running: Process, tmp_path: Path) -> None:
        resource = {"resourceType": "Patient", "gender": "manly", "birthday": "1985"}
        form = tmp_path / "form.html"
        form.write_text(
            f'<form id="f" method="post" enctype="multipart/form-data" action="{running.base}/check">'
            f'<textarea name="text">{html.escape(json.dumps(resource))}</textarea></form>'
            "<script>document.getElementById('f').submit()</script>",
            encoding="utf-8",
        )
        page = browse(form.as_uri(), tmp_path / "profile")
        assert "FHIR R4 Patient" in page
        assert "Patient.gender" in page
        assert "birthday" in page

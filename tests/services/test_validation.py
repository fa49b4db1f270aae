"""The validation door: grace mode of an institution, by the hub's clock and time zone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

from hub.fhir import definitions
from hub.fhir.validate import Library, Validator
from hub.fhir.validate.terminology import ServiceCodes
from hub.services.terminology import StoredTerminology
from hub.services.validation import StoredDefinitions, Validation
from hub.settings import Grace
from hub.store.sqlite import SqliteStore
from terminology.service import Terminology

WRONG = {"resourceType": "Patient", "gender": "foo"}
LAST_DAY = Grace(rule="binding-required", institution="h1", until=date(2026, 11, 21))
END = 1_795_276_800_000_000  # 2026-11-22T00:00 in Shanghai


def validation(tmp_path: Path, clock: Callable[[], int]) -> Validation:
    store, terminology = SqliteStore(tmp_path / "hub.sqlite3", clock=clock), Terminology(clock)
    stored = StoredDefinitions(store)
    validator = Validator(
        definitions.load(), library=Library(definitions.load(), stored), terminology=ServiceCodes(terminology)
    )
    zone = ZoneInfo("Asia/Shanghai")
    return Validation(validator, stored, StoredTerminology(store, terminology), [LAST_DAY], clock, zone)


def test_grace_ends_with_its_last_day(tmp_path: Path) -> None:
    now = [END - 1]
    made = validation(tmp_path, lambda: now[0])
    assert not made.check(WRONG, institution="h1").failed
    assert made.check(WRONG, institution="h2").failed
    now[0] = END
    assert made.check(WRONG, institution="h1").failed


def test_grace_is_in_the_located_findings_too(tmp_path: Path) -> None:
    made = validation(tmp_path, lambda: END - 1)
    data = b'{"resourceType":"Patient",\n"gender":"foo"}'
    (finding,) = [one for one in made.located(data, institution="h1") if one.rule == "binding-required"]
    assert (finding.severity, finding.line) == ("warning", 2)

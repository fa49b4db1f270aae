"""The tables of error names agree with one another and with the standards' value sets."""

import csv
from pathlib import Path

import pytest

from hub.errors import ERRORS

ROOT = Path(__file__).parents[2]
ISSUE_TYPES = set(
    """invalid structure required value invariant security login unknown expired forbidden suppressed processing
    not-supported duplicate multiple-matches not-found deleted too-long code-invalid extension too-costly business-rule
    conflict transient lock-error no-store exception timeout incomplete throttled informational""".split()
)


def rows(path: Path) -> list[dict[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def test_errors_have_valid_codes() -> None:
    assert len(ERRORS) > 20
    for row in ERRORS.values():
        assert 400 <= row.http < 600
        assert row.issue in ISSUE_TYPES, row
        assert row.retry in ("permanent", "transient", "ambiguous"), row
        assert row.inbound in ("rejected", "quarantined"), row


@pytest.mark.parametrize("path", ["adapters/hl7v2/ack.csv", "adapters/dicom/status.csv"])
def test_every_error_has_a_row_in_the_protocols_table(path: str) -> None:
    names = [row["name"] for row in rows(ROOT / path)]
    assert sorted(set(names)) == sorted(ERRORS)

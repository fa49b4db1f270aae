"""docs/healthcard.md says what the tables say, and every attack it lists is a test."""

from __future__ import annotations

import re
from pathlib import Path

from hub.errors import ERRORS
from hub.healthcard.card import refusals, transitions

ROOT = Path(__file__).parents[2]


def table(name: str) -> list[list[str]]:
    """The rows of the table between the marks."""
    text = (ROOT / "docs/healthcard.md").read_text(encoding="utf-8")
    block = text.partition(f"<!-- {name} -->")[2].partition("<!-- end -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.strip().splitlines()]
    return rows[2:]


def test_states() -> None:
    assert {(state, action): after for state, action, after in table("states")} == transitions()


def test_attacks() -> None:
    rows = table("attacks")
    assert {row[1] for row in rows} == set(refusals())
    assert {row[1]: int(row[2]) for row in rows} == {
        reason: ERRORS[refusal.error].http for reason, refusal in refusals().items()
    }
    tests = "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    assert {row[3] for row in rows} <= set(re.findall(r"def (test_\w+)", tests))

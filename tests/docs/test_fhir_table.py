"""docs/fhir.md is proved: every yes of ours names tests, and they exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def ours() -> dict[str, str]:
    """Feature -> our cell, of all tables that have a column of ours."""
    cells: dict[str, str] = {}
    column = False
    for line in (ROOT / "docs/fhir.md").read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            column = False
            continue
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if row[-1] == "region-hub":
            column = True
        elif column and not row[0].startswith("---"):
            cells[row[0]] = row[-1]
    return cells


def functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_tables_are_read() -> None:
    assert len(ours()) > 40


@pytest.mark.parametrize("feature", ours())
def test_each_cell_of_ours_names_tests_that_exist(feature: str) -> None:
    cell = ours()[feature]
    assert re.match(r"[YPN]\b", cell), "a cell begins with Y, P or N"
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", cell)
    assert named or cell[0] == "N", "what we have is proved"
    assert [f"{file}::{name}" for file, name in named if name not in functions(ROOT / file)] == []

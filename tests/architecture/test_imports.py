"""The architecture's import rules hold, and nothing is async below the edges."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("hub", "adapters", "terminology", "simulators")
ASYNC_ALLOWED = (
    "hub/api/", "hub/cli.py", "hub/transfer.py", "hub/bench/", "simulators/",
    "adapters/hl7v2/listener.py", "adapters/hl7v2/mllp.py", "adapters/hl7v2/outbound.py", "adapters/dicom/web",
    "adapters/dicom/film.py",
)  # fmt: skip
FORBIDDEN_NAMES = {"utils", "helpers", "common", "manager", "base", "impl"}


def modules() -> list[Path]:
    return sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def test_import_contracts_hold() -> None:
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_async_stands_at_the_edges_only() -> None:
    found = []
    for file in modules():
        name = file.relative_to(ROOT).as_posix()
        if name.startswith(ASYNC_ALLOWED):
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found += [f"{name}:{node.lineno}" for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]
    assert found == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [file for file in modules() if file.stem in FORBIDDEN_NAMES] == []


@pytest.mark.parametrize("word", ["raise NotImplementedError", "TODO", "FIXME"])
def test_nothing_is_left_for_later(word: str) -> None:
    found = [file.relative_to(ROOT).as_posix() for file in modules() if word in file.read_text(encoding="utf-8")]
    assert found == []

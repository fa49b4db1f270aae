"""Nobody else ships our top-level names, and requirement files are pinned, hashed and name no host."""

import re
from pathlib import Path

import pytest

from hub.doctor import foreign_owners

ROOT = Path(__file__).parents[2]


def test_our_names_are_ours() -> None:
    assert foreign_owners() == {}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_pinned_and_hashed(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = [block for block in re.split(r"\n(?=[a-zA-Z0-9])", text) if not block.startswith("#")]
    assert blocks
    for block in blocks:
        assert "==" in block.splitlines()[0], block.splitlines()[0]
        assert "--hash=sha256:" in block, block.splitlines()[0]


NAMED = ["requirements.txt", "requirements-dev.txt", "pyproject.toml", "Makefile", "Dockerfile", ".ci/run"]


@pytest.mark.parametrize("name", NAMED)
def test_no_registry_host_is_named(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"(index-url|extra-index|registry=|https?://)", text)

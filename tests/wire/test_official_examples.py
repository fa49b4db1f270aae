"""All official R4 examples through ``hub load``, and back the same token for token."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.running import Process

PACKAGE = "hl7.fhir.r4.examples@4.0.1"
CACHE = Path(os.environ.get("REGION_HUB_CACHE", Path.home() / ".cache" / "region-hub"))


@pytest.fixture(scope="module")
def examples() -> Path:
    """The package's folder, fetched by its name once (CC0; not part of this project)."""
    folder = CACHE / "r4-examples"
    if not (folder / "package").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", PACKAGE, "--silent"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm cannot fetch {PACKAGE}: {done.stderr[-200:]}")
        with tarfile.open(next(folder.glob("*.tgz"))) as archive:
            archive.extractall(folder, filter="data")
    return folder / "package"


class Literal(str):
    """A JSON number as it is written."""


def first_version(reference: str) -> str:
    """Of a Subscription what was sent is version 1: the server answers it by setting its status (R4 3.3.2)."""
    return "/_history/1" if reference.startswith("Subscription/") else ""


def tokens(text: bytes) -> Any:
    """The resource with numbers as written, without id and meta."""
    value = json.loads(text, parse_float=Literal, parse_int=Literal)
    return {name: part for name, part in value.items() if name not in ("id", "meta")}


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("store", ["sqlite", pytest.param("mongo", marks=pytest.mark.mongo)])
def test_all_examples_come_back_unchanged(
    store: str, examples: Path, start: Callable[..., Process], request: pytest.FixtureRequest
) -> None:
    url = "sqlite" if store == "sqlite" else request.getfixturevalue("mongo_url")
    process = start(store=url)
    done = subprocess.run(
        [sys.executable, "-m", "hub.cli", "load", str(examples), "--url", process.base, "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    rejected = {row["file"] for row in report["rejected"]}
    print(f"{store}: {report['read']} read, {report['stored']} stored in {report['seconds']} s")
    print(*(f"rejected {row}" for row in report["rejected"]), sep="\n")
    same = 0
    with httpx.Client(base_url=process.base, timeout=60, headers={"Accept": "application/fhir+json"}) as client:
        latest: dict[str, Path] = {}
        for file in sorted(examples.rglob("*.json")):
            value = json.loads(file.read_bytes())
            if isinstance(value, dict) and "resourceType" in value and str(file) not in rejected:
                latest[f"{value['resourceType']}/{value['id']}"] = file
        for reference, file in latest.items():
            answer = client.get(f"/fhir/{reference}{first_version(reference)}")
            assert answer.status_code == 200, reference
            assert tokens(answer.content) == tokens(file.read_bytes().removeprefix(b"\xef\xbb\xbf")), reference
            same += 1
        statistics = client.get("/api/status").json()["databases"]
    found = sum(number for types in statistics.values() for type, number in types.items() if type != "AuditEvent")
    print(f"{store}: {same} read back the same, {found} found")
    assert report["stored"] + len(rejected) == report["read"]
    assert same >= 5000

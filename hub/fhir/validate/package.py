"""Conformance resources from files: single resources, Bundles, and FHIR packages (.tgz), read without unpacking."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hub.errors import HubError
from hub.fhir import json
from hub.fhir.validate.located import decode

MAX_MEMBERS = 50_000
MAX_MEMBER_BYTES = 64_000_000
MAX_TOTAL_BYTES = 1_000_000_000

KINDS = frozenset({"StructureDefinition", "ValueSet", "CodeSystem", "Questionnaire"})


def resources(path: Path) -> Iterator[dict[str, Any]]:
    """The definitions in a file. Raises HubError ``structure`` or ``too-long``."""
    if path.suffix in (".tgz", ".gz"):
        yield from _package(path)
        return
    resource = decode(path.read_bytes())
    if resource.get("resourceType") != "Bundle":
        yield resource
        return
    for entry in resource.get("entry", ()):
        if isinstance(entry, dict) and isinstance(entry.get("resource"), dict):
            yield entry["resource"]


def _package(path: Path) -> Iterator[dict[str, Any]]:
    """package/<Type>-<id>.json of a FHIR package; only these are read, and nothing is written."""
    total = 0
    try:
        with tarfile.open(path, mode="r:gz") as archive:
            for count, member in enumerate(archive):
                total += member.size
                if count >= MAX_MEMBERS or member.size > MAX_MEMBER_BYTES or total > MAX_TOTAL_BYTES:
                    raise HubError("too-long", f"The package {path.name} is too large.")
                name = member.name.removeprefix("package/")
                if not member.isfile() or "/" in name or name.partition("-")[0] not in KINDS:
                    continue
                stream = archive.extractfile(member)
                if stream is not None:
                    yield json.decode(stream.read())
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise HubError("structure", f"{path.name} is not a FHIR package (.tgz): {error}.") from error

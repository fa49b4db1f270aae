"""Write adapters/hl7v2/specs.json.zst: the structures of HL7 v2.1 to 2.8.2 from the tables of hl7apy (MIT).

Run by hand when hl7apy changes: ``python scripts/build_hl7v2_specs.py``. Known faults of the tables are mended here:
sentences that stand among the codes are dropped, and tables that are patterns or open lists are left out.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import zstandard

VERSIONS = ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.1", "2.8.2")
OPEN_TABLES = {
    "HL70396",
    "HL70203",
    "HL70211",
    "HL70104",
    "HL70354",
    "HL70003",
    "HL70076",
    "HL70399",
    "HL70291",
    "HL70125",
    "HL70301",
}
"""Lists that are extended by rule or by newer versions: not being on them is no finding."""
CONDITIONAL = {("OBX", 2), ("OBX", 4), ("OBX", 5), ("ORC", 2), ("ORC", 3), ("OBR", 2), ("OBR", 3)}
"""Fields that the tables of some versions call required and the standard conditional."""
WITHOUT_TABLES = ("2.1", "2.2", "2.3")
TARGET = Path(__file__).parent.parent / "adapters/hl7v2/specs.json.zst"


def library(version: str, module: str) -> Any:
    return importlib.import_module(f"hl7apy.v{version.replace('.', '_')}.{module}")


def structure(reference: Any) -> list[Any]:
    """A message or group as [kind, [[name, min, max, structure or null]]]."""
    return [
        reference[0],
        [
            [name, *cardinality, structure(inner) if kind == "GRP" else None]
            for name, inner, cardinality, kind in members(reference)
        ],
    ]


def members(reference: Any) -> list[Any]:
    """The well-formed members of an entry (2.1 and 2.2 have a few that are broken)."""
    if not reference[1]:
        return []
    whole = [one for one in reference[1] if isinstance(one, list | tuple) and len(one) == 4 and one[1] is not None]
    return [one for one in whole if isinstance(one[0], str)]


def parts(reference: Any) -> list[Any]:
    """The fields of a segment, or components of a data type, as [type, min, max, table, name]."""
    found: dict[int, list[Any]] = {}
    for name, inner, cardinality, _ in members(reference):
        title = (inner[3] or "").replace("_", " ").capitalize()
        segment, number = name.rsplit("_", 1)
        low = 0 if (segment, int(number)) in CONDITIONAL else cardinality[0]
        found[int(number)] = [inner[2] or "", low, cardinality[1], inner[4] or "", title]
    return [found.get(number, ["", 0, -1, "", ""]) for number in range(1, max(found, default=0) + 1)]


def components(reference: Any, types: dict[str, Any]) -> None:
    """Collect the composite data types that a segment's fields are made of."""
    for _, inner, _, _ in members(reference):
        if inner[0] == "sequence" and inner[2] not in types:
            types[inner[2]] = parts(inner)
            components(inner, types)


def tables(version: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    if version in WITHOUT_TABLES:
        return {}
    for name, (_, codes) in library(version, "tables").TABLES.items():
        if name not in OPEN_TABLES and codes:
            found[name] = sorted(code for code in codes if len(code) <= 20 and " an identifier" not in code.lower())
    return found


def specification(version: str) -> dict[str, Any]:
    segments = {name: ref for name, ref in library(version, "segments").SEGMENTS.items() if len(ref) > 1 and ref[1]}
    types: dict[str, Any] = {}
    for reference in segments.values():
        components(reference, types)
    return {
        "structures": {name: structure(ref) for name, ref in library(version, "messages").MESSAGES.items()},
        "segments": {name: parts(ref) for name, ref in segments.items()},
        "types": types,
        "tables": tables(version),
    }


def main() -> None:
    notice = f"Tables of hl7apy {importlib.metadata.version('hl7apy')}, Copyright (c) 2012-2024 CRS4, MIT licence"
    versions = {version: specification(version) for version in VERSIONS}
    text = json.dumps({"notice": notice, "versions": versions}, separators=(",", ":"))
    TARGET.write_bytes(zstandard.ZstdCompressor(level=19).compress(text.encode()))


if __name__ == "__main__":
    main()

"""The region's own thin profiles and extensions, as differentials (R4 5.1.0.3). Ours, not an official publication."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from hub.fhir import json

BASE = "https://region-hub.example/fhir/StructureDefinition/"


def structures() -> list[dict[str, Any]]:
    """The StructureDefinitions in the folder ``profiles``, by name."""
    folder = files("hub.conformance").joinpath("profiles")
    found = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return [json.decode(file.read_bytes()) for file in found]

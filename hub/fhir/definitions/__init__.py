"""FHIR R4 (4.0.1) definitions: structures, search parameters, compartments, operations, bound code lists.

Read from one compressed artefact (README.md beside it); each definition is decoded when first asked for.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
import zstandard

Definition = dict[str, Any]

CANONICAL = "http://hl7.org/fhir/StructureDefinition/"
LIMIT_BYTES = 64_000_000


class Definitions:
    """The definitions of one FHIR version, found by canonical url.

    ``header`` has source, version, licence and sha256 of the archive the artefact was built from; ``types`` gives each
    base type name its kind (abstract, primitive-type, complex-type, resource); ``resource_types`` are the 146 concrete
    ones.
    """

    def __init__(self, artefact: bytes) -> None:
        text = zstandard.ZstdDecompressor().decompress(artefact, max_output_size=LIMIT_BYTES)
        first, *lines = text.split(b"\n")
        self.header: Definition = msgspec.json.decode(first)
        self._lines: dict[str, dict[str, bytes]] = {}
        for (kind, url), line in zip(self.header.pop("index"), lines, strict=True):
            self._lines.setdefault(kind, {})[url] = line
        self.types: dict[str, str] = self.header.pop("types")
        self.resource_types = frozenset(name for name, kind in self.types.items() if kind == "resource")
        self._decoded: dict[tuple[str, str], Definition] = {}
        self._codes: dict[str, dict[str, frozenset[str]] | None] = {}

    def get(self, kind: str, url: str) -> Definition | None:
        """The definition of this kind with this canonical url (a ``|version`` is ignored), or None."""
        key = (kind, url.partition("|")[0])
        found = self._decoded.get(key)
        if found is None:
            line = self._lines[kind].get(key[1])
            if line is not None:
                found = self._decoded[key] = msgspec.json.decode(line)
        return found

    def all(self, kind: str) -> list[Definition]:
        """Every definition of this kind, by ascending canonical url."""
        return [found for url in self._lines[kind] if (found := self.get(kind, url)) is not None]

    def structure(self, name: str) -> Definition | None:
        """A StructureDefinition by canonical url or, for base types, by type name."""
        return self.get("StructureDefinition", name if ":" in name else CANONICAL + name)

    @property
    def search_parameters(self) -> list[Definition]:
        """All SearchParameters (R4 3.1.1)."""
        return self.all("SearchParameter")

    @property
    def compartments(self) -> dict[str, Definition]:
        """CompartmentDefinitions by the type of the compartment, e.g. Patient."""
        return {item["code"]: item for item in self.all("CompartmentDefinition")}

    @property
    def operations(self) -> list[Definition]:
        """All OperationDefinitions."""
        return self.all("OperationDefinition")

    def codes(self, value_set: str) -> dict[str, frozenset[str]] | None:
        """{system: codes} of a bound value set; None when the package cannot expand it (UCUM, MIME types, LOINC...)."""
        url = value_set.partition("|")[0]
        if url not in self._codes:
            line = self._lines["ValueSet"].get(url)
            lists = None if line is None else msgspec.json.decode(line, type=dict[str, list[str]])
            self._codes[url] = None if lists is None else {name: frozenset(items) for name, items in lists.items()}
        return self._codes[url]


@cache
def load() -> Definitions:
    """The R4 definitions shipped with the hub; read once."""
    return Definitions(files("hub.fhir").joinpath("definitions/r4.ndjson.zst").read_bytes())

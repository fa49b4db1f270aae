"""The definitions artefact, and the script that makes it."""

from __future__ import annotations

import importlib.util
import io
import json
import tarfile
import time
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

from hub.fhir import definitions
from hub.fhir.definitions import Definitions
from hub.fhir.elements import members, options, supertypes, type_of


def script() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "build_definitions.py"
    spec = importlib.util.spec_from_file_location("build_definitions", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def archive(*resources: dict[str, Any]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for resource in resources:
            text = json.dumps(resource).encode()
            member = tarfile.TarInfo(f"package/{resource['resourceType']}-{resource['id']}.json")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return data.getvalue()


def test_the_artefact_is_complete_and_says_where_it_is_from() -> None:
    loaded = definitions.load()
    assert loaded.header["version"] == "4.0.1"
    assert loaded.header["sha256"].startswith("b090bf929e1f665c")
    assert len(loaded.resource_types) == 146
    assert len(loaded.search_parameters) == 1400
    assert sum("expression" in item for item in loaded.search_parameters) == 1384
    assert set(loaded.compartments) >= {"Patient", "Encounter", "Practitioner", "Device", "RelatedPerson"}
    assert len(loaded.operations) == 47


def test_the_artefact_loads_in_a_fraction_of_a_second() -> None:
    data = files("hub.fhir").joinpath("definitions/r4.ndjson.zst").read_bytes()
    start = time.process_time()
    Definitions(data)
    assert time.process_time() - start < 0.3


def test_required_codes_are_expanded() -> None:
    gender = definitions.load().codes("http://hl7.org/fhir/ValueSet/administrative-gender|4.0.1")
    assert gender == {"http://hl7.org/fhir/administrative-gender": frozenset({"male", "female", "other", "unknown"})}
    assert definitions.load().codes("http://hl7.org/fhir/ValueSet/mimetypes") is None


def test_the_elements_of_a_type_are_known() -> None:
    assert options("Observation", "value") is not None
    assert ("valueQuantity", "Quantity", False) in (options("Observation", "value") or ())
    assert options("Questionnaire.item", "item") == (("item", "Questionnaire.item", True),)
    assert "relationship" in members("Patient.contact")
    assert type_of("Patient.contact") == "BackboneElement"
    assert supertypes("Patient") == ("Patient", "DomainResource", "Resource")
    assert options("Patient", "nothing") is None


def test_the_build_depends_on_the_archive_alone() -> None:
    codes = {
        "resourceType": "CodeSystem", "id": "c", "url": "http://example.org/c", "content": "complete",
        "concept": [{"code": "a", "concept": [{"code": "b"}]}, {"code": "c"}],
    }  # fmt: skip
    below = {"system": codes["url"], "filter": [{"property": "concept", "op": "is-a", "value": "a"}]}
    value_set = {"resourceType": "ValueSet", "id": "v", "url": "http://example.org/v", "compose": {"include": [below]}}
    binding = {"strength": "required", "valueSet": "http://example.org/v|1"}
    element = {"id": "X.a", "path": "X.a", "min": 1, "max": "1", "definition": "prose", "binding": binding}
    structure = {
        "resourceType": "StructureDefinition", "id": "X", "url": "http://example.org/X", "name": "X", "type": "X",
        "kind": "resource", "abstract": False, "snapshot": {"element": [element]},
    }  # fmt: skip
    build = script().build
    data = archive(codes, value_set, structure)
    assert build(data) == build(data)
    made = Definitions(build(data))
    assert made.codes("http://example.org/v") == {"http://example.org/c": frozenset({"a", "b"})}
    kept = made.structure("http://example.org/X")
    assert kept is not None
    assert "definition" not in kept["snapshot"]["element"][0]
    assert made.resource_types == {"X"}

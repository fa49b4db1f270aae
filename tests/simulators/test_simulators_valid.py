"""What fault-free journeys send is right by other readings: the hub's checks, dciodvfy, fhir.resources, pydicom."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from fhir.resources.R4B.bundle import Bundle
from pydicom import dcmread

from adapters.hl7v2.message import parse
from adapters.hl7v2.validate import validate
from hub.fhir import definitions
from hub.fhir.json import decode
from hub.fhir.validate import Validator
from simulators import masterfiles, region
from simulators.clock import FIRST_DAY
from simulators.episode import Episode, fits, places
from simulators.journey import journeys
from simulators.population import people
from simulators.record import Sending


@pytest.fixture(scope="module")
def sent() -> list[Sending]:
    """Every journey travelled by several residents, and the master files."""
    sites, found = region.institutions(0.02), list[Sending]()
    crowd = people(2, 300)
    for journey in journeys().values():
        some = [one for one in crowd if fits(journey, one, 2, FIRST_DAY.date())][:12]
        for one in some:
            found += Episode(2, one, journey, FIRST_DAY, places(journey, one, sites)).sendings()
    chosen = {site.dialect.key: site for site in sites.values()}.values()
    return [*found, *masterfiles.sendings(chosen, FIRST_DAY, whole=True)]


def test_every_message_passes_the_base_standard(sent: list[Sending]) -> None:
    messages = [one for one in sent if one.link == "mllp"]
    assert len(messages) > 300
    assert {one.kind.partition(":")[0] for one in messages} >= {"ADT^A37", "REF^I12", "MFN^M02", "VXU^V04", "OMI^O23"}
    for one in messages:
        errors = [finding for finding in validate(parse(one.body)) if finding.severity == "error"]
        assert errors == [], f"{one.kind} of {one.hospital}: {one.body!r}"


def test_every_resource_passes_the_validator(sent: list[Sending]) -> None:
    validator = Validator(definitions.load())
    kinds = set()
    for one in sent:
        if one.link == "http":
            assert Bundle.model_validate(json.loads(one.body)).type == "transaction"
            for entry in decode(one.body)["entry"][:40]:
                kinds.add(entry["resource"]["resourceType"])
                findings = [one for one in validator.check(entry["resource"]).findings if one.severity == "error"]
                assert findings == [], one.kind
    assert len(kinds) >= 13


def test_images_are_readable_and_of_the_right_anatomy(sent: list[Sending]) -> None:
    images = [one for one in sent if one.link == "dicom"]
    assert {one.kind for one in images} == {"CT", "DX", "MR", "US"}
    for one in images:
        dataset = dcmread(io.BytesIO(one.body))
        assert dataset.StudyInstanceUID == one.control_id
        assert dataset.Modality == one.kind
        assert dataset.AccessionNumber.endswith("R")
        assert dataset.pixel_array.shape == (64, 64)
        assert dataset.BodyPartExamined in ("CHEST", "HEAD", "ABDOMEN", "LSPINE", "HAND", "NECK")
        assert dataset.PatientName.ideographic


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs Debian's dicom3tools")
def test_dciodvfy_finds_no_error(sent: list[Sending], tmp_path: Path) -> None:
    images = [one for one in sent if one.link == "dicom"]
    for number, one in enumerate(images):
        file = tmp_path / f"{number}.dcm"
        file.write_bytes(one.body)
        result = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
        errors = [line for line in (result.stderr + result.stdout).splitlines() if line.startswith("Error")]
        assert errors == [], f"{one.kind} of {one.hospital}"

"""Scenarios are byte for byte reproducible and speak three different dialects."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections import defaultdict

import pytest
from fhir.resources.R4B.bundle import Bundle
from hl7apy.parser import parse_message
from pydicom import dcmread

from simulators import region
from simulators.dialect import dialects
from simulators.hl7 import Separators
from simulators.journey import journeys
from simulators.population import people
from simulators.region import Sending

GOLDEN = "764534e7f541931427311e462ce82335b55166527c27cadd7e6ed9993508f854"
"""SHA-256 of the log of the scenario demo, seed 1. A change is a new VERSION of the simulators."""


@pytest.fixture(scope="module")
def log() -> list[Sending]:
    return list(region.sendings(1, region.demo(1)[1]))


def test_golden_digest(log: list[Sending]) -> None:
    assert region.VERSION == "1"
    assert region.digest(log) == GOLDEN


def test_another_process_with_other_hash_seed_gives_the_same_log() -> None:
    command = [sys.executable, "-m", "simulators", "demo", "--json"]
    result = subprocess.run(command, env={"PYTHONHASHSEED": "4711"}, capture_output=True, check=True)
    assert json.loads(result.stdout)["digest"] == GOLDEN


def test_another_seed_gives_other_messages(log: list[Sending]) -> None:
    assert region.digest(list(region.sendings(2, region.demo(2)[1]))) != GOLDEN


def test_a_hospital_does_not_change_when_others_are_left_out(log: list[Sending]) -> None:
    _, whole = region.day(3, 40)
    _, alone = region.day(3, 40, ("county",))
    county = [sending.line() for sending in region.sendings(3, whole) if sending.hospital == "county"]
    assert county == [sending.line() for sending in region.sendings(3, alone)]


def test_equal_patient_numbers_mean_different_people(log: list[Sending]) -> None:
    holders: dict[str, set[tuple[str, int | None]]] = defaultdict(set)
    for sending in log:
        if sending.kind in ("ADT^A01", "ADT^A04"):
            dialect = dialects()[sending.hospital]
            pid = sending.body.decode(dialect.charset).split("\r")[2]
            number = pid.split(dialect.separators.field)[3].split(dialect.separators.component)[0]
            holders[number].add((sending.hospital, sending.resident))
    assert any(len({resident for _, resident in same}) > 1 for same in holders.values())
    for same in holders.values():
        by_hospital = defaultdict(set)
        for hospital, resident in same:
            by_hospital[hospital].add(resident)
        assert all(len(residents) == 1 for residents in by_hospital.values())


def test_someone_visits_every_hospital_and_one_registration_is_merged(log: list[Sending]) -> None:
    places = defaultdict(set)
    for sending in log:
        places[sending.resident].add(sending.hospital)
    assert sum(len(names) == len(dialects()) for resident, names in places.items() if resident is not None) >= 3
    assert [sending.kind for sending in log].count("ADT^A40") == 1


def test_control_ids_are_unique_and_short_enough(log: list[Sending]) -> None:
    ids = [sending.control_id for sending in log if sending.link == "mllp"]
    assert len(ids) == len(set(ids))
    assert all(len(control) <= 20 for control in ids), "MSH-10 has 20 characters up to HL7 v2.6"


@pytest.mark.parametrize("hospital", ["people", "cloud"])
def test_hl7apy_reads_the_messages(log: list[Sending], hospital: str) -> None:
    dialect = dialects()[hospital]
    kinds = {sending.kind: sending for sending in log if sending.link == "mllp" and sending.hospital == hospital}
    assert len(kinds) >= 6
    for sending in kinds.values():
        message = parse_message(sending.body.decode(dialect.charset), find_groups=False)
        assert message.msh.msh_10.value == sending.control_id
        assert message.msh.msh_12.value == dialect.version
        assert message.pid.pid_3[0].cx_4.hd_1.to_er7() == dialect.authority[0]


def test_the_dialects_differ_on_the_wire(log: list[Sending]) -> None:
    heads = {sending.hospital: sending.body[:9] for sending in log if sending.link == "mllp"}
    assert heads == {"people": b"MSH|^~\\&|", "county": b"MSH|$~\\@|", "cloud": b"MSH|^~\\&|"}
    first = {sending.hospital: sending.body for sending in reversed(log) if sending.link == "mllp"}
    with pytest.raises(UnicodeDecodeError):
        first["people"].decode("utf-8")
    assert "|2.3.1|" in first["county"].decode("utf-8")
    assert "|UNICODE UTF-8" in first["cloud"].decode("utf-8")


def test_images_are_readable_and_belong_to_their_order(log: list[Sending]) -> None:
    images = [sending for sending in log if sending.link == "dicom"]
    assert {sending.kind for sending in images} == {"CT", "DX"}
    names = {resident.index: resident.name for resident in people(1, 30)}
    for sending in images:
        dataset = dcmread(io.BytesIO(sending.body))
        assert dataset.StudyInstanceUID == sending.control_id
        assert len(dataset.PixelData) == dataset.Rows * dataset.Columns * 2
        assert str(dataset.PatientName.ideographic).replace("^", "") == names[sending.resident or 0]
        assert max(len(uid) for uid in (dataset.SOPInstanceUID, dataset.StudyInstanceUID)) <= 64
    assert len({dcmread(io.BytesIO(sending.body)).SOPInstanceUID for sending in images}) == len(images)


def test_bundles_satisfy_another_implementation_of_fhir(log: list[Sending]) -> None:
    bundles = [sending for sending in log if sending.link == "http"]
    assert {sending.kind for sending in bundles} == {"FHIR:registration", "FHIR:visit"}
    for sending in bundles:
        parsed = Bundle.model_validate(json.loads(sending.body))
        assert parsed.type == "transaction"
        assert all(entry.request.method == "PUT" for entry in parsed.entry)


def test_every_journey_ends() -> None:
    for name in journeys():
        arrivals = [region.Arrival(region.FIRST_DAY, "people", people(1, 1)[0], journeys()[name])]
        assert list(region.sendings(1, arrivals))


def test_separators_are_escaped() -> None:
    separators = Separators.of("|^~\\&")
    assert separators.text("a|b^c~d\\e&f") == "a\\F\\b\\S\\c\\R\\d\\E\\e\\T\\f"
    with pytest.raises(ValueError, match="five different"):
        Separators.of("|^^\\&")

"""Whole messages of fictional people: the Bundle and the acknowledgement, byte for byte.

``UPDATE_GOLDEN=1`` writes the files anew; look at the difference before it is committed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from adapters.hl7v2.interpret import CHANNEL, Interpreter
from hub.fhir import definitions
from hub.fhir import json as fhir_json
from hub.fhir.validate import Validator
from hub.services.inbox import Inbound, Settled

CASES = sorted(path.parent for path in Path(__file__).parent.parent.glob("golden/hl7v2/*/in.hl7"))
NOW = 1_795_132_800_000_000


def interpreter() -> Interpreter:
    return Interpreter(lambda: NOW, lambda: "0191c0de-0000-7000-8000-00000000000a", "Asia/Shanghai", "zh")


def inbound(folder: Path) -> Inbound:
    return Inbound("item-1", CHANNEL, "sender", "control", (folder / "in.hl7").read_bytes(), "127.0.0.1:1", NOW)


def compare(file: Path, got: bytes) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_bytes(got)
    assert got == file.read_bytes()


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_bundle_and_acknowledgement(folder: Path) -> None:
    message = inbound(folder)
    interpretation = interpreter().interpret(message)
    shown = {"facts": interpretation.facts, "bundle": interpretation.bundle}
    text = json.dumps(json.loads(fhir_json.encode(shown)), ensure_ascii=False, indent=1)
    compare(folder / "out.json", text.encode() + b"\n")
    compare(folder / "ack.hl7", interpreter().answer(message, Settled("stored", kind=interpretation.kind)))


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_every_resource_is_valid_r4_and_every_reference_resolves(folder: Path) -> None:
    bundle = interpreter().interpret(inbound(folder)).bundle
    assert bundle is not None
    validator = Validator(definitions.load())
    resources = [entry["resource"] for entry in bundle["entry"]]
    assert {
        f"{one['resourceType']}/{one['id']}": faults for one in resources if (faults := errors(validator(one)))
    } == {}
    stored = {f"{one['resourceType']}/{one['id']}" for one in resources}
    assert len(stored) == len(resources)
    assert references(resources) <= stored


def errors(issues: list[dict[str, object]]) -> list[object]:
    return [issue.get("diagnostics") for issue in issues if issue["severity"] in ("error", "fatal")]


def references(value: object) -> set[str]:
    if isinstance(value, list):
        return set().union(*(references(one) for one in value))
    if isinstance(value, dict):
        own = {value["reference"]} if isinstance(value.get("reference"), str) else set()
        return own.union(*(references(one) for one in value.values()))
    return set()

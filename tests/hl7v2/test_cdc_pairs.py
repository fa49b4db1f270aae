"""The public laboratory messages beside the FHIR that another converter made of them: the facts agree, or the reason
stands in docs/hl7v2.md, whose table this test checks."""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from adapters.hl7v2.interpret import translate
from adapters.hl7v2.message import parse
from hub.fhir import json as fhir_json
from hub.fhir.temporal import interval

PAIRS = Path(os.environ.get("REGION_HUB_SHARED", "nowhere")) / "data/hl7v2/cdc-pairs"
PAGE = Path(__file__).parents[2] / "docs/hl7v2.md"
Facts = dict[str, set[str]]


def codes(concept: dict[str, Any] | None) -> list[str]:
    return [coding["code"] for coding in (concept or {}).get("coding", ()) if "code" in coding]


def moment(text: str | None) -> list[str]:
    return [str(interval(text)[0] // 1_000_000)] if text else []


def value(observation: dict[str, Any]) -> list[str]:
    for name, content in observation.items():
        if name == "valueQuantity":
            return [str(content.get("value"))]
        if name == "valueCodeableConcept":
            return codes(content) or [content.get("text", "")]
        if name in ("valueString", "valueDateTime", "valueTime"):
            return [str(content)]
        if name in ("valueRatio", "valueRange"):
            return re.findall(r'"value": "?([\d.]+)', json.dumps(content))
    return []


def facts(resources: Iterable[dict[str, Any]]) -> Facts:
    found: dict[str, list[str]] = defaultdict(list)
    for one in resources:
        identifiers = [identifier["value"] for identifier in one.get("identifier", ()) if "value" in identifier]
        if one["resourceType"] == "Patient":
            found["patient name"] += [f"{name.get('family')} {name.get('given')}" for name in one.get("name", ())]
            found["patient sex and birth"] += [f"{one.get('gender')} {one.get('birthDate')}"]
            found["patient identifiers"] += identifiers
        elif one["resourceType"] == "Specimen":
            found["specimen identifiers"] += identifiers
            found["specimen type"] += codes(one.get("type"))
            found["specimen received"] += moment(one.get("receivedTime"))
        elif one["resourceType"] == "ServiceRequest":
            found["order numbers"] += identifiers
        elif one["resourceType"] == "DiagnosticReport":
            found["report status"] += [one.get("status", "")]
            found["report issued"] += moment(one.get("issued"))
        elif one["resourceType"] == "Observation":
            found["observation code"] += codes(one.get("code"))
            found["observation value"] += value(one)
            quantity = one.get("valueQuantity", {})
            found["observation unit"] += [quantity.get("code") or quantity.get("unit", "")] if quantity else []
            found["observation range"] += [entry["text"] for entry in one.get("referenceRange", ()) if "text" in entry]
            found["observation flag"] += [code for concept in one.get("interpretation", ()) for code in codes(concept)]
            found["observation time"] += moment(one.get("effectiveDateTime"))
    return {name: set(values) for name, values in found.items() if values}


def compared() -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for file in sorted(PAIRS.glob("*.hl7")):
        bundle = json.loads(file.with_suffix(".fhir.json").read_text(encoding="utf-8"), parse_float=str)
        theirs = facts(entry["resource"] for entry in bundle["entry"])
        mapped = translate(parse(file.read_bytes()), "UTC").mapped.resources
        ours = facts(json.loads(fhir_json.encode(resource), parse_float=str) for resource in mapped)
        for name in theirs.keys() | ours.keys():
            counts[name]["equal" if theirs.get(name) == ours.get(name) else "different"] += 1
    return counts


@pytest.mark.skipif(not PAIRS.is_dir(), reason="REGION_HUB_SHARED does not point to the public pairs")
def test_the_table_of_the_page_is_true() -> None:
    rows = re.findall(r"^\| ([a-z ]+) \| (\d+) \| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    stated = {name: (int(equal), int(different)) for name, equal, different in rows}
    assert stated == {name: (count["equal"], count["different"]) for name, count in compared().items()}

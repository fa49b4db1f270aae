"""Slicing by every kind of discriminator, extensions as slices, and definitions from packages."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from hub.errors import HubError
from hub.fhir import definitions
from hub.fhir.validate import Library, Validator, package

CORE = "http://hl7.org/fhir/StructureDefinition/"
OURS = "https://region-hub.example/fhir/StructureDefinition/"


def profile(name: str, type: str, *elements: dict[str, Any]) -> dict[str, Any]:
    return {
        "resourceType": "StructureDefinition",
        "url": OURS + name,
        "name": name,
        "type": type,
        "derivation": "constraint",
        "baseDefinition": CORE + type,
        "differential": {"element": list(elements)},
    }


def errors(resource: dict[str, Any], *structures: dict[str, Any]) -> list[tuple[str, str]]:
    library = Library(definitions.load())
    for structure in structures:
        library.add(structure)
    validator = Validator(definitions.load(), library=library)
    report = validator.check(resource, [structures[-1]["url"]])
    return [(one.rule.rule, str(one.facts.get("name"))) for one in report.findings if one.severity == "error"]


def slicing(kind: str, path: str) -> dict[str, Any]:
    return {"discriminator": [{"type": kind, "path": path}], "rules": "open"}


def entry(*types: str) -> dict[str, Any]:
    resources = [{"resourceType": one, "active": True} for one in types]
    uuid = "urn:uuid:b7b795c0-9343-41b4-910b-361c93d5497"
    entries = [{"fullUrl": f"{uuid}{index}", "resource": one} for index, one in enumerate(resources)]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


BY_TYPE = profile(
    "ByType",
    "Bundle",
    {"id": "Bundle.entry", "path": "Bundle.entry", "slicing": slicing("type", "resource")},
    {"id": "Bundle.entry:p", "path": "Bundle.entry", "sliceName": "p", "min": 1, "max": "1"},
    {"id": "Bundle.entry:p.resource", "path": "Bundle.entry.resource", "type": [{"code": "Patient"}]},
)
ACTIVE = profile("Active", "Patient", {"path": "Patient.active", "min": 1})
BY_PROFILE = profile(
    "ByProfile",
    "Bundle",
    {"id": "Bundle.entry", "path": "Bundle.entry", "slicing": slicing("profile", "resource")},
    {"id": "Bundle.entry:p", "path": "Bundle.entry", "sliceName": "p", "min": 1},
    {
        "id": "Bundle.entry:p.resource",
        "path": "Bundle.entry.resource",
        "type": [{"code": "Patient", "profile": [ACTIVE["url"]]}],
    },
)
BY_EXISTENCE = profile(
    "ByExistence",
    "Patient",
    {"id": "Patient.name", "path": "Patient.name", "slicing": slicing("exists", "period")},
    {"id": "Patient.name:dated", "path": "Patient.name", "sliceName": "dated", "min": 1},
    {"id": "Patient.name:dated.period", "path": "Patient.name.period", "min": 1},
)
BY_PATTERN = profile(
    "ByPattern",
    "Observation",
    {"id": "Observation.category", "path": "Observation.category", "slicing": slicing("pattern", "$this")},
    {
        "id": "Observation.category:lab",
        "path": "Observation.category",
        "sliceName": "lab",
        "min": 1,
        "patternCodeableConcept": {"coding": [{"code": "laboratory"}]},
    },
)
BY_DEEP_VALUE = profile(
    "ByDeepValue",
    "Observation",
    {"id": "Observation.component", "path": "Observation.component", "slicing": slicing("value", "code.coding.code")},
    {"id": "Observation.component:sys", "path": "Observation.component", "sliceName": "sys", "min": 1},
    {
        "id": "Observation.component:sys.code.coding",
        "path": "Observation.component.code.coding",
        "slicing": slicing("value", "code"),
    },
    {
        "id": "Observation.component:sys.code.coding:c",
        "path": "Observation.component.code.coding",
        "sliceName": "c",
        "min": 1,
    },
    {
        "id": "Observation.component:sys.code.coding:c.code",
        "path": "Observation.component.code.coding.code",
        "fixedCode": "8480-6",
    },
)
CARD = profile(
    "Card",
    "Extension",
    {"id": "Extension.url", "path": "Extension.url", "fixedUri": OURS + "Card"},
    {"id": "Extension.value[x]", "path": "Extension.value[x]", "min": 1, "type": [{"code": "string"}]},
)
CARD["context"] = [{"type": "element", "expression": "Patient"}]
CARD["snapshot"] = {"element": CARD.pop("differential")["element"]}
BY_EXTENSION = profile(
    "ByExtension",
    "Patient",
    {
        "id": "Patient.extension:card",
        "path": "Patient.extension",
        "sliceName": "card",
        "min": 1,
        "type": [{"code": "Extension", "profile": [CARD["url"]]}],
    },
)


def observation(**members: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, **members}


def coded(code: str) -> dict[str, Any]:
    return {"coding": [{"system": "http://loinc.org", "code": code}]}


def carded(**value: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "extension": [{"url": CARD["url"], **value}]}


CASES = [
    ((BY_TYPE,), entry("Practitioner", "Patient"), []),
    ((BY_TYPE,), entry("Practitioner"), [("profile-minimum", "entry:p")]),
    ((BY_TYPE,), entry("Patient", "Patient"), [("profile-maximum", "entry:p")]),
    ((ACTIVE, BY_PROFILE), entry("Patient"), []),
    ((ACTIVE, BY_PROFILE), entry("Practitioner"), [("profile-minimum", "entry:p")]),
    ((BY_EXISTENCE,), {"resourceType": "Patient", "name": [{"text": "a", "period": {"start": "2020"}}]}, []),
    ((BY_EXISTENCE,), {"resourceType": "Patient", "name": [{"text": "a"}]}, [("profile-minimum", "name:dated")]),
    ((BY_PATTERN,), observation(category=[coded("laboratory")]), []),
    ((BY_PATTERN,), observation(category=[coded("exam")]), [("profile-minimum", "category:lab")]),
    ((BY_DEEP_VALUE,), observation(component=[{"code": coded("8480-6"), "valueInteger": 1}]), []),
    (
        (BY_DEEP_VALUE,),
        observation(component=[{"code": coded("8462-4"), "valueInteger": 1}]),
        [("profile-minimum", "component:sys")],
    ),
    ((CARD, BY_EXTENSION), carded(valueString="1"), []),
    ((CARD, BY_EXTENSION), {"resourceType": "Patient"}, [("profile-minimum", "extension:card")]),
    ((CARD, BY_EXTENSION), carded(valueInteger=1), [("profile-value-type", "None")]),
]


@pytest.mark.parametrize(("structures", "resource", "expected"), CASES, ids=range(len(CASES)))
def test_items_are_told_apart(structures: Any, resource: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert errors(resource, *structures) == expected


def packed(tmp_path: Path, members: dict[str, bytes]) -> Path:
    path = tmp_path / "definitions.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_a_package_is_read_without_unpacking(tmp_path: Path) -> None:
    members = {
        "package/StructureDefinition-a.json": json.dumps(ACTIVE).encode(),
        "package/package.json": b"{}",
        "../../StructureDefinition-evil.json": b"not read",
        "package/other/StructureDefinition-deep.json": b"not read",
    }
    found = list(package.resources(packed(tmp_path, members)))
    assert [one["url"] for one in found] == [ACTIVE["url"]]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["definitions.tgz"]


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tgz"
    path.write_bytes(b"nothing")
    with pytest.raises(HubError):
        list(package.resources(path))


# --- questionnaires ---------------------------------------------------------------------------------------------------

QUESTIONNAIRE = {
    "resourceType": "Questionnaire",
    "id": "q",
    "url": "https://region-hub.example/fhir/Questionnaire/q",
    "status": "active",
    "item": [
        {"linkId": "1", "type": "boolean", "required": True},
        {
            "linkId": "2",
            "type": "choice",
            "answerOption": [{"valueCoding": {"system": "http://x.cn", "code": "a"}}],
            "enableWhen": [{"question": "1", "operator": "=", "answerBoolean": True}],
        },
        {"linkId": "3", "type": "group", "item": [{"linkId": "3.1", "type": "decimal", "repeats": True}]},
    ],
}


def answer(link: str, *values: dict[str, Any]) -> dict[str, Any]:
    return {"linkId": link, "answer": list(values)}


YES, NO = {"valueBoolean": True}, {"valueBoolean": False}
OPTION = {"valueCoding": {"system": "http://x.cn", "code": "a"}}
GROUP = {"linkId": "3", "item": [answer("3.1", {"valueDecimal": 1}, {"valueDecimal": 2})]}
RESPONSES: list[tuple[list[dict[str, Any]], list[str]]] = [
    ([answer("1", YES), answer("2", OPTION), GROUP], []),
    ([answer("1", NO)], []),
    ([GROUP], ["item-required"]),
    ([answer("1", YES, YES)], ["item-repeats"]),
    ([answer("1", {"valueString": "x"})], ["item-answer"]),
    ([answer("1", YES), answer("2", {"valueCoding": {"system": "http://x.cn", "code": "z"}})], ["item-option"]),
    ([answer("1", NO), answer("2", OPTION)], ["item-disabled"]),
    ([answer("1", YES), answer("9", YES)], ["item-unknown"]),
    ([GROUP, answer("1", YES)], ["item-order"]),
]


@pytest.mark.parametrize(("items", "expected"), RESPONSES, ids=range(len(RESPONSES)))
def test_answers_fit_their_questionnaire(items: list[dict[str, Any]], expected: list[str]) -> None:
    library = Library(definitions.load())
    library.add(QUESTIONNAIRE)
    url = QUESTIONNAIRE["url"]
    response = {"resourceType": "QuestionnaireResponse", "status": "completed", "questionnaire": url, "item": items}
    report = Validator(definitions.load(), library=library).check(response)
    assert [one.rule.rule for one in report.findings if one.severity == "error"] == expected


# --- definitions ------------------------------------------------------------------------------------------------------

BAD_PROFILES = [
    ({"id": "Patient.nothing", "path": "Patient.nothing"}, "path-unknown"),
    ({"id": "Patient.contact.name.none", "path": "Patient.contact.name.none"}, "path-unknown"),
    ({"id": "Patient.gender", "path": "Patient.gender", "max": "2"}, "cardinality-widened"),
    (
        {"id": "Patient.birthDate", "path": "Patient.birthDate", "binding": {"strength": "required", "valueSet": "http://x.cn"}},
        "binding-type",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("element", "rule"), BAD_PROFILES, ids=range(len(BAD_PROFILES)))
def test_a_profile_names_what_exists_and_only_narrows(element: dict[str, Any], rule: str) -> None:
    structure = profile("Bad", "Patient", element)
    structure |= {"status": "draft", "kind": "resource", "abstract": False}
    report = Validator(definitions.load()).check(structure)
    assert [one.rule.rule for one in report.findings if one.severity == "error"] == [rule]

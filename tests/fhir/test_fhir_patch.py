"""JSON Patch and FHIRPath Patch."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hub.errors import HubError
from hub.fhir import patch

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "identifier": [{"value": "1"}, {"value": "2"}, {"value": "3"}],
    "name": [{"given": ["A", "B"]}],
    "birthDate": "1985-03-07",
    "contact": [{"name": {"text": "x"}}],
}


def operation(type: str, path: str, **parts: Any) -> dict[str, Any]:
    given = [{"name": "type", "valueCode": type}, {"name": "path", "valueString": path}]
    given += [{"name": name, **value} for name, value in parts.items()]
    return {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": given}]}


FHIRPATH = [
    (operation("replace", "Patient.birthDate", value={"valueDate": "2000-01-01"}), "birthDate", "2000-01-01"),
    (
        operation("add", "Patient", name={"valueString": "gender"}, value={"valueCode": "male"}),
        "gender",
        "male",
    ),
    (
        operation("add", "Patient", name={"valueString": "deceased"}, value={"valueBoolean": True}),
        "deceasedBoolean",
        True,
    ),
    (
        operation("insert", "Patient.identifier", index={"valueInteger": 1}, value={"valueIdentifier": {"value": "x"}}),
        "identifier",
        [{"value": "1"}, {"value": "x"}, {"value": "2"}, {"value": "3"}],
    ),
    (
        operation("move", "Patient.identifier", source={"valueInteger": 0}, destination={"valueInteger": 2}),
        "identifier",
        [{"value": "2"}, {"value": "3"}, {"value": "1"}],
    ),
    (operation("delete", "Patient.name.given[0]"), "name", [{"given": ["B"]}]),
    (operation("delete", "Patient.contact.name.text"), "contact", None),
    (operation("delete", "Patient.gender"), "gender", None),
    (
        operation(
            "add",
            "Patient",
            name={"valueString": "contact"},
            value={"part": [{"name": "gender", "valueCode": "male"}]},
        ),
        "contact",
        [{"name": {"text": "x"}}, {"gender": "male"}],
    ),
]


@pytest.mark.parametrize(("parameters", "member", "expected"), FHIRPATH)
def test_a_fhirpath_patch_changes_a_copy(parameters: dict[str, Any], member: str, expected: Any) -> None:
    before = copy.deepcopy(PATIENT)
    assert patch.fhirpath_patch(PATIENT, parameters).get(member) == expected
    assert before == PATIENT


BAD_FHIRPATH = [
    operation("replace", "Patient.identifier", value={"valueString": "x"}),
    operation("add", "Patient.photo", name={"valueString": "title"}, value={"valueString": "x"}),
    operation("insert", "Patient.identifier", index={"valueInteger": 9}, value={"valueIdentifier": {}}),
    operation("delete", "Patient.identifier"),
    operation("delete", "Patient"),
    operation("burn", "Patient.name"),
    {"resourceType": "Patient"},
]


@pytest.mark.parametrize("parameters", BAD_FHIRPATH)
def test_a_bad_fhirpath_patch_is_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(HubError) as refusal:
        patch.fhirpath_patch(PATIENT, parameters)
    assert refusal.value.name in ("value", "structure")


JSON = [
    ([{"op": "add", "path": "/identifier/-", "value": {"value": "4"}}], ["1", "2", "3", "4"]),
    ([{"op": "add", "path": "/identifier/0", "value": {"value": "0"}}], ["0", "1", "2", "3"]),
    ([{"op": "remove", "path": "/identifier/1"}], ["1", "3"]),
    ([{"op": "replace", "path": "/identifier/2/value", "value": "9"}], ["1", "2", "9"]),
    ([{"op": "move", "from": "/identifier/0", "path": "/identifier/2"}], ["2", "3", "1"]),
    ([{"op": "copy", "from": "/identifier/0", "path": "/identifier/-"}], ["1", "2", "3", "1"]),
    ([{"op": "test", "path": "/birthDate", "value": "1985-03-07"}], ["1", "2", "3"]),
]


@pytest.mark.parametrize(("operations", "values"), JSON)
def test_a_json_patch_changes_a_copy(operations: list[Any], values: list[str]) -> None:
    patched = patch.json_patch(PATIENT, operations)
    assert [item["value"] for item in patched["identifier"]] == values
    assert [item["value"] for item in PATIENT["identifier"]] == ["1", "2", "3"]


BAD_JSON = [
    ({}, "structure"),
    ([{"op": "add", "path": "identifier", "value": 1}], "structure"),
    ([{"op": "add", "path": "/nothing/deep", "value": 1}], "value"),
    ([{"op": "remove", "path": "/identifier/7"}], "value"),
    ([{"op": "remove", "path": "/identifier/01"}], "value"),
    ([{"op": "replace", "path": "/gender", "value": "male"}], "value"),
    ([{"op": "add", "path": "/gender"}], "structure"),
    ([{"op": "test", "path": "/birthDate", "value": "2000"}], "business-rule"),
    ([{"op": "move", "from": "/contact", "path": "/contact/0"}], "value"),
    ([{"op": "remove", "path": ""}], "value"),
]


@pytest.mark.parametrize(("operations", "name"), BAD_JSON)
def test_a_bad_json_patch_is_refused(operations: Any, name: str) -> None:
    with pytest.raises(HubError) as refusal:
        patch.json_patch(PATIENT, operations)
    assert refusal.value.name == name


def test_a_deleted_item_takes_its_companion_along() -> None:
    patient: dict[str, Any] = {
        "resourceType": "Patient",
        "name": [{"given": ["A", "B"], "_given": [{"id": "a"}, None]}],
        "_birthDate": {"id": "b"},
    }
    without = patch.fhirpath_patch(patient, operation("delete", "Patient.name.given[0]"))
    assert without["name"] == [{"given": ["B"]}]
    assert "_birthDate" not in patch.fhirpath_patch(patient, operation("delete", "Patient.birthDate"))
    kept = patch.fhirpath_patch(patient, operation("delete", "Patient.name.given[1]"))
    assert kept["name"] == [{"given": ["A"], "_given": [{"id": "a"}]}]
    patient["name"] = [{"_given": [{"id": "a"}]}]
    with pytest.raises(HubError):
        patch.fhirpath_patch(patient, operation("delete", "Patient.name.given[0]"))

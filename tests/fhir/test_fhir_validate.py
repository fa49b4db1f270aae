"""The validator: what each rule finds, and that good resources pass."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest

from hub.fhir import definitions, json
from hub.fhir.validate import Library, Validator, located
from hub.fhir.validate.quick import QuickValidator
from hub.fhir.validate.report import rules
from hub.fhir.validate.terminology import ServiceCodes
from terminology.service import Terminology

DIV = '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p",
    "text": {"status": "generated", "div": DIV},
    "identifier": [{"system": "urn:oid:1.2.156.1", "value": "109901198503070013"}],
    "name": [{"family": "张", "given": ["三"]}],
    "gender": "male",
    "birthDate": "1985-03-07",
    "managingOrganization": {"display": "第一医院"},
}
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "text": {"status": "generated", "div": DIV},
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
    "subject": {"reference": "Patient/p"},
    "valueQuantity": {"value": 140, "unit": "g/L", "system": "http://unitsofmeasure.org", "code": "g/L"},
}
VALIDATOR = Validator(definitions.load(), terminology=ServiceCodes(Terminology(lambda: 0)), strict=True)


def found(resource: dict[str, Any], validator: Validator = VALIDATOR, *profiles: str) -> list[tuple[str, str]]:
    """(rule, place) of every error."""
    report = validator.check(resource, profiles)
    return [(finding.rule.rule, finding.expression) for finding in report.findings if finding.severity == "error"]


def changed(resource: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {**copy.deepcopy(resource), **members}


def bundle(kind: str, *entries: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, **members, "entry": list(entries)}


CASES: list[tuple[dict[str, Any], str, str]] = [
    (changed(PATIENT, nonsense=1), "element-unknown", "Patient.nonsense"),
    (changed(PATIENT, name={"family": "x"}), "array-expected", "Patient.name"),
    (changed(PATIENT, gender=["male"]), "array-unexpected", "Patient.gender"),
    (changed(PATIENT, name=[]), "array-empty", "Patient.name"),
    (changed(PATIENT, name=[{}]), "object-empty", "Patient.name[0]"),
    (changed(PATIENT, name=["x"]), "object-expected", "Patient.name[0]"),
    (changed(PATIENT, gender=None), "null", "Patient.gender"),
    (changed(PATIENT, name=[{"given": [None]}]), "null", "Patient.name[0].given[0]"),
    (changed(PATIENT, active="true"), "primitive-json", "Patient.active"),
    (changed(PATIENT, birthDate="1974-13-45"), "primitive-format", "Patient.birthDate"),
    (changed(PATIENT, birthDate="2023-02-29"), "primitive-format", "Patient.birthDate"),
    (changed(PATIENT, birthDate="2985-01-01"), "date-implausible", "Patient.birthDate"),
    (changed(PATIENT, gender="foo"), "binding-required", "Patient.gender"),
    (changed(PATIENT, deceasedBoolean=True, deceasedDateTime="2020"), "choice-twice", "Patient.deceasedDateTime"),
    (changed(PATIENT, contact=[{"gender": "male"}]), "invariant", "Patient.contact[0]"),
    (changed(PATIENT, telecom=[{"value": "1"}]), "invariant", "Patient.telecom[0]"),
    (changed(PATIENT, text={"status": "generated", "div": "<div>x</div>"}), "narrative", "Patient.text.div"),
    (
        changed(PATIENT, text={"status": "generated", "div": DIV.replace("x<", "<script>x</script><")}),
        "narrative",
        "Patient.text.div",
    ),
    (
        changed(PATIENT, generalPractitioner=[{"reference": "Patient/1"}]),
        "reference-type",
        "Patient.generalPractitioner[0]",
    ),
    (
        changed(PATIENT, generalPractitioner=[{"reference": "#none"}]),
        "reference-contained",
        "Patient.generalPractitioner[0].reference",
    ),
    (
        changed(PATIENT, generalPractitioner=[{"reference": "no good"}]),
        "reference-format",
        "Patient.generalPractitioner[0].reference",
    ),
    (changed(PATIENT, contained=[{"resourceType": "Organization", "id": "o"}]), "invariant", "Patient.contained[0]"),
    (
        changed(PATIENT, modifierExtension=[{"url": "http://x.cn/e", "valueCode": "a"}]),
        "modifier-unknown",
        "Patient.modifierExtension[0]",
    ),
    (
        changed(PATIENT, extension=[{"url": "http://x.cn/e", "valueCode": "a"}]),
        "extension-unknown",
        "Patient.extension[0]",
    ),
    (
        changed(
            PATIENT,
            extension=[{"url": "http://hl7.org/fhir/StructureDefinition/humanname-own-prefix", "valueString": "a"}],
        ),
        "extension-context",
        "Patient.extension[0]",
    ),
    (
        changed(
            PATIENT,
            extension=[{"url": "http://hl7.org/fhir/StructureDefinition/patient-birthPlace", "valueString": "a"}],
        ),
        "profile-value-type",
        "Patient.extension[0].valueString",
    ),
    (changed(PATIENT, extension=[{"url": "http://x.cn/e"}]), "extension-content", "Patient.extension[0]"),
    (changed(OBSERVATION, status="done"), "binding-required", "Observation.status"),
    (
        changed(OBSERVATION, effectivePeriod={"start": "2020-02", "end": "2020-01"}),
        "invariant",
        "Observation.effectivePeriod",
    ),
    (
        changed(OBSERVATION, code={"coding": [{"system": "loinc", "code": "1"}]}),
        "system-relative",
        "Observation.code.coding[0].system",
    ),
    (
        changed(
            OBSERVATION,
            category=[
                {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "x"}]}
            ],
        ),
        "code-unknown",
        "Observation.category[0].coding[0].code",
    ),
    (
        changed(OBSERVATION, valueQuantity={"value": 1, "system": "http://unitsofmeasure.org", "code": "furlongs"}),
        "unit-unknown",
        "Observation.valueQuantity.code",
    ),
    (
        changed(OBSERVATION, code={"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}),
        "profile-minimum",
        "Observation.category",
    ),
    (bundle("collection", {"resource": PATIENT}), "fullurl-missing", "Bundle.entry[0]"),
    (
        bundle("collection", {"fullUrl": "Patient/p", "resource": PATIENT}),
        "fullurl-relative",
        "Bundle.entry[0].fullUrl",
    ),
    (
        bundle("collection", {"fullUrl": "http://h.cn/fhir/Patient/q", "resource": PATIENT}),
        "fullurl-id",
        "Bundle.entry[0].fullUrl",
    ),
    (
        bundle(
            "searchset",
            {"fullUrl": "http://h.cn/fhir/Patient/p", "resource": PATIENT, "search": {"mode": "match"}},
            link=[{"relation": "self", "url": "http://h.cn/fhir/Observation?code=1"}],
        ),
        "entry-mode",
        "Bundle.entry[0].search.mode",
    ),
    ({"resourceType": "Nothing"}, "resource-type", "Nothing"),
    (
        changed(PATIENT, photo=[{"contentType": "a/b", "data": "AAAA", "size": 9}]),
        "attachment-size",
        "Patient.photo[0].size",
    ),
    (changed(PATIENT, photo=[{"url": "/Binary/1"}]), "url-format", "Patient.photo[0].url"),
]


@pytest.mark.parametrize(("resource", "rule", "place"), CASES, ids=[case[1] for case in CASES])
def test_a_fault_is_found_where_it_is(resource: dict[str, Any], rule: str, place: str) -> None:
    assert (rule, place) in found(resource)


GOOD = [
    PATIENT,
    OBSERVATION,
    changed(
        PATIENT,
        name=[
            {
                "given": ["a", None],
                "_given": [None, {"extension": [{"url": "http://hl7.org/fhir/x", "valueCode": "a"}]}],
            }
        ],
    ),
    changed(PATIENT, generalPractitioner=[{"identifier": {"value": "1"}}, {"display": "x"}]),
    changed(
        PATIENT,
        contained=[{"resourceType": "Organization", "id": "o", "name": "x"}],
        managingOrganization={"reference": "#o"},
    ),
    bundle("transaction", {"resource": PATIENT, "request": {"method": "POST", "url": "Patient"}}),
    bundle("collection", {"fullUrl": "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0", "resource": PATIENT}),
]


@pytest.mark.parametrize("resource", GOOD, ids=range(len(GOOD)))
def test_a_good_resource_passes(resource: dict[str, Any]) -> None:
    assert found(resource) == []
    assert QuickValidator(definitions.load())(resource) == []


# --- profiles ---------------------------------------------------------------------------------------------------------

HL7 = "http://hl7.org/fhir/"
GROUP = HL7 + "StructureDefinition/Group"
BASE = "https://region-hub.example/fhir/StructureDefinition/"


def profile(name: str, type: str, *elements: dict[str, Any], base: str = "") -> dict[str, Any]:
    """A profile with a differential only."""
    return {
        "resourceType": "StructureDefinition",
        "url": BASE + name,
        "name": name,
        "status": "draft",
        "kind": "resource",
        "abstract": False,
        "type": type,
        "baseDefinition": base or f"http://hl7.org/fhir/StructureDefinition/{type}",
        "derivation": "constraint",
        "differential": {"element": list(elements)},
    }


def with_profiles(*structures: dict[str, Any]) -> Validator:
    library = Library(definitions.load())
    for structure in structures:
        library.add(structure)
    return Validator(definitions.load(), library=library, terminology=ServiceCodes(Terminology(lambda: 0)))


def sliced(
    rules: str, *slices: tuple[str, dict[str, Any]], kind: str = "value", path: str = "system"
) -> dict[str, Any]:
    """A profile of Patient that slices identifier."""
    slicing = {"discriminator": [{"type": kind, "path": path}], "rules": rules, "ordered": True}
    elements: list[dict[str, Any]] = [{"id": "Patient.identifier", "path": "Patient.identifier", "slicing": slicing}]
    for name, constraints in slices:
        elements.append(
            {"id": f"Patient.identifier:{name}", "path": "Patient.identifier", "sliceName": name, **constraints}
        )
        inner = {"id": f"Patient.identifier:{name}.system", "path": "Patient.identifier.system"}
        elements.append({**inner, "fixedUri": f"urn:x:{name}"})
    return profile("Sliced", "Patient", *elements)


def identified(*systems: str) -> dict[str, Any]:
    return changed(PATIENT, identifier=[{"system": system, "value": "1"} for system in systems])


def pattern(code: str) -> dict[str, Any]:
    return {"path": "Observation.code", "patternCodeableConcept": {"coding": [{"code": code}]}}


PROFILED = [
    (profile("Minimum", "Patient", {"path": "Patient.telecom", "min": 1}), PATIENT, "profile-minimum"),
    (profile("Maximum", "Patient", {"path": "Patient.name", "max": "0"}), PATIENT, "profile-maximum"),
    (profile("Fixed", "Patient", {"path": "Patient.gender", "fixedCode": "female"}), PATIENT, "profile-fixed"),
    (
        profile("Pattern", "Observation", pattern("x")),
        OBSERVATION,
        "profile-pattern",
    ),
    (
        profile("Type", "Observation", {"path": "Observation.value[x]", "type": [{"code": "string"}]}),
        OBSERVATION,
        "profile-value-type",
    ),
    (
        profile(
            "Binding", "Patient",
            {"path": "Patient.gender", "binding": {"strength": "required", "valueSet": HL7 + "ValueSet/name-use"}},
        ),
        PATIENT,
        "binding-required",
    ),
    (
        profile(
            "Invariant", "Patient",
            {"path": "Patient", "constraint": [{"key": "x-1", "severity": "error", "expression": "photo.exists()"}]},
        ),
        PATIENT,
        "invariant",
    ),
    (profile("Length", "Patient", {"path": "Patient.name.family", "maxLength": 0}), PATIENT, "profile-length"),
    (
        profile(
            "Target", "Observation",
            {"path": "Observation.subject", "type": [{"code": "Reference", "targetProfile": [GROUP]}]},
        ),
        OBSERVATION,
        "profile-target",
    ),
    (sliced("closed", ("a", {})), identified("urn:x:b"), "profile-slice"),
    (sliced("open", ("a", {"min": 1})), identified("urn:x:b"), "profile-minimum"),
    (sliced("open", ("a", {"max": "1"})), identified("urn:x:a", "urn:x:a"), "profile-maximum"),
    (sliced("open", ("a", {}), ("b", {})), identified("urn:x:b", "urn:x:a"), "profile-order"),
    (sliced("openAtEnd", ("a", {})), identified("urn:x:z", "urn:x:a"), "profile-slice"),
    (profile("Wrong", "Observation"), PATIENT, "profile-type"),
]  # fmt: skip


@pytest.mark.parametrize(("structure", "resource", "rule"), PROFILED, ids=[str(case[2]) for case in PROFILED])
def test_a_profile_is_enforced(structure: dict[str, Any], resource: dict[str, Any], rule: str) -> None:
    rules_found = [name for name, _ in found(resource, with_profiles(structure), structure["url"])]
    assert rules_found == [rule]
    claimed = changed(resource, meta={"profile": [structure["url"]]})
    assert [name for name, _ in found(claimed, with_profiles(structure))] == [rule]


KEPT = [
    (sliced("closed", ("a", {"min": 1}), ("b", {})), identified("urn:x:a", "urn:x:b")),
    (sliced("openAtEnd", ("a", {})), identified("urn:x:a", "urn:x:z")),
    (profile("Type", "Observation", {"path": "Observation.valueQuantity", "min": 1}), OBSERVATION),
    (
        profile("Pattern", "Observation", pattern("718-7")),
        OBSERVATION,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("structure", "resource"), KEPT, ids=range(len(KEPT)))
def test_what_keeps_a_profile_passes(structure: dict[str, Any], resource: dict[str, Any]) -> None:
    assert found(resource, with_profiles(structure), structure["url"]) == []


def test_a_profile_of_a_profile_has_both_demands() -> None:
    first = profile("First", "Patient", {"path": "Patient.telecom", "min": 1})
    second = profile("Second", "Patient", {"path": "Patient.photo", "min": 1}, base=first["url"])
    places = [place for _, place in found(PATIENT, with_profiles(first, second), second["url"])]
    assert sorted(places) == ["Patient.photo", "Patient.telecom"]


def test_a_profile_that_only_a_code_implies_warns() -> None:
    pulse = changed(OBSERVATION, code={"coding": [{"system": "http://loinc.org", "code": "8867-4"}]})
    assert ("profile-minimum", "Observation.category") in found(pulse)
    lenient = Validator(definitions.load()).check(pulse).findings
    assert {one.severity for one in lenient if one.rule.rule == "profile-minimum"} == {"warning"}


@pytest.mark.parametrize("rule", ["invariant", "invariant:pat-1"])
def test_a_rule_can_be_eased(rule: str) -> None:
    nobody = changed(PATIENT, contact=[{"gender": "male"}])
    assert VALIDATOR.check(nobody).failed
    eased = VALIDATOR.check(nobody, severities={rule: "warning"})
    assert [one.severity for one in eased.findings] == ["warning"]


def test_a_profile_that_is_asked_for_must_be_known() -> None:
    assert found(PATIENT, VALIDATOR, BASE + "None") == [("profile-unknown", "Patient")]
    assert found(changed(PATIENT, meta={"profile": [BASE + "None"]})) == []


# --- how findings are told --------------------------------------------------------------------------------------------


def test_a_finding_says_what_where_and_how_to_mend_it_in_two_languages() -> None:
    text = b'{\n  "resourceType": "Patient",\n  "gender": "foo"\n}'
    (finding,) = [one for one in located.check(text, VALIDATOR) if one.severity == "error"]
    assert (finding.rule, finding.code, finding.expression) == ("binding-required", "code-invalid", "Patient.gender")
    assert (finding.line, finding.column) == (3, 3)
    assert "administrative-gender" in finding.message["en"]
    assert "值集" in finding.message["zh"]
    assert "female" in finding.mend["en"]
    assert finding.clause.startswith("R4 ")


def test_a_finding_in_xml_has_its_line() -> None:
    text = b'<Patient xmlns="http://hl7.org/fhir">\n  <gender value="foo"/>\n</Patient>'
    (finding,) = [one for one in located.check(text, VALIDATOR) if one.severity == "error"]
    assert (finding.line, finding.column) == (2, 3)


def test_a_broken_text_is_one_fatal_finding() -> None:
    (finding,) = located.check(b'{"a":1,}', VALIDATOR)
    assert (finding.severity, finding.line, finding.column) == ("fatal", 1, 8)


def test_every_rule_reads_in_both_languages() -> None:
    for rule in rules().values():
        assert all((rule.en, rule.zh, rule.mend_en, rule.mend_zh, rule.clause)), rule.rule
        assert rule.severity in ("error", "warning", "information")


def test_an_issue_is_that_of_an_operation_outcome() -> None:
    issues = VALIDATOR(changed(PATIENT, gender="foo"))
    outcome = {"resourceType": "OperationOutcome", "issue": issues}
    assert QuickValidator(definitions.load())(outcome) == []
    assert issues[0]["expression"] == ["Patient.gender"]


@pytest.mark.soak
def test_validation_is_quick() -> None:
    validator, text = QuickValidator(definitions.load()), json.encode(PATIENT)
    start = time.process_time()
    for _ in range(1000):
        validator(PATIENT)
    structural = (time.process_time() - start) / 1000
    start = time.process_time()
    for _ in range(1000):
        json.decode(text)
    assert structural < 20 * (time.process_time() - start) / 1000

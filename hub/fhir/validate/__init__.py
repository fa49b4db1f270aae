"""The validator: is a resource what R4, and the profiles it claims, say it must be?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from hub.fhir.definitions import CANONICAL, Definitions
from hub.fhir.paths.values import Node
from hub.fhir.validate import (
    bundles,
    codes,
    datatypes,
    extensions,
    identity,
    invariants,
    parts,
    questionnaires,
    references,
    structures,
    vocabularies,
)
from hub.fhir.validate.codes import Codes
from hub.fhir.validate.conformance import Conformance, Item
from hub.fhir.validate.profiles import Library
from hub.fhir.validate.report import Finding, Report, Visit, rules
from hub.fhir.validate.structure import Structure

__all__ = ["Codes", "Finding", "Library", "Report", "Validator"]

_CODED = frozenset({"code", "Coding", "CodeableConcept", "Quantity"})


# LOINC code of a vital sign -> profile (R4 Observation: vital signs).
VITAL_SIGNS = {
    "85353-1": "vitalspanel",
    "9279-1": "resprate",
    "8867-4": "heartrate",
    "2708-6": "oxygensat",
    "8310-5": "bodytemp",
    "8302-2": "bodyheight",
    "9843-4": "headcircum",
    "29463-7": "bodyweight",
    "39156-5": "bmi",
    "85354-9": "bp",
}

_LENIENT = {name: "warning" for name, rule in rules().items() if rule.severity == "error"}


def vital_signs(observation: dict[str, Any]) -> list[str]:
    """The profiles that R4 makes mandatory for an Observation by its code."""
    codings = parts.objects(parts.object(observation, "code"), "coding")
    found = [parts.string(one, "code") for one in codings if one.get("system") == "http://loinc.org"]
    return [CANONICAL + VITAL_SIGNS[one] for one in found if one in VITAL_SIGNS]


class Validator:
    """Validates resources; made once, used from any thread.

    ``library`` holds profiles beside the base definitions; ``terminology`` answers what they do not say about codes;
    ``strict`` is for a conformance check: it also refuses addresses reserved for examples and extensions that nobody
    has defined here, which a receiver must bear.
    """

    def __init__(
        self,
        definitions: Definitions,
        *,
        library: Library | None = None,
        terminology: Codes | None = None,
        strict: bool = False,
    ) -> None:
        self.library = library or Library(definitions)
        self._structure = Structure(definitions)
        self._terminology = terminology
        self._strict = strict
        uri = partial(datatypes.uri, examples=not strict)
        self._checks: dict[str, Callable[[Visit, Report], None]] = {
            "Extension": self._extension,
            "Reference": references.check,
            "Attachment": datatypes.attachment,
            "Identifier": datatypes.identifier,
            "Coding": partial(codes.coding, codes=terminology, strict=strict),
            "Quantity": partial(codes.quantity, codes=terminology),
            "Bundle": bundles.check,
            "StructureDefinition": partial(structures.check, library=self.library),
            "SearchParameter": structures.search_parameter,
            "ElementDefinition": structures.element,
            "CodeSystem": vocabularies.code_system,
            "ValueSet": partial(vocabularies.value_set, codes=terminology),
            "Questionnaire": questionnaires.define,
            "SampledData": datatypes.sampled,
            "QuestionnaireResponse": partial(
                questionnaires.check, library=self.library, codes=terminology, strict=strict
            ),
            "xhtml": partial(invariants.text, strict=strict),
            **dict.fromkeys(("date", "dateTime", "instant"), datatypes.moment),
            **dict.fromkeys(("uri", "url", "canonical", "oid", "uuid"), uri),
        }

    def __call__(self, resource: dict[str, Any]) -> list[dict[str, Any]]:
        """The findings as OperationOutcome.issue objects; [] for a good resource."""
        return [finding.issue() for finding in self.check(resource).findings]

    def check(
        self, resource: dict[str, Any], profiles: Sequence[str] = (), severities: Mapping[str, str] | None = None
    ) -> Report:
        """The findings under the base definition, the profiles in meta.profile and ``profiles``.

        ``severities`` are agreed ones, as :class:`Report` has them.
        """
        report = Report(visits=[], severities=severities or {})
        self._structure.resource(resource, (None, str(resource.get("resourceType"))), report)
        for visit in report.visits or ():
            self._visit(visit, report)
            if not visit.element:
                self._profiles(visit, profiles if visit.frame.parent is None else (), report)
        return report

    def _visit(self, visit: Visit, report: Report) -> None:
        """What an element or resource must satisfy beyond its structure."""
        invariants.check(visit, report, invariants.environment(visit.frame))
        if not visit.element:
            invariants.contained(visit, report)
            identity.check(visit, report)
        found = self._checks.get(visit.model)
        if found is not None:
            found(visit, report)
        if visit.model == "Quantity" and "comparator" in visit.value:  # R4 itself profiles one type: SimpleQuantity
            for url in (url for kind in visit.element.get("type", ()) for url in kind.get("profile", ())):
                self._conformance(visit, report).check(url, Item(Node(visit.value, visit.model), visit.place))
        binding = visit.element.get("binding")
        if binding and visit.model in _CODED:
            codes.binding(binding, visit.value, visit.model, visit.place, report, self._terminology)

    def _extension(self, visit: Visit, report: Report) -> None:
        url = extensions.check(visit, report, self.library, self._strict)
        if url is not None:
            self._conformance(visit, report).check(url, Item(Node(visit.value, visit.model), visit.place))

    def _profiles(self, visit: Visit, asked: Sequence[str], report: Report) -> None:
        """meta.profile, the profiles asked for, and those that a vital sign's code implies.

        What an implied profile finds is a warning, but for a strict check: nobody has claimed it.
        """
        claimed = parts.strings(parts.object(visit.value, "meta"), "profile")
        wanted = dict.fromkeys((*asked, *claimed))
        implied = vital_signs(visit.value) if visit.model == "Observation" else []
        for url in (url for url in implied if url not in wanted):
            inner = report if self._strict else Report(severities=_LENIENT)
            self._conformance(visit, inner).check(url, Item(Node(visit.value, visit.model), visit.place))
            report.findings.extend(inner.findings if inner is not report else ())
        for url in wanted:
            structure = self.library.structure(url)
            if structure is None:
                place = (visit.place, "meta") if url in claimed else visit.place
                report.add("profile-unknown", place, severity="error" if url in asked else "", url=url)
            elif structure["type"] not in ("Resource", "DomainResource", visit.model):
                report.add("profile-type", visit.place, url=url, expected=structure["type"], found=visit.model)
            else:
                self._conformance(visit, report).check(url, Item(Node(visit.value, visit.model), visit.place))

    def _conformance(self, visit: Visit, report: Report) -> Conformance:
        return Conformance(self.library, report, visit.frame, self._terminology)

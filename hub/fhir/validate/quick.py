"""The check of every write: structure, cardinality, primitive formats and required bindings, and nothing slower."""

from __future__ import annotations

from typing import Any

from hub.errors import ERRORS, HubError
from hub.fhir.definitions import Definitions
from hub.fhir.validate.report import Report
from hub.fhir.validate.structure import Structure


class QuickValidator:
    """Compiled from the base StructureDefinitions; used from any thread. ``$validate`` has invariants and profiles."""

    def __init__(self, definitions: Definitions) -> None:
        self._structure = Structure(definitions)

    def __call__(self, resource: dict[str, Any]) -> list[dict[str, Any]]:
        """The findings as OperationOutcome.issue objects; [] for a good resource."""
        report = Report()
        self._structure.resource(resource, (None, str(resource.get("resourceType"))), report)
        return [finding.issue() for finding in report.findings]


def refuse(issues: list[dict[str, Any]]) -> None:
    """HubError with every finding, named and located by the first, if one of them is an error."""
    errors = [issue for issue in issues if issue["severity"] in ("error", "fatal")]
    if errors:
        first = errors[0]
        name = first["code"] if first["code"] in ERRORS else "invariant"
        at = (first.get("expression") or [""])[0]
        raise HubError(name, first.get("diagnostics") or "the resource is not valid FHIR R4", at, tuple(issues))

"""The validator: is a resource what R4, and the profiles it claims, say it must be?"""

from __future__ import annotations

from typing import Any

from hub.fhir.definitions import Definitions
from hub.fhir.validate.report import Finding, Report
from hub.fhir.validate.structure import Structure

__all__ = ["Finding", "Report", "Validator"]


class Validator:
    """Validates resources; made once, used from any thread."""

    def __init__(self, definitions: Definitions) -> None:
        self._structure = Structure(definitions)

    def __call__(self, resource: dict[str, Any]) -> list[dict[str, Any]]:
        """The findings as OperationOutcome.issue objects; [] for a good resource."""
        return [finding.issue() for finding in self.check(resource).findings]

    def check(self, resource: dict[str, Any]) -> Report:
        """The findings."""
        report = Report()
        self._structure.resource(resource, (None, str(resource.get("resourceType"))), report)
        return report

"""OperationOutcome (R4 OperationOutcome, 3.1.0.1.8)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hub.errors import HubError

SYSTEM = "https://region-hub.example/fhir/CodeSystem/error"


def build(issues: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """An OperationOutcome of OperationOutcome.issue objects; an empty one says that all is well."""
    found = list(issues)
    return {
        "resourceType": "OperationOutcome",
        "issue": found or [{"severity": "information", "code": "informational", "diagnostics": "No issues."}],
    }


def from_error(error: HubError) -> dict[str, Any]:
    """The OperationOutcome of a refusal: the error's own issue first, then its further findings."""
    issue: dict[str, Any] = {
        "severity": "error",
        "code": error.row.issue,
        "details": {"coding": [{"system": SYSTEM, "code": error.name}], "text": error.diagnostics},
        "diagnostics": error.diagnostics,
    }
    if error.at:
        issue["diagnostics"] = f"{error.diagnostics} ({error.at})"
        if error.at[0].isupper():
            issue["expression"] = [error.at]
    return build([issue, *error.issues])

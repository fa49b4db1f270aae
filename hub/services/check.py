"""The conformance check of one message or resource: what is wrong, where, by which clause, how to mend it.

Each format has one Checker, found by the entry point group ``hub.checkers`` (factory ``(doors) -> Checker``); FHIR's
is here. A check stores nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from hub.errors import HubError
from hub.fhir.validate import located
from hub.services.validation import Validation


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. ``severity`` is fatal, error, warning or information; ``at`` the place in the format's own notation.

    ``line`` and ``column`` count from 1, ``offset`` bytes from 0 (None: not known); ``message``, ``mend`` are texts by
    language (zh, en); ``clause`` the standard's paragraph.
    """

    severity: str
    rule: str
    at: str
    message: dict[str, str]
    mend: dict[str, str] = field(default_factory=dict)
    clause: str = ""
    value: str = ""
    expected: str = ""
    line: int | None = None
    column: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check: the format recognised (``HL7 v2.4 ADT^A01``, ``FHIR R4 Patient``) and its findings."""

    format: str
    findings: tuple[Finding, ...]

    @property
    def valid(self) -> bool:
        return not any(finding.severity in ("fatal", "error") for finding in self.findings)

    def json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"format": self.format, "valid": self.valid, "findings": [asdict(finding) for finding in self.findings]}


class Checker(Protocol):
    """The check of one format."""

    name: str

    def recognises(self, data: bytes) -> bool:
        """Whether the bytes look like this format. Never raises."""

    def check(self, data: bytes) -> Report:
        """All findings, however broken the input. Never raises."""


class FhirChecker:
    """FHIR R4 in JSON or XML: the base definitions, the profiles a resource claims, and the terminology of this hub."""

    name = "fhir"

    def __init__(self, validation: Validation) -> None:
        self._validation = validation

    def recognises(self, data: bytes) -> bool:
        return data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"<")

    def check(self, data: bytes) -> Report:
        findings = self._validation.located(data)
        found = re.search(rb'"resourceType"\s*:\s*"(\w{1,64})"|<(\w{1,64})[^>]*xmlns="http://hl7.org/fhir"', data)
        type = (found[1] or found[2]).decode() if found else ""
        return Report(f"FHIR R4 {type}".strip(), tuple(_finding(one) for one in findings))


def _finding(one: located.Located) -> Finding:
    return Finding(
        one.severity,
        one.rule,
        one.expression,
        one.message,
        one.mend,
        one.clause,
        line=one.line or None,
        column=one.column or None,
    )


class Checks:
    """The door: recognise the format and check."""

    def __init__(self, checkers: Sequence[Checker]) -> None:
        self._checkers = tuple(checkers)

    def check(self, data: bytes) -> Report:
        """The report of the first checker that recognises the bytes. HubError("format-unknown") if none does."""
        for checker in self._checkers:
            if checker.recognises(data):
                return checker.check(data)
        known = ", ".join(checker.name for checker in self._checkers)
        raise HubError("format-unknown", f"the input is none of the formats that can be checked here ({known})")

"""Validation of a resource as it was sent: JSON or XML text in, findings with line and column out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hub.errors import HubError
from hub.fhir import json, location, xml
from hub.fhir.validate import Validator
from hub.fhir.validate.report import Finding


@dataclass(frozen=True, slots=True)
class Located:
    """A finding and its place in the text (from 1; 0 when it has none), with texts by language (en, zh)."""

    severity: str
    code: str
    rule: str
    clause: str
    expression: str
    line: int
    column: int
    message: dict[str, str]
    mend: dict[str, str] = field(default_factory=dict)


def is_xml(data: bytes) -> bool:
    """Whether the text is XML, by its first character."""
    return data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


def decode(data: bytes) -> dict[str, Any]:
    """The resource in JSON or XML text. Raises HubError."""
    return xml.decode(data) if is_xml(data) else json.decode(data)


def check(
    data: bytes, validator: Validator, profiles: Sequence[str] = (), severities: Mapping[str, str] | None = None
) -> tuple[Located, ...]:
    """Every finding of a text, however broken it is. Never raises for what the text holds."""
    try:
        resource = decode(data)
        findings = validator.check(resource, profiles, severities).findings
    except HubError as error:
        line, column = _numbers(error.at)
        text = {"en": error.diagnostics, "zh": error.diagnostics}
        return (Located("fatal", error.row.issue, error.name, "R4 2.6", error.at, line, column, text),)
    if not findings:
        return ()
    places = xml.places(data) if is_xml(data) else location.places(data)
    return tuple(_located(finding, places) for finding in findings)


def _located(finding: Finding, places: dict[tuple[str | int, ...], tuple[int, int]]) -> Located:
    path = finding.path
    while path and path not in places:
        path = path[:-1]
    line, column = places.get(path, (0, 0))
    row = finding.rule
    return Located(
        finding.severity, row.code, row.rule, row.clause, finding.expression, line, column,
        finding.message(), finding.mend(),
    )  # fmt: skip


def _numbers(at: str) -> tuple[int, int]:
    """The numbers of "line L column C"."""
    words = at.split()
    return (int(words[1]), int(words[3])) if len(words) == 4 and words[0] == "line" else (0, 0)

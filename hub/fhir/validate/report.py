"""Findings of a validation, and how they read."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

# A place is a linked list from the leaf: (place above, member name or index); None above the resource.
Place = tuple[Any, str | int]

SYSTEM = "https://region-hub.example/fhir/CodeSystem/validation-rule"
LIMIT = 1000  # findings of one resource


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of ``rules.csv``."""

    rule: str
    severity: str
    code: str
    clause: str
    en: str
    zh: str
    mend_en: str
    mend_zh: str


@cache
def rules() -> dict[str, Rule]:
    """The table of rules."""
    lines = files("hub.fhir.validate").joinpath("rules.csv").read_text(encoding="utf-8").splitlines()
    return {row["rule"]: Rule(**row) for row in csv.DictReader(line for line in lines if not line.startswith("#"))}


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: the rule, where, and what fills the rule's sentence."""

    rule: Rule
    severity: str
    place: Place
    facts: dict[str, Any]

    @property
    def path(self) -> tuple[str | int, ...]:
        """Member names and indexes from the resource, without its type."""
        return steps(self.place)[1:]

    @property
    def expression(self) -> str:
        """The place in FHIRPath: ``Patient.name[0].family``."""
        return expression(self.place)

    def issue(self, language: str = "en") -> dict[str, Any]:
        """An OperationOutcome.issue."""
        text = (self.rule.zh if language == "zh" else self.rule.en).format(**self.facts)
        return {
            "severity": self.severity,
            "code": self.rule.code,
            "details": {"coding": [{"system": SYSTEM, "code": self.rule.rule}], "text": text},
            "diagnostics": f"{text} ({self.rule.clause})",
            "expression": [self.expression],
        }

    def message(self) -> dict[str, str]:
        """The finding by language."""
        return {"en": self.rule.en.format(**self.facts), "zh": self.rule.zh.format(**self.facts)}

    def mend(self) -> dict[str, str]:
        """How to mend it, by language."""
        return {"en": self.rule.mend_en.format(**self.facts), "zh": self.rule.mend_zh.format(**self.facts)}


@dataclass(slots=True)
class Frame:
    """A resource that is being validated, and the one it stands in.

    ``role`` says how: "" (the resource itself), contained, entry, parameter.
    """

    resource: dict[str, Any]
    place: Place
    parent: Frame | None = None
    role: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """The resource type."""
        return str(self.resource.get("resourceType"))

    @property
    def root(self) -> Frame:
        """The resource that contains this one, or itself (``%rootResource``)."""
        return self.parent if self.role == "contained" and self.parent is not None else self


@dataclass(frozen=True, slots=True)
class Visit:
    """An element that a later pass looks at: its definition, model and value, where it stands, in which resource."""

    element: dict[str, Any]
    model: str
    value: Any
    place: Place
    frame: Frame


@dataclass(slots=True)
class Report:
    """Collects the findings of one validation, at most ``LIMIT``, and unless None the visits for later passes.

    ``severities`` gives rules another severity: by rule id, or by ``rule:detail`` with the key of an invariant or the
    name of an element (``invariant:dom-6``, ``profile-minimum:identifier``).
    """

    findings: list[Finding] = field(default_factory=list)
    visits: list[Visit] | None = None
    frame: Frame | None = None
    severities: Mapping[str, str] = field(default_factory=dict)

    def add(self, rule: str, place: Place, *, severity: str = "", **facts: Any) -> None:
        """A finding by rule id; ``severity`` overrides the rule's."""
        if len(self.findings) < LIMIT:
            row = rules()[rule]
            agreed = self.severities.get(f"{rule}:{facts.get('key') or facts.get('name')}") or self.severities.get(rule)
            named = agreed or severity or row.severity
            self.findings.append(Finding(row, named, place, facts))

    @property
    def failed(self) -> bool:
        """Whether there is an error."""
        return any(finding.severity in ("error", "fatal") for finding in self.findings)


def steps(place: Place | None) -> tuple[str | int, ...]:
    """The place from the top."""
    found: list[str | int] = []
    while place is not None:
        place, step = place
        found.append(step)
    return tuple(reversed(found))


def expression(place: Place) -> str:
    """The place as FHIRPath."""
    text = ""
    for step in steps(place):
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text

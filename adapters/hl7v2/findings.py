"""What is wrong with a message or its transport: one record, its texts in ``findings.csv`` (zh and en)."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of ``findings.csv``; ``severity`` is a code of HL70516, ``category`` NIST's."""

    rule: str
    category: str
    severity: str
    clause: str
    en: str
    zh: str
    mend_en: str
    mend_zh: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A located finding: ``at`` as ``PID[1]-3[2].4.2``, ``line`` and ``column`` from 1, ``offset`` in bytes from 0."""

    rule: str
    at: str = ""
    line: int = 0
    column: int = 0
    offset: int = -1
    value: str = ""
    expected: str = ""
    severity: str = ""
    detail: str = ""

    def show(self, language: str = "en") -> dict[str, Any]:
        """The finding with its texts, JSON-able."""
        rule = rules()[self.rule]
        texts = {"text": rule.zh, "mend": rule.mend_zh} if language == "zh" else {"text": rule.en, "mend": rule.mend_en}
        shown = {"category": rule.category, "clause": rule.clause, **asdict(self), **texts}
        return {**shown, "severity": self.severity or rule.severity}


@cache
def rules() -> dict[str, Rule]:
    """Rule id -> its row."""
    lines = files("adapters.hl7v2").joinpath("findings.csv").read_text(encoding="utf-8").splitlines()
    return {row["rule"]: Rule(**row) for row in csv.DictReader(line for line in lines if not line.startswith("#"))}

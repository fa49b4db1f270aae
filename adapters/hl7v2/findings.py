"""What is wrong with a message or its transport: the rules, their severities and texts are rows of ``findings.csv``."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from hub.services.check import Finding


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of ``findings.csv``. ``{0}`` in a text is the finding's detail."""

    rule: str
    category: str
    severity: str
    clause: str
    en: str
    zh: str
    mend_en: str
    mend_zh: str


@cache
def rules() -> dict[str, Rule]:
    """Rule id -> its row."""
    lines = files("adapters.hl7v2").joinpath("findings.csv").read_text(encoding="utf-8").splitlines()
    return {row["rule"]: Rule(**row) for row in csv.DictReader(line for line in lines if not line.startswith("#"))}


def finding(
    rule: str, at: str = "", line: int | None = None, column: int | None = None, *, offset: int | None = None,
    value: str = "", expected: str = "", detail: str = "", severity: str = "",
) -> Finding:  # fmt: skip
    """A finding of a rule. ``at`` as ``PID[1]-3[2].4.2``, line and column from 1, offset in bytes from 0."""
    row = rules()[rule]
    message = {"en": row.en.replace("{0}", detail), "zh": row.zh.replace("{0}", detail)}
    mend = {"en": row.mend_en, "zh": row.mend_zh} if row.mend_en else {}
    return Finding(
        severity or row.severity, rule, at, message, mend, row.clause, value[:200], expected[:200], line, column, offset
    )

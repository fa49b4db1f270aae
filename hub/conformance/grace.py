"""Grace mode: rules that weigh less for an institution until a day, as agreed in the settings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from hub.errors import HubError
from hub.fhir.validate.report import rules
from hub.settings import Grace


def severities(rows: Sequence[Grace], institution: str, today: date) -> dict[str, str]:
    """Rule -> severity in force; what names the institution goes before what is for all."""
    current = [row for row in rows if row.institution in ("*", institution) and today <= row.until]
    return {row.rule: row.severity for row in sorted(current, key=lambda row: row.institution != "*")}


def check(rows: Sequence[Grace]) -> None:
    """HubError("configuration") for a rule that the validator does not have."""
    for row in rows:
        if row.rule.partition(":")[0] not in rules():
            raise HubError("configuration", f"grace: the validator has no rule {row.rule!r}", "grace")

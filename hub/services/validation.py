"""The door for checks of FHIR resources: base R4, shipped, loaded and stored profiles, what is agreed with whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, tzinfo
from typing import Any

from hub.conformance import grace
from hub.fhir import json
from hub.fhir.validate import Report, Validator, located
from hub.search.expression import ALL, Equals, Expression, Match, Query, both
from hub.services.terminology import StoredTerminology
from hub.settings import Grace
from hub.store.protocol import Store

TYPES = ("StructureDefinition", "Questionnaire")


class StoredDefinitions:
    """Profiles and Questionnaires in the store, by type and canonical; of several the one changed last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looked = -1
        self._seen = -1

    def __call__(self, type: str, canonical: str) -> dict[str, Any] | None:
        url, _, version = canonical.partition("|")
        exact: Expression = Match("version", Equals(version, None)) if version else ALL
        rows = self._store.find(Query((type,), both(Match("url", Equals(url, None)), exact), limit=100))
        return json.stored(max(rows, key=lambda row: row.version.seq).version.text) if rows else None

    def changed(self) -> bool:
        """Whether one has changed since the last look."""
        last = self._store.last_seq()
        if last == self._looked:
            return False
        newest = self._store.history(TYPES, limit=1)
        seq = newest[0].seq if newest else 0
        before, self._looked, self._seen = self._seen, last, seq
        return seq != before


class Validation:
    """``check`` a resource or its text (``located``)."""

    def __init__(
        self,
        validator: Validator,
        definitions: StoredDefinitions,
        terminology: StoredTerminology,
        agreed: Sequence[Grace],
        clock: Callable[[], int],
        zone: tzinfo = UTC,
    ) -> None:
        grace.check(agreed)
        self._validator = validator
        self._definitions = definitions
        self._terminology = terminology
        self._agreed = agreed
        self._clock = clock
        self._zone = zone

    def check(self, resource: dict[str, Any], profiles: Sequence[str] = (), institution: str = "") -> Report:
        """The findings, with the severities agreed with the institution."""
        return self._current().check(resource, profiles, self._severities(institution))

    def located(self, data: bytes, profiles: Sequence[str] = (), institution: str = "") -> tuple[located.Located, ...]:
        """The findings of JSON or XML text, each with its line and column."""
        return located.check(data, self._current(), profiles, self._severities(institution))

    def _current(self) -> Validator:
        self._terminology.refresh()
        if self._definitions.changed():
            self._validator.library.forget()
        return self._validator

    def _severities(self, institution: str) -> dict[str, str]:
        if not self._agreed:
            return {}
        today: date = datetime.fromtimestamp(self._clock() / 1_000_000, self._zone).date()
        return grace.severities(self._agreed, institution, today)

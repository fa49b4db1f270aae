"""Who has opted out: the Patients that the access decision leaves out, as their Consents are now."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from hub.consent.decide import REFUSING
from hub.errors import HubError
from hub.fhir import json, reference
from hub.search.expression import Expression, In, Match, Query
from hub.store.protocol import Store

TYPES = ("Consent", "Person")
MAX_PATIENTS = 30_000
PAGE = 1000
BATCH = 500


class OptOut:
    """The ids of the Patients, found again when a Consent or Person has changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._looked = self._seen = -1
        self._patients: tuple[str, ...] = ()

    def __call__(self) -> tuple[str, ...]:
        """The ids now. HubError("too-costly") above MAX_PATIENTS: nothing is shown rather than too much."""
        with self._lock:
            last = self._store.last_seq()
            if last != self._looked:
                newest = self._store.history(TYPES, limit=1)
                seq = newest[0].seq if newest else 0
                if seq != self._seen:
                    self._patients = self._found()
                self._looked, self._seen = last, seq
            return self._patients

    def _found(self) -> tuple[str, ...]:
        consents = self._all("Consent", REFUSING)
        named = {key for consent in consents if (key := _patient(consent.get("patient")))}
        found = set(named)
        for some in batched(sorted(named), BATCH):
            for person in self._all("Person", Match("link", In(some))):
                found.update(key for link in person.get("link", ()) if (key := _patient(link.get("target"))))
        if len(found) > MAX_PATIENTS:
            raise HubError("too-costly", f"more than {MAX_PATIENTS} patients have opted out; this hub shows nothing")
        return tuple(sorted(key.removeprefix("Patient/") for key in found))

    def _all(self, type: str, where: Expression) -> Iterator[dict[str, Any]]:
        after = None
        while True:
            rows = self._store.find(Query((type,), where, after=after, limit=PAGE))
            yield from (json.decode(row.version.text, max_bytes=len(row.version.text)) for row in rows)
            if len(rows) < PAGE:
                return
            after = rows[-1].key


def _patient(value: Any) -> str:
    """``Patient/id`` of a Reference, "" when it names no Patient here."""
    parsed = reference.parse(str(value.get("reference", ""))) if isinstance(value, dict) else None
    return parsed.key if parsed is not None and parsed.type == "Patient" else ""


def batched(keys: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    """The keys, so many at a time."""
    for start in range(0, len(keys), size):
        yield tuple(keys[start : start + size])

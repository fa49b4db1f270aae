"""Keeps the terminology service in step with the stored CodeSystems, ValueSets and ConceptMaps."""

from __future__ import annotations

import logging
import threading

from hub.errors import HubError
from hub.fhir import json
from hub.store.protocol import Store, Version
from terminology.errors import TerminologyError
from terminology.service import Terminology
from terminology.shape import TYPES

PAGE = 500
_NAMES = {"invalid": "parameter-value", "not-supported": "parameter-unknown"}

log = logging.getLogger("hub.terminology")


def refusal(error: TerminologyError, at: str) -> HubError:
    """A refusal of the terminology service as an error of the hub."""
    return HubError(_NAMES.get(error.code, error.code), error.text, at)


class StoredTerminology:
    """The terminology service with what is stored put over what is shipped.

    ``refresh`` looks whether there is a newer version of such a resource (one indexed read) and takes over what
    changed, also what another process has written.
    """

    def __init__(self, store: Store, terminology: Terminology) -> None:
        self._store = store
        self._terminology = terminology
        self._seen = 0
        self._known: dict[tuple[str, str], tuple[str, str]] = {}
        self._lock = threading.Lock()

    def refresh(self) -> Terminology:
        """The service, as of now."""
        if self._store.last_seq(TYPES) > self._seen:
            with self._lock:
                for version in self._changes():
                    self._take(version)
                    self._seen = max(self._seen, version.seq)
        return self._terminology

    def _changes(self) -> list[Version]:
        """The newest version of every resource that changed since the last look, the oldest change first."""
        found: dict[tuple[str, str], Version] = {}
        before: int | None = None
        while True:
            page = self._store.history(TYPES, before=before, limit=PAGE)
            fresh = [version for version in page if version.seq > self._seen]
            for version in fresh:
                found.setdefault((version.type, version.id), version)
            if len(fresh) < PAGE:
                return sorted(found.values(), key=lambda version: version.seq)
            before = page[-1].seq

    def _take(self, version: Version) -> None:
        key = version.type, version.id
        if key in self._known:
            self._terminology.remove(version.type, *self._known.pop(key))
        if version.deleted:
            return
        resource = json.stored(version.text)
        try:
            self._terminology.put(resource)
        except TerminologyError as error:
            log.warning("%s/%s is not used for terminology: %s", version.type, version.id, error.text)
        else:
            self._known[key] = resource["url"], resource.get("version", "")

"""Features and keys of Patients, compiled once: when they are written, and of stored versions, which never change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from hub.mpi import keys
from hub.mpi.features import Features, compile_patient
from hub.mpi.rules import Rules
from hub.store.protocol import Version

Resource = dict[str, Any]
MAX_WRITTEN = 1024
MAX_KNOWN = 50_000


class Compiled(NamedTuple):
    """A Patient being written: its features, and the keys under which alike ones are looked for."""

    features: Features
    asked: list[int]


class FeatureCache:
    """What was compiled lately."""

    def __init__(self, decode: Callable[[Version], Resource], rules: Rules) -> None:
        self.decode = decode
        self.rules = rules
        self._known: dict[tuple[str, int], Features] = {}
        self._written: dict[int, tuple[Resource, Compiled]] = {}

    def compile(self, patient: Resource) -> Compiled:
        """Compile a Patient that is about to be written; where index entries are made, outside the writer."""
        features = compile_patient(patient, self.rules)
        compiled = Compiled(features, keys.asked(features, self.rules))
        if len(self._written) >= MAX_WRITTEN:
            self._written = {}
        self._written[id(patient)] = patient, compiled
        return compiled

    def written(self, patient: Resource, version: int) -> Compiled:
        """What was compiled of a Patient that is written as this version."""
        found = self._written.get(id(patient))
        compiled = found[1] if found and found[0] is patient else self.compile(patient)
        self._written.pop(id(patient), None)
        return compiled._replace(features=msgspec.structs.replace(compiled.features, version=version))

    def of(self, version: Version, resource: Resource | None = None) -> Features:
        """The features of a Patient's version; ``resource`` when it was decoded already."""
        key = (version.id, version.version)
        found = self._known.get(key)
        if found is None:
            found = compile_patient(resource or self.decode(version), self.rules, version.version)
            if len(self._known) >= MAX_KNOWN:
                self._known.pop(next(iter(self._known)), None)
            self._known[key] = found
        return found

"""The terminology service as the validator asks it."""

from __future__ import annotations

from typing import Any

from terminology.errors import TerminologyError
from terminology.service import Terminology

# Systems whose content changes so often that a missing code says little.
_OPEN = frozenset({"urn:ietf:bcp:13", "urn:ietf:bcp:47", "urn:ietf:rfc:3986", "urn:iso:std:iso:3166"})


class ServiceCodes:
    """``hub.fhir.validate.codes.Codes`` over the terminology service in process."""

    def __init__(self, service: Terminology) -> None:
        self._service = service

    def validate_code(self, value_set: str, system: str, code: str) -> bool | None:
        """Whether the code is in the value set; None when the value set or its content is not here."""
        try:
            found = self._service.member(value_set, system, code)
            if found is None and value_set.partition("|")[2]:
                found = self._service.member(value_set.partition("|")[0], system, code)
        except TerminologyError:
            return None
        return found is not None

    def displays(self, system: str, code: str) -> tuple[str, ...] | None:
        """The names of a code, () when the system is complete here and has no such code, None when it is not."""
        registry = self._service.registry
        versions = registry.versions("CodeSystem", registry.url(system)) or [""]
        systems: list[Any] = [found for one in versions if (found := registry.system(f"{system}|{one}")) is not None]
        names: list[str] = []
        for known in systems or [registry.system(system)]:
            if known is None:
                return None
            try:
                concept = known.find(code)
            except TerminologyError:
                return None
            names += [] if concept is None else [name for name in concept.displays() if name] or [code]
        if names:
            return tuple(dict.fromkeys(names))
        complete = all(known.metadata.get("content", "complete") == "complete" for known in systems)
        return () if (systems and complete) or _ruled(system, registry.system(system)) else None


def _ruled(system: str, known: Any) -> bool:
    """Whether the codes of the system are formed by a rule that can tell."""
    return system not in _OPEN and not getattr(known, "enumerable", True)

"""The rules of the master patient index, as ``rules.toml`` states them, and the identifiers they see in a resource."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from hub.errors import HubError
from hub.mpi import compare
from hub.mpi.weights import Weights

TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
FORMS = ("resident-id", "card-index", "text")
MAX_IDENTIFIERS = 64
"""More identifiers than this are not read from one resource (a hostile message could carry a million)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of identifier that decides by itself; the fields are those of ``[[identifier]]`` in rules.toml."""

    name: str
    zh: str
    en: str
    system: str
    systems: tuple[str, ...]
    types: tuple[str, ...]
    form: str
    single: bool
    assurance: str

    def normal(self, value: str) -> str | None:
        """The value in the kind's normal form, None when it is not valid."""
        if self.form == "resident-id":
            number = compare.resident_id(value)
            return number.number if number else None
        if self.form == "card-index":
            return compare.card_index(value)
        return compare.plain(value) or None


@dataclass(frozen=True, slots=True)
class Key:
    """One identifier in normal form; ``kind`` None for a number of one hospital."""

    system: str
    value: str
    kind: Kind | None = None

    @property
    def guard(self) -> str:
        """What concurrent registrations of the same identifier wait on."""
        return f"mpi:{self.system}|{self.value}"


@dataclass(frozen=True, slots=True)
class Rules:
    """The rule file: its version, the deciding kinds by system and by type code, the local types."""

    version: str
    kinds: tuple[Kind, ...]
    by_system: dict[str, Kind]
    by_type: dict[str, Kind]
    local_types: frozenset[str]
    local_assurance: str
    score: Weights

    def keys(self, resource: dict[str, Any]) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
        """The regional and the local keys of a Patient, each without duplicates, in the order of the resource.

        An identifier of a deciding kind that is not valid (wrong check digit) is no key at all. A local key keeps the
        value as written: hospitals own their numbers, and leading zeros and case may matter.
        """
        regional: dict[tuple[str, str], Key] = {}
        local: dict[tuple[str, str], Key] = {}
        for identifier in resource.get("identifier", ())[:MAX_IDENTIFIERS]:
            system, value = identifier.get("system", ""), identifier.get("value", "")
            if not value or identifier.get("use") == "old":
                continue
            kind = self.kind(identifier)
            if kind is not None:
                normal = kind.normal(value)
                if normal is not None:
                    regional.setdefault((kind.system, normal), Key(kind.system, normal, kind))
            elif system and self._is_local(identifier):
                local.setdefault((system, value), Key(system, value))
        return tuple(self._own(resource, regional.values())), tuple(local.values())

    def _own(self, resource: dict[str, Any], keys: Iterable[Key]) -> Iterable[Key]:
        """A newborn called somebody's son or daughter is registered with the parent's number and card, which are not
        its own; its own number says its birth date."""
        if not any(compare.is_newborn(form) for form in compare.names(resource)):
            return keys
        born = resource.get("birthDate", "")
        numbers = [key for key in keys if (found := compare.resident_id(key.value)) and found.birth_date == born]
        return keys if numbers else ()

    def person_keys(self, person: dict[str, Any]) -> tuple[Key, ...]:
        """The keys of a Person, whose identifiers are in normal form already."""
        return tuple(
            Key(system, identifier.get("value", ""), self.by_system.get(system))
            for identifier in person.get("identifier", ())
            if (system := identifier.get("system", ""))
        )

    def kind(self, identifier: dict[str, Any]) -> Kind | None:
        """The deciding kind of an Identifier by its system, else by its type code of table 0203."""
        kind = self.by_system.get(identifier.get("system", ""))
        if kind is not None:
            return kind
        for coding in identifier.get("type", {}).get("coding", ()):
            if coding.get("system", TYPES) == TYPES and (kind := self.by_type.get(coding.get("code", ""))):
                return kind
        return None

    def _is_local(self, identifier: dict[str, Any]) -> bool:
        codes = {coding.get("code") for coding in identifier.get("type", {}).get("coding", ())}
        return not codes or bool(codes & self.local_types)


@cache
def load() -> Rules:
    """The rules shipped with the hub. HubError("configuration") when the file contradicts itself."""
    return parse(files("hub.mpi").joinpath("rules.toml").read_text(encoding="utf-8"))


def parse(text: str) -> Rules:
    """Rules from the text of a rule file; HubError("configuration") names what is wrong."""
    try:
        data = tomllib.loads(text)
        kinds = tuple(
            Kind(**{**row, "systems": tuple(row["systems"]), "types": tuple(row["types"])})
            for row in data["identifier"]
        )
        local = data["local"]
        rules = Rules(
            data["version"],
            kinds,
            {system: kind for kind in kinds for system in (kind.system, *kind.systems)},
            {code: kind for kind in kinds for code in kind.types},
            frozenset(local["types"]),
            local["assurance"],
            Weights.of(data["score"]),
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise HubError("configuration", f"rules of the master patient index: {error}", "rules.toml") from None
    wrong = [kind.name for kind in kinds if kind.form not in FORMS]
    if wrong:
        raise HubError("configuration", f"form of {wrong[0]} must be one of {', '.join(FORMS)}", "rules.toml")
    return rules

"""The rules of the master patient index, as ``rules.toml`` states them, and the identifiers they see in a resource."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from hub.errors import HubError
from hub.mpi import compare
from hub.mpi.weights import Weights

TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
MIN_TEXT = 4
"""Shorter numbers, and those of one or two characters only (11111111), are placeholders."""
ID_LIKE = re.compile(r"[0-9X]{15,19}")
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
    decides: bool = True

    def normal(self, value: str) -> str | None:
        """The value in the kind's normal form, None when it is not valid."""
        if self.form == "resident-id":
            number = compare.resident_id(value)
            return number.number if number else None
        if self.form == "card-index":
            return compare.card_index(value)
        text = compare.plain(value)
        return text if len(text) > MIN_TEXT and len(set(text)) > 2 else None


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
    """The rule file: its version, the kinds of identifier by system and by type code, the local types, blocking keys
    (each the parts that it joins), and the score."""

    version: str
    kinds: tuple[Kind, ...]
    single: Kind
    by_system: dict[str, Kind]
    by_type: dict[str, Kind]
    local_types: frozenset[str]
    local_assurance: str
    blocks: tuple[tuple[str, ...], ...]
    score: Weights

    @property
    def latin(self) -> bool:
        """Whether the parts of Latin names and structured addresses are looked at."""
        return "family" in self.score.bits

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
                if normal is not None and kind.decides:
                    regional.setdefault((kind.system, normal), Key(kind.system, normal, kind))
            elif system and self._is_local(identifier):
                local.setdefault((system, value), Key(system, value))
        return tuple(self._own(resource, regional.values())), tuple(local.values())

    def wrong(self, resource: dict[str, Any]) -> frozenset[str]:
        """Texts where the number that everybody has only one of should be, and that are almost one."""
        texts = (compare.plain(one.get("value", "")) for kind, one in self._of_kinds(resource) if kind.single)
        return frozenset(text for text in texts if ID_LIKE.fullmatch(text) and len(set(text)) > 4)

    def numbers(self, resource: dict[str, Any]) -> frozenset[tuple[str, str]]:
        """Kind and value of the identifiers that only speak for a person."""
        found = (
            (kind, kind.normal(one.get("value", ""))) for kind, one in self._of_kinds(resource) if not kind.decides
        )
        return frozenset((kind.name, value) for kind, value in found if value)

    def _of_kinds(self, resource: dict[str, Any]) -> Iterator[tuple[Kind, dict[str, Any]]]:
        for identifier in resource.get("identifier", ())[:MAX_IDENTIFIERS]:
            if identifier.get("use") != "old" and (kind := self.kind(identifier)) is not None:
                yield kind, identifier

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
        (single,) = (kind for kind in kinds if kind.single)
        local = data["local"]
        rules = Rules(
            data["version"],
            kinds,
            single,
            {system: kind for kind in kinds for system in (kind.system, *kind.systems)},
            {code: kind for kind in kinds for code in kind.types},
            frozenset(local["types"]),
            local["assurance"],
            tuple(map(tuple, data["blocks"])),
            Weights.of(data["score"]),
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise HubError("configuration", f"rules of the master patient index: {error}", "rules.toml") from None
    wrong = [kind.name for kind in kinds if kind.form not in FORMS]
    if wrong:
        raise HubError("configuration", f"form of {wrong[0]} must be one of {', '.join(FORMS)}", "rules.toml")
    return rules

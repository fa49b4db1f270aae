"""Which of the four master databases owns a resource: the tables beside this module."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from hub.errors import HubError

Resource = dict[str, Any]

DATABASES: Final = ("population", "resources", "emr", "ehr")


@dataclass(frozen=True, slots=True)
class Description:
    """A master database: title by language (zh, en), and how many years it keeps its data (0 = without limit)."""

    name: str
    title: dict[str, str]
    retention_years: int


@dataclass(frozen=True, slots=True)
class _Rule:
    """``database`` owns a resource with one of ``codes`` in the CodeableConcepts at ``path``; no codes: any other."""

    database: str
    path: str = ""
    codes: frozenset[str] = frozenset()


class Router:
    """The owner of every resource, from the tables.

    Raises HubError("configuration") unless every type of ``types`` has exactly one owner: one database, or several of
    which all but one name distinct codes.
    """

    def __init__(self, types: frozenset[str], read: Callable[[str], dict[str, Any]] | None = None) -> None:
        tables = [(read or _shipped)(name) for name in DATABASES]
        self.descriptions = {
            table["name"]: Description(table["name"], table["title"], table["retention_years"]) for table in tables
        }
        self._rules: dict[str, list[_Rule]] = {}
        for table in tables:
            for group in table["group"]:
                for type in group["types"]:
                    self._rules.setdefault(type, []).append(_Rule(table["name"]))
            for row in table.get("shared", ()):
                rule = _Rule(table["name"], row.get("path", ""), frozenset(row.get("codes", ())))
                if bool(rule.codes) == row.get("otherwise", False):
                    raise _wrong(f"{rule.database}.toml: {row['type']} needs either codes or otherwise = true")
                self._rules.setdefault(row["type"], []).append(rule)
        self._check(types)

    def owner(self, resource: Resource) -> str:
        """The database that owns a resource. HubError("type-unknown") for a type that is not R4."""
        for rule in self._of(resource.get("resourceType", "")):
            if not rule.codes or not rule.codes.isdisjoint(_codes(resource.get(rule.path))):
                return rule.database
        raise AssertionError("the last rule of a type has no codes")

    def owners(self, type: str) -> tuple[str, ...]:
        """The databases in which resources of a type may be."""
        return tuple(rule.database for rule in self._of(type))

    def _of(self, type: str) -> list[_Rule]:
        found = self._rules.get(type)
        if found is None:
            raise HubError("type-unknown", f"{type!r} is not an R4 resource type", "resourceType")
        return found

    def _check(self, types: frozenset[str]) -> None:
        if types != self._rules.keys():
            raise _wrong(f"these types have no owner or are no R4 types: {sorted(types ^ self._rules.keys())}")
        for type, rules in self._rules.items():
            rules.sort(key=lambda rule: not rule.codes)
            named = [code for rule in rules for code in rule.codes]
            if sum(not rule.codes for rule in rules) != 1 or len(named) != len(set(named)):
                raise _wrong(f"{type} must have exactly one owner for each of its resources")


def _shipped(name: str) -> dict[str, Any]:
    return tomllib.loads(files("hub.databases").joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def _wrong(text: str) -> HubError:
    return HubError("configuration", f"ownership of resources: {text}", "hub/databases")


def _codes(concepts: Any) -> set[str]:
    if not isinstance(concepts, list):
        return set()
    return {
        coding["code"]
        for concept in concepts
        if isinstance(concept, dict)
        for coding in concept.get("coding", ())
        if isinstance(coding, dict) and isinstance(coding.get("code"), str)
    }

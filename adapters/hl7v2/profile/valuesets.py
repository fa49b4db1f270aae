"""Value set bindings: is the code at a place one that the profile allows there?"""

from __future__ import annotations

import re
from typing import NamedTuple
from xml.etree.ElementTree import Element

from adapters.hl7v2 import spec
from adapters.hl7v2.profile import nist
from adapters.hl7v2.profile.records import Binding, Profile, ValueSet
from adapters.hl7v2.profile.tree import Node


class Miss(NamedTuple):
    """A code that is not allowed: the rule of ``findings.csv``, the place, the value sets, the severity."""

    rule: str
    node: Node
    expected: str
    severity: str


class Sets:
    """The value sets of a profile; a numbered table that the profile does not bring is the standard's."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._tables = spec.load(profile.version).tables

    def miss(self, binding: Binding, node: Node) -> Miss | None:
        """What is wrong at a bound element; None when nothing is, or nothing can be said."""
        worst: Miss | None = None
        for code_path, system_path in binding.locations or (("." if node.children.get(1) == [node] else "1", ""),):
            for code in node.find(_step(code_path)) or ([node] if not node.children else []):
                systems = node.find(_step(system_path)) if system_path else []
                rule, severity, expected = self._judge(binding, code, systems[0].value if systems else "")
                if not rule:
                    return None
                if worst is None:
                    worst = Miss(rule, code, expected, severity)
        return worst

    def member(self, test: Element, node: Node) -> bool | None:
        """The ValueSet expression."""
        places = tuple((place, "") for place in re.findall(r"\d+", test.get("BindingLocation", "")))
        binding = Binding((test.get("ValueSetID", ""),), "R", places)
        found = node.find(test.get("Path", "."))
        return all(self.miss(binding, one) is None for one in found) if found else None

    def bound(self, element: Element, node: Node) -> Miss | None:
        """The ValueSet cell of a co-constraint table."""
        misses = (self.miss(nist.binding(one), node) for one in element.findall("ValueSetBinding"))
        return next((miss for miss in misses if miss), None)

    def _judge(self, binding: Binding, code: Node, system: str) -> tuple[str, str, str]:
        """(rule, severity, expected); an empty rule for a member."""
        text = code.value
        if binding.single is not None:
            wanted, of = binding.single
            good = text == wanted and (not system or not of or system == of)
            return ("", "", "") if good else ("profile-code", "error", f"{wanted} ({of})")
        sets = [found for name in binding.sets if (found := self._set(name, code)) is not None]
        if len(sets) < len(binding.sets) or not sets:
            return "", "", ""
        usages = [found.codes.get(text, {}) for found in sets]
        allowed = {of for one in usages for of, usage in one.items() if usage != "E"}
        expected = ":".join(binding.sets)
        severity = "error" if binding.strength == "R" else "warning"
        if allowed:
            wrong = system and all(of and of != system for of in allowed)
            return ("profile-system", severity, ", ".join(sorted(allowed))) if wrong else ("", "", "")
        if any(usages):
            return "profile-excluded", severity, expected
        if any(_local(text, found) for found in sets):
            return "", "", ""
        return "profile-code", "information" if any(one.open for one in sets) else severity, expected

    def _set(self, name: str, code: Node) -> ValueSet | None:
        """The profile's, else the standard's table of that number for a code of data type ID."""
        found = self._profile.sets.get(name)
        if found is None and not self._profile.sets and code.holder is not None and code.holder.name == "ID":
            codes = self._tables.get(f"HL7{name}")
            found = ValueSet({one: {"": "P"} for one in codes}) if codes else None
        return found


def _step(path: str) -> str:
    return path or "."


def _local(code: str, found: ValueSet) -> bool:
    """Patterns of table HL70396: ``HL7nnnn`` and ``99zzz``."""
    return ("HL7nnnn" in found.codes and bool(re.fullmatch(r"HL7\d{4}", code))) or (
        "99zzz" in found.codes and code[:2] == "99"
    )

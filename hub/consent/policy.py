"""The table of access rules: ``policy.toml``, or the file that the setting ``access.policy`` names."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from hub.errors import HubError

ANY = ("*",)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; ``policy.toml`` says what its members mean."""

    name: str
    institutions: tuple[str, ...] = ANY
    roles: tuple[str, ...] = ANY
    purposes: tuple[str, ...] = ANY
    types: tuple[str, ...] = ANY
    deny: bool = False
    hide: tuple[str, ...] = ()
    opt_out: bool = False
    reason: bool = False

    def fits(self, institution: str, role: str, purpose: str, type: str) -> bool:
        """Whether the rule is about this party and type."""
        pairs = (
            (self.institutions, institution), (self.roles, role), (self.purposes, purpose), (self.types, type),
        )  # fmt: skip
        return all(allowed == ANY or value in allowed for allowed, value in pairs)


def load(path: str = "") -> tuple[Rule, ...]:
    """The rules in a file, "" the shipped one. HubError("configuration") says what is wrong with it."""
    try:
        source = Path(path) if path else files("hub.consent").joinpath("policy.toml")
        table = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise HubError("configuration", f"the access policy cannot be read: {error}", "access.policy") from error
    rows = table.pop("rule", None)
    if table or not isinstance(rows, list) or not rows:
        raise HubError("configuration", "an access policy is a list of [[rule]] and nothing else", "access.policy")
    return tuple(_rule(row) for row in rows)


def _rule(row: Any) -> Rule:
    known = {one.name: one.type for one in fields(Rule)}
    given: dict[str, Any] = {}
    for name, value in row.items() if isinstance(row, dict) else ():
        kind = known.get(name)
        texts = isinstance(value, list) and all(isinstance(one, str) for one in value) and value
        right = texts if str(kind).startswith("tuple") else type(value).__name__ == kind
        if kind is None or not right:
            raise HubError("configuration", f"access policy: {name} = {value!r} is not a member of a rule", name)
        given[name] = tuple(value) if isinstance(value, list) else value
    if "name" not in given:
        raise HubError("configuration", f"access policy: a rule without a name: {row!r}", "name")
    return Rule(**given)

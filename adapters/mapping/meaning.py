"""What a message says besides its resources: whose word counts for them, and which event it takes back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adapters.mapping.compiler import Compiler
from adapters.mapping.condition import Test
from adapters.mapping.run import Run
from adapters.mapping.tables import Tables

STATES = "states"


class Meaning:
    """The tables ``authority.csv`` and ``cancels.csv``, compiled."""

    def __init__(self, tables: Tables, compiler: Compiler) -> None:
        self._rows: dict[str, list[tuple[Test | None, tuple[str, ...], str]]] = {}
        for row in tables.authority:
            try:
                test = compiler.condition(row.condition) if row.condition else None
            except ValueError as error:
                raise ValueError(f"authority.csv line {row.line}: {error}") from None
            for type in row.types:
                self._rows.setdefault(type, []).append((test, row.slots, row.authority))
        self._cancels: dict[str, dict[str, Any]] = {}
        for one in tables.cancels:
            restored = {"of": list(one.cancels), "slots": list(one.slots)}
            self._cancels.setdefault(one.event, {})[one.type] = restored

    def authority(self, run: Run, types: Iterable[str]) -> dict[str, str]:
        """``Type`` or ``Type.slot`` -> word, of those types whose word is not ``states``.

        A record that the message replaces (labelled ``[prior]``) is stated, whatever is said of its type; what only
        stands for a required element (``Type/id.element``) fills.
        """
        found: dict[str, str] = {}
        for type in types:
            for test, slots, word in self._rows.get(type, ()):
                if test is None or test(run):
                    for name in (f"{type}.{slot}" for slot in slots) if slots else (type,):
                        found.setdefault(name, word)
                    if not slots:
                        break
        said = {name: word for name, word in found.items() if word != STATES or "." in name}
        said |= dict.fromkeys(run.filled, "fills")
        replaced = (entry.resource for entry in run.entries if entry.label.endswith("[prior]")) if said else ()
        return said | {f"{one['resourceType']}/{one['id']}": STATES for one in replaced if "id" in one}

    def restores(self, event: str, types: Iterable[str]) -> dict[str, Any]:
        """By resource type: the events that this one cancels, and the slots that become what they were."""
        rules = self._cancels.get(event)
        return {} if rules is None else {type: rules[type] for type in types if type in rules}

"""Test builds of the hub with bugs planted: ``python -m tests.mutants NAME,NAME serve ...``."""

from __future__ import annotations

import copy
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace

from adapters.hl7v2.interpret import Interpreter
from hub import cli
from hub.services.imaging import Imaging, Received
from hub.services.inbox import Inbound, Interpretation

_receive = Imaging.receive
_done: set[str] = set()


def _once(name: str) -> bool:
    first = name not in _done
    _done.add(name)
    return first


def _acknowledge_only(condition: Callable[[str, bytes], bool], once: bool) -> None:
    """Messages that meet the condition are acknowledged and forgotten."""
    before = Interpreter.interpret

    def interpret(self: Interpreter, inbound: Inbound) -> Interpretation:
        made = before(self, inbound)
        if condition(made.kind, inbound.raw) and (not once or _once(made.kind)):
            return replace(made, bundle=None)
        return made

    Interpreter.interpret = interpret  # type: ignore[method-assign]


def drop_a08() -> None:
    """One A08 after a discharge, of which no later message tells."""
    _acknowledge_only(lambda kind, raw: kind == "ADT^A08" and b"|01||||||||202" in raw, once=True)


def ignore_a11() -> None:
    _acknowledge_only(lambda kind, raw: kind == "ADT^A11", once=False)


def skip_unmerge() -> None:
    _acknowledge_only(lambda kind, raw: kind == "ADT^A37", once=False)


def double_oru() -> None:
    """The Observations of one ORU are stored a second time under other ids."""
    before = Interpreter.interpret

    def interpret(self: Interpreter, inbound: Inbound) -> Interpretation:
        made = before(self, inbound)
        if made.kind == "ORU^R01" and made.bundle and _once("ORU"):
            entries = made.bundle["entry"]
            for entry in [one for one in entries if one["resource"]["resourceType"] == "Observation"]:
                again = copy.deepcopy(entry)
                again["resource"]["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, entry["resource"]["id"]))
                again["request"]["url"] = f"Observation/{again['resource']['id']}"
                entries.append(again)
        return made

    Interpreter.interpret = interpret  # type: ignore[method-assign]


def lose_instance() -> None:
    """The second image of a study is answered with success and not kept."""

    def receive(self: Imaging, instance: object, context: object) -> Received:
        study = instance.study  # type: ignore[attr-defined]
        if study in _done and _once("lost"):
            return Received(study, False)
        _done.add(study)
        return _receive(self, instance, context)  # type: ignore[arg-type]

    Imaging.receive = receive  # type: ignore[method-assign, assignment]


MUTANTS = {mutant.__name__: mutant for mutant in (drop_a08, ignore_a11, double_oru, skip_unmerge, lose_instance)}

if __name__ == "__main__":
    for name in sys.argv.pop(1).split(","):
        MUTANTS[name]()
    cli.main()

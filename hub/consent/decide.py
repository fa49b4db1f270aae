"""The access decision, as an expression that is AND-ed to every query: totals stay right and nothing leaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hub.consent.policy import Rule
from hub.errors import HubError
from hub.search.expression import ALL, NONE, Equals, Expression, Ids, In, Match, Not, both

CONFIDENTIALITY: Final = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
MAX_KNOWN: Final = 10_000


class Circumstances(Protocol):
    """What a decision rests on: the fields of ``hub.services.context.Context``."""

    @property
    def actor(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def reason(self) -> str: ...


REFUSING: Final = both(Match("status", Equals("active")), Match("provision-type", Equals("deny")))
"""Consents by which a person opts out (R4 Consent)."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the rules say of some types: conditions, where a Patient is named (``of`` and ``own``), whose reason."""

    conditions: tuple[Expression, ...] = ()
    of: tuple[str, ...] = ()
    own: bool = False
    wanting: str = ""


class Decision:
    """What of some types a context may see: by the policy's rules and the Consents of people.

    ``members`` gives the parameters that put a resource of a type into the compartment of a Patient; ``types`` are all
    resource types; ``opted_out`` gives the ids of the Patients who are the subject of a ``REFUSING``
    Consent now, with all Patients of the same Person.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        members: Callable[[str], Sequence[str]],
        types: frozenset[str],
        opted_out: Callable[[], Sequence[str]],
    ) -> None:
        self._rules = tuple(rules)
        self._members = members
        self._types = tuple(sorted(types))
        self._opted_out = opted_out
        self._known: dict[tuple[str, str, str, tuple[str, ...]], _Verdict] = {}

    def __call__(self, context: Circumstances, types: Sequence[str]) -> Expression:
        """The decision for resources of ``types`` (() is all): of several types, what is allowed for each of them.

        HubError("forbidden") when a rule wants a reason that is not given.
        """
        key = (context.actor, context.role, context.purpose, tuple(types))
        verdict = self._known.get(key)
        if verdict is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            verdict = self._known[key] = self._verdict(*key)
        if verdict.wanting and not context.reason:
            raise HubError("forbidden", f"{verdict.wanting!r} allows this only with a reason", "reason")
        patients = tuple(self._opted_out()) if verdict.of or verdict.own else ()
        hidden: list[Expression] = []
        if patients:
            named = In(tuple(f"Patient/{id}" for id in patients))
            hidden = [Not(Match(code, named)) for code in verdict.of]
            hidden += [Not(Ids(patients))] if verdict.own else []
        parts = (*verdict.conditions, *hidden)
        return both(*parts) if parts else ALL

    def _verdict(self, actor: str, role: str, purpose: str, types: tuple[str, ...]) -> _Verdict:
        conditions: dict[Expression, None] = {}
        of: dict[str, None] = {}
        own, wanting = False, ""
        for type in types or self._types:
            rule = next((one for one in self._rules if one.fits(actor, role, purpose, type)), None)
            if rule is None or rule.deny:
                return _Verdict((NONE,))
            wanting = wanting or (rule.name if rule.reason else "")
            conditions.update(dict.fromkeys(_unlabelled(label) for label in rule.hide))
            if rule.opt_out and type != "Consent":
                of.update(dict.fromkeys(self._members(type)))
                own = own or type == "Patient"
        return _Verdict(tuple(conditions), tuple(of), own, wanting)


def _unlabelled(label: str) -> Expression:
    system, _, code = label.rpartition("|")
    return Not(Match("_security", In((code,), system or CONFIDENTIALITY)))

"""Governance of local codes: registered, mapped, submitted, approved or returned, versioned, retired.

The rules are the rows of ``governance.csv``. The functions are pure: they take a record and give the next one.
``Governance`` runs them over a ``Ledger``, which the hub implements within one of its transactions. Until a code is
approved, data that carries it is kept as it came, with the tag ``UNMAPPED``; approving gives what has to be stored and
which messages waited.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Protocol, TypeVar

import msgspec

from terminology.errors import TerminologyError
from terminology.service import Terminology
from terminology.similarity import Proposal, propose
from terminology.system import Resource
from terminology.translate import NO_MATCH

BASE = "https://region-hub.example/fhir"
UNMAPPED = {"system": f"{BASE}/CodeSystem/data-flag", "code": "unmapped-code", "display": "Unmapped local code"}
MAX_EXAMPLES = 5
MAX_WAITING = 20
MAX_HISTORY = 100


@dataclass(frozen=True, slots=True)
class Event:
    """One act: microseconds since 1970 UTC, who, what, why."""

    time: int
    actor: str
    action: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class LocalSystem:
    """An institution's own code system. ``version`` counts its revisions, ``published`` the maps made of it."""

    url: str
    owner: str
    title: str
    state: str
    version: int = 1
    published: int = 0
    history: tuple[Event, ...] = ()

    @property
    def key(self) -> str:
        """What identifies it in the ledger."""
        return self.url


@dataclass(frozen=True, slots=True)
class Target:
    """The standard code a local one is mapped to; ``equivalence`` as http://hl7.org/fhir/concept-map-equivalence."""

    system: str
    code: str
    display: str = ""
    equivalence: str = "equivalent"


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A local code seen in traffic.

    ``examples`` are references to resources, ``waiting`` ids of inbox items: the first few of each, since the resources
    with a code are found by it. ``domain`` says where it was seen (laboratory, diagnosis...), ``unit`` the UCUM unit
    it came with.
    """

    system: str
    code: str
    display: str
    state: str
    domain: str = ""
    unit: str = ""
    count: int = 0
    first: int = 0
    last: int = 0
    examples: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    target: Target | None = None
    history: tuple[Event, ...] = ()

    @property
    def key(self) -> str:
        """What identifies it in the ledger."""
        return f"{self.system}|{self.code}"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A local code in a message: who sent it, what it was called, where it went, which inbox item it came in."""

    system: str
    code: str
    display: str = ""
    sender: str = ""
    domain: str = ""
    unit: str = ""
    example: str = ""
    message: str = ""
    times: int = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """What an act leads to: the record, resources to store (and ``Terminology.put``), messages to run again."""

    record: LocalSystem | WorkItem
    resources: tuple[Resource, ...] = ()
    messages: tuple[str, ...] = ()


class Ledger(Protocol):
    """Where the records are kept. ``kind`` is ``system`` or ``code``; data is JSON-able."""

    def read(self, kind: str, key: str) -> dict[str, Any] | None:
        """The record of a key."""

    def write(self, kind: str, key: str, state: str, data: dict[str, Any]) -> None:
        """Add or replace a record."""

    def list(self, kind: str, states: Iterable[str] = ()) -> Iterable[dict[str, Any]]:
        """The records in these states (() = all), the oldest first."""


# --- rules ----------------------------------------------------------------------------------------------------------

Kind = TypeVar("Kind", LocalSystem, WorkItem)


@cache
def _transitions() -> dict[tuple[str, str, str], tuple[str, str]]:
    """Entity, state, action -> state after, role."""
    lines = files("terminology").joinpath("governance.csv").read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return {(r["entity"], r["before"], r["action"]): (r["after"], r["role"]) for r in rows}


def state_after(entity: str, before: str, action: str, role: str) -> str:
    """The next state. TerminologyError("conflict") if the action is not possible now, "forbidden" in another role."""
    found = _transitions().get((entity, before, action))
    if found is None:
        raise TerminologyError("conflict", f"a {entity} that is {before or 'not known'} cannot {action}")
    after, allowed = found
    if role != allowed:
        raise TerminologyError("forbidden", f"{action} is for the {allowed}, not the {role}")
    return after


def acted(record: Kind, action: str, actor: str, role: str, now: int, note: str = "") -> Kind:
    """The record after an act. Who submitted a record may not approve it ("forbidden")."""
    entity = "system" if isinstance(record, LocalSystem) else "code"
    state = state_after(entity, record.state, action, role)
    submitter = next((e.actor for e in reversed(record.history) if e.action == "submit"), None)
    if action == "approve" and submitter == actor:
        raise TerminologyError("forbidden", f"{actor} submitted it, so another has to approve it")
    if action == "return" and not note:
        raise TerminologyError("required", "a reason is needed to return it")
    history = (*record.history, Event(now, actor, action, note))[-MAX_HISTORY:]
    return replace(record, state=state, history=history)


def seen(item: WorkItem | None, sighting: Sighting, now: int) -> WorkItem:
    """The work item after one more sighting. Of an approved or retired code no message waits."""
    state = state_after("code", item.state if item else "", "see", "traffic")
    if item is None:
        item = WorkItem(
            sighting.system, sighting.code, sighting.display, state, sighting.domain, sighting.unit, first=now
        )
    waits = sighting.message and state not in ("approved", "retired") and sighting.message not in item.waiting
    shows = sighting.example and sighting.example not in item.examples
    return replace(
        item,
        display=item.display or sighting.display,
        unit=item.unit or sighting.unit,
        count=item.count + sighting.times,
        last=now,
        examples=(*item.examples, sighting.example)[:MAX_EXAMPLES] if shows else item.examples,
        waiting=(*item.waiting, sighting.message)[:MAX_WAITING] if waits else item.waiting,
    )


# --- resources ------------------------------------------------------------------------------------------------------


def code_system(system: LocalSystem, items: Iterable[WorkItem]) -> Resource:
    """The CodeSystem of the codes known so far: a fragment, active once approved."""
    status = {"approved": "active", "retired": "retired"}.get(system.state, "draft")
    concepts = [{"code": i.code, "display": i.display} if i.display else {"code": i.code} for i in items]
    return {
        "resourceType": "CodeSystem", "url": system.url, "version": str(system.version), "title": system.title,
        "status": status, "publisher": system.owner, "content": "fragment", "caseSensitive": True, "concept": concepts,
    }  # fmt: skip


def concept_map(system: LocalSystem, items: Iterable[WorkItem]) -> Resource:
    """The ConceptMap of the approved codes of a local system, one group a target system."""
    groups: dict[str, list[Resource]] = {}
    for item in items:
        if item.state == "approved" and item.target is not None:
            to = {k: v for k, v in asdict(item.target).items() if k != "system" and v}
            groups.setdefault(item.target.system, []).append(
                {"code": item.code, "display": item.display, "target": [to]}
            )
    identity = f"local-{''.join(c if c.isalnum() else '-' for c in system.url.partition('://')[2] or system.url)}"
    status = "retired" if system.state == "retired" else "active"
    resource: Resource = {
        "resourceType": "ConceptMap", "url": f"{BASE}/ConceptMap/{identity}", "version": str(system.published),
        "title": system.title, "status": status, "publisher": system.owner, "sourceUri": system.url,
    }  # fmt: skip
    if groups:
        resource["group"] = [
            {"source": system.url, "target": target, "element": elements} for target, elements in sorted(groups.items())
        ]
    return resource


def flagged(resource: Resource) -> Resource:
    """The resource with the tag that says a local code in it has no approved mapping."""
    meta = resource.get("meta", {})
    tags = [tag for tag in meta.get("tag", ()) if not _is_flag(tag)]
    return {**resource, "meta": {**meta, "tag": [*tags, dict(UNMAPPED)]}}


def enriched(resource: Resource, item: WorkItem) -> Resource:
    """The resource with the item's target beside every Coding of its code, and without the flag. The original stays.

    A resource with further unmapped codes has to be flagged again by the caller.
    """
    if item.target is None or item.target.equivalence in NO_MATCH:
        return resource
    coding = {k: v for k, v in asdict(item.target).items() if k != "equivalence" and v}
    copy = deepcopy(resource)
    stack: list[Any] = [copy]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, dict):
            stack.extend(node.values())
            codings = node.get("coding")
            if not isinstance(codings, list) or not _holds(codings, item.system, item.code):
                continue
            if not _holds(codings, item.target.system, item.target.code):
                codings.append(coding)
    tags = [tag for tag in copy.get("meta", {}).get("tag", ()) if not _is_flag(tag)]
    if "tag" in copy.get("meta", {}):
        copy["meta"]["tag"] = tags
        if not tags:
            del copy["meta"]["tag"]
    return copy


def _holds(codings: list[Any], system: str, code: str) -> bool:
    return any(isinstance(c, dict) and (c.get("system"), c.get("code")) == (system, code) for c in codings)


def _is_flag(tag: Resource) -> bool:
    return (tag.get("system"), tag.get("code")) == (UNMAPPED["system"], UNMAPPED["code"])


# --- over a ledger --------------------------------------------------------------------------------------------------


class Governance:
    """The use cases. ``targets`` says which code systems (urls) a domain's codes are mapped to."""

    def __init__(self, terminology: Terminology, clock: Callable[[], int], targets: dict[str, tuple[str, ...]]) -> None:
        self._terminology = terminology
        self._clock = clock
        self._targets = targets

    def see(self, ledger: Ledger, sighting: Sighting) -> WorkItem:
        """Note an unmapped code; its system is registered as a draft of the sender's at the first sight."""
        if ledger.read("system", sighting.system) is None:
            self.register(ledger, sighting.system, sighting.sender, "", actor="traffic")
        item = seen(self._code(ledger, sighting.system, sighting.code), sighting, self._clock())
        _write(ledger, "code", item)
        return item

    def register(self, ledger: Ledger, url: str, owner: str, title: str, *, actor: str) -> LocalSystem:
        """Register a local code system. TerminologyError("conflict") if it is known already."""
        known = ledger.read("system", url)
        state = state_after("system", known["state"] if known else "", "register", "institution")
        system = LocalSystem(url, owner, title or url, state, history=(Event(self._clock(), actor, "register"),))
        _write(ledger, "system", system)
        return system

    def proposals(self, item: WorkItem, limit: int = 5) -> list[Proposal]:
        """The standard codes most like the item, best first, from the systems of its domain."""
        found: list[Proposal] = []
        for url in self._targets.get(item.domain, ()):
            system = self._terminology.registry.system(url)
            if system is not None and system.enumerable:
                found += propose(system, item.code, item.display, item.unit, limit=limit)
        return sorted(found, key=lambda p: (-p.score, p.system, p.code))[:limit]

    def map(self, ledger: Ledger, system: str, code: str, target: Target, *, actor: str, note: str = "") -> WorkItem:
        """Draft the mapping of a code. TerminologyError("not-found") if the target is not a known code."""
        if self._terminology.find(target.system, target.code) is None:
            raise TerminologyError("not-found", f"code {target.code!r} of {target.system} is not known here")
        item = acted(self._item(ledger, system, code), "map", actor, "institution", self._clock(), note)
        item = replace(item, target=target)
        _write(ledger, "code", item)
        return item

    def act_on_code(
        self, ledger: Ledger, system: str, code: str, action: str, *, actor: str, role: str, note: str = ""
    ) -> Decision:
        """submit, approve, return, revise or retire a code. What was decided is published as a new ConceptMap."""
        item = acted(self._item(ledger, system, code), action, actor, role, self._clock(), note)
        waiting = item.waiting if action == "approve" else ()
        item = replace(item, waiting=() if action in ("approve", "retire") else item.waiting)
        _write(ledger, "code", item)
        if action in ("approve", "revise", "retire"):
            return Decision(item, self._publish(ledger, self._system(ledger, system))[1], waiting)
        return Decision(item)

    def act_on_system(
        self, ledger: Ledger, url: str, action: str, *, actor: str, role: str, note: str = ""
    ) -> Decision:
        """submit, approve, return, revise or retire a local code system; a revision is a new version."""
        system = acted(self._system(ledger, url), action, actor, role, self._clock(), note)
        if action == "revise":
            system = replace(system, version=system.version + 1)
        _write(ledger, "system", system)
        return Decision(*self._publish(ledger, system)) if action in ("approve", "retire") else Decision(system)

    def work_list(self, ledger: Ledger, states: Iterable[str] = ("open", "returned")) -> list[WorkItem]:
        """The codes in these states, those seen most often first."""
        items = [msgspec.convert(data, WorkItem) for data in ledger.list("code", states)]
        return sorted(items, key=lambda item: (-item.count, item.first, item.key))

    def _publish(self, ledger: Ledger, system: LocalSystem) -> tuple[LocalSystem, tuple[Resource, ...]]:
        """The next CodeSystem and ConceptMap of a local system."""
        system = replace(system, published=system.published + 1)
        _write(ledger, "system", system)
        every = (msgspec.convert(data, WorkItem) for data in ledger.list("code"))
        items = sorted((item for item in every if item.system == system.url), key=lambda item: item.code)
        return system, (code_system(system, items), concept_map(system, items))

    def _code(self, ledger: Ledger, system: str, code: str) -> WorkItem | None:
        data = ledger.read("code", f"{system}|{code}")
        return None if data is None else msgspec.convert(data, WorkItem)

    def _item(self, ledger: Ledger, system: str, code: str) -> WorkItem:
        item = self._code(ledger, system, code)
        if item is None:
            raise TerminologyError("not-found", f"code {code!r} of {system} was never seen")
        return item

    def _system(self, ledger: Ledger, url: str) -> LocalSystem:
        data = ledger.read("system", url)
        if data is None:
            raise TerminologyError("not-found", f"local code system {url} is not registered")
        return msgspec.convert(data, LocalSystem)


def _write(ledger: Ledger, kind: str, record: LocalSystem | WorkItem) -> None:
    ledger.write(kind, record.key, record.state, msgspec.to_builtins(record))

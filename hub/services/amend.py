"""How a message changes what is stored: slot by slot, by who says it and when it happened.

Messages arrive late, twice and out of order. So every slot of a resource (``hub.services.slots``) has a *rank*: whether
the one who said it is the authority for it, and when it happened. A message changes a slot only when its rank is not
lower: an older event that arrives late fills what is absent, whatever the order of arrival. Absent is unchanged, ``""``
deletes, and what was deleted stays so for an older message (HL7 v2.5.1 2.5.3.1). The ranks are kept with the resource,
as an extension of its meta.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hub.fhir import temporal
from hub.services.slots import EACH, FIXED, join, named, rules, split

Resource = dict[str, Any]
STATED = "https://region-hub.example/fhir/StructureDefinition/stated"
"""Extension of meta (ours): the rank as text, alone for the resource, or followed by the slots that have another."""
UNRANKED = "-"
Before = Callable[[Sequence[str]], Resource | None]
"""The resource as it was before the newest of these events (``ADT^A03``) changed it, None when none did."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a message says besides its resources.

    ``time``: when the event happened (FHIR dateTime). ``authority``: by ``Type/id``, type or ``Type.slot``, ``states``
    (the rule), ``mentions`` (an authority's word counts more), ``names`` (no rank: the order of arrival decides),
    ``fills`` (only what is absent) or ``withdraws`` (what is given is removed). ``cleared``: elements deleted, by
    ``Type/id``. ``restores``: by type, the events that this one cancels and the slots that become again what they were
    before. ``inherits``: the record that another one takes over, by the ``Type/id`` of the other.
    """

    time: str = ""
    authority: Mapping[str, str] = field(default_factory=dict)
    cleared: Mapping[str, Sequence[str]] = field(default_factory=dict)
    restores: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    inherits: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Statement:
        """The statement among the facts of an interpretation."""
        return cls(
            facts.get("event_time") or "",
            facts.get("authority") or {},
            facts.get("cleared") or {},
            facts.get("restores") or {},
            facts.get("inherits") or {},
        )

    def says(self, type: str, slot: str = "", id: str = "") -> str:
        """``states``, ``mentions``, ``names`` or ``withdraws``: of a resource or its type, or of one of its slots."""
        element = slot.partition(":")[0].partition(".")[0]
        own = self.authority.get(f"{type}/{id}.{element}") or self.authority.get(f"{type}/{id}")
        if own is not None:
            return own
        special = self.authority.get(f"{type}.{slot}") or self.authority.get(f"{type}.{element}") if slot else None
        return special or self.authority.get(type, "states")

    def rank(self, type: str, slot: str = "", id: str = "") -> str:
        """The rank of what this says: ``2026-11-20T08:30:00+08:00``, ``~2026...`` of a mention, ``-`` of none."""
        word = self.says(type, slot, id)
        if not self.time or word in ("names", "fills"):
            return UNRANKED
        return f"~{self.time}" if word == "mentions" else self.time


def stamped(resource: Resource, statement: Statement) -> Resource:
    """A resource that is new to the store, with the ranks of its slots."""
    type, id = resource["resourceType"], resource["id"]
    base = statement.rank(type, id=id)
    special = any(name.startswith((f"{type}.", f"{type}/{id}.")) for name in statement.authority)
    cleared = statement.cleared.get(f"{type}/{id}", ())
    if statement.says(type, "link") == "withdraws":
        resource = {name: value for name, value in resource.items() if name != "link"}
    if not special and not cleared:
        return resource if base == UNRANKED else _with(resource, [base])
    ranks = {slot: statement.rank(type, slot, id) for slot in split(resource)}
    absent = {named(type, name): base for name in cleared}
    return _with(resource, _texts({**ranks, **absent}, absent))


def amend(stored: Resource, message: Resource, statement: Statement, before: Before) -> Resource | None:
    """What ``stored`` becomes by a message's resource; None when nothing of it changes."""
    type = message["resourceType"]
    cleared = [named(type, name) for name in statement.cleared.get(f"{type}/{message['id']}", ())]
    restores = statement.restores.get(type)
    removes = cleared or restores or "withdraws" in statement.authority.values()
    if not removes and _all_there(stored, message):
        return None
    return _Amendment(stored, message, statement).made(cleared, restores, before)


class _Amendment:
    """One resource under change."""

    def __init__(self, stored: Resource, message: Resource, statement: Statement) -> None:
        self.type = message["resourceType"]
        self.stored, self.message, self.statement = stored, message, statement
        self.slots, self.stated = split(stored), split(message)
        self.base, self.ranks = _read(stored)
        self.changed = False
        standing = rules()["standing"].get(self.type, {})
        said, known = (standing.get(one.get("status"), 0) for one in (message, stored))
        self.only_blanks, self.outranks = said < known, said > known
        self.together = rules()["together"].get(self.type, ())

    def made(self, cleared: list[str], restores: Mapping[str, Sequence[str]] | None, before: Before) -> Resource | None:
        stated = {slot: members for slot, members in self.stated.items() if slot not in cleared}
        if restores:
            self._restore(restores, stated, before)
        for slot, members in stated.items():
            if self.statement.says(self.type, slot, self.message["id"]) == "withdraws":
                self._set(slot, None)
            elif EACH not in slot or slot not in self.slots:
                self._set(slot, members)
        for name in cleared:
            for slot in [own for own in self.slots if _within(own, name)] or [name]:
                self._set(slot, None)
        return self._whole() if self.changed else None

    def _set(self, slot: str, members: Resource | None) -> None:
        """Give a slot a value, or None for none, if the message may."""
        rank = self.statement.rank(self.type, slot, self.message["id"])
        fills = self.statement.says(self.type, slot, self.message["id"]) == "fills"
        blank = slot not in self.slots and slot not in self.ranks
        if slot in self.together and blank:
            blank = not any(other in self.slots for other in self.together)
        if not blank and (fills or self.only_blanks or not (self.outranks or _at_least(rank, self._rank(slot)))):
            return
        if slot in self.together:
            for other in self.together:
                if other in self.slots and other not in self.stated:
                    del self.slots[other]
        if self.slots.get(slot) != members or (members is None and self.ranks.get(slot) != rank):
            self.changed = True
        if members is None:
            self.slots.pop(slot, None)
        else:
            self.slots[slot] = members
        self.ranks[slot] = rank

    def _rank(self, slot: str) -> str:
        return self.ranks.get(slot) or (self.base if slot in self.slots else UNRANKED)

    def _restore(self, rule: Mapping[str, Sequence[str]], stated: dict[str, Resource], before: Before) -> None:
        """The slots of a cancelled event become what they were before it.

        Where that is not known the message's own word counts; of a slot with ``?`` it counts always.
        """
        earlier = before(rule["of"])
        past = split(earlier) if earlier is not None else self.slots
        rank = self.statement.time or UNRANKED
        for name in rule["slots"]:
            own = name.rstrip("?")
            for slot in sorted({own, *(one for one in (*past, *self.slots, *stated) if _within(one, own))}):
                if slot in stated and (earlier is None or name != own):
                    continue
                stated.pop(slot, None)
                if not _at_least(rank, self._rank(slot)):
                    continue
                self.changed |= self.slots.get(slot) != past.get(slot) or slot not in self.ranks
                self.ranks[slot] = rank
                if slot in past:
                    self.slots[slot] = past[slot]
                else:
                    self.slots.pop(slot, None)

    def _whole(self) -> Resource:
        ranks = {slot: self.ranks.get(slot, self.base) for slot in self.slots}
        absent = {slot: rank for slot, rank in self.ranks.items() if slot not in self.slots and rank != UNRANKED}
        whole = {"resourceType": self.type, "id": self.message["id"], **join(self.slots)}
        for name, value in whole.items():
            if isinstance(value, dict) and value.keys() >= {"start", "end"}:
                whole[name] = self._ordered(name, value)
        meta = {**self.stored.get("meta", {})}
        if self.statement.says(self.type, id=self.message["id"]) == "states" or "source" not in meta:
            meta |= self.message.get("meta", {})
        kept = [one for one in self.stored.get("meta", {}).get("extension", ()) if one.get("url") != STATED]
        meta.pop("extension", None)
        return _with(
            {**whole, "meta": {**meta, **({"extension": kept} if kept else {})}}, _texts({**ranks, **absent}, absent)
        )

    def _ordered(self, name: str, period: Resource) -> Resource:
        """Of a period that ends before it starts (R4 per-1) the part with the lower rank goes."""
        if temporal.interval(period["start"])[0] < temporal.interval(period["end"])[1]:
            return period
        start, end = (self._rank(f"{name}.{part}") for part in ("start", "end"))
        gone = "start" if not _at_least(start, end) else "end"
        return {part: value for part, value in period.items() if part != gone}


def _within(slot: str, name: str) -> bool:
    """Whether a slot is the named one or a part of it (``participant:ATND`` of ``participant``)."""
    return slot == name or slot.startswith((f"{name}.", f"{name}:"))


def _all_there(stored: Resource, message: Resource) -> bool:
    return all(name in FIXED or stored.get(name) == value for name, value in message.items())


def _at_least(one: str, other: str) -> bool:
    """Whether a rank is not lower than another. Times of different precision that overlap count as the same."""
    level, _, end = _parsed(one)
    other_level, begin, _ = _parsed(other)
    return level > other_level or (level == other_level and end > begin)


@lru_cache(maxsize=4096)
def _parsed(rank: str) -> tuple[int, int, int]:
    if rank == UNRANKED:
        return 0, 0, 1
    low, high = temporal.interval(rank.removeprefix("~"))
    return (1 if rank.startswith("~") else 2), low, high


def _read(resource: Resource) -> tuple[str, dict[str, str]]:
    """The rank of a stored resource, and of the slots that have another one."""
    base, ranks = UNRANKED, {}
    for one in resource.get("meta", {}).get("extension", ()):
        if one.get("url") == STATED:
            rank, *slots = one.get("valueString", "").split() or [UNRANKED]
            ranks.update(dict.fromkeys(slots, rank))
            base = base if slots else rank
    return base, ranks


def _texts(ranks: Mapping[str, str], absent: Iterable[str]) -> list[str]:
    """Ranks as they are kept: the commonest alone, each other, and those of absent slots, with its slots."""
    counted = Counter(rank for slot, rank in ranks.items() if EACH not in slot and slot not in absent)
    base = max(counted, key=lambda rank: (counted[rank], rank), default=UNRANKED)
    others: dict[str, list[str]] = {}
    for slot, rank in ranks.items():
        if (rank != base and EACH not in slot) or slot in absent:
            others.setdefault(rank, []).append(slot)
    return [*([base] if base != UNRANKED else []), *(" ".join((rank, *slots)) for rank, slots in others.items())]


def _with(resource: Resource, texts: Sequence[str]) -> Resource:
    if not texts:
        return resource
    meta = resource.get("meta", {})
    kept = [one for one in meta.get("extension", ()) if one.get("url") != STATED]
    ranks = [{"url": STATED, "valueString": text} for text in texts]
    return {**resource, "meta": {**meta, "extension": [*kept, *ranks]}}

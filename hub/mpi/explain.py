"""Why two registrations are, or are not, one person: every field's contribution, in words."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import Any

from hub.mpi import review, score
from hub.mpi.features import Features
from hub.mpi.rules import Rules

LINKED, CERTAIN = "linked", "would-link"
ASKED, UNLIKE = "review", "different"
DECISIONS = {
    LINKED: ("同一人", "one person"),
    CERTAIN: ("证据足以自动关联", "the evidence is enough to link"),
    ASKED: ("需要人工判定", "a human must decide"),
    UNLIKE: ("不同的人", "different people"),
}


@cache
def words() -> dict[tuple[str, str], tuple[str, str]]:
    """(field, level) -> zh, en; level "" is the field's own name."""
    text = files("hub.mpi").joinpath("explain.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {(row["field"], row["level"]): (row["zh"], row["en"]) for row in rows}


def explain(one: Features, other: Features, rules: Rules, *, linked: bool) -> dict[str, Any]:
    """The comparison as data: decision, reason, bits and thresholds, and a row a field.

    ``linked`` says whether they are one person in the graph now, which may rest on other registrations or on a human.
    """
    result = score.compare(one, other, rules.score)
    objection = score.guard(one, other, result, rules.score)
    decision = _decision(result, objection, rules, linked)
    zh, en = DECISIONS[decision]
    reason = f"{zh} / {en}"
    if objection and decision == ASKED:
        reason = " / ".join(review.REASONS[objection])
    return {
        "decision": decision,
        "reason": reason,
        "bits": round(result.bits, 1),
        "link_from": round(rules.score.link, 1),
        "review_from": round(rules.score.review, 1),
        "rules": rules.version,
        "fields": [_row(field, one, other, result) for field in result.levels],
    }


def _decision(result: score.Score, objection: str, rules: Rules, linked: bool) -> str:
    if linked:
        return LINKED
    if result.levels.get("id") == "differs" or result.bits < rules.score.review:
        return UNLIKE
    return ASKED if objection or result.bits < rules.score.link else CERTAIN


def _row(field: str, one: Features, other: Features, result: score.Score) -> dict[str, Any]:
    level = result.levels[field]
    name, said = words()[field, ""], words()[field, level]
    return {
        "field": f"{name[0]} {name[1]}",
        "level": level,
        "text": f"{said[0]} / {said[1]} ({result.parts[field]:+.1f})",
        "bits": round(result.parts[field], 2),
        "a": _shown(field, one),
        "b": _shown(field, other),
    }


def _shown(field: str, side: Features) -> str:
    values = {
        "id": sorted(side.ids | side.wrong_ids),
        "card": [value for _, value in sorted(side.documents)],
        "number": [value for _, value in sorted(side.numbers)],
        "name": side.names,
        "born": (side.born,),
        "gender": (side.gender,),
        "phone": sorted(side.phones),
        "address": (side.address,),
        "family": (side.family,),
        "given": (side.given,),
        "house": (side.house,),
        "street": (side.street,),
        "locality": (side.locality,),
        "place": (side.place,),
        "postcode": (side.postcode,),
        "state": (side.state,),
    }
    return ", ".join(values[field])

"""Review: what the master patient index must not decide by itself, as FHIR Tasks, and what humans decided.

A Task is about a pair of registrations. Its id comes from the pair, so the same question is asked once, whatever the
order of arrival; a decision (Task.businessStatus) holds, also for the
persons that a merge makes.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from hub.mpi.rules import Key

Resource = dict[str, Any]
TASKS = uuid.UUID("0d2f2b0e-2d57-5c0f-8f0b-1c5a0a3f9e42")
CODES = "https://region-hub.example/fhir/CodeSystem/identity-review"
SAME, DIFFERENT = "same-person", "different-person"
REASONS = {
    "two-documents": (
        "两个不同的有效证件号，不能是同一人",
        "two different valid document numbers are never one person",
    ),
    "shared-document": ("证件相同，但姓名和出生日期都不同", "the same document, but name and birth date both differ"),
    "no-own-name": ("新生儿或无名氏，没有共同证件", "a newborn or a person without a name, and no common document"),
    "other-name": ("其他信息相同，但姓名不同（双胞胎、兄弟姐妹？）", "all alike but the name: twins or siblings?"),
    "other-birth": ("姓名相同，但出生日期或性别不同", "the same name, but birth date or sex differ"),
    "same-source": ("同一机构的两个患者号", "two patient numbers of one institution"),
    "possible-match": ("可能是同一人，证据不足", "perhaps one person; the evidence is not enough"),
    "decided-different": (
        "人工判定为不同的人，但证据指向同一人",
        "decided to be different people, yet evidence says one",
    ),
    "asked": ("人工判定", "decided by a human"),
}
"""Reason -> what it means, zh and en."""


@dataclass(frozen=True, slots=True)
class Question:
    """Why two registrations (``Patient/id``, or ``Person/id``) were not linked, and the disputed identifiers."""

    reason: str
    one: str
    other: str
    keys: tuple[Key, ...] = ()
    evidence: str = ""

    @property
    def task_id(self) -> str:
        """The id of the Task about this pair."""
        return str(uuid.uuid5(TASKS, "|".join(sorted((self.one, self.other)))))

    def task(self) -> Resource:
        """The open Task."""
        zh, en = REASONS[self.reason]
        task: Resource = {
            "resourceType": "Task",
            "id": self.task_id,
            "status": "requested",
            "intent": "proposal",
            "code": {"coding": [{"system": CODES, "code": self.reason, "display": en}], "text": f"{zh} / {en}"},
            "focus": {"reference": self.one},
            "for": {"reference": self.other},
        }
        return {**task, "description": self.evidence} if self.evidence else task


def decided(task: Resource, same: bool, actor: str, note: str) -> Resource:
    """The Task with a human's decision."""
    code = SAME if same else DIFFERENT
    return {
        **task,
        "status": "completed",
        "businessStatus": {"coding": [{"system": CODES, "code": code}]},
        "owner": {"display": actor},
        "note": [{"text": note}],
    }


def is_review(task: Resource) -> bool:
    """Whether a Task is of the master patient index."""
    coding = task.get("code", {}).get("coding", ())
    return any(one.get("system") == CODES for one in coding) and "focus" in task and "for" in task


def is_open(task: Resource) -> bool:
    """Whether nobody has decided yet."""
    return bool(task["status"] == "requested")


def reason(task: Resource) -> str:
    """Why a human is asked."""
    return str(next(one["code"] for one in task["code"]["coding"] if one.get("system") == CODES))


def answered(task: Resource) -> Resource:
    """The Task that evidence answered before a human did."""
    return {**task, "status": "cancelled", "statusReason": {"text": "已由新证据解决 / settled by later evidence"}}


def pair(task: Resource) -> frozenset[str]:
    """The two registrations of a Task."""
    return frozenset((task["focus"]["reference"], task["for"]["reference"]))


def verdict(task: Resource) -> str:
    """SAME or DIFFERENT of a decided Task, "" of an open one."""
    coding = task.get("businessStatus", {}).get("coding", ({},))
    return str(coding[0].get("code", ""))

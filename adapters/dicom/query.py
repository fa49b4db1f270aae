"""Query: rows of the imaging index as the answers of QIDO-RS (PS3.18 10.6) and C-FIND (PS3.4 C.4.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adapters.dicom.dataset import Attributes, text
from hub.services.context import Context
from hub.services.imaging import Imaging
from hub.services.imaging_index import LEVELS, Level, Row

STUDY_SERIES, STUDY_INSTANCES, SERIES_INSTANCES = "00201206", "00201208", "00201209"
INSTANCE_DEFAULTS = ("00080005", "00080016", "00080018", "00200013", "00280008", "00280010", "00280011", "00280100")
"""What an instance answers with when nothing more is asked for (PS3.18 table 10.6.3-5)."""


def search(
    imaging: Imaging,
    context: Context,
    level: Level,
    keys: Iterable[tuple[str, str]],
    *,
    above: bool,
    counted: bool = True,
    limit: int,
    offset: int = 0,
) -> list[Attributes]:
    """Answers of a level; ``above`` adds the attributes of the levels above, ``counted`` the numbers of what is below.

    Raises as ``Imaging.find``.
    """
    rows = imaging.find(context, level, keys, limit=limit, offset=offset)
    parents = _parents(imaging, level, rows)
    answers = [_answer(level, row, parents, above) for row in rows]
    if counted:
        for answer, row in zip(answers, rows, strict=True):
            _count(imaging, level, row, answer)
    return answers


def _parents(imaging: Imaging, level: Level, rows: Iterable[Row]) -> dict[str, Row]:
    """Study and series rows above these rows, by id."""
    found: dict[str, Row] = {}
    for name in LEVELS[: LEVELS.index(level)]:
        found |= imaging.rows(name, sorted({row[name] for row in rows}))
    return found


def _answer(level: Level, row: Row, parents: dict[str, Row], above: bool) -> Attributes:
    attributes: Attributes = {"00080056": {"vr": "CS", "Value": ["ONLINE"]}}
    for name, tag in zip(LEVELS[: LEVELS.index(level)], ("0020000D", "0020000E"), strict=False):
        parent = parents[row[name]]
        attributes |= parent["attributes"] if above else {tag: {"vr": "UI", "Value": [parent["uid"]]}}
    attributes |= row["attributes"]
    if level == "instance":
        attributes |= {
            "00080016": {"vr": "UI", "Value": [row["sopClass"]]},
            "00080018": {"vr": "UI", "Value": [row["uid"]]},
            "00083002": {"vr": "UI", "Value": [row["transferSyntax"]]},
        }
    return attributes


def _count(imaging: Imaging, level: Level, row: Row, answer: Attributes) -> None:
    """Numbers of related series and instances; a settled study has its own written down."""
    if level == "study" and ("open" in row or STUDY_INSTANCES not in answer):
        answer[STUDY_SERIES] = _number(imaging.counts("series", row["id"]))
        answer[STUDY_INSTANCES] = _number(imaging.counts("instance", row["id"]))
    elif level == "series":
        answer[SERIES_INSTANCES] = _number(imaging.counts("instance", row["study"], row["id"]))


def _number(value: int) -> dict[str, Any]:
    return {"vr": "IS", "Value": [value]}


def uids(attributes: Attributes) -> tuple[str, str, str]:
    """Study, Series and SOP Instance UID of an answer."""
    return text(attributes, "0020000D"), text(attributes, "0020000E"), text(attributes, "00080018")

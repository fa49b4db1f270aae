"""Co-constraint tables: segments chosen by a code must have certain values, and so many of them must be there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple
from xml.etree.ElementTree import Element

from adapters.hl7v2.profile.expressions import evaluate
from adapters.hl7v2.profile.records import CoConstraint, CoGroup, CoTable, Profile
from adapters.hl7v2.profile.tree import Node
from adapters.hl7v2.profile.valuesets import Sets


class Breach(NamedTuple):
    """A row that is not kept: the place, and what the row asks for."""

    node: Node
    detail: str


def breaches(profile: Profile, root: Node, sets: Sets) -> Iterator[Breach]:
    """Every row of every table that the message does not keep."""
    for table in profile.tables:
        for context in root.find(table.context):
            if table.condition is None or evaluate(table.condition, context, sets.member):
                yield from _table(table, context, sets)


def _table(table: CoTable, context: Node, sets: Sets) -> Iterator[Breach]:
    segments = context.find(table.segment)
    for row in table.rows:
        yield from _row(row, segments, context, sets)
    for group in table.groups:
        yield from _group(group, _together(segments, table.ids), context, sets)


def _together(segments: list[Node], ids: tuple[str, ...]) -> list[list[Node]]:
    """Segments with the same group id, in order of appearance."""
    found: dict[str, list[Node]] = {}
    for segment in segments:
        values = (node.value for path in ids for node in segment.find(path))
        found.setdefault(next(values, ""), []).append(segment)
    return list(found.values())


def _group(group: CoGroup, together: list[list[Node]], context: Node, sets: Sets) -> Iterator[Breach]:
    primary = group.rows[0] if group.rows else None
    if primary is None:
        return
    instances = [segments for segments in together if any(_chosen(primary, one, sets) for one in segments)]
    yield from _cardinality(group.name, group.usage, group.min, group.max, [one[0] for one in instances], context)
    for segments in instances:
        for row in group.rows:
            yield from _row(row, segments, segments[0], sets)


def _row(row: CoConstraint, segments: list[Node], context: Node, sets: Sets) -> Iterator[Breach]:
    chosen = [one for one in segments if _chosen(row, one, sets)]
    yield from _cardinality(row.name, row.usage, row.min, row.max, chosen, context)
    for segment in chosen:
        for cell in row.constraints:
            where = segment.find(cell.get("Path", "."))
            if not _kept(cell, segment, sets):
                yield Breach(where[0] if where else segment, f"{row.name}: {_said(cell)}")


def _cardinality(
    name: str, usage: str, low: int, high: int, found: list[Node], context: Node
) -> Iterator[Breach]:  # fmt: skip
    if usage == "X" and found:
        yield Breach(found[0], f"{name}: X")
    elif len(found) < (max(low, 1) if usage == "R" else low if found else 0):
        yield Breach(found[-1] if found else context, f"{name}: {usage} [{low}..{high if high >= 0 else '*'}]")
    elif 0 <= high < len(found):
        yield Breach(found[high], f"{name}: at most {high}")


def _chosen(row: CoConstraint, segment: Node, sets: Sets) -> bool:
    return bool(row.selectors) and all(_kept(cell, segment, sets) for cell in row.selectors)


def _kept(cell: Element, segment: Node, sets: Sets) -> bool:
    found = segment.find(cell.get("Path", "."))
    judge: Callable[[Element, Node, Sets], bool] | None = _CELLS.get(cell.tag)
    if judge is None:
        return evaluate(cell, segment, sets.member) is not False
    return any(judge(cell, one, sets) for one in found)


def _code(cell: Element, node: Node, sets: Sets) -> bool:
    """The code, of that code system, at one of the locations."""
    for location in cell.findall("BindingLocation"):
        codes = node.find(location.get("CodePath", "."))
        systems = node.find(location.get("CodeSystemPath", "")) if location.get("CodeSystemPath") else []
        if any(one.value == cell.get("Code") for one in codes) and (
            not systems or systems[0].value == cell.get("CodeSystem", systems[0].value)
        ):
            return True
    return not cell.findall("BindingLocation") and node.value == cell.get("Code")


def _text(cell: Element, node: Node, sets: Sets) -> bool:
    return node.value == (cell.get("Value") or cell.get("Text") or "")


def _set(cell: Element, node: Node, sets: Sets) -> bool:
    return sets.bound(cell, node) is None


_CELLS: dict[str, Callable[[Element, Node, Sets], bool]] = {"Code": _code, "PlainText": _text, "ValueSet": _set}


def _said(cell: Element) -> str:
    sets = ":".join(one.get("BindingIdentifier", "") for one in cell.iter("Binding"))
    name = cell.get("Name") or cell.get("Path") or ""
    return f"{name} = {cell.get('Code') or cell.get('Value') or cell.get('Text') or sets}"

"""Message tables, compiled: which segment stands where, and which resources it fills.

A message is walked segment by segment: each finds its place in the group structure, fills the resources of its rows,
and drops what an earlier turn of the same group had in view; so an OBX belongs to the OBR before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from adapters.mapping.compiler import Compiler
from adapters.mapping.run import Entry, Resource, Run, Segment
from adapters.mapping.tables import MessageRow

Step = Callable[[Run, Segment], None]
WHOSE = ("subject", "patient", "beneficiary")
"""References to the person that R4 requires of most resources."""


@dataclass(slots=True)
class Place:
    """A segment's place in a message table: its groups, outermost first, and the steps of its rows.

    ``second`` (written ``PID:second``): where the segment stands when it comes again.
    """

    number: int
    groups: tuple[str, ...]
    steps: list[Step]
    labels: set[str] = field(default_factory=set)
    second: bool = False


@dataclass(slots=True)
class Group:
    """What a group's rows bring into view: places, segments, resources, and of those the ones of groups within it."""

    first: int
    places: set[int] = field(default_factory=set)
    segments: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)
    inner: set[str] = field(default_factory=set)


class Structure:
    """One message table, compiled."""

    def __init__(self, name: str, rows: Iterable[MessageRow], compiler: Compiler) -> None:
        self.name = name
        self.places: dict[str, list[Place]] = {}
        self._groups: dict[str, Group] = {}
        known: dict[str, Place] = {}
        for number, row in enumerate(rows):
            *groups, segment = row.identifier.split(".")
            segment = segment.split(":")[0]
            place = known.get(row.identifier)
            if place is None:
                paths = tuple(".".join(groups[: depth + 1]) for depth in range(len(groups)))
                place = known[row.identifier] = Place(number, paths, [], second=row.identifier.endswith(":second"))
                self.places.setdefault(segment, []).append(place)
            if row.map:
                place.steps.append(_step(row, compiler))
            for path in place.groups:
                group = self._groups.setdefault(path, Group(number))
                group.segments.add(segment)
                group.places.add(place.number)
                if row.target and not row.target.endswith("+"):
                    place.labels.add(row.target)
                    group.labels.add(row.target)
                    if path != place.groups[-1]:
                        group.inner.add(row.target)

    def walk(self, run: Run, segments: Iterable[Segment]) -> list[str]:
        """Take every segment to its place and run its rows; the names of segments without a mapping."""
        at: Place | None = None
        seen: set[int] = set()
        unmapped: dict[str, None] = {}
        for segment in segments:
            places = self.places.get(segment.name)
            if places is None:
                unmapped[segment.name] = None
                continue
            place = places[0] if len(places) == 1 or at is None else self._next(places, at)
            if at is not None and place.number <= at.number:
                self._begin_again(run, at, place, seen)
            seen.add(place.number)
            at = place
            run.latest[segment.name] = run.segment = segment
            if not place.steps:
                unmapped[segment.name] = None
            for step in place.steps:
                step(run, segment)
        return list(unmapped)

    def _next(self, places: list[Place], at: Place) -> Place:
        """The place of a segment after ``at``: ahead in the innermost group with one, else the group begins anew."""
        for depth in range(len(at.groups), 0, -1):
            group = at.groups[depth - 1]
            within = [place for place in places if len(place.groups) >= depth and place.groups[depth - 1] == group]
            if within:
                ahead = [place for place in within if place.number >= at.number]
                if len(ahead) > 1 and ahead[0] is at and ahead[1].second:
                    return ahead[1]
                return ahead[0] if ahead else within[0]
        return places[0]

    def _begin_again(self, run: Run, at: Place, place: Place, seen: set[int]) -> None:
        """What the earlier turn of a group had in view is out of view when the group begins anew.

        Going back to a group's first segment, or to one that this turn already had, begins the innermost group that
        holds both places. A segment that only comes late does not, nor one that repeats in its place, unless it shares
        its resource with an earlier one (ORC and OBR make one ServiceRequest: a second OBR is another order).
        """
        common = [path for path in place.groups if path in at.groups]
        group = self._groups[common[-1]]
        again = place.number == group.first or place.number in seen
        if place is at and place.number != group.first:
            again = any(
                place.labels & other.labels
                for others in self.places.values()
                for other in others
                if other is not place and other.groups == place.groups
            )
        if len(common) == 1 or not again:
            return
        seen -= group.places
        for name in group.segments:
            run.latest.pop(name, None)
        for label in group.labels:
            run.current.pop(label, None)
        for label in group.inner:
            run.labels.pop(label, None)


def _step(row: MessageRow, compiler: Compiler) -> Step:
    """One row: a target with ``+`` adds to the resource in view, any other is a new resource for each segment.

    The map of another segment (``ORC[...]`` on an OBR row) takes the one of that name in view.
    """
    test = compiler.condition(row.condition) if row.condition else None
    fill = compiler.segment(row.map)
    links = [_link(text) for text in row.references.split(";") if text.strip()]
    adds = row.target.endswith("+")
    source, own = row.map.split("[")[0], row.identifier.rpartition(".")[2].split(":")[0]
    label = row.target.removesuffix("+")
    type = label.split("[")[0]

    def step(run: Run, segment: Segment) -> None:
        if test is not None and not test(run):
            return
        entry = run.current.get(label)
        if entry is None and adds:
            return
        if entry is None or (not adds and entry.segment.name == segment.name and entry.segment is not segment):
            entry = Entry({"resourceType": type}, label, segment)
            run.current[label] = entry
            run.labels.setdefault(label, []).append(entry)
            run.entries.append(entry)
        entry.scope = {}
        filling = segment if source == own else run.latest.get(source)
        if filling is not None:
            run.segment = filling
            fill(run, entry, filling)
            run.segment = segment
        for link in links:
            link(run, entry)

    return step


def _link(text: str) -> Callable[[Run, Entry], None]:
    """``subject=Patient``: an element of this resource; ``DiagnosticReport:result[]=Observation``: of another in view.

    ``Observation[*]:specimen=Specimen`` reaches all of this group; ``[]`` adds to a list, ``[-1]`` is its last element.
    """
    left, _, right = text.strip().partition("=")
    owner, _, path = left.rpartition(":")
    every = owner.endswith("[*]")
    owner = owner.removesuffix("[*]")
    steps = path.split(".")

    def link(run: Run, entry: Entry) -> None:
        target = run.current.get(right)
        if target is None:
            if not owner and path in WHOSE:
                entry.resource.setdefault(path, {"display": "not named in the message"})
            return
        if every:
            owners = run.labels.get(owner, [])
        else:
            one = run.current.get(owner) if owner else entry
            owners = [one] if one is not None else []
        for resource in owners:
            if resource is not target:
                _place(resource.resource, steps, run.link(target))

    return link


def _place(resource: Resource, path: list[str], reference: dict[str, str]) -> None:
    for name in path[:-1]:
        if name.endswith("[]"):
            items = resource.setdefault(name[:-2], [])
            items.append({})
            resource = items[-1]
        elif name.endswith("[-1]"):
            resource = resource.setdefault(name[:-4], [{}])[-1]
        else:
            resource = resource.setdefault(name, {})
    last = path[-1]
    if last.endswith("[]"):
        items = resource.setdefault(last[:-2], [])
        if reference not in items or not reference["reference"]:
            items.append(reference)
    else:
        resource.setdefault(last, reference)

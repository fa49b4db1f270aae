"""``hub map check``: the lint of mapping tables."""

from __future__ import annotations

from adapters.mapping.engine import Engine
from adapters.mapping.tables import Tables
from hub.fhir import elements

WORDS = ("states", "mentions", "names", "withdraws")


def lint(engine: Engine) -> list[str]:
    """Faults as ``file line: what``, beyond those that keep the tables from compiling.

    An attribute must be an element of R4; a table nobody uses, a map without rows and a resource type without a key
    are faults.
    """
    tables = engine.tables
    faults: list[str] = []
    used = {row.map for rows in tables.messages.values() for row in rows if row.map}
    faults += [f"segments/{name}.csv: no message table uses it" for name in sorted(tables.segments.keys() - used)]
    inner = {row.map.split(":")[-1] for rows in (*tables.segments.values(), *tables.datatypes.values()) for row in rows}
    faults += [f"datatypes/{name}.csv: no table uses it" for name in sorted(tables.datatypes.keys() - inner)]
    words = {row.vocabulary for rows in (*tables.segments.values(), *tables.datatypes.values()) for row in rows}
    faults += [f"codes/{name}.csv: no table uses it" for name in sorted(tables.codes.keys() - words)]
    for name, rows in tables.messages.items():
        for row in rows:
            type = row.target.removesuffix("+").split("[")[0]
            if type and type not in tables.keys:
                faults.append(f"messages/{name}.csv line {row.line}: keys.csv says nothing of {type}")
            if row.map and type != _target(row.map):
                faults.append(f"messages/{name}.csv line {row.line}: {row.map} does not fill a {type}")
    for name, segment_rows in tables.segments.items():
        for one in segment_rows:
            if one.attribute and (fault := _fault(_target(name), one.attribute)):
                faults.append(f"segments/{name}.csv line {one.line}: {fault}")
    for name, datatype_rows in tables.datatypes.items():
        for one in datatype_rows:
            if one.attribute and (fault := _fault(_target(name), one.attribute)):
                faults.append(f"datatypes/{name}.csv line {one.line}: {fault}")
    return faults + _meaning(tables)


def _meaning(tables: Tables) -> list[str]:
    """Faults of authority.csv, cancels.csv and defaults.csv: words, types, elements and events unheard of."""
    faults: list[str] = []
    for row in tables.authority:
        faults += [
            f"authority.csv line {row.line}: keys.csv says nothing of {type}"
            for type in row.types
            if type not in tables.keys
        ]
        if row.authority not in WORDS:
            faults.append(f"authority.csv line {row.line}: {row.authority!r} is none of {', '.join(WORDS)}")
    for one in tables.cancels:
        unserved = [event for event in (one.event, *one.cancels) if event not in tables.events]
        faults += [f"cancels.csv line {one.line}: no message table serves {event}" for event in unserved]
    for type, elements_of in tables.defaults.items():
        unknown = [name for name in elements_of if name not in elements.json_members(type)]
        faults += [f"defaults.csv: R4 has no {type}.{name}" for name in unknown]
    return faults


def _target(name: str) -> str:
    """``PV1[Encounter]`` -> Encounter; ``OBR[ServiceRequest-New]`` -> ServiceRequest."""
    return name.split("[", 1)[1].rstrip("]").split("-")[0]


def _fault(type: str, attribute: str) -> str:
    """What is wrong with an element path of a resource or data type, "" when it is right.

    A list needs ``[n]``, and only a list has one (R4 2.24).
    """
    model = type
    for part in attribute.split("."):
        name, _, slot = part.partition("[")
        found = elements.json_members(model).get(name.removeprefix("_"))
        if found is None:
            return f"R4 has no {model}.{name}"
        element, model = found
        if element.many != bool(slot) and not name.startswith("_"):
            return f"{model} {name} is {'a list: write [1] or [0]' if element.many else 'no list'}"
    return ""

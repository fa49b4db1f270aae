"""The CapabilityStatement, generated from the tables that serve the requests, so that it cannot lie (R4 3.1.0.10)."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from hub.api import negotiate
from hub.api.operations import INSTANCE, SYSTEM, TYPE, Operation
from hub.api.routes import ROUTES
from hub.fhir import temporal
from hub.search.parse import FULL_TEXT
from hub.services.doors import Doors
from hub.services.fulltext import UNSEARCHED

Resource = dict[str, Any]

INTERACTIONS = frozenset(
    "read vread update patch delete history-instance history-type create search-type"
    " transaction batch search-system history-system".split()
)
"""http://hl7.org/fhir/restful-interaction, as far as a CapabilityStatement names them."""


def statement(
    doors: Doors, root: str, databases: tuple[str, ...], operations: dict[str, Operation], now: int
) -> Resource:
    """What the base ``root`` does; ``databases`` as for a Request, ``now`` in microseconds since 1970 UTC."""
    types = sorted(
        type
        for type in doors.definitions.resource_types
        if not databases or set(databases) & set(doors.databases.owners(type))
    )
    rest = {
        "mode": "server",
        "resource": [_resource(doors, type, operations) for type in types],
        "interaction": [{"code": code} for code in _codes(SYSTEM)],
        "searchParam": _parameters(doors, "Resource"),
        "operation": _operations(operations, SYSTEM, ""),
        "compartment": [
            f"http://hl7.org/fhir/CompartmentDefinition/{owner.lower()}"
            for owner in doors.query.compartments.owners
            if owner in types
        ],
    }
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": temporal.instant(now),
        "publisher": "region-hub",
        "kind": "instance",
        "software": {"name": "region-hub", "version": version("region-hub")},
        "implementation": {"description": f"Region hub {doors.settings.region}", "url": root},
        "fhirVersion": "4.0.1",
        "format": [*negotiate.MEDIA.values(), "json", "xml"],
        "patchFormat": [negotiate.PATCH_JSON, *negotiate.MEDIA.values()],
        "rest": [{name: value for name, value in rest.items() if value}],
    }


def _resource(doors: Doors, type: str, operations: dict[str, Operation]) -> Resource:
    codes = _codes(TYPE) + _codes(INSTANCE)
    entry: Resource = {
        "type": type,
        "profile": f"http://hl7.org/fhir/StructureDefinition/{type}",
        "interaction": [{"code": code} for code in codes],
        "versioning": "versioned",
        "readHistory": "vread" in codes,
        "updateCreate": True,
        "conditionalCreate": True,
        "conditionalRead": "full-support",
        "conditionalUpdate": "conditional_update" in ROUTES["T"].values(),
        "conditionalDelete": "single" if "conditional_delete" in ROUTES["T"].values() else "not-supported",
        "referencePolicy": ["literal", "logical"],
        "searchInclude": ["*", *(f"{type}:{code}" for code, one in _of(doors, type) if one.type == "reference")],
        "searchParam": _parameters(doors, type),
    }
    offered = _operations(operations, TYPE, type)
    return {**entry, "operation": offered} if offered else entry


def _of(doors: Doors, type: str) -> list[tuple[str, Any]]:
    return sorted(doors.registry.of(type).items())


def _parameters(doors: Doors, type: str) -> list[Resource]:
    offered = [{"name": code, "definition": one.url, "type": one.type} for code, one in _of(doors, type)]
    if doors.full_text is not None and type not in ("Resource", *UNSEARCHED):
        offered += [{"name": name, "type": "string"} for name in sorted(FULL_TEXT)]
    return offered


def _codes(level: str) -> list[str]:
    """The restful-interaction codes of the routes on one level, in the table's order."""
    depth = {SYSTEM: (), TYPE: ("T",), INSTANCE: ("T", "I")}[level]
    codes: list[str] = []
    for shape, methods in ROUTES.items():
        variables = tuple(part for part in shape.split("/") if part in ("T", "I"))
        if variables != depth:
            continue
        for interaction in methods.values():
            code = interaction.replace("_", "-")
            codes += ["transaction", "batch"] if code == "transaction" else [code]
    return [code for code in dict.fromkeys(codes) if code in INTERACTIONS]


def _operations(operations: dict[str, Operation], level: str, type: str) -> list[Resource]:
    levels = (SYSTEM,) if level == SYSTEM else (TYPE, INSTANCE)
    return [
        {"name": row.name, "definition": row.definition}
        for row in operations.values()
        if set(levels) & set(row.levels) and (level == SYSTEM or not row.types or type in row.types)
    ]

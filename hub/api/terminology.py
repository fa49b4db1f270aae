"""The FHIR terminology operations over HTTP (R4 4.7; IHE SVCM ITI-95 to ITI-102): one handler, one table."""

from __future__ import annotations

from typing import Any

from hub.api.exchange import Answer, Request, of_resource
from hub.errors import HubError
from hub.fhir import json
from hub.services.doors import Doors
from hub.services.terminology import refusal
from terminology.errors import TerminologyError
from terminology.operations import OPERATIONS, from_query
from terminology.service import Terminology

TABLE = (
    ("lookup", ("CodeSystem",), "CodeSystem-lookup"),
    ("subsumes", ("CodeSystem",), "CodeSystem-subsumes"),
    ("find-matches", ("CodeSystem",), "CodeSystem-find-matches"),
    ("validate-code", ("CodeSystem", "ValueSet"), "ValueSet-validate-code"),
    ("expand", ("ValueSet",), "ValueSet-expand"),
    ("translate", ("ConceptMap",), "ConceptMap-translate"),
    ("closure", (), "ConceptMap-closure"),
)
"""Name, types (() is the system level) and OperationDefinition of each operation."""

_OWN = {"CodeSystem": "codeSystem", "ValueSet": "valueSet", "ConceptMap": "conceptMap"}


class TerminologyOperations:
    """Runs every operation of the table."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._stored = doors.codes.stored

    def run(self, request: Request) -> Answer:
        """Parameters of body or query to the terminology service; its refusal as a HubError."""
        route = request.route
        try:
            terminology = self._stored.refresh()
            given = request.resource() if request.body else from_query(request.pairs)
            if route.id:
                given = {**given, "parameter": [*given.get("parameter", ()), self._instance(request, terminology)]}
            return of_resource(200, OPERATIONS[route.type, route.name](terminology, given))
        except TerminologyError as error:
            raise refusal(error, f"${route.name}") from None

    def _instance(self, request: Request, terminology: Terminology) -> dict[str, Any]:
        """The resource the operation is called on, stored or shipped, as a parameter."""
        route = request.route
        try:
            version = self._doors.query.read(request.context, route.type, route.id, request.databases)
            resource = json.stored(version.text)
        except HubError as error:
            shipped = terminology.registry.by_id(route.type, route.id)
            if error.name != "not-found" or shipped is None:
                raise
            resource = shipped
        return {"name": _OWN[route.type], "resource": resource}

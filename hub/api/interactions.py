"""The RESTful interactions (R4 3.1.0) as functions of a Request: services asked, an Answer made. No transport here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from hub.api import binary, bundle, negotiate, subset
from hub.api.exchange import Answer, Handler, Pairs, Request, of_resource, version_headers
from hub.errors import HubError
from hub.fhir import json, outcome, patch, temporal
from hub.search.expression import ALL, Expression
from hub.services.doors import Doors
from hub.services.ingest import Written
from hub.services.page import Page
from hub.store.protocol import Version

CURSOR = "_cursor"
"""The one parameter of a page link."""
HISTORY_PARAMETERS = frozenset({"_at", "_count", "_since", CURSOR})
READ_PARAMETERS = frozenset({"_summary", "_elements"})


class Interactions:
    """Every interaction but the Bundles (``hub.api.bundles``) and operations (``hub.api.operations``)."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._limits = doors.settings.search

    def table(self) -> dict[str, Handler]:
        """Interaction -> handler."""
        return {
            "read": self.read, "vread": self.vread,
            "create": self.create, "update": self.update, "delete": self.delete,
            "patch": self.patch,
            "conditional_update": self.conditional_update, "conditional_patch": self.patch,
            "conditional_delete": self.conditional_delete,
            "search_type": self.search_type, "search_system": self.search_system,
            "search_compartment": self.search_compartment,
            "history_instance": self.history, "history_type": self.history, "history_system": self.history,
        }  # fmt: skip

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, request: Request) -> Answer:
        route = request.route
        version = self._doors.query.read(request.context, route.type, route.id, request.databases)
        return self._version(request, version)

    def vread(self, request: Request) -> Answer:
        route = request.route
        number = version_number(route.version, request.path)
        version = self._doors.query.vread(request.context, route.type, route.id, number, request.databases)
        return self._version(request, version)

    def _version(self, request: Request, version: Version) -> Answer:
        headers = version_headers(version)
        if negotiate.not_modified(request.headers, version.version, version.updated):
            return Answer(304, headers=headers)
        if request.format == negotiate.RAW and not request.pairs:
            answer = binary.content(self._doors.databases.decode(version), request.headers.get("accept", ""))
            answer.headers += headers
            return answer
        if not request.pairs:
            return Answer(200, [version.text], headers)
        _refuse_others(request.pairs, READ_PARAMETERS)
        return Answer(
            200, [subset.of_text(self._doors.definitions, version.text, *_subset_asked(request.pairs))], headers
        )

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(self, request: Request) -> Answer:
        resource = _sent(request)
        if resource["resourceType"] != request.route.type:
            raise HubError(
                "parameter-value",
                f"the URL names {request.route.type}, the body is {resource['resourceType']!r}",
                "resourceType",
            )
        if request.pairs:
            said = "a create takes no parameters; a conditional one has its criteria in the header If-None-Exist"
            raise HubError("parameter-unknown", said, request.pairs[0][0][:60])
        criteria = request.headers.get("if-none-exist")
        pairs = None if criteria is None else parse_criteria(criteria)
        written = self._doors.ingest.create(request.context, resource, if_none_exist=pairs, database=request.database)
        return self.written(request, written)

    def update(self, request: Request) -> Answer:
        route, if_match = request.route, negotiate.version_tag(request.headers)
        written = self._doors.ingest.update(
            request.context, route.type, route.id, _sent(request), if_match=if_match, database=request.database
        )
        return self.written(request, written)

    def conditional_update(self, request: Request) -> Answer:
        written = self._doors.ingest.conditional_update(
            request.context, request.route.type, request.pairs, request.resource(),
            if_match=negotiate.version_tag(request.headers), database=request.database,
        )  # fmt: skip
        return self.written(request, written)

    def patch(self, request: Request) -> Answer:
        """patch and conditional patch: JSON Patch or FHIRPath Patch, by the Content-Type (R4 3.1.0.5)."""
        route = request.route
        if not route.id and not request.pairs:
            raise HubError("precondition", "a conditional patch needs search criteria")
        apply: Callable[[dict[str, Any], Any], dict[str, Any]] = patch.fhirpath_patch
        operations: Any
        if request.kind == negotiate.PATCH_JSON:
            apply, operations = patch.json_patch, json.decode_value(request.body, max_bytes=len(request.body))
        else:
            operations = request.resource()
        written = self._doors.ingest.change(
            request.context, route.type, route.id or None, lambda resource: apply(resource, operations),
            criteria=request.pairs, if_match=negotiate.version_tag(request.headers), database=request.database,
        )  # fmt: skip
        return self.written(request, written)

    def delete(self, request: Request) -> Answer:
        route, if_match = request.route, negotiate.version_tag(request.headers)
        written = self._doors.ingest.delete(
            request.context, route.type, route.id, if_match=if_match, database=request.database
        )
        return self.written(request, written)

    def conditional_delete(self, request: Request) -> Answer:
        written = self._doors.ingest.conditional_delete(
            request.context, request.route.type, request.pairs, database=request.database
        )
        return self.written(request, written)

    def written(self, request: Request, written: Written) -> Answer:
        """Status, Location, ETag and the body that Prefer asks for (R4 3.1.0.1.5)."""
        version = written.version
        headers = version_headers(version) if version is not None else []
        if version is not None and not version.deleted:
            place = f"{request.root}/{version.type}/{version.id}/_history/{version.version}"
            headers.append((b"location" if written.status == 201 else b"content-location", place.encode()))
        if request.prefer.returns == "operationoutcome":
            said = "no change was needed" if not written.changed else f"{request.route.interaction} was successful"
            answer = of_resource(
                200 if written.status == 204 else written.status,
                outcome.build([{"severity": "information", "code": "informational", "diagnostics": said}]),
            )
            answer.headers += headers
            return answer
        if version is None or version.deleted or request.prefer.returns == "minimal":
            return Answer(written.status, headers=headers)
        return Answer(written.status, [version.text], headers)

    # --- search -------------------------------------------------------------------------------------------------------

    def search_type(self, request: Request) -> Answer:
        return self.search(request, (request.route.type,), request.pairs, request.route.type)

    def search_system(self, request: Request) -> Answer:
        return self.search(request, (), request.pairs, "")

    def search_compartment(self, request: Request) -> Answer:
        """Search in a compartment (R4 3.1.0.9.2): of one type, or ``*`` for all that it has."""
        route = request.route
        compartments = self._doors.query.compartments
        if route.name == "*":
            return self.compartment(request, request.pairs, ())
        within = compartments.within(route.type, route.id, route.name)
        return self.search(request, (route.name,), request.pairs, f"{route.type}/{route.id}/{route.name}", within)

    def compartment(
        self, request: Request, pairs: Pairs, types: tuple[str, ...], *, referenced: bool = False
    ) -> Answer:
        """A page of a whole compartment; with ``referenced`` also what its members refer to outside it."""
        route = request.route
        asked = dict(pairs)
        criteria = [pair for pair in pairs if pair[0] not in (CURSOR, "_count")]
        count = self._count(asked.get("_count", str(self._limits.max_count)))
        place = f"{request.root}/{request.path}"
        page = self._doors.query.compartment(
            request.context, route.type, route.id, criteria, request.databases,
            types=types, common=not referenced, count=count, place=place, cursor=asked.get(CURSOR),
        )  # fmt: skip
        links = [("self", _url(place, request.pairs))]
        if page.next:
            links.append(("next", _url(place, [(CURSOR, page.next)])))
        root = request.root.encode()
        rows = [bundle.entry(root, row.type, row.id, row.text, b"match") for row in page.members]
        others = [bundle.entry(root, row.type, row.id, row.text, b"include") for row in page.referenced]
        return Answer(200, bundle.searchset(rows, others if referenced else [], links, page.total, []))

    def _count(self, text: str) -> int:
        if not (text.isascii() and text.isdigit() and int(text[:9]) > 0 and len(text) < 10):
            raise HubError("parameter-value", f"_count takes a number from 1, not {text[:40]!r}", "_count")
        return min(int(text), self._limits.max_count)

    def search(
        self, request: Request, types: tuple[str, ...], pairs: Pairs, path: str, within: Expression = ALL
    ) -> Answer:
        """A page of a search on ``types``; ``path`` is what its links are to, behind the base."""
        place = f"{request.root}/{path}" if path else request.root
        cursor = _cursor(pairs)
        page = self._doors.query.search(
            request.context, types, pairs, request.databases,
            strict=request.prefer.strict, within=within, place=place, cursor=cursor,
        )  # fmt: skip
        first = _url(place, page.search.used_pairs)
        links = [("self", first)]
        if page.continued:
            links = [("self", _url(place, request.pairs)), ("first", first)]
        if page.next:
            links.append(("next", _url(place, [(CURSOR, page.next)])))
        body = bundle.searchset(
            self._entries(request, page, page.matches, b"match"),
            self._entries(request, page, page.included, b"include"),
            links, page.total, [] if page.continued else page.search.issues,
        )  # fmt: skip
        return Answer(200, body)

    def _entries(self, request: Request, page: Page, rows: tuple[Version, ...], mode: bytes) -> list[bytes]:
        root, search = request.root.encode(), page.search
        if not search.elements and search.summary in ("", "false"):
            return [bundle.entry(root, row.type, row.id, row.text, mode) for row in rows]
        definitions = self._doors.definitions
        return [
            bundle.entry(
                root, row.type, row.id, subset.of_text(definitions, row.text, search.summary, search.elements), mode
            )
            for row in rows
        ]

    # --- history ------------------------------------------------------------------------------------------------------

    def history(self, request: Request) -> Answer:
        route = request.route
        _refuse_others(request.pairs, HISTORY_PARAMETERS)
        asked = dict(request.pairs)
        count = self._count(asked.get("_count", "100"))
        place = f"{request.root}/{request.path}"
        page = self._doors.query.history(
            request.context, (route.type,) if route.type else (), route.id or None, request.databases,
            since=_moment("_since", asked["_since"])[0] if "_since" in asked else 0,
            period=_moment("_at", asked["_at"]) if "_at" in asked else None,
            count=count, place=place, cursor=_cursor(request.pairs),
        )  # fmt: skip
        links = [("self", _url(place, request.pairs))]
        if page.next:
            links.append(("next", _url(place, [(CURSOR, page.next)])))
        return Answer(200, bundle.history(request.root, page.versions, links, page.total))


def _sent(request: Request) -> dict[str, Any]:
    """The resource to be written; the body of a Binary may be its content."""
    return binary.sent(request) if request.route.type == "Binary" else request.resource()


def version_number(text: str, place: str) -> int:
    """The number of a version. HubError("not-found") for what is none; ``place`` is what was asked for."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise HubError("not-found", f"{place[:200]} does not exist; versions are numbers", place[:200])
    return int(text)


def _moment(name: str, text: str) -> tuple[int, int]:
    """The interval of a date or instant, in microseconds since 1970 UTC. HubError("parameter-value")."""
    try:
        return temporal.interval(text)
    except HubError as error:
        raise HubError("parameter-value", error.diagnostics, name) from None


def _cursor(pairs: Pairs) -> str | None:
    for name, value in pairs:
        if name == CURSOR:
            if len(pairs) > 1:
                raise HubError("parameter-value", "a page link is used as it is; add no other parameter to it", CURSOR)
            return value
    return None


def parse_criteria(text: str) -> Pairs:
    """Search criteria as If-None-Exist has them, with or without ``?`` (R4 3.1.0.8.1)."""
    return parse_qsl(text.strip().lstrip("?"), keep_blank_values=True, max_num_fields=100)


def _url(place: str, pairs: Pairs | tuple[tuple[str, str], ...]) -> str:
    return f"{place}?{urlencode(pairs, safe=':/|,$')}" if pairs else place


def _refuse_others(pairs: Pairs, allowed: frozenset[str]) -> None:
    for name, _ in pairs:
        if name not in allowed:
            raise HubError("parameter-unknown", f"{name[:60]!r} is not a parameter of this interaction", name[:60])


def _subset_asked(pairs: Pairs) -> tuple[str, tuple[str, ...]]:
    asked = dict(pairs)
    elements = tuple(name.strip() for name in asked.get("_elements", "").split(",") if name.strip())
    return asked.get("_summary", ""), elements

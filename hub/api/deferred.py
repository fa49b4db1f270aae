"""``Prefer: respond-async`` over HTTP (R4 3.1.6): 202 with a status address, then a manifest of one NDJSON file."""

from __future__ import annotations

from hub.api import bulk
from hub.api.exchange import Answer, Handler, Request
from hub.api.negotiate import Prefer
from hub.api.routes import Router
from hub.services.context import Context
from hub.services.deferred import Asked
from hub.services.doors import Doors

INTERACTIONS = frozenset(
    "search_type search_system search_compartment history_instance history_type history_system".split()
)


class Deferral:
    """Takes requests that prefer to be answered later, and gives their answers.

    Searches and histories, and operations called by GET, are deferred; for all else the preference is not heeded
    (RFC 7240 2). ``handlers`` perform them.
    """

    def __init__(self, doors: Doors, router: Router, handlers: dict[str, Handler]) -> None:
        self._deferred = doors.deferred
        self._router = router
        self._handlers = handlers
        self._deferred.attach(self._perform)

    def table(self) -> dict[str, Handler]:
        """Interaction -> handler."""
        return {
            "async_status": self.status,
            "async_delete": lambda request: bulk.cancelled(self._deferred, request),
            "async_file": lambda request: bulk.file(self._deferred, request),
        }

    def __call__(self, request: Request) -> Answer | None:
        """202 with the status address, when the request is one that is deferred."""
        interaction = request.route.interaction
        operation = interaction == "operation" and request.method == "GET" and request.route.name != "export"
        if not (operation or interaction in INTERACTIONS):
            return None
        asked = Asked(
            request.method, request.root, request.path, tuple(request.pairs), request.databases, request.prefer.strict
        )
        id = self._deferred.begin(request.context, asked, bulk.url(request))
        answer = bulk.accepted(request, "_async", id)
        answer.headers.append((b"preference-applied", b"respond-async"))
        return answer

    def _perform(self, asked: Asked, context: Context) -> bytes:
        route = self._router.find(asked.method, asked.path)
        request = Request(
            asked.method, route, asked.root, asked.path, asked.databases, list(asked.pairs), {}, context,
            prefer=Prefer(strict=asked.strict),
        )  # fmt: skip
        return b"".join(self._handlers[route.interaction](request).body)

    def status(self, request: Request) -> Answer:
        """202 while it is under way; then the manifest: the answer in ``output``, a refusal in ``error``."""
        item = self._deferred.status(request.route.id)
        refused = [row for row in item.data.get("files", ()) if row["refused"]]
        answered = [row for row in item.data.get("files", ()) if not row["refused"]]
        return bulk.manifest(request, "_async", item, answered, refused)

"""The whole ASGI application: the FHIR bases, the platform API, mounted adapters' routes and the pages."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from hub.api import (
    capability,
    openapi,
    pages,
    platform,
    platform_cards,
    platform_check,
    platform_film,
    platform_identity,
    platform_inbox,
    platform_messages,
    platform_outbound,
)
from hub.api.bulk import Bulk
from hub.api.bundles import Bundles
from hub.api.deferred import Deferral
from hub.api.dispatch import Dispatcher, Receive, Scope, Send
from hub.api.exchange import Answer, Handler, Request, of_resource
from hub.api.interactions import Interactions
from hub.api.operations import Operations
from hub.api.pool import Pool
from hub.api.routes import Router
from hub.databases.database import DATABASES
from hub.fhir import json
from hub.services.doors import Doors

App = Callable[[Scope, Receive, Send], Awaitable[None]]

BASES: dict[str, tuple[str, ...]] = {"fhir": (), **{name: (name,) for name in DATABASES}}
"""First path segment -> what that base may see; the facade ``/fhir`` sees all four databases."""


@dataclass(slots=True)
class Fhir:
    """The FHIR API without a transport: a Request in, an Answer out."""

    handlers: dict[str, Handler]
    router: Router
    defer: Callable[[Request], Answer | None]

    def perform(self, request: Request) -> Answer:
        """Answer one interaction. Raises HubError."""
        return self.handlers[request.route.interaction](request)


def fhir(doors: Doors) -> Fhir:
    """Every interaction of the route table with what serves it."""
    handlers: dict[str, Handler] = {}
    router = Router(doors.definitions.resource_types)
    deferral = Deferral(doors, router, handlers)
    api = Fhir(handlers, router, deferral)
    interactions = Interactions(doors)
    bulk = Bulk(doors)
    operations = Operations(doors, interactions, bulk)
    started = doors.clock()
    statements: dict[str, Answer] = {}

    def capabilities(request: Request) -> Answer:
        if request.root not in statements:
            resource = capability.statement(doors, request.root, request.databases, operations.rows, started)
            statements[request.root] = of_resource(200, resource)
        return Answer(200, statements[request.root].body)

    api.handlers.update(interactions.table() | bulk.table() | deferral.table())
    api.handlers["transaction"] = Bundles(doors, api.router, api.perform).transaction
    api.handlers["operation"] = operations.operation
    api.handlers["capabilities"] = capabilities
    api.handlers["openapi"] = lambda request: Answer(
        200,
        [json.encode(openapi.document(request.root, doors.definitions.resource_types, list(operations.rows)))],
        media="application/json",
    )
    return api


def create(doors: Doors) -> App:
    """The application of one hub."""
    api, pool = fhir(doors), Pool()
    start, numbers = secrets.token_hex(4), itertools.count(1)

    def on_loop(request: Request) -> bool:
        """What is answered in microseconds: reads by id, and codes against a value set that is compiled already."""
        route = request.route
        if not doors.store.local:
            return False
        if route.interaction == "operation":
            return (
                request.method == "GET"
                and (route.type, route.name) == ("ValueSet", "validate-code")
                and (doors.terminology.is_compiled(dict(request.pairs).get("url", "")))
            )
        return route.interaction in ("read", "vread")

    mounts: dict[str, Any] = {
        name: Dispatcher(
            f"/{name}", scope, api.router, api.handlers, pool, doors.settings.http,
            lambda: f"{start}-{next(numbers)}", on_loop, api.defer, doors.settings.access.claims,
        )
        for name, scope in BASES.items()
    }  # fmt: skip
    parts = (
        platform_identity,
        platform_cards,
        platform_inbox,
        platform_messages,
        platform_outbound,
        platform_check,
        platform_film,
    )
    routers = [module.create(doors) for module in parts]
    mounts["api"] = platform_api = platform.create(doors, routers)
    for point in entry_points(group="hub.routes"):
        prefix, app = point.load()(doors)
        mounts[prefix.strip("/")] = app
    return mounted(mounts, pages.create(doors, platform_api.openapi))


def mounted(mounts: dict[str, Any], rest: App) -> App:
    """First path segment -> application; everything else goes to ``rest``."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path"].split("/", 2)[1] if scope["path"].startswith("/") else ""
        app = mounts.get(name)
        if app is None:
            await rest(scope, receive, send)
        elif isinstance(app, Dispatcher):
            await app(scope, receive, send)
        else:
            await app({**scope, "root_path": f"{scope.get('root_path', '')}/{name}"}, receive, send)

    return application

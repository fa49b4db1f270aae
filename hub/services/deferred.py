"""Requests whose answer the client comes back for (R4 3.1.6, ``Prefer: respond-async``): those that only read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.audit.record import Audit
from hub.errors import HubError
from hub.fhir import json, outcome
from hub.services.context import Context
from hub.services.jobs import Jobs
from hub.store.protocol import Item, Store


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it is written down: enough to perform it later, also after a restart."""

    method: str
    root: str
    path: str
    pairs: tuple[tuple[str, str], ...]
    databases: tuple[str, ...]
    strict: bool


Perform = Callable[[Asked, Context], bytes]


class Deferred(Jobs):
    """The door for deferred requests. ``attach`` gives it what performs them, the edge; before that none is begun."""

    queue = "async"

    def __init__(
        self, store: Store, audit: Audit, clock: Callable[[], int], new_id: Callable[[], str], directory: Path
    ) -> None:
        self._perform: Perform | None = None
        super().__init__(store, audit, clock, new_id, directory)

    def attach(self, perform: Perform) -> None:
        """``perform`` answers with the JSON of a resource, or raises HubError."""
        self._perform = perform
        self.resume()

    def begin(self, context: Context, asked: Asked, url: str) -> str:
        """Accept a request; its id."""
        data = {
            "url": url, "method": asked.method, "root": asked.root, "path": asked.path, "pairs": asked.pairs,
            "databases": asked.databases, "strict": asked.strict,
        }  # fmt: skip
        return self.accept(context, data)

    def resume(self) -> None:
        """Go on with what a restart interrupted."""
        if self._perform is not None:
            super().resume()

    def perform(self, item: Item, folder: Path) -> list[dict[str, Any]]:
        """One file: the answer, or the OperationOutcome of a refusal."""
        assert self._perform is not None
        data = item.data
        pairs = tuple((name, value) for name, value in data["pairs"])
        asked = Asked(data["method"], data["root"], data["path"], pairs, tuple(data["databases"]), data["strict"])
        refused = False
        try:
            body = self._perform(asked, self.context(item))
        except HubError as error:
            body, refused = json.encode(outcome.from_error(error)), True
        type = json.decode(body, max_bytes=len(body))["resourceType"]
        name = f"{type}.ndjson"
        (folder / name).write_bytes(body + b"\n")
        return [{"type": type, "name": name, "count": 1, "refused": refused}]

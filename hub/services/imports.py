"""Bulk import: NDJSON into the databases, from files that an operator laid down or from a stored Binary.

Nothing is fetched: an address of somebody else's is no source. Each line is an update, so that doing an interrupted
import again changes nothing that is done already. A line that is refused is reported and the others go on.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from hub.audit.record import Audit
from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir import json, outcome, reference
from hub.services.context import Context
from hub.services.ingest import Ingest
from hub.services.jobs import Jobs
from hub.store.protocol import Item, Store

UNIT = 100
"""Lines committed at once."""


@dataclass(frozen=True, slots=True)
class Input:
    """One source: ``type`` of all its resources ("": any), ``source`` a file's name or ``Binary/id/_history/n``."""

    type: str
    source: str


class Imports(Jobs):
    """The door for bulk imports; ``sources`` is the directory that holds the files."""

    queue = "import"

    def __init__(
        self,
        store: Store,
        databases: Databases,
        ingest: Ingest,
        audit: Audit,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        sources: Path,
        reports: Path,
        max_line: int,
    ) -> None:
        self._databases = databases
        self._ingest = ingest
        self._sources = sources
        self._max_line = max_line
        super().__init__(store, audit, clock, new_id, reports)

    # --- the door -----------------------------------------------------------------------------------------------------

    def begin(self, context: Context, inputs: Sequence[Input], scope: Sequence[str], url: str) -> str:
        """Accept an import asked for by ``url`` into the databases of ``scope`` (() is all); its id.

        HubError("not-found") for a source that is not there, "forbidden" for one outside the directory.
        """
        for one in inputs:
            self._open(one.source).close()
        rows = [(one.type, one.source) for one in inputs]
        return self.accept(context, {"url": url, "inputs": rows, "databases": tuple(scope)})

    def _open(self, source: str) -> BinaryIO:
        found = reference.parse(source)
        if found.type == "Binary":
            version = self._store.vread(found.type, found.id, int(found.version))
            if version is None or version.deleted:
                raise HubError("not-found", f"{source[:200]} does not exist", "input.url")
            return io.BytesIO(_data(self._databases.decode(version)))
        try:
            root = self._sources.resolve()
            path = (root / source).resolve()
            if not path.is_relative_to(root):
                raise HubError("forbidden", "only files of the hub's import directory are imported", "input.url")
            return path.open("rb")
        except (OSError, RuntimeError):  # a loop of links is a RuntimeError
            raise HubError("not-found", f"the import directory has no file {source[:200]!r}", "input.url") from None

    # --- the work -----------------------------------------------------------------------------------------------------

    def perform(self, item: Item, folder: Path) -> list[dict[str, Any]]:
        """Import; a row each for what was stored of a source (``type``, ``count``) and for its report of refusals."""
        rows: list[dict[str, Any]] = []
        context = self.context(item)
        for number, (type, source) in enumerate(item.data["inputs"]):
            name = f"errors-{number}.ndjson"
            stored, refused = Counter[str](), 0
            with self._open(source) as file, (folder / name).open("wb") as report:
                waiting = self._lines(file, type, item.data["databases"])
                while lines := list(islice(waiting, UNIT)):
                    if self.stopped(item.id):
                        return rows
                    for at, done in self._stored(context, lines):
                        if isinstance(done, HubError):
                            refused += 1
                            report.write(_refusal(source, at, done) + b"\n")
                        else:
                            stored[done] += 1
            rows += [{"source": source, "type": one, "count": count} for one, count in sorted(stored.items())]
            if refused:
                rows.append({"source": source, "name": name, "type": "OperationOutcome", "count": refused})
            else:
                (folder / name).unlink()
        return rows

    def _lines(
        self, file: BinaryIO, type: str, scope: Sequence[str]
    ) -> Iterator[tuple[int, dict[str, Any] | HubError]]:
        """Number and resource of each line that has one, or why it is none that can be imported."""
        number = 0
        while line := file.readline(self._max_line + 1):
            number += 1
            long = len(line) > self._max_line
            while long and not line.endswith(b"\n") and (line := file.readline(self._max_line)):
                pass
            if long:
                yield number, HubError("too-long", f"a line has at most {self._max_line} bytes")
            elif line.strip():
                try:
                    yield number, self._resource(line, type, scope)
                except HubError as error:
                    yield number, error

    def _resource(self, line: bytes, type: str, scope: Sequence[str]) -> dict[str, Any]:
        resource = json.decode(line, max_bytes=self._max_line)
        if type and resource.get("resourceType") != type:
            raise HubError("value", f"the input is of {type}", "resourceType")
        if not isinstance(resource.get("id"), str):
            raise HubError("required", "a resource is imported under its own id", "id")
        self._ingest.validate(resource)
        if scope and self._databases.owner(resource) not in scope:
            raise HubError("business-rule", f"it does not belong into {', '.join(scope)}")
        return resource

    def _stored(
        self, context: Context, lines: Sequence[tuple[int, dict[str, Any] | HubError]]
    ) -> Iterator[tuple[int, str | HubError]]:
        """Store the resources in one unit, or one by one when one of them is refused; each line's type or refusal."""
        good = [(number, one) for number, one in lines if not isinstance(one, HubError)]
        yield from ((number, one) for number, one in lines if isinstance(one, HubError))
        try:
            self._submit(context, [resource for _, resource in good])
        except HubError as error:
            _unless_passing(error)
            for number, resource in good:
                try:
                    self._submit(context, [resource])
                except HubError as refusal:
                    _unless_passing(refusal)
                    yield number, refusal
                else:
                    yield number, str(resource["resourceType"])
        else:
            yield from ((number, str(resource["resourceType"])) for number, resource in good)

    def _submit(self, context: Context, resources: Sequence[dict[str, Any]]) -> None:
        if resources:
            entries = [{"resource": resource} for resource in resources]
            self._ingest.submit({"resourceType": "Bundle", "entry": entries}, context, amend=False)


def _data(binary: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode("".join(str(binary.get("data", "")).split()), validate=True)
    except (binascii.Error, ValueError):
        raise HubError("structure", "the data of this Binary are not base64", "Binary.data") from None


def _unless_passing(error: HubError) -> None:
    """A failure that is not the line's ends the import, which can be asked for again."""
    if error.row.http >= 500:
        raise error


def _refusal(source: str, number: int, error: HubError) -> bytes:
    """The OperationOutcome of a refused line; its first issue says where it stood."""
    made = outcome.from_error(error)
    first = made["issue"][0]
    place = f"{source} line {number}"
    first["diagnostics"] = f"{place}: {first['diagnostics']}" if "diagnostics" in first else place
    return json.encode(made)

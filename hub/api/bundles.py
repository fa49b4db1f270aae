"""transaction and batch over HTTP (R4 3.1.0.11): the services write, the reads among the entries are performed here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from hub.api import exchange
from hub.api.exchange import Answer, Request
from hub.api.routes import Router
from hub.errors import HubError
from hub.fhir import json, outcome, temporal
from hub.services.doors import Doors
from hub.services.ingest import Written
from hub.services.transaction import Answer as EntryAnswer
from hub.services.transaction import Entry, bundle_type


class Bundles:
    """The interaction ``transaction``, which is batch too: the Bundle's type decides."""

    def __init__(self, doors: Doors, router: Router, perform: Callable[[Request], Answer]) -> None:
        self._doors = doors
        self._router = router
        self._perform = perform

    def transaction(self, request: Request) -> Answer:
        bundle = request.resource()
        kind = bundle_type(bundle)
        run = self._doors.transactions.transaction if kind == "transaction" else self._doors.transactions.batch
        answers = run(request.context, bundle, database=request.database)
        entries = [self._entry(request, answer, kind == "transaction") for answer in answers]
        body = [b'{"resourceType":"Bundle","type":"%b-response"' % kind.encode()]
        if entries:
            body += [b',"entry":[', b",".join(entries), b"]"]
        return Answer(200, [*body, b"}"])

    def _entry(self, request: Request, answer: EntryAnswer, atomic: bool) -> bytes:
        if answer.error is not None:
            return _failed(answer.error)
        if answer.written is not None:
            return _written(request, answer.written)
        try:
            return self._read(request, answer.entry)
        except HubError as error:
            if atomic:
                raise HubError(
                    error.name, error.diagnostics, f"Bundle.entry[{answer.entry.index}]", error.issues
                ) from None
            return _failed(error)

    def _read(self, request: Request, entry: Entry) -> bytes:
        """A GET entry, performed like a request of its own (never by a call over HTTP)."""
        split = urlsplit(entry.url.removeprefix(request.root))
        path = split.path.strip("/")
        asked = replace(
            request, method="GET", route=self._router.find("GET", path), path=path, headers={}, body=b"",
            pairs=parse_qsl(split.query, keep_blank_values=True, max_num_fields=1000),
        )  # fmt: skip
        answer = self._perform(asked)
        return _rendered(answer.status, b"".join(answer.body), {})


def _rendered(status: int, resource: bytes, response: dict[str, object]) -> bytes:
    said = json.encode({"status": f"{status} {HTTPStatus(status).phrase}", **response})
    return b'{"resource":%b,"response":%b}' % (resource, said) if resource else b'{"response":%b}' % said


def _written(request: Request, written: Written) -> bytes:
    version = written.version
    if version is None:
        return _rendered(written.status, b"", {})
    facts: dict[str, object] = {
        "location": f"{request.root}/{version.type}/{version.id}/_history/{version.version}",
        "etag": f'W/"{version.version}"',
        "lastModified": temporal.instant(version.updated),
    }
    if request.prefer.returns == "operationoutcome":
        facts["outcome"] = outcome.build([{"severity": "information", "code": "informational"}])
    return _rendered(written.status, version.text if request.prefer.returns == "representation" else b"", facts)


def _failed(error: HubError) -> bytes:
    return _rendered(error.row.http, b"", {"outcome": json.decode(b"".join(exchange.of_error(error).body))})

"""One FHIR interaction as a value: what was asked and what is answered, whatever carries it (socket or batch entry)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from hub.api import negotiate
from hub.errors import HubError
from hub.fhir import json, outcome, xml
from hub.services.context import Context
from hub.store.protocol import Version

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Route:
    """Which interaction a method and path mean, and on what."""

    interaction: str
    type: str = ""
    id: str = ""
    version: str = ""
    name: str = ""
    """The operation (without ``$``), or the resource type looked for in a compartment."""


@dataclass(frozen=True, slots=True)
class Request:
    """One interaction asked for.

    ``root`` is the base that links are built on (``http://127.0.0.1:8080/emr``), ``databases`` what that base may see
    (() is all), ``path`` the part behind the base without a slash before it, ``pairs`` the query (and form) parameters
    but for ``_format`` and ``_pretty``, ``body`` the bytes of a FHIR resource in the format ``kind``, or of what else
    it names; ``format`` and ``pretty`` are how the answer is wanted.
    """

    method: str
    route: Route
    root: str
    path: str
    databases: tuple[str, ...]
    pairs: Pairs
    headers: Mapping[str, str]
    context: Context
    body: bytes = b""
    kind: str = negotiate.JSON
    prefer: negotiate.Prefer = negotiate.NO_PREFERENCE
    format: str = negotiate.JSON
    pretty: bool = False

    @property
    def database(self) -> str | None:
        """The one database of a base such as ``/emr``, None for the facade."""
        return self.databases[0] if self.databases else None

    def resource(self) -> dict[str, Any]:
        """The body as a resource. HubError("structure") when it is none, "format-unknown" when it is no FHIR format."""
        if self.kind not in negotiate.MEDIA:
            wanted = " or ".join(negotiate.MEDIA.values())
            raise HubError("format-unknown", f"this interaction takes {wanted}", "Content-Type")
        decode = xml.decode if self.kind == negotiate.XML else json.decode
        resource = decode(self.body, max_bytes=len(self.body))
        if not isinstance(resource.get("resourceType"), str):
            raise HubError("structure", "a FHIR resource needs a resourceType", "resourceType")
        return resource


@dataclass(slots=True)
class Answer:
    """Status, body (FHIR JSON in one or more pieces, or nothing) and headers beyond Content-Type."""

    status: int
    body: list[bytes] = field(default_factory=list)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    media: str = ""
    """Content-Type of a body that is not FHIR (Binary, NDJSON); "" is the negotiated FHIR format."""
    file: Path | None = None
    """A file that is the body, sent piece by piece."""


Handler = Callable[[Request], Answer]


def rendered(answer: Answer, format: str, pretty: bool) -> Answer:
    """The answer with its body in one piece, in the format asked for (R4 2.6), JSON when that was none of FHIR's."""
    body = answer.body[0] if len(answer.body) == 1 else b"".join(answer.body)
    if body and not answer.media:
        if format == negotiate.XML:
            body = xml.encode(json.decode(body, max_bytes=len(body)))
        elif pretty:
            body = msgspec.json.format(body, indent=2)
        answer.media = f"{negotiate.MEDIA.get(format, negotiate.MEDIA[negotiate.JSON])}; charset=utf-8"
    answer.body = [body]
    return answer


def of_resource(status: int, resource: dict[str, Any]) -> Answer:
    """An answer that carries a resource."""
    return Answer(status, [json.encode(resource)])


def of_error(error: HubError) -> Answer:
    """The OperationOutcome of an error (R4 3.1.0.1.6)."""
    answer = of_resource(error.row.http, outcome.from_error(error))
    if error.row.http in (429, 503, 507):
        answer.headers.append((b"retry-after", b"1"))
    return answer


def version_headers(version: Version) -> list[tuple[bytes, bytes]]:
    """ETag and Last-Modified of a version (R4 3.1.0.1.4)."""
    return [
        (b"etag", b'W/"%d"' % version.version),
        (b"last-modified", negotiate.http_date(version.updated // 1_000_000).encode()),
    ]

"""Bundles made of stored bytes: searchset and history (R4 3.1.1.1.4, 3.1.0.12.1). Nothing stored is parsed again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hub.fhir import json, outcome, temporal
from hub.store.protocol import Version

Links = Sequence[tuple[str, str]]


def searchset(
    matches: list[bytes], included: list[bytes], links: Links, total: int | None, issues: Sequence[dict[str, Any]]
) -> list[bytes]:
    """A searchset Bundle in pieces. ``matches`` and ``included`` are entries made by ``entry``.

    ``issues`` (of parameters that were not used) become an entry of mode outcome. ``links`` are (relation, url).
    """
    entries = [*matches, *included]
    if issues:
        entries.append(b'{"resource":' + json.encode(outcome.build(list(issues))) + b',"search":{"mode":"outcome"}}')
    return _bundle(b"searchset", links, total, entries)


def entry(root: bytes, type: str, id: str, text: bytes, mode: bytes) -> bytes:
    """An entry of a searchset: ``mode`` is match or include."""
    return b'{"fullUrl":"%b/%b/%b","resource":%b,"search":{"mode":"%b"}}' % (
        root,
        type.encode(),
        id.encode(),
        text,
        mode,
    )


def document(root: str, versions: Sequence[Version], id: str, now: int) -> list[bytes]:
    """A document Bundle in pieces, the Composition first (R4 3.3.1); ``id`` makes its identifier, ``now`` its time."""
    base = root.encode()
    head = {
        "resourceType": "Bundle",
        "identifier": {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{id}"},
        "type": "document",
        "timestamp": temporal.instant(now),
    }
    entries = [
        b'{"fullUrl":"%b/%b/%b","resource":%b}' % (base, row.type.encode(), row.id.encode(), row.text)
        for row in versions
    ]
    return [json.encode(head)[:-1], b',"entry":[', b",".join(entries), b"]}"]


def history(root: str, versions: Sequence[Version], links: Links, total: int | None) -> list[bytes]:
    """A history Bundle in pieces, newest version first; a deletion has no resource."""
    base = root.encode()
    return _bundle(b"history", links, total, [_history_entry(base, version) for version in versions])


def _history_entry(root: bytes, version: Version) -> bytes:
    type, id = version.type.encode(), version.id.encode()
    if version.deleted:
        status = b"204"
    elif version.method == "POST" or version.version == 1:
        status = b"201"
    else:
        status = b"200"
    resource = b'"resource":%b,' % version.text if version.text else b""
    url = type if version.method == "POST" else type + b"/" + id
    return (
        b'{"fullUrl":"%b/%b/%b",%b"request":{"method":"%b","url":"%b"},'
        b'"response":{"status":"%b","etag":"W/\\"%d\\"","lastModified":"%b"}}'
        % (
            root, type, id, resource, version.method.encode(), url,
            status, version.version, temporal.instant(version.updated).encode(),
        )
    )  # fmt: skip


def _bundle(type: bytes, links: Links, total: int | None, entries: list[bytes]) -> list[bytes]:
    head = [b'{"resourceType":"Bundle","type":"', type, b'"']
    if total is not None:
        head.append(b',"total":%d' % total)
    if links:
        head += [b',"link":', json.encode([{"relation": relation, "url": url} for relation, url in links])]
    if not entries:
        return [*head, b"}"]
    pieces = [b",", b'"entry":[', entries[0]]
    for one in entries[1:]:
        pieces += (b",", one)
    return [*head, *pieces, b"]}"]

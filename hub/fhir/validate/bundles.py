"""Bundles (R4 2.36): fullUrl, entries of a searchset, references of documents and messages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

from hub.fhir import definitions, reference
from hub.fhir.validate import parts
from hub.fhir.validate.references import entries
from hub.fhir.validate.report import Place, Report, Visit

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_FREE = frozenset({"transaction", "batch", "transaction-response", "batch-response", "history"})
Json = dict[str, Any]


def check(visit: Visit, report: Report) -> None:
    """A Bundle."""
    bundle = visit.value
    kind = parts.string(bundle, "type")
    for place, entry in _entries(visit):
        _full_url(kind, place, entry, report)
    if kind == "searchset":
        _searchset(visit, report)
    if kind in ("document", "message"):
        _linked(visit, report)


def _entries(visit: Visit) -> Iterator[tuple[Place, Json]]:
    for index, entry in parts.numbered(visit.value, "entry"):
        yield ((visit.place, "entry"), index), entry


def _full_url(kind: Any, place: Place, entry: Json, report: Report) -> None:
    url, resource = entry.get("fullUrl"), entry.get("resource")
    if not isinstance(url, str):
        mode = parts.string(parts.object(entry, "search"), "mode")
        if kind not in _FREE and isinstance(resource, dict) and mode != "outcome":
            report.add("fullurl-missing", place, type=kind)
        return
    here = (place, "fullUrl")
    if "/_history/" in url:
        report.add("fullurl-version", here)
    elif not _ABSOLUTE.fullmatch(url):
        report.add("fullurl-relative", here, value=url[:80])
    elif isinstance(resource, dict) and url.startswith(("http://", "https://")):
        parsed, id = reference.parse(url), resource.get("id")
        mismatch = isinstance(id, str) and not url.endswith(f"/{id}")
        if mismatch or (parsed.id and isinstance(id, str) and parsed.type != resource.get("resourceType")):
            report.add("fullurl-id", here, value=url[:120], id=id)


# --- searchset --------------------------------------------------------------------------------------------------------


def _searchset(visit: Visit, report: Report) -> None:
    wanted = _searched(visit.value)
    for place, entry in _entries(visit):
        resource = parts.object(entry, "resource")
        kind, mode = parts.string(resource, "resourceType"), parts.string(parts.object(entry, "search"), "mode")
        if not kind:
            continue
        misplaced = mode == "match" and wanted and kind not in wanted
        if misplaced or (mode == "outcome" and kind != "OperationOutcome"):
            report.add("entry-mode", ((place, "search"), "mode"), mode=mode, type=kind)
        if "id" not in resource and kind != "OperationOutcome" and mode in ("match", "include"):
            report.add("entry-id", (place, "resource"))


def _searched(bundle: Json) -> set[str]:
    """The resource types that the self link asks for; empty when it does not say."""
    links = [link for link in parts.objects(bundle, "link") if link.get("relation") == "self"]
    if not links:
        return set()
    path, _, query = parts.string(links[0], "url").partition("?")
    types = set(parse_qs(query).get("_type", [""])[0].split(",")) - {""}
    last = path.rstrip("/").rpartition("/")[2]
    return types or ({last} & definitions.load().resource_types)


# --- documents and messages -------------------------------------------------------------------------------------------


def _linked(visit: Visit, report: Report) -> None:
    """What the first entry names is there, and every entry is reached from it (R4 3.3.1, 2.4.2)."""
    items = list(_entries(visit))
    if not items or not isinstance(items[0][1].get("resource"), dict):
        return
    index = entries(visit.value)
    first = items[0][1]["resource"]
    base = reference.parse(str(items[0][1].get("fullUrl", ""))).base
    for place, text in _texts(first, (items[0][0], "resource")):
        if not text.startswith("#") and _found(text, base, index) is None and _must(first, place):
            report.add("reference-document", place, value=text)
    reached = _reached(first, base, index)
    for place, entry in items[1:]:
        resource = entry.get("resource")
        if isinstance(resource, dict) and id(resource) not in reached and not _points(resource, reached, base, index):
            report.add("entry-orphan", place)


_COMPOSITION = frozenset({"subject", "encounter", "author", "attester", "custodian", "event", "section"})


def _must(first: Json, place: Place) -> bool:
    """Whether the reference is one that a document or message has to carry."""
    names = []
    above: Any = place
    while above is not None:
        names.append(above[1])
        above = above[0]
    if first.get("resourceType") == "Composition":
        return bool(_COMPOSITION & set(names))
    return first.get("resourceType") == "MessageHeader" and "focus" in names


def _texts(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """Every reference below, with its place."""
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield (place, "reference"), value["reference"]
        for key, item in value.items():
            yield from _texts(item, (place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (place, index))


def _found(text: str, base: str, index: dict[str, Json]) -> Json | None:
    parsed = reference.parse(text)
    if parsed.base or not parsed.id:
        return index.get(parsed.url)
    return index.get(base + parsed.key if base else "/" + parsed.key)


def _reached(first: Json, base: str, index: dict[str, Json]) -> set[int]:
    seen = {id(first)}
    queue = [first]
    while queue:
        for _, text in _texts(queue.pop(), (None, "")):
            target = _found(text, base, index)
            if target is not None and id(target) not in seen:
                seen.add(id(target))
                queue.append(target)
    return seen


def _points(resource: Json, reached: set[int], base: str, index: dict[str, Json]) -> bool:
    """Whether an entry points back at what is reached, as a Provenance does."""
    return any(
        (target := _found(text, base, index)) is not None and id(target) in reached
        for _, text in _texts(resource, (None, ""))
    )

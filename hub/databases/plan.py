"""Resources to be returned with a page of matches: ``_include`` and ``_revinclude`` (R4 3.1.1.5.4).

Each step asks the store once for all references of one target type, not once a resource. Chains and ``_has`` are part
of the query itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final

from hub.errors import HubError
from hub.fhir import definitions, json
from hub.search.expression import ALL, Equals, Expression, Ids, In, Match, Query, Term, both, either
from hub.search.index import Indexer
from hub.search.parameters import Registry
from hub.search.parse import Include, Search
from hub.store.protocol import Reader, Version

MAX_ROUNDS: Final = 20
BATCH: Final = 500  # references asked for at once

Resource = dict[str, Any]
Key = tuple[str, str]
Access = Callable[[str], Expression]


@cache
def _registry() -> Registry:
    return Registry(definitions.load())


@cache
def _indexer() -> Indexer:
    return Indexer(_registry())


def include(
    reader: Reader,
    search: Search,
    found: Sequence[Version],
    at: int | None = None,
    *,
    access: Access = lambda type: ALL,
    limit: int = 5000,
) -> list[Version]:
    """What the search's includes add to the matches ``found``, each resource once and no match again.

    ``at`` is the snapshot of the matches; ``access`` the access decision for a type, which holds for every resource on
    the way. A canonical means every resource with that url, of its version when it names one. With ``:iterate`` an
    include is repeated on what was included. Raises HubError("too-costly") when more than ``limit`` would be added.
    """
    known: dict[Key, Version | None] = {(row.type, row.id): None for row in found}
    fresh = list(found)
    for round in range(MAX_ROUNDS):
        added: list[Version] = []
        forward = [step for step in search.includes if round == 0 or step.iterate]
        resources = [(row, json.stored(row.text)) for row in fresh if _concerns(forward, row)]
        for step in forward:
            added += _forward(reader, step, resources, known, at, access, limit)
        for step in search.revincludes:
            if round == 0 or step.iterate:
                added += _backward(reader, step, fresh, known, at, access, limit)
        if sum(row is not None for row in known.values()) > limit:
            raise HubError(
                "too-costly", f"more than {limit} resources would be included; ask for smaller pages with _count"
            )
        if not added:
            break
        fresh = added
    return [row for row in known.values() if row is not None]


def _forward(
    reader: Reader,
    step: Include,
    resources: Iterable[tuple[Version, Resource]],
    known: dict[Key, Version | None],
    at: int | None,
    access: Access,
    limit: int,
) -> list[Version]:
    literal: dict[str, dict[str, None]] = {}
    canonical: dict[tuple[str, str], dict[str, None]] = {}
    for row, resource in resources:
        for code, term in _references(row.type, resource, step):
            type, slash, id = term.value.partition("/")
            if slash and type in _registry().types:
                if (type, id) not in known and step.target in ("", type):
                    literal.setdefault(type, {})[id] = None
            else:
                for target in _canonical_targets(row.type, code, step):
                    canonical.setdefault((target, term.system), {})[term.value] = None
    wanted: list[tuple[str, Expression]] = [
        (type, Ids(batch)) for type, ids in literal.items() for batch in _batches(list(ids))
    ]
    wanted += [
        (type, both(Match("url", In(batch)), _of_version(version)))
        for (type, version), urls in canonical.items()
        for batch in _batches(list(urls))
    ]
    added: list[Version] = []
    for type, where in wanted:
        added += _take(reader, Query((type,), both(where, access(type)), at=at, limit=limit + 1), known)
    return added


def _backward(
    reader: Reader,
    step: Include,
    rows: Iterable[Version],
    known: dict[Key, Version | None],
    at: int | None,
    access: Access,
    limit: int,
) -> list[Version]:
    targets: list[str] = []
    for row in rows:
        if step.target in ("", row.type):
            targets.append(f"{row.type}/{row.id}")
            if "url" in _registry().of(row.type):
                targets += _urls(row)
    added: list[Version] = []
    for batch in _batches(targets):
        referring = either(Match(code, In(batch)) for code in _codes(step.source, step.param))
        query = Query((step.source,), both(referring, access(step.source)), at=at, limit=limit + 1)
        added += _take(reader, query, known)
    return added


def _take(reader: Reader, query: Query, known: dict[Key, Version | None]) -> list[Version]:
    rows = [one.version for one in reader.find(query)]
    new = [row for row in rows if (row.type, row.id) not in known]
    known.update(((row.type, row.id), row) for row in new)
    return new


def _batches(items: list[str]) -> Iterable[tuple[str, ...]]:
    return (tuple(items[start : start + BATCH]) for start in range(0, len(items), BATCH))


def _codes(type: str, param: str) -> list[str]:
    if param != "*":
        return [param]
    return [code for code, one in _registry().of(type).items() if one.type == "reference"]


def _concerns(steps: list[Include], row: Version) -> bool:
    return not row.deleted and any(step.source in ("", row.type) for step in steps)


def _references(type: str, resource: Resource, step: Include) -> Iterable[tuple[str, Term]]:
    for code in _codes(type, step.param) if step.source in ("", type) else ():
        for term in _indexer().references(resource, code):
            yield code, term


def _canonical_targets(type: str, code: str, step: Include) -> list[str]:
    """Types that a canonical in this parameter can name: those that have a url (R4 3.1.1.4.13)."""
    parameter = _registry().of(type)[code]
    if not parameter.elements & {"canonical", "uri"}:
        return []
    targets = [step.target] if step.target else parameter.targets
    return [target for target in targets if "url" in _registry().of(target)]


def _of_version(version: str) -> Expression:
    return Match("version", Equals(version.casefold())) if version else ALL


def _urls(row: Version) -> list[str]:
    url = json.stored(row.text).get("url")
    return [url] if isinstance(url, str) else []

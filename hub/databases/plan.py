"""Resources to be returned with a page of matches: ``_include`` and ``_revinclude`` (R4 3.1.1.5.4).

Each step asks the store once for all references of one target type, not once a resource. Chains and ``_has`` are part
of the query itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Final

from hub.errors import HubError
from hub.fhir import definitions, json
from hub.search.expression import ALL, Expression, Ids, In, Match, Query, both, either
from hub.search.index import Indexer
from hub.search.parameters import Registry
from hub.search.parse import Include, Search
from hub.store.protocol import Reader, Version

MAX_ROUNDS: Final = 20
BATCH: Final = 500  # references asked for at once

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
    the way. With ``:iterate`` an include is repeated on what was included. Raises HubError("too-costly") when more than
    ``limit`` resources would be added.
    """
    known: dict[Key, Version | None] = {(row.type, row.id): None for row in found}
    fresh = list(found)
    for round in range(MAX_ROUNDS):
        added: list[Version] = []
        for step in search.includes:
            if round == 0 or step.iterate:
                added += _forward(reader, step, fresh, known, at, access)
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
    rows: Iterable[Version],
    known: dict[Key, Version | None],
    at: int | None,
    access: Access,
) -> list[Version]:
    wanted: dict[str, dict[str, None]] = {}
    for row in rows:
        if step.source in ("", row.type) and not row.deleted:
            for type, id in _references(row, step):
                if (type, id) not in known:
                    wanted.setdefault(type, {})[id] = None
    added: list[Version] = []
    for type, ids in wanted.items():
        for batch in _batches(list(ids)):
            query = Query((type,), both(Ids(batch), access(type)), at=at, limit=len(batch))
            added += _take(reader, query, known)
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
    targets = [f"{row.type}/{row.id}" for row in rows if step.target in ("", row.type)]
    added: list[Version] = []
    for batch in _batches(targets):
        referring = either(Match(code, In(batch)) for code in _codes(step))
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


def _codes(step: Include) -> list[str]:
    if step.param != "*":
        return [step.param]
    return [code for code, one in _registry().of(step.source).items() if one.type == "reference"]


def _references(row: Version, step: Include) -> Iterable[Key]:
    resource = json.decode(row.text)
    codes = _codes(step if step.source else Include(row.type, step.param))
    for code in codes:
        for term in _indexer().references(resource, code):
            type, slash, id = term.value.partition("/")
            if slash and type in _registry().types and step.target in ("", type):
                yield type, id

"""Every parameter over the official R4 examples: the index against the whole FHIRPath engine (a long campaign)."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir import definitions, json, paths
from hub.search.entries import EMITTERS, Sink
from hub.search.expression import Entries, Range, Term
from hub.search.index import PROPERTIES, Indexer
from hub.search.parameters import Parameter, Registry
from hub.search.parse import Parser
from hub.settings import Search as Limits
from hub.store.protocol import Store, Transaction
from tests.naive import holds

PACKAGE = "hl7.fhir.r4.examples@4.0.1"
CACHE = Path(os.environ.get("REGION_HUB_CACHE", Path.home() / ".cache" / "region-hub"))

registry = Registry(definitions.load())
indexer = Indexer(registry)
parser = Parser(registry, Limits(), clock=lambda: 0)


@pytest.fixture(scope="module")
def examples() -> list[dict[str, Any]]:
    """The resources of the package, fetched by its name once (CC0; not part of this project)."""
    folder = CACHE / "r4-examples"
    if not (folder / "package").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["npm", "pack", PACKAGE, "--silent"], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.skip(f"npm cannot fetch {PACKAGE}: {done.stderr[-200:]}")
        with tarfile.open(next(folder.glob("*.tgz"))) as archive:
            archive.extractall(folder, filter="data")
    found = [json.decode(file.read_bytes()) for file in sorted((folder / "package").glob("*.json"))]
    return [resource for resource in found if resource.get("resourceType") in registry.types]


def evaluated(resource: dict[str, Any], parameter: Parameter) -> set[Term | Range]:
    """Entries of one parameter by evaluating its whole expression without any shortcut."""
    sink = Sink()
    for value, kind in paths.compile(parameter.expression).typed(resource):
        emit = EMITTERS[parameter.type].get(kind)
        if emit is not None:
            emit(sink, parameter.code, value)
    entries = sink.entries()
    return {*entries.terms, *entries.ranges}


def belongs(entry: Term | Range, code: str) -> bool:
    return entry.param == code or entry.param.startswith((f"{code}:", f"{code}|"))


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_index_is_what_fhirpath_finds(examples: list[dict[str, Any]]) -> None:
    assert len(examples) > 5_000
    compared: set[tuple[str, str]] = set()
    for resource in examples:
        type, entries = resource["resourceType"], indexer.entries(resource)
        found: set[Term | Range] = {*entries.terms, *entries.ranges}
        for code, parameter in registry.of(type).items():
            if code in PROPERTIES or parameter.union or parameter.components or not parameter.expression:
                continue
            if ".extension(" in parameter.expression or parameter.expression.endswith((".family", ".resource")):
                continue  # rules of their own, in tests/conformance
            mine = {entry for entry in found if belongs(entry, code)}
            assert mine == evaluated(resource, parameter), f"{type}/{resource.get('id')} {code}"
            if mine:
                compared.add((type, code))
    assert len(compared) > 1_000


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_what_is_indexed_is_found_by_asking(examples: list[dict[str, Any]]) -> None:
    """For a term of every parameter: the query in the client's words finds the resource."""
    asked: set[tuple[str, str]] = set()
    for resource in examples:
        type, entries = resource["resourceType"], indexer.entries(resource)
        world = {(type, "x"): entries}
        for term in entries.terms:
            parameter = registry.of(type).get(term.param)
            if parameter is None or (type, term.param) in asked or len(term.value) > 200:
                continue
            asked.add((type, term.param))
            text = "".join("\\" + char if char in "\\,|$" else char for char in term.value)
            where = parser.expression((type,), term.param, text)
            assert holds(where, type, "x", world), f"{type}/{resource.get('id')} {term}"
    assert len(asked) > 1_000


NOW = 1_795_000_000_000_000
databases = Databases(registry, lambda: NOW)


def escaped(text: str) -> str:
    return "".join("\\" + char if char in "\\,|$" else char for char in text)


def questions(type: str, id: str, parameter: Parameter, entry: Term | Range) -> Iterator[tuple[str, str, str]]:
    """(type, name, value) of searches about one entry of a resource: the value, its prefixes and modifiers, chains."""
    code = parameter.code
    yield type, f"{code}:missing", "true"
    if isinstance(entry, Range):
        value = f"{entry.low:f}" if parameter.type != "date" else "2012-05-01"
        for prefix in ("", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap"):
            yield type, code, prefix + value
        return
    value = escaped(entry.value)
    yield type, code, value
    if parameter.type == "token":
        yield from ((type, code, f"{escaped(entry.system)}|{part}") for part in (value, "") if entry.system or part)
        yield type, f"{code}:not", value
    elif parameter.type == "string":
        yield type, f"{code}:exact", escaped(entry.system) or value
        yield type, f"{code}:contains", escaped(entry.value[1:4]) or value
    elif parameter.type == "reference":
        target, _, target_id = entry.value.partition("/")
        if target in parameter.targets and "canonical" not in parameter.elements:
            yield type, code, target_id
            yield type, f"{code}:{target}", target_id
            yield type, f"{code}:{target}._lastUpdated", "ge2020"
            yield target, f"_has:{type}:{code}:_id", id


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_stores_find_what_the_naive_evaluator_finds(store: Store, examples: list[dict[str, Any]]) -> None:
    world: dict[tuple[str, str], Entries] = {}
    moment = Range("_lastUpdated", NOW, NOW + 1000)
    sound = [one for one in examples if len(one.get("id", "x" * 65)) <= 64 and len(json.encode(one)) < 1_000_000]
    chosen = sound[::3]
    for start in range(0, len(chosen), 200):

        def work(tx: Transaction, some: list[dict[str, Any]] = chosen[start : start + 200]) -> None:
            for resource in some:
                entries = databases.prepare(resource).entries
                databases.put(tx, resource, method="PUT", now=NOW)
                world[resource["resourceType"], resource["id"]] = replace(entries, ranges=(*entries.ranges, moment))

        store.write(work)
    asked: set[tuple[str, str]] = set()
    for (type, id), entries in list(world.items()):
        found: list[Term | Range] = [*entries.terms, *entries.ranges]
        for entry in found:
            parameter = registry.of(type).get(entry.param)
            if parameter is None or (type, entry.param) in asked or parameter.code in PROPERTIES:
                continue
            if isinstance(entry, Range) and parameter.type != "date" and entry.low != entry.high:
                continue
            asked.add((type, entry.param))
            for of, name, value in questions(type, id, parameter, entry):
                try:
                    query = parser.parse((of,), [(name, value)], strict=True).query
                except HubError as error:
                    assert error.name == "parameter-value"  # too long, or nothing but punctuation
                    continue
                stored = {row.version.id for row in store.find(replace(query, limit=100_000))}
                naive = {one for kind, one in world if kind == of and holds(query.where, of, one, world)}
                assert stored == naive, f"{of}?{name}={value}"
    assert len(asked) > 800

"""China's tables, hand-made from public facts: one CSV file a code system, listed in ``systems.csv``.

Every row says in ``verified`` whether the fact was read in a source (``yes``) or is general knowledge still to be
checked (``no``). Displays are Chinese; ``en`` is a designation. Urls under ``region-hub.example`` are ours: the
standards have no canonical url. ``maps.csv`` holds the correspondence to HL7's codes, from which concept maps are made.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from terminology.sections import Entry
from terminology.system import Resource

BASE = "https://region-hub.example/fhir"
_OWN_COLUMNS = frozenset({"code", "display", "en", "parent", "language"})


@cache
def rows(name: str) -> tuple[dict[str, str], ...]:
    """The rows of ``NAME.csv``; lines that start with # are comments."""
    lines = files("terminology").joinpath("china", f"{name}.csv").read_text(encoding="utf-8").splitlines()
    return tuple(csv.DictReader(line for line in lines if line and not line.startswith("#")))


def url(name: str) -> str:
    """The canonical url of one of our code systems, by file name."""
    return next(row["url"] for row in rows("systems") if row["name"] == name)


def entries() -> Iterator[Entry]:
    """What the registry offers: every code system and concept map of this folder."""
    for number, row in enumerate(rows("systems")):
        implicit = row["url"].replace("/CodeSystem/", "/ValueSet/") if row["url"].startswith(BASE) else ""
        yield Entry("china", number, "CodeSystem", row["url"], row["version"], row["oid"], implicit)
    for number, key in enumerate(_maps()):
        yield Entry("china", number, "ConceptMap", f"{BASE}/ConceptMap/{map_id(*key)}", "1")


def record(entry: Entry) -> Resource:
    """The resource of one of ``entries``."""
    return (
        code_system(rows("systems")[entry.number])
        if entry.type == "CodeSystem"
        else concept_map(*_maps()[entry.number])
    )


@cache
def _maps() -> tuple[tuple[str, str], ...]:
    """Source (file name) and target (url) of each concept map."""
    return tuple(dict.fromkeys((row["source"], row["target"]) for row in rows("maps")))


@cache
def translations() -> dict[str, dict[str, str]]:
    """System -> code -> Chinese name, for code systems of others."""
    names: dict[str, dict[str, str]] = {}
    for row in rows("translations"):
        names.setdefault(row["system"], {})[row["code"]] = row["zh"]
    return names


def code_system(row: dict[str, str]) -> Resource:
    """The CodeSystem of a row of ``systems.csv``. Columns beyond code, display, en and parent are properties."""
    resource: Resource = {
        "resourceType": "CodeSystem", "id": row["name"], "url": row["url"], "version": row["version"],
        "name": row["name"].replace("-", "_"), "title": row["title"], "status": "active", "caseSensitive": True,
        "content": row["content"], "language": row["language"], "copyright": row["copyright"],
    }  # fmt: skip
    if row["oid"]:
        resource["identifier"] = [{"system": "urn:ietf:rfc:3986", "value": row["oid"]}]
    if row["url"].startswith(BASE):
        resource["valueSet"] = row["url"].replace("/CodeSystem/", "/ValueSet/")
    if not row["copyright"]:
        del resource["copyright"]
    table = rows(row["name"])
    columns = [c for c in table[0] if c not in _OWN_COLUMNS]
    resource["property"] = [{"code": column, "type": "string"} for column in columns]
    if "parent" in table[0]:
        resource["property"].append({"code": "parent", "type": "code"})
    resource["concept"] = [_concept(line, columns) for line in table]
    return resource


def _concept(row: dict[str, str], columns: list[str]) -> Resource:
    node: Resource = {"code": row["code"], "display": row["display"]}
    if row.get("en"):
        node["designation"] = [{"language": "en", "value": row["en"]}]
    if row.get("zh"):
        node["designation"] = [{"language": "zh", "value": row["zh"]}]
    node["property"] = [{"code": c, "valueString": row[c]} for c in columns if row[c] and c != "zh"]
    if row.get("parent"):
        node["property"].append({"code": "parent", "valueCode": row["parent"]})
    return node


def map_id(source: str, target: str) -> str:
    """The id of the map between two systems."""
    return f"{source}-to-{target.rstrip('/').rpartition('/')[2].lower().replace('.', '-')}"


def concept_map(source: str, target: str) -> Resource:
    """The ConceptMap from one of our systems (by file name) to ``target`` (a url)."""
    elements: dict[str, list[Resource]] = {}
    for row in rows("maps"):
        if (row["source"], row["target"]) == (source, target):
            to: Resource = {"code": row["target_code"], "equivalence": row["equivalence"]}
            if row["comment"]:
                to["comment"] = row["comment"]
            elements.setdefault(row["code"], []).append(to)
    group = {
        "source": url(source), "target": target,
        "element": [{"code": code, "target": targets} for code, targets in elements.items()],
    }  # fmt: skip
    identity = map_id(source, target)
    return {
        "resourceType": "ConceptMap", "id": identity, "url": f"{BASE}/ConceptMap/{identity}", "version": "1",
        "name": identity.replace("-", "_"), "status": "active", "group": [group],
    }  # fmt: skip

"""_include and _revinclude with :iterate and wildcards (R4 3.1.1.5.4), on every store."""

from __future__ import annotations

from typing import Any

import pytest

from hub.databases import plan
from hub.databases.database import Databases
from hub.errors import HubError
from hub.fhir import definitions
from hub.search.expression import ALL, NONE, Expression
from hub.search.parameters import Registry
from hub.search.parse import Parser
from hub.settings import Search as Limits
from hub.store.protocol import Store, Transaction

registry = Registry(definitions.load())
databases = Databases(registry, lambda: 1_795_000_000_000_000)
parser = Parser(registry, Limits())


def reference(text: str) -> dict[str, str]:
    return {"reference": text}


WORLD: list[dict[str, Any]] = [
    {"resourceType": "Organization", "id": "top"},
    {"resourceType": "Organization", "id": "ward", "partOf": reference("Organization/top")},
    {"resourceType": "Practitioner", "id": "d"},
    {
        "resourceType": "Patient",
        "id": "p",
        "managingOrganization": reference("Organization/ward"),
        "generalPractitioner": [reference("Practitioner/d")],
    },
    {
        "resourceType": "Observation",
        "id": "a",
        "status": "final",
        "subject": reference("Patient/p"),
        "performer": [reference("Practitioner/d"), reference("Practitioner/gone")],
    },
    {
        "resourceType": "Observation",
        "id": "b",
        "status": "final",
        "derivedFrom": [reference("Observation/a/_history/1")],
    },
    {"resourceType": "Observation", "id": "c", "status": "final", "derivedFrom": [reference("Observation/b")]},
    {"resourceType": "Questionnaire", "id": "q1", "url": "http://x.test/q", "version": "1.0-A"},
    {"resourceType": "Questionnaire", "id": "q2", "url": "http://x.test/q", "version": "2"},
    {"resourceType": "QuestionnaireResponse", "id": "r1", "questionnaire": "http://x.test/q|1.0-A"},
    {"resourceType": "QuestionnaireResponse", "id": "r2", "questionnaire": "http://x.test/q"},
    {"resourceType": "Provenance", "id": "v", "target": [reference("Observation/a")]},
]


@pytest.fixture
def filled(store: Store) -> Store:
    def work(tx: Transaction) -> None:
        for resource in WORLD:
            databases.put(tx, resource, method="PUT")

    store.write(work)
    return store


def included(store: Store, type: str, query: str, **how: Any) -> set[str]:
    pairs = [(name, value) for name, _, value in (pair.partition("=") for pair in query.split("&"))]
    search = parser.parse((type,), pairs, strict=True)
    found = [row.version for row in store.find(search.query)]
    rows = plan.include(store, search, found, **how)
    assert len({(row.type, row.id) for row in rows}) == len(rows)
    return {f"{row.type}/{row.id}" for row in rows}


CASES: list[tuple[str, str, set[str]]] = [
    ("Observation", "_id=a&_include=Observation:subject", {"Patient/p"}),
    ("Observation", "_id=a&_include=Observation:performer", {"Practitioner/d"}),
    ("Observation", "_id=a&_include=Observation:subject:Group", set()),
    ("Observation", "_id=a&_include=Observation:subject&_include=Patient:organization", {"Patient/p"}),
    (
        "Observation",
        "_id=a&_include=Observation:subject&_include:iterate=Patient:organization&_include:iterate=Organization:partof",
        {"Patient/p", "Organization/ward", "Organization/top"},
    ),
    ("Observation", "_id=a&_include=Observation:*", {"Patient/p", "Practitioner/d"}),
    ("Observation", "_id=a&_include=*", {"Patient/p", "Practitioner/d"}),
    ("Observation", "_id=c&_include=Observation:derived-from", {"Observation/b"}),
    ("Observation", "_id=c&_include:iterate=Observation:derived-from", {"Observation/b", "Observation/a"}),
    ("Observation", "_id=a,b&_include=Observation:derived-from", set()),
    ("Observation", "_id=a&_revinclude=Provenance:target", {"Provenance/v"}),
    ("Observation", "_id=a&_revinclude=Observation:derived-from", {"Observation/b"}),
    ("Observation", "_id=a&_revinclude:iterate=Observation:derived-from", {"Observation/b", "Observation/c"}),
    ("Patient", "_id=p&_revinclude=Observation:*", {"Observation/a"}),
    (
        "Patient",
        "_id=p&_revinclude=Observation:subject&_revinclude:iterate=Provenance:target",
        {"Observation/a", "Provenance/v"},
    ),
    ("QuestionnaireResponse", "_id=r1&_include=QuestionnaireResponse:questionnaire", {"Questionnaire/q1"}),
    ("QuestionnaireResponse", "_id=r2&_include=*", {"Questionnaire/q1", "Questionnaire/q2"}),
    (
        "Questionnaire",
        "_id=q1&_revinclude=QuestionnaireResponse:questionnaire",
        {"QuestionnaireResponse/r1", "QuestionnaireResponse/r2"},
    ),
    ("Patient", "_id=p&_include=Patient:link&_revinclude=Encounter:subject", set()),
]


def test_included(filled: Store) -> None:
    assert {query: included(filled, type, query) for type, query, _ in CASES} == {
        query: expected for _, query, expected in CASES
    }


def test_nothing_forbidden_is_included_or_passed_through(filled: Store) -> None:
    def access(type: str) -> Expression:
        return NONE if type == "Patient" else ALL

    query = "_id=a&_include=Observation:subject&_include:iterate=Patient:organization&_include=Observation:performer"
    assert included(filled, "Observation", query, access=access) == {"Practitioner/d"}


def test_too_many(filled: Store) -> None:
    with pytest.raises(HubError, match="too-costly"):
        included(filled, "Observation", "_id=a&_include=*", limit=1)


def test_snapshot(filled: Store) -> None:
    at = filled.last_seq()
    filled.write(lambda tx: databases.delete(tx, "Patient", "p"))
    assert included(filled, "Observation", "_id=a&_include=Observation:subject") == set()
    assert included(filled, "Observation", "_id=a&_include=Observation:subject", at=at) == {"Patient/p"}

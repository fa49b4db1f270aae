"""Published packages through a running hub: back token for token, and every declared parameter answers what it says.

The 5,300 official examples, the R4 core package itself and the International Patient Summary 2.0.0.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hub.search.index import PROPERTIES
from hub.search.parameters import Parameter
from tests import declared, official
from tests.running import Process, serve

PACKAGES = ("r4-examples", "r4-core", "ips-2.0.0")
# Refused, and rightly: an id of 65 characters or with an underscore; a required element that is missing; a code,
# date or number outside its type.
RULES = {"required", "value", "structure", "code-invalid"}
Resources = dict[str, dict[str, Any]]
World = dict[str, Resources]


class Literal(str):
    """A JSON number as it is written."""


@pytest.fixture(scope="module", params=["sqlite", pytest.param("mongo", marks=pytest.mark.mongo)])
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    store = request.param
    if store == "mongo":
        host, _, options = request.getfixturevalue("mongod").partition("/?")
        store = f"{host}/packages?{options}"
    process = serve(tmp_path_factory.mktemp("packages") / "data", store)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def client(hub: Process) -> Iterator[httpx.Client]:
    headers = {"Accept": "application/fhir+json", "Prefer": "handling=strict"}
    with httpx.Client(base_url=f"{hub.base}/fhir", timeout=60, headers=headers) as opened:
        yield opened


@pytest.fixture(scope="module")
def world() -> World:
    """What has been loaded, by type and id."""
    return {}


def tokens(text: bytes) -> Any:
    """The resource with numbers as written, without id and meta."""
    value = json.loads(text.removeprefix(b"\xef\xbb\xbf"), parse_float=Literal, parse_int=Literal)
    return {name: part for name, part in value.items() if name not in ("id", "meta")}


def first_version(type: str) -> str:
    """Of a Subscription what was sent is version 1: the server answers it by setting its status (R4 3.3.2)."""
    return "/_history/1" if type == "Subscription" else ""


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_comes_back_unchanged(package: str, hub: Process, client: httpx.Client, world: World) -> None:
    folder = official.package(package)
    done = subprocess.run(
        [sys.executable, "-m", "hub.cli", "load", str(folder), "--url", hub.base, "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    print(f"{package}: {report['read']} read, {report['stored']} stored in {report['seconds']} s")
    print(*(f"rejected {row}" for row in report["rejected"]), sep="\n")
    assert report["stored"] + len(report["rejected"]) == report["read"]
    assert {row["code"] for row in report["rejected"]} <= RULES
    rejected = {row["file"] for row in report["rejected"]}
    for file in official.files(package):
        resource = declared.decode(file.read_bytes())
        if str(file) in rejected or "resourceType" not in resource:
            continue
        type, id = resource["resourceType"], resource["id"]
        world.setdefault(type, {})[id] = resource
        answer = client.get(f"/{type}/{id}{first_version(type)}")
        assert answer.status_code == 200, f"{type}/{id}"
        assert tokens(answer.content) == tokens(file.read_bytes()), f"{type}/{id}"


class Asker:
    """Asks a hub about parameters; ``wrong`` collects where it answers other than the naive evaluation."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.asked = 0
        self.wrong: list[str] = []

    def found(self, type: str, name: str, text: str) -> set[str]:
        """The ids that a search finds, all pages."""
        self.asked += 1
        answer = self._client.post(f"/{type}/_search", data={name: text, "_count": "1000", "_elements": "id"})
        found: set[str] = set()
        while answer.status_code == 200:
            bundle = answer.json()
            found.update(entry["resource"]["id"] for entry in bundle.get("entry", ()))
            following = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
            if not following:
                return found
            answer = self._client.get(following[0])
        self.wrong.append(f"{answer.status_code} {answer.text[:500]}")
        return found

    def expect(self, wanted: set[str], resources: Resources, type: str, name: str, text: str) -> None:
        """``wanted`` among what was loaded: the hub adds Persons, Tasks and AuditEvents of its own."""
        got = self.found(type, name, text) & resources.keys()
        if got != wanted:
            more, fewer = sorted(got - wanted)[:3], sorted(wanted - got)[:3]
            self.wrong.append(f"{type}?{name}={text[:200]} also finds {more}, does not find {fewer}")

    def simple(self, type: str, parameter: Parameter, resources: Resources) -> int:
        """Asks about a parameter; how many resources have a value for it."""
        values = {id: declared.found(parameter, resource) for id, resource in resources.items()}
        having = {id for id, some in values.items() if declared.present(parameter, some)}
        self.expect(having, resources, type, f"{parameter.code}:missing", "false")
        for id in sorted(having)[:40:7]:
            for question in declared.questions(parameter, values[id]):
                wanted = {one for one, some in values.items() if question.test(some)}
                self.expect(wanted, resources, type, question.name, question.text)
        return len(having)

    def composite(self, type: str, parameter: Parameter, resources: Resources) -> int:
        """Asks about a composite parameter; how many values were asked for."""
        elements = {id: declared.composite(parameter, resource) for id, resource in resources.items()}
        asked = [one for some in elements.values() for one in declared.composites(parameter, some)]
        for text, forms in asked[:6]:
            wanted = {id for id, some in elements.items() if declared.meets(parameter, some, forms)}
            self.expect(wanted, resources, type, parameter.code, text)
        return len(asked)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_every_declared_parameter_answers_what_its_fhirpath_says(client: httpx.Client, world: World) -> None:
    """Of every type, also those of which there is nothing: no parameter is refused."""
    asker, parameters, valued = Asker(client), 0, 0
    for type in sorted(declared.registry.types):
        resources = world.get(type, {})
        for code, parameter in declared.registry.of(type).items():
            if code in PROPERTIES or parameter.type == "special" or (type, code) == ("Subscription", "status"):
                continue  # the status of a Subscription is the server's
            ask = asker.composite if parameter.components else asker.simple
            valued += bool(ask(type, parameter, resources))
            parameters += 1
    print(f"{parameters} parameters, {valued} of them with values, {asker.asked} searches, {len(asker.wrong)} wrong")
    assert asker.wrong == []
    assert valued > 1_300

"""The capabilities say what the routes do, and nothing else."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from starlette.routing import Route

from adapters.dicom import capabilities

from .conftest import Hub


def test_every_route_is_described_and_every_description_is_a_route(hub: Hub) -> None:
    routes = {
        (route.path, method)
        for route in hub.web.application.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(row["resource"], row["method"]) for row in capabilities.rows()} == routes


def test_capabilities_are_wadl_or_json(hub: Hub) -> None:
    answer = hub.web.request("OPTIONS", "/")
    assert answer.headers["Content-Type"].startswith(capabilities.WADL)
    document = ET.fromstring(answer.content)
    resources = document.find(f"{{{capabilities.NAMESPACE}}}resources")
    assert resources is not None and resources.get("base") == "http://hub.test/dicom-web"
    assert {found.get("path") for found in resources} >= {"studies", "wado", "workitems/{uid}/state"}
    as_json = hub.web.request("OPTIONS", "/", headers={"Accept": "application/json"}).json()
    assert len(as_json["resources"]) == len(capabilities.rows())
    assert hub.web.request("OPTIONS", "/", headers={"Accept": "text/html"}).status_code == 406

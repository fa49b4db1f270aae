"""Method and path to interaction (R4 3.1.0.0)."""

import pytest

from hub.api.exchange import Route
from hub.api.routes import Router
from hub.errors import HubError

ROUTER = Router(frozenset({"Patient", "Observation"}))


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "", Route("search_system")),
        ("POST", "", Route("transaction")),
        ("GET", "metadata", Route("capabilities")),
        ("POST", "_search", Route("search_system")),
        ("GET", "_history", Route("history_system")),
        ("GET", "Patient", Route("search_type", "Patient")),
        ("POST", "Patient", Route("create", "Patient")),
        ("PUT", "Patient", Route("conditional_update", "Patient")),
        ("DELETE", "Patient", Route("conditional_delete", "Patient")),
        ("POST", "Patient/_search", Route("search_type", "Patient")),
        ("GET", "Patient/_history", Route("history_type", "Patient")),
        ("GET", "Patient/a.B-1", Route("read", "Patient", "a.B-1")),
        ("HEAD", "Patient/1", Route("read", "Patient", "1")),
        ("PUT", "Patient/1", Route("update", "Patient", "1")),
        ("DELETE", "Patient/1", Route("delete", "Patient", "1")),
        ("GET", "Patient/1/_history", Route("history_instance", "Patient", "1")),
        ("GET", "Patient/1/_history/2", Route("vread", "Patient", "1", "2")),
        ("POST", "Patient/$match", Route("operation", "Patient", name="match")),
        ("GET", "Patient/1/$everything", Route("operation", "Patient", "1", name="everything")),
    ],
)
def test_route(method: str, path: str, route: Route) -> None:
    assert ROUTER.find(method, path) == route


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "Person", "type-unknown"),
        ("GET", "patient/1", "type-unknown"),
        ("GET", "Patient/" + "a" * 65, "not-found"),
        ("GET", "Patient/a b", "not-found"),
        ("GET", "Patient/1/2/3/4", "not-found"),
        ("GET", "Patient//_history", "not-found"),
        ("GET", "Patient/1/_search", "not-found"),
        ("GET", "Patient/1/_history/2/3", "not-found"),
        ("POST", "Patient/1", "method-unknown"),
        ("DELETE", "", "method-unknown"),
        ("TRACE", "Patient/1", "method-unknown"),
    ],
)
def test_no_route(method: str, path: str, error: str) -> None:
    with pytest.raises(HubError) as raised:
        ROUTER.find(method, path)
    assert raised.value.name == error


def test_the_methods_of_an_address_are_named() -> None:
    with pytest.raises(HubError) as raised:
        ROUTER.find("PATCH", "metadata")
    assert raised.value.at == "GET, HEAD"

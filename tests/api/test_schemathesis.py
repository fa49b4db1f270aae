"""schemathesis against the OpenAPI of /fhir and /api: whatever is sent, no answer is a 5xx, and each one comes."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings


def fuzz(url: str, examples: int) -> tuple[int, list[str]]:
    """How many requests were sent, to all operations of a description, and those that were answered by a 5xx."""
    sent, failed = 0, []
    for found in schemathesis.openapi.from_url(url).get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def send(case: schemathesis.Case) -> None:
            nonlocal sent
            sent += 1
            response = case.call(timeout=20)
            if response.status_code >= 500 and response.status_code != 501:
                failed.append(f"{response.status_code} {case.method} {response.request.url} {response.text[:300]}")

        send()
    return sent, failed


@pytest.mark.parametrize("path", ["/fhir/openapi.json", "/api/openapi.json"])
def test_no_server_error(server: str, path: str) -> None:
    sent, failed = fuzz(server + path, examples=5)
    assert sent > 50
    assert not failed, "\n".join(failed[:20])


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("path", ["/fhir/openapi.json", "/api/openapi.json"])
def test_no_server_error_in_a_long_campaign(server: str, path: str) -> None:
    _, failed = fuzz(server + path, examples=300)
    assert not failed, "\n".join(failed[:20])

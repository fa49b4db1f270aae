"""The conformance statement in the docs is what the tables say."""

from __future__ import annotations

from pathlib import Path

from adapters.dicom import scp, statement

DOCUMENT = Path(__file__).parents[2] / "docs" / "dicom-conformance.md"


def test_the_document_is_up_to_date() -> None:
    written = DOCUMENT.read_text(encoding="utf-8")
    assert written == statement.statement(), "run: hub dicom statement > docs/dicom-conformance.md"


def test_it_names_every_service_that_is_accepted() -> None:
    text = statement.statement()
    assert all(f"| {uid} |" in text for uid in scp.SERVED)

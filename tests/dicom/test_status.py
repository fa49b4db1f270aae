"""status.csv: every error name has a status, and every status is one the service class allows."""

from __future__ import annotations

from pynetdicom import status as standard

from adapters.dicom import status
from hub.errors import ERRORS, HubError

ALLOWED = {
    "store": standard.STORAGE_SERVICE_CLASS_STATUS,
    "find": standard.QR_FIND_SERVICE_CLASS_STATUS,
    "retrieve": standard.QR_MOVE_SERVICE_CLASS_STATUS,
    "normalized": standard.GENERAL_STATUS,
}


def test_every_error_has_a_status_and_nothing_else_has() -> None:
    assert set(status.STATUS) == set(ERRORS)


def test_every_status_is_a_failure_of_its_service() -> None:
    for name, row in status.STATUS.items():
        for service, code in row.items():
            assert code in ALLOWED[service] or code in standard.GENERAL_STATUS, (name, service, hex(code))
            assert standard.code_to_category(code) == "Failure", (name, service, hex(code))


def test_the_comment_says_where_and_what_in_64_characters() -> None:
    comment = status.comment(HubError("value", "x" * 100, "(0008,0018)"))
    assert comment.startswith("(0008,0018) xxx") and len(comment) == 64

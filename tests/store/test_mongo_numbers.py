"""Numbers of a queue's rows are plain integers whatever the driver makes of 64 bits."""

from __future__ import annotations

import json

import pytest
from bson.int64 import Int64

from hub.store import mongo_session


class _Plain:
    """A codec that leaves everything as it is."""

    def unpack(self, codec: object, data: bytes) -> bytes:
        return data

    def unpack_facts(self, text: str) -> str:
        return text


@pytest.mark.parametrize("name", ["created", "attempts", "leased_until", "seq"])
def test_items_have_plain_integers(name: str) -> None:
    row = {
        "queue": "inbox",
        "id": "1",
        "key": "k",
        "digest": "d",
        "state": "received",
        "data": json.dumps({}),
        "raw": b"",
    }
    document = {**row, "created": 1, name: Int64(2**40)}
    item = mongo_session.item_of(document, _Plain())  # type: ignore[arg-type]
    assert type(getattr(item, name)) is int
    assert getattr(item, name) == 2**40

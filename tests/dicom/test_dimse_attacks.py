"""Hostile peers (tests/conformance/dicom_attacks.csv): refused, at flat memory, and the listener goes on."""

from __future__ import annotations

import csv
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from adapters.dicom import dataset, encode, part10, retrieve
from adapters.dicom.ul import dimse, pdu
from hub.errors import HubError

from .conftest import Hub, image, running

TABLE = Path(__file__).parents[1] / "conformance/dicom_attacks.csv"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with running(tmp_path) as hub:
        yield hub
        assert hub.store(image("9.9")) == [0x0000]  # the service is up


def test_every_attack_of_the_table_has_its_test() -> None:
    rows = csv.DictReader(line for line in TABLE.read_text().splitlines() if not line.startswith("#"))
    for row in rows:
        path, _, name = row["test"].partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), row["attack"]


def test_a_deflate_bomb_is_refused(hub: Hub) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = image().data + b"\x11\x00\x10\x10OB\0\0\xff\xff\xff\x3f"
    bomb = packer.compress(head) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(600)) + packer.flush()
    before = psutil.Process().memory_info().rss
    file = part10.File(image().sop_class, "1.2.3.1", dataset.DEFLATED, bomb)
    assert hub.store(file) == [0xA700]
    assert psutil.Process().memory_info().rss - before < 400_000_000


@pytest.mark.parametrize("depth", [40, 10_000])
def test_nested_sequences_are_refused(hub: Hub, depth: int) -> None:
    item = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    file = image()
    nested = part10.File(file.sop_class, file.sop_instance, file.transfer_syntax, file.data + item * depth)
    assert hub.store(nested) == [0xA700]


@pytest.mark.parametrize("uid", ["../../../etc/passwd", "/etc/passwd", "1.2.3/../4", "%2e%2e", "1.2.3;rm"])
def test_a_path_is_no_uid(hub: Hub, uid: str) -> None:
    before = {path for path in hub.doors.data.parent.rglob("*") if path.is_file()}
    for file in (image(uid), image(study=uid), image(series=uid)):
        assert hub.store(file) == [0xA900]
    after = {path for path in hub.doors.data.parent.rglob("*") if path.is_file()}
    assert after - before == set()


def test_a_thousand_idle_associations(tmp_path: Path) -> None:
    with running(tmp_path, max_associations=64, max_associations_per_peer=48, idle_seconds=2) as hub:
        before = psutil.Process().memory_info().rss
        echo = pdu.Context(1, "1.2.840.10008.1.1", (dataset.IMPLICIT,))
        asked = pdu.encode_associate(pdu.ASSOCIATE_RQ, pdu.Associate("HUB", "IDLE", (echo,), 16384, "1.2.3", "X"))
        opened = []
        for _ in range(1000):
            connection = socket.create_connection(hub.address, timeout=10)
            connection.sendall(asked)
            opened.append(connection)
        kinds = [_kind(connection) for connection in opened]
        assert kinds.count(pdu.ASSOCIATE_AC) <= 64 and kinds.count(pdu.ASSOCIATE_AC) > 0
        assert set(kinds) <= {pdu.ASSOCIATE_AC, pdu.ASSOCIATE_RJ, 0}
        assert psutil.Process().memory_info().rss - before < 100_000_000
        for connection in opened:
            connection.close()
        assert hub.until(lambda: _stores(hub))


def _kind(connection: socket.socket) -> int:
    try:
        return (connection.recv(1) or b"\0")[0]
    except OSError:
        return 0


def _stores(hub: Hub) -> bool:
    try:
        return hub.store(image()) == [0x0000]
    except (OSError, HubError):  # refused as long as the idle ones hold their places
        return False


def test_a_move_to_an_unknown_ae(hub: Hub) -> None:
    hub.store(image())
    move = hub.associate((retrieve.STUDY_MOVE, dataset.IMPLICIT))
    command: dimse.Command = {
        "CommandField": dimse.C_MOVE,
        "MessageID": 1,
        "AffectedSOPClassUID": retrieve.STUDY_MOVE,
        "Priority": 0,
        "MoveDestination": "ATTACKER",
    }
    asked = {"00080052": {"vr": "CS", "Value": ["STUDY"]}, "0020000D": {"vr": "UI", "Value": ["1.2.3"]}}
    move.send(move.contexts[1], command, encode.encode(asked, implicit=True))
    answer = move.receive()
    move.release()
    assert answer is not None and answer.command["Status"] == 0xA801


@pytest.mark.parametrize(
    "tail",
    [
        struct.pack("<HH2sHL", 0x0011, 0x1010, b"OB", 0, 0xFFFFFFF0),
        struct.pack("<HH2sHL", 0x0011, 0x1010, b"UN", 0, 0xFFFFFFFF),
        struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 0x7FFFFFFE),
        b"\xff" * 7,
    ],
    ids=["long value", "unknown without end", "pixels that are not there", "noise"],
)
def test_lengths_that_lie(hub: Hub, tail: bytes) -> None:
    file = image("1.2.3.7")
    (status,) = hub.store(part10.File(file.sop_class, "1.2.3.7", file.transfer_syntax, file.data + tail))
    assert status in (0x0000, 0xB007, 0xC000)

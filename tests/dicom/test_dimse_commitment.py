"""Storage commitment (PS3.4 J) with pynetdicom as the modality."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from adapters.dicom import part10

from .conftest import Hub, image, running


def request(*files: part10.File) -> Dataset:
    asked = Dataset()
    asked.TransactionUID = "2.25.77"
    asked.ReferencedSOPSequence = []
    for file in files:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = file.sop_class, file.sop_instance
        asked.ReferencedSOPSequence.append(item)
    return asked


def commit(hub: Hub, asked: Dataset, results: queue.Queue[Any], *, wait: bool) -> int:
    """N-ACTION; the report may come over the same association."""
    ae = AE("TEST_CT")
    ae.add_requested_context(StorageCommitmentPushModel)
    association = ae.associate(
        *hub.address, ae_title="HUB", evt_handlers=[(evt.EVT_N_EVENT_REPORT, receive, [results])]
    )
    status, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    if wait and status.Status == 0:
        results.put(results.get(timeout=10))
    association.release()
    return int(status.Status)


def receive(event: Any, results: queue.Queue[Any]) -> tuple[int, None]:
    results.put((event.event_type, event.event_information))
    return 0x0000, None


def test_what_is_on_disk_is_committed_over_the_same_association(hub: Hub) -> None:
    files = image("1.1"), image("1.2")
    hub.store(*files)
    results: queue.Queue[Any] = queue.Queue()
    assert commit(hub, request(*files), results, wait=True) == 0x0000
    kind, report = results.get_nowait()
    assert kind == 1 and report.TransactionUID == "2.25.77"
    assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == ["1.1", "1.2"]
    assert "FailedSOPSequence" not in report


def test_what_is_not_there_is_never_committed(hub: Hub) -> None:
    held, lost, absent = image("1.1"), image("1.2"), image("1.3")
    hub.store(held, lost)
    row = hub.doors.imaging.held("1.2")
    assert row is not None
    name, offset = row["pack"]
    with Path(hub.doors.data, "images", f"{name}.open").open("r+b") as pack:
        pack.seek(offset + row["size"] - 1)
        pack.write(b"\xff")
    results: queue.Queue[Any] = queue.Queue()
    other = part10.File("1.2.840.10008.5.1.4.1.1.4", "1.1", held.transfer_syntax, b"")
    commit(hub, request(held, lost, absent, other), results, wait=True)
    kind, report = results.get_nowait()
    assert kind == 2
    assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == ["1.1"]
    failed = {(item.ReferencedSOPInstanceUID, item.FailureReason) for item in report.FailedSOPSequence}
    assert failed == {("1.2", 0x0112), ("1.3", 0x0112), ("1.1", 0x0119)}


@pytest.mark.parametrize("missing", ["TransactionUID", "ReferencedSOPSequence"])
def test_a_request_without_its_parts_is_refused(hub: Hub, missing: str) -> None:
    asked = request(image())
    delattr(asked, missing)
    assert commit(hub, asked, queue.Queue(), wait=False) == 0x0120


def test_a_peer_with_a_known_address_gets_the_result_on_a_new_association(tmp_path: Path) -> None:
    results: queue.Queue[Any] = queue.Queue()
    ae = AE("TEST_CT")
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, receive, [results])]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    address = f"127.0.0.1:{server.socket.getsockname()[1]}"
    with running(tmp_path, destinations={"TEST_CT": address}) as hub:
        hub.store(image("1.1"))
        assert commit(hub, request(image("1.1")), queue.Queue(), wait=False) == 0x0000
        kind, report = results.get(timeout=10)
    server.shutdown()
    assert kind == 1 and report.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.1"

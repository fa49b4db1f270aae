"""Instance Availability Notification (PS3.4 R) to pynetdicom."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import InstanceAvailabilityNotification

from .conftest import image, running


def test_who_is_to_know_is_told_what_can_be_retrieved(tmp_path: Path) -> None:
    told: queue.Queue[Dataset] = queue.Queue()

    def receive(event: Any) -> tuple[int, Dataset]:
        told.put(event.attribute_list)
        return 0x0000, event.attribute_list

    ae = AE("RIS")
    ae.add_supported_context(InstanceAvailabilityNotification)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_CREATE, receive)])
    destinations = {"RIS": f"127.0.0.1:{server.socket.getsockname()[1]}", "GONE": "127.0.0.1:1"}
    with running(tmp_path, destinations=destinations, availability=["GONE", "RIS"]) as hub:
        hub.store(image("1.1.1", study="1", series="1.1"), image("1.2.1", study="1", series="1.2"))
        note = told.get(timeout=20)
    server.shutdown()
    assert note.StudyInstanceUID == "1" and not note.ReferencedPerformedProcedureStepSequence
    found = {
        (series.SeriesInstanceUID, item.ReferencedSOPInstanceUID, item.InstanceAvailability, item.RetrieveAETitle)
        for series in note.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert found == {("1.1", "1.1.1", "ONLINE", "HUB"), ("1.2", "1.2.1", "ONLINE", "HUB")}

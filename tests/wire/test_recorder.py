"""A recorder between the simulated hospitals and a hub: the answers come back, the bytes are written as they were."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import httpx

from simulators import record, scenario, traffic
from simulators.recorder import Recorder
from simulators.scenario import Scenario
from tests.running import Process


def test_what_passes_is_recorded_as_it_was_sent(running: Process, tmp_path: Path) -> None:
    log = scenario.log(Scenario("day", 3, 0.0003, masters=False))
    images = [one for one in log if one.link == "dicom"]
    log = [one for one in log if one.link != "dicom"][:60] + images[:2]
    file = tmp_path / "recorded.jsonl"
    here = traffic.Targets(("127.0.0.1", 0), ("127.0.0.1", 0), "http://127.0.0.1:0")
    to = traffic.Targets(running.mllp, running.dicom, running.base)
    with Recorder(here, to, file) as recorder:
        http = "http://{}:{}".format(*recorder.addresses["http"])
        through = traffic.Targets(recorder.addresses["mllp"], recorder.addresses["dicom"], http)
        account = traffic.send(log, through)
        assert account.refusals == []
        assert httpx.get(f"{http}/fhir/Patient?_summary=count").json()["total"] > 3
        assert recorder.count == len(log) + 1
    written = list(record.read(file))
    assert written[-1].request == "GET /Patient?_summary=count"
    sent = Counter(one.body for one in log if one.link != "dicom")
    assert sent == Counter(one.body for one in written if one.link != "dicom") - Counter([b""])
    assert {one.control_id for one in log if one.link != "http"} == {one.control_id for one in written} - {""}
    assert images
    pixels = {one.body[-512:] for one in images[:2]}
    assert pixels == {one.body[-512:] for one in written if one.link == "dicom"}
    assert traffic.send(written, to).refusals == []

"""DIMSE with archives that others wrote: Orthanc as SCU and SCP, dcmtk's storescp, wlmscpfs and worklist SCU."""

from __future__ import annotations

import csv
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest

from adapters.dicom import part10
from hub.services.context import Context

from .conftest import FILES, Hub, running

ROOT = Path(__file__).parents[2]
EXCHANGES = ROOT / "tests/conformance/dicom_exchanges.csv"
ORTHANC, STORESCP, WLMSCPFS = Path("/usr/sbin/Orthanc"), Path("/usr/bin/storescp"), Path("/usr/bin/wlmscpfs")
NAMES = ("CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm")
needs_orthanc = pytest.mark.skipif(not ORTHANC.exists(), reason="Debian's orthanc is not installed")
needs_dcmtk = pytest.mark.skipif(not WLMSCPFS.exists(), reason="Debian's dcmtk is not installed")


def files() -> list[part10.File]:
    return [part10.split(next(FILES.rglob(name)).read_bytes()) for name in NAMES]


@dataclass
class Peers:
    """The hub, and the ports of those who stand in its table of destinations."""

    hub: Hub
    orthanc: int
    storescp: int


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    orthanc, storescp = free_ports(2)
    destinations = {"ORTHANC": f"127.0.0.1:{orthanc}", "STORESCP": f"127.0.0.1:{storescp}"}
    with running(tmp_path_factory.mktemp("hub"), destinations=destinations) as hub:
        patient = {
            "resourceType": "Patient", "id": "p1", "name": [{"family": "王", "given": ["小东"]}],
            "identifier": [{"system": "https://region-hub.example/fhir/authority/ORTHANC", "value": "77"}],
            "gender": "male", "birthDate": "1985-03-17",
        }  # fmt: skip
        order = {
            "resourceType": "ServiceRequest", "id": "o1", "status": "active", "intent": "order",
            "subject": {"reference": "Patient/p1"}, "occurrenceDateTime": "2026-11-20T09:30:00+08:00",
            "identifier": [{"system": "https://region-hub.example/fhir/authority/ORTHANC/ACSN", "value": "A1"}],
            "code": {"coding": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "CT"}]},
        }  # fmt: skip
        entries = [{"resource": patient}, {"resource": order}]
        hub.doors.ingest.submit({"entry": entries}, Context(door="test", actor="test"))
        yield Peers(hub, orthanc, storescp)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(what: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
    return found


# --- Orthanc ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def orthanc(peers: Peers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Debian's Orthanc, which knows the hub as the modality ``hub``."""
    folder = tmp_path_factory.mktemp("orthanc")
    (http,) = free_ports(1)
    settings = {
        "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "HttpPort": http,
        "DicomPort": peers.orthanc, "DicomAet": "ORTHANC", "AuthenticationEnabled": False, "DefaultEncoding": "Utf8",
        "DicomModalities": {"hub": {"AET": "HUB", "Host": "127.0.0.1", "Port": peers.hub.address[1]}},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([ORTHANC, folder / "orthanc.json"], stdout=log, stderr=log, env={"TCP_NODELAY": "1"})
    with httpx.Client(base_url=f"http://127.0.0.1:{http}", timeout=60) as client:
        until(lambda: _answers(client))
        yield client
    process.terminate()
    process.wait(20)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/system").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.orthanc
@needs_orthanc
class TestOrthanc:
    def test_echo(self, orthanc: httpx.Client) -> None:
        assert orthanc.post("/modalities/hub/echo", content=b"{}").status_code == 200

    def test_store_and_commitment(self, orthanc: httpx.Client, peers: Peers) -> None:
        for name in NAMES:
            orthanc.post("/instances", content=next(FILES.rglob(name)).read_bytes()).raise_for_status()
        ids = orthanc.get("/instances").json()
        asked = {"Resources": ids, "Synchronous": True, "StorageCommitment": True}
        done = orthanc.post("/modalities/hub/store", json=asked).json()
        assert (done["InstancesCount"], done["FailedInstancesCount"]) == (3, 0)
        report = f"/storage-commitment/{done['StorageCommitmentTransactionUID']}"
        found = until(lambda: (said := orthanc.get(report).json())["Status"] != "Pending" and said)
        assert found["Status"] == "Success" and len(found["Success"]) == 3
        for file in files():
            (row,) = peers.hub.doors.imaging.find(
                Context(door="test", actor="test"), "instance", [("SOPInstanceUID", file.sop_instance)]
            )
            kept = part10.split(peers.hub.doors.imaging.file(row))
            assert (kept.transfer_syntax, kept.sop_class) == (file.transfer_syntax, file.sop_class)

    def test_query_and_move(self, orthanc: httpx.Client, peers: Peers) -> None:
        peers.hub.store(*files())
        for id in orthanc.get("/instances").json():
            orthanc.delete(f"/instances/{id}")
        ct = pydicom.dcmread(next(FILES.rglob(NAMES[0])), stop_before_pixels=True)
        asked = {"Level": "Study", "Query": {"PatientID": ct.PatientID}}
        query = orthanc.post("/modalities/hub/query", json=asked).json()["Path"]
        assert len(orthanc.get(f"{query}/answers").json()) == 1
        moved = orthanc.post(f"{query}/retrieve", json={"TargetAet": "ORTHANC", "Synchronous": True})
        assert moved.status_code == 200, moved.text
        (id,) = until(lambda: orthanc.get("/instances").json())
        assert orthanc.get(f"/instances/{id}/metadata/TransferSyntax").text == ct.file_meta.TransferSyntaxUID

    def test_worklist(self, orthanc: httpx.Client) -> None:
        asked = {"PatientName": "*", "ScheduledProcedureStepSequence": [{"Modality": "CT"}], "AccessionNumber": ""}
        (step,) = orthanc.post("/modalities/hub/find-worklist", json=asked).json()
        assert step["AccessionNumber"] == "A1" and step["PatientName"].startswith("Wang^Xiaodong")


# --- dcmtk ------------------------------------------------------------------------------------------------------------


@pytest.mark.dcmtk
@needs_dcmtk
def test_movescu_has_the_hub_send_to_storescp(peers: Peers, tmp_path: Path) -> None:
    peers.hub.store(*files())
    server = subprocess.Popen([STORESCP, "-od", tmp_path, "+xa", "-aet", "STORESCP", str(peers.storescp)])
    try:
        until(lambda: listens(peers.storescp))
        for name in NAMES:
            study = pydicom.dcmread(next(FILES.rglob(name)), stop_before_pixels=True).StudyInstanceUID
            keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
            move = ["/usr/bin/movescu", "-S", "-aec", "HUB", "-aem", "STORESCP", *keys, "127.0.0.1", peers.hub.port]
            assert subprocess.run(move, check=False, timeout=60).returncode == 0
    finally:
        server.terminate()
        server.wait(20)
    kept = [pydicom.dcmread(path) for path in tmp_path.iterdir()]
    sent = [pydicom.dcmread(next(FILES.rglob(name))) for name in NAMES]
    assert {(ds.SOPInstanceUID, ds.PixelData) for ds in kept} == {(ds.SOPInstanceUID, ds.PixelData) for ds in sent}


@pytest.mark.dcmtk
@needs_dcmtk
def test_wlmscpfs_serves_what_the_hubs_worklist_answers(peers: Peers, tmp_path: Path) -> None:
    """A worklist item of the hub, put into dcmtk's worklist server, is complete for it and found there the same."""
    ours, theirs, folder = tmp_path / "ours", tmp_path / "theirs", tmp_path / "wl" / "HUB"
    for made in (ours, theirs, folder):
        made.mkdir(parents=True)
    (folder / "lockfile").touch()
    assert findscu(peers.hub.port, ours) == 0
    (answer,) = ours.iterdir()
    item = pydicom.dcmread(answer, force=True)
    item.save_as(folder / "item.wl", enforce_file_format=False)
    (port,) = free_ports(1)
    server = subprocess.Popen([WLMSCPFS, "-dfp", folder.parent, str(port)])
    try:
        until(lambda: findscu(str(port), theirs) == 0)
    finally:
        server.terminate()
        server.wait(20)
    (same,) = theirs.iterdir()
    found = pydicom.dcmread(same, force=True)
    for keyword in ("PatientID", "AccessionNumber", "PatientBirthDate", "ScheduledProcedureStepSequence"):
        assert found[keyword] == item[keyword]
    assert str(found.PatientName).split("=")[0] == str(item.PatientName).split("=")[0]


def findscu(port: str, folder: Path) -> int:
    keys = [
        "ScheduledProcedureStepSequence[0].Modality=CT", "ScheduledProcedureStepSequence[0].ScheduledStationAETitle",
        "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate", "PatientName", "PatientID",
        "PatientBirthDate", "AccessionNumber", "ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartTime",
        "ScheduledProcedureStepSequence[0].ScheduledProcedureStepID", "RequestedProcedureID", "StudyInstanceUID",
        "ScheduledProcedureStepSequence[0].ScheduledProcedureStepDescription", "RequestedProcedureDescription",
        "SpecificCharacterSet=ISO_IR 192",
    ]  # fmt: skip
    asked = [word for key in keys for word in ("-k", key)]
    command = ["/usr/bin/findscu", "-W", "-X", "-od", folder, "-aet", "ORTHANC", "-aec", "HUB", *asked]
    return subprocess.run([*command, "127.0.0.1", port], check=False, timeout=30, capture_output=True).returncode


# --- the table --------------------------------------------------------------------------------------------------------


def test_every_exchange_of_the_table_is_a_test() -> None:
    lines = [line for line in EXCHANGES.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(lines))
    assert {"echoscu", "storescu", "findscu", "movescu", "getscu", "storescp", "wlmscpfs"} <= {
        row["peer"].removeprefix("dcmtk ") for row in rows
    }
    for row in rows:
        path, *names = row["test"].split("::")
        assert f"def {names[-1]}(" in (ROOT / path).read_text(encoding="utf-8"), row

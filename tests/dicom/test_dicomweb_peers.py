"""DICOMweb with clients that others wrote: dicomweb-client, and Orthanc's plugin as client of the hub."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

from adapters.dicom import part10

from .conftest import FILES, Hub, image, running, served

EXCHANGES = Path(__file__).parents[1] / "conformance/dicom_exchanges.csv"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ORTHANC = Path("/usr/sbin/Orthanc")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running(tmp_path_factory.mktemp("hub")) as hub:
        names = ("CT_small.dcm", "MR_small_RLE.dcm")
        hub.store(*(part10.split(next(FILES.rglob(name)).read_bytes()) for name in names))
        hub.store(
            image(
                "3.1.1", study="3", series="3.1", SpecificCharacterSet="GB18030", PatientName="Wang^XiaoDong=王^小东"
            ),
            image("3.1.2", study="3", series="3.1", InstanceNumber=2),
        )
        yield hub


@pytest.fixture(scope="module")
def base(hub: Hub) -> Iterator[str]:
    with served(hub) as base:
        yield base


@pytest.fixture(scope="module")
def client(base: str) -> DICOMwebClient:
    return DICOMwebClient(base)


def uids(name: str) -> tuple[str, str, str]:
    ds = pydicom.dcmread(next(FILES.rglob(name)), stop_before_pixels=True)
    return ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID


# --- dicomweb-client --------------------------------------------------------------------------------------------------


def test_client_searches(client: DICOMwebClient) -> None:
    found = client.search_for_studies(search_filters={"PatientName": "王*"})
    assert [study["0020000D"]["Value"][0] for study in found] == ["3"]
    assert len(client.search_for_series("3")) == 1
    assert len(client.search_for_instances("3", "3.1")) == 2
    assert len(client.search_for_instances("3", "3.1", limit=1, offset=1)) == 1
    assert client.search_for_studies(fuzzymatching=True, search_filters={"PatientName": "xiaodong wang"})


def test_client_retrieves_data_sets_and_metadata(client: DICOMwebClient) -> None:
    assert sorted(ds.SOPInstanceUID for ds in client.retrieve_study("3")) == ["3.1.1", "3.1.2"]
    one = client.retrieve_instance("3", "3.1", "3.1.1")
    assert str(one.PatientName) == "Wang^XiaoDong=王^小东"
    metadata = client.retrieve_series_metadata("3", "3.1")
    assert {item["00080018"]["Value"][0] for item in metadata} == {"3.1.1", "3.1.2"}
    plain = client.retrieve_instance(
        *uids("MR_small_RLE.dcm"), media_types=(("application/dicom", "1.2.840.10008.1.2.1"),)
    )
    expected = pydicom.dcmread(next(FILES.rglob("MR_small_RLE.dcm")))
    assert np.array_equal(plain.pixel_array, expected.pixel_array)


def test_client_retrieves_frames_and_bulk_data(client: DICOMwebClient, base: str) -> None:
    expected = pydicom.dcmread(next(FILES.rglob("CT_small.dcm")))
    (frame,) = client.retrieve_instance_frames(*uids("CT_small.dcm"), [1])
    assert frame == expected.PixelData
    (stored,) = client.retrieve_instance_frames(*uids("MR_small_RLE.dcm"), [1], media_types=("image/dicom-rle",))
    assert len(stored) < 64 * 64 * 2
    metadata = client.retrieve_instance_metadata(*uids("CT_small.dcm"))
    (bulk,) = client.retrieve_bulkdata(base.removesuffix("/dicom-web") + metadata["7FE00010"]["BulkDataURI"])
    assert bulk == expected.PixelData


def test_client_retrieves_rendered(client: DICOMwebClient) -> None:
    from PIL import Image

    shown = client.retrieve_instance_rendered(*uids("CT_small.dcm"), media_types=("image/png",))
    assert Image.open(io.BytesIO(shown)).size == (128, 128)


def test_client_stores(client: DICOMwebClient, hub: Hub) -> None:
    ds = pydicom.dcmread(next(FILES.rglob("rtdose.dcm")))
    answer = client.store_instances([ds])
    assert len(answer.ReferencedSOPSequence) == 1 and "FailedSOPSequence" not in answer
    kept = hub.web.get(f"/instances?SOPInstanceUID={ds.SOPInstanceUID}").json()
    assert kept[0]["0020000D"]["Value"] == [ds.StudyInstanceUID]


# --- Orthanc ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def orthanc(base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Debian's Orthanc with its DICOMweb plugin, which knows the hub as a server."""
    folder = tmp_path_factory.mktemp("orthanc")
    with socket.socket() as probe, socket.socket() as other:
        probe.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        http, dicom = probe.getsockname()[1], other.getsockname()[1]
    settings: dict[str, Any] = {
        "Name": "PEER", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
        "HttpPort": http, "DicomPort": dicom, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True, "Servers": {"hub": [f"{base}/"]}},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([ORTHANC, folder / "orthanc.json"], stdout=log, stderr=log)
    with httpx.Client(base_url=f"http://127.0.0.1:{http}", timeout=30) as client:
        deadline = time.monotonic() + 30
        while True:
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text(encoding="utf-8")
            try:
                if client.get("/system").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield client
    os.kill(process.pid, signal.SIGTERM)
    process.wait(20)


needs_orthanc = pytest.mark.skipif(
    not (PLUGIN.exists() and ORTHANC.exists()), reason="Debian's orthanc and orthanc-dicomweb are not installed"
)


@pytest.mark.orthanc
@needs_orthanc
class TestOrthanc:
    def test_orthanc_searches(self, orthanc: httpx.Client) -> None:
        asked = {"Uri": "/studies", "Arguments": {"PatientID": "10001"}}
        found = orthanc.post("/dicom-web/servers/hub/qido", json=asked)
        assert found.status_code == 200, found.text
        assert [study["0020000D"]["Value"] for study in found.json()] == ["3"]

    def test_orthanc_retrieves(self, orthanc: httpx.Client) -> None:
        study, _, instance = uids("CT_small.dcm")
        done = orthanc.post("/dicom-web/servers/hub/retrieve", json={"Resources": [{"Study": study}]})
        assert done.status_code == 200, done.text
        (got,) = orthanc.get("/instances").json()
        kept = pydicom.dcmread(io.BytesIO(orthanc.get(f"/instances/{got}/file").content))
        assert kept.SOPInstanceUID == instance
        assert kept.PixelData == pydicom.dcmread(next(FILES.rglob("CT_small.dcm"))).PixelData

    def test_orthanc_stores(self, orthanc: httpx.Client, hub: Hub) -> None:
        content = next(FILES.rglob("examples_overlay.dcm")).read_bytes()
        stored = orthanc.post("/instances", content=content).json()["ID"]
        done = orthanc.post("/dicom-web/servers/hub/stow", json={"Resources": [stored], "Synchronous": True})
        assert done.status_code == 200, done.text
        uid = part10.split(content).sop_instance
        (found,) = hub.web.get(f"/instances?SOPInstanceUID={uid}").json()
        assert found["00080018"]["Value"] == [uid]


def test_every_exchange_of_the_table_is_a_test_here() -> None:
    lines = (line for line in EXCHANGES.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    own = [
        row["test"] for row in csv.DictReader(lines) if row["test"].startswith("tests/dicom/test_dicomweb_peers.py::")
    ]
    names = {name for name in (*globals(), *(f"TestOrthanc::{name}" for name in vars(TestOrthanc))) if "test_" in name}
    assert own and {name.split("::", 1)[1] for name in own} <= names

"""A whole hub in this process with its DIMSE listener on a free port, and DICOMweb beside it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
import uvicorn

from adapters.dicom import dataset, instance, part10, scp, web
from adapters.dicom.ul import dimse, pdu
from adapters.dicom.ul.association import Association
from hub import bootstrap
from hub.services.doors import Doors
from hub.services.imaging_index import Row
from hub.settings import Settings

FILES = Path(pydicom.__file__).parent / "data"


@dataclass
class Web:
    """A client of the DICOMweb application, mounted as the hub mounts it; ``url`` is below ``/dicom-web``."""

    application: Any
    prefix: str

    def get(self, url: str, **options: Any) -> httpx.Response:
        return self.request("GET", url, **options)

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.application, root_path=self.prefix)
            async with httpx.AsyncClient(transport=transport, base_url="http://hub.test") as client:
                return await client.request(method, self.prefix + url, **options)

        return asyncio.run(send())


@dataclass
class Hub:
    """The services, the listener's address, an HTTP client of ``/dicom-web``."""

    doors: Doors
    address: tuple[str, int]
    web: Web

    @property
    def port(self) -> str:
        return str(self.address[1])

    def resources(self, type: str) -> list[dict[str, Any]]:
        """All current resources of a FHIR type."""
        versions = self.doors.store.history((type,), limit=1000)
        newest = {version.id: version for version in reversed(versions)}
        return [self.doors.databases.decode(version) for version in newest.values() if not version.deleted]

    def until(self, what: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Wait for something to be true, and give it."""
        deadline = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < deadline, "it did not come true in time"
            time.sleep(0.02)
        return found

    def associate(self, *contexts: tuple[str, str], calling: str = "TEST_CT", called: str = "HUB") -> Association:
        """An association by the hub's own upper layer; a context is SOP class and transfer syntax."""
        proposed = tuple(pdu.Context(2 * n + 1, abstract, (syntax,)) for n, (abstract, syntax) in enumerate(contexts))
        asked = pdu.Associate(called, calling, proposed, 65536, "2.25.1", "TEST")
        return Association.request(self.address, asked, idle_seconds=10)

    def store(self, *files: part10.File, calling: str = "TEST_CT") -> list[int]:
        """Send data sets byte for byte over one association; the statuses."""
        kinds = list(dict.fromkeys((file.sop_class, file.transfer_syntax) for file in files))
        association = self.associate(*kinds, calling=calling)
        statuses = []
        for number, file in enumerate(files):
            context = association.contexts[2 * kinds.index((file.sop_class, file.transfer_syntax)) + 1]
            command: dimse.Command = {
                "CommandField": dimse.C_STORE,
                "MessageID": number,
                "AffectedSOPClassUID": file.sop_class,
                "AffectedSOPInstanceUID": file.sop_instance,
                "Priority": 0,
            }
            association.send(context, command, file.data)
            answer = association.receive()
            assert answer is not None, association.ending
            statuses.append(int(answer.command["Status"]))
        association.release()
        return statuses


@contextmanager
def running(data: Path, **settings: Any) -> Iterator[Hub]:
    """A hub over an empty folder."""
    limits = {"port": 0, "study_quiet_seconds": 0.2, "idle_seconds": 3, "max_associations": 8} | settings
    doors = bootstrap.build(Settings(data=data, dicom=limits))
    listener = scp.create(doors)
    listener.start()
    prefix, application = web.create(doors)
    yield Hub(doors, listener.address, Web(application, prefix))
    listener.stop()
    bootstrap.close(doors)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with running(tmp_path) as hub:
        yield hub


def shipped() -> list[Path]:
    """The DICOM files in pydicom's own package."""
    paths = (path for path in sorted(FILES.rglob("*")) if path.is_file())
    return [path for path in paths if path.read_bytes()[128:132] == b"DICM"]


def image(uid: str = "1.2.3.1", *, study: str = "1.2.3", series: str = "1.2.3.0", **attributes: Any) -> part10.File:
    """A small CT image; further attributes by keyword."""
    ds = pydicom.Dataset()
    ds.SOPClassUID = pydicom.uid.CTImageStorage
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = uid, study, series
    ds.PatientID, ds.PatientName, ds.Modality = "10001", "Zhang^San", "CT"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    raw = pydicom.filebase.DicomBytesIO()
    raw.is_little_endian, raw.is_implicit_VR = True, False
    pydicom.filewriter.write_dataset(raw, ds)
    return part10.File(ds.SOPClassUID, uid, dataset.EXPLICIT, raw.getvalue())


def row(path: Path) -> tuple[Row, bytes]:
    """The index row of a file and the file as the hub keeps it."""
    file = part10.split(path.read_bytes())
    read, _ = instance.read(file.data, file.sop_class, file.sop_instance, file.transfer_syntax, "TEST_CT")
    facts = {"transferSyntax": read.transfer_syntax, "header": len(read.header), "attributes": read.attributes}
    return facts | read.facts, read.header + read.data


@contextmanager
def served(hub: Hub) -> Iterator[str]:
    """DICOMweb over HTTP; the base URL."""
    prefix, application = hub.web.prefix, hub.web.application

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await application({**scope, "root_path": prefix}, receive, send)

    server = uvicorn.Server(uvicorn.Config(mounted, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}{prefix}"
    server.should_exit = True
    thread.join()

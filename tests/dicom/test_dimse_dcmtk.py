"""dcmtk's programs, unmodified, against the listener: what a modality built on dcmtk would do."""

from __future__ import annotations

import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.dicom import dataset, part10
from hub.errors import HubError

from .conftest import Hub, shipped

pytestmark = [
    pytest.mark.dcmtk,
    pytest.mark.skipif(not Path("/usr/bin/storescu").exists(), reason="Debian's dcmtk is not installed"),
]

OPTION = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.57": "-xs",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}
"""Transfer syntax -> the option that makes storescu propose it."""


def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [f"/usr/bin/{program}", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=60, check=False, env=environment or None
    )


def test_echoscu(hub: Hub) -> None:
    assert run("echoscu", "-aec", "HUB", "127.0.0.1", hub.port).returncode == 0
    assert "Called AE Title Not Recognized" in run("echoscu", "-aec", "X", "127.0.0.1", hub.port).stderr


@pytest.fixture
def reference(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """dcmtk's storescp, which keeps the bytes it receives (-B): port and folder."""
    folder = tmp_path / "received"
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    server = subprocess.Popen(
        ["/usr/bin/storescp", "-B", "+xa", "-od", str(folder), port],
        stderr=subprocess.DEVNULL,
        env={"TCP_NODELAY": "1"},
    )
    deadline = time.monotonic() + 10
    while run("echoscu", "127.0.0.1", port).returncode and time.monotonic() < deadline:
        time.sleep(0.05)
    yield port, folder
    server.terminate()
    server.wait(10)


def groups() -> dict[str, list[Path]]:
    """Files by storescu's option, one for each SOP Instance UID."""
    found: dict[str, list[Path]] = defaultdict(list)
    seen = set()
    for path in shipped():
        try:
            file = part10.split(path.read_bytes())
        except HubError:
            continue
        if file.transfer_syntax in OPTION and file.sop_instance not in seen:
            seen.add(file.sop_instance)
            found[OPTION[file.transfer_syntax]].append(path)
    return found


def test_storescu_every_file_it_can_send_is_kept_byte_for_byte(hub: Hub, reference: tuple[str, Path]) -> None:
    port, folder = reference
    for option, paths in groups().items():
        names = [str(path) for path in paths]
        run("storescu", "-nh", option, "-aec", "ANY", "-aet", "DCMTK_CT", "127.0.0.1", port, *names, TCP_NODELAY="1")
        run("storescu", "-nh", option, "-aec", "HUB", "-aet", "DCMTK_CT", "127.0.0.1", hub.port, *names)
    expected = {file.sop_instance: file for file in (part10.split(path.read_bytes()) for path in folder.iterdir())}
    assert len(expected) >= 130
    listed = hub.web.get("/instances", params={"limit": "1000"}).json()
    urls = {answer["00080018"]["Value"][0]: answer["00081190"]["Value"][0] for answer in listed}
    assert set(urls) == set(expected)
    for uid, file in expected.items():
        answer = hub.web.get(
            urls[uid].partition("/dicom-web")[2], headers={"Accept": "application/dicom; transfer-syntax=*"}
        )
        kept = part10.split(answer.content)
        data = file.data
        if file.transfer_syntax == dataset.DEFLATED and len(data) % 2:
            data += b"\0"  # storescp leaves out the byte that pads a deflated stream (PS3.5 A.5)
        assert (kept.transfer_syntax, kept.data) == (file.transfer_syntax, data), uid


def test_an_unmodified_modality_is_not_kept_waiting(hub: Hub) -> None:
    """Nagle's algorithm in dcmtk costs 40 ms a message against a peer that delays acknowledgements."""
    begin = time.monotonic()
    assert run("echoscu", "--repeat", "50", "-aec", "HUB", "127.0.0.1", hub.port).returncode == 0
    assert time.monotonic() - begin < 50 * 0.03

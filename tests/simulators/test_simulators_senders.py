"""The senders against real peers: an MLLP server, a pynetdicom SCP and an HTTP server in this process."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from typer.testing import CliRunner

from simulators import scenario, traffic
from simulators.cli import app
from simulators.images import SOP_CLASSES
from simulators.record import Sending
from simulators.scenario import Scenario
from simulators.senders import acknowledgement


class _Mllp(socketserver.BaseRequestHandler):
    """Acknowledges every message, the answer in two pieces; refuses A03."""

    def handle(self) -> None:
        rest = b""
        while received := self.request.recv(4096):
            rest += received
            while (end := rest.find(b"\x1c\r")) >= 0:
                frame, rest = rest[1:end], rest[end + 2 :]
                head = frame.split(b"\r")[0].split(b"|")
                code = b"AE" if b"A03" in head[8] else b"AA"
                answer = b"\x0bMSH|^~\\&|H\rMSA|" + code + b"|" + head[9] + b"\r\x1c\r"
                self.request.sendall(answer[:10])
                self.request.sendall(answer[10:])


class _Http(BaseHTTPRequestHandler):
    seen: list[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(body)
        answer = b'{"resourceType":"Bundle"}'
        self.send_response(200 if self.path == "/fhir" else 404)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def log() -> list[Sending]:
    whole = scenario.log(Scenario("demo", 1, households=6))
    assert {sending.link for sending in whole} == {"mllp", "dicom", "http"}
    return whole


@pytest.fixture
def mllp() -> Iterator[tuple[str, int]]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Mllp) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield ("127.0.0.1", server.server_address[1])
        server.shutdown()


@pytest.fixture
def http() -> Iterator[str]:
    handler = type("Handler", (_Http,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def dicom() -> Iterator[tuple[tuple[str, int], list[str]]]:
    entity = AE(ae_title="HUB")
    for sop_class in SOP_CLASSES.values():
        entity.add_supported_context(sop_class, ExplicitVRLittleEndian)
    stored: list[str] = []

    def keep(event: evt.Event) -> int:
        stored.append(str(event.dataset.SOPInstanceUID))
        return 0x0000 if len(stored) > 1 else 0xA700

    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    yield ("127.0.0.1", server.server_address[1]), stored
    server.shutdown()


def test_everything_is_sent_and_refusals_are_named(
    log: list[Sending], mllp: tuple[str, int], http: str, dicom: tuple[tuple[str, int], list[str]]
) -> None:
    address, stored = dicom
    account = traffic.send(log, traffic.Targets(mllp, address, http))
    by_link = {link: sum(sending.link == link for sending in log) for link in ("mllp", "dicom", "http")}
    discharges = sum(sending.kind == "ADT^A03" for sending in log)
    summary = account.summary()
    assert summary["sent"]["hl7v2"] == by_link["mllp"]
    assert summary["sent"]["instances"] == by_link["dicom"] == len(set(stored))
    assert summary["acks"] == {
        "hl7v2": by_link["mllp"] - discharges, "instances": by_link["dicom"] - 1, "fhir": by_link["http"],
    }  # fmt: skip
    assert discharges > 0
    assert len(summary["refused"]) == discharges + 1
    assert {row["answer"] for row in summary["refused"] if row["kind"].startswith("dicom")} == {"0xA700"}
    assert all("MSA|AE|" in row["answer"] for row in summary["refused"] if row["kind"].startswith("mllp"))


def test_links_without_target_are_counted_as_left_out(log: list[Sending], mllp: tuple[str, int]) -> None:
    account = traffic.send(log, traffic.Targets(mllp=mllp))
    assert account.left_out.total() == sum(sending.link != "mllp" for sending in log)


def test_nobody_listening_is_an_error_message_not_a_traceback() -> None:
    result = CliRunner().invoke(app, ["demo", "--mllp", "127.0.0.1:1", "--households", "3"])
    assert result.exit_code == 2
    assert "refused" in result.output


def test_manifest_and_record(tmp_path: Path, mllp: tuple[str, int]) -> None:
    file = tmp_path / "log.jsonl"
    result = CliRunner().invoke(
        app, ["demo", "--mllp", f"127.0.0.1:{mllp[1]}", "--households", "6", "--record", str(file), "--json"]
    )
    manifest = json.loads(result.stdout)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()][1:]
    assert manifest["sent"]["hl7v2"] == sum(row["link"] == "mllp" for row in rows)
    assert len(manifest["lookup"]["card"]) == 64
    assert len(manifest["lookup"]["hospitals"]) == 3


@pytest.mark.parametrize("text", ["nowhere", "host:", ":1", "h:99999"])
def test_a_wrong_address_is_refused(text: str) -> None:
    result = CliRunner().invoke(app, ["day", "--mllp", text])
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"MSH|^~\\&|\rMSA|AA|17\r", ("AA", "17")),
        (b"MSH$^~\\&$\rMSA$CA$17$text\r", ("CA", "17")),
        (b"MSH|^~\\&|\rMSA|AA\r", ("AA", "")),
        (b"MSH|^~\\&|\rMSA", ("", "")),
        (b"", ("", "")),
    ],
)
def test_acknowledgement(answer: bytes, expected: tuple[str, str]) -> None:
    assert acknowledgement(answer) == expected

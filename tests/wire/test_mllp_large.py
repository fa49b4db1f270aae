"""Must-show messages over MLLP into a hub of its own: awkward characters, a 30 MB report, 100,000 results.

The large ones are soak tests: right answers, and memory that ends near where it began.
"""

from __future__ import annotations

import base64
import hashlib
import random
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub.bench.mllp import END, START
from tests.running import Process

HEAD = "MSH|^~\\&|LIS|H1|HUB|R|20261120083000+0800||{kind}|{id}|P|2.5.1||||||{charset}\r"
PID = "PID|1||{number}^^^H1^MR||{name}||19850307|M\r"


def ask(address: tuple[str, int], message: bytes, seconds: float = 60) -> bytes:
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(START + message + END)
        answer = b""
        while not answer.endswith(END):
            piece = connection.recv(65536)
            assert piece, "the hub closed the connection"
            answer += piece
    return answer[1:-2]


def found(running: Process, query: str) -> list[dict[str, Any]]:
    bundle = httpx.get(f"{running.base}/fhir/{query}", timeout=120).json()
    return [entry["resource"] for entry in bundle.get("entry", ())]


def memory(running: Process) -> int:
    """Resident memory of the hub and its readers in MB."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            rows = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue
        if running.popen.pid in (int(rows.get("Pid", 0)), int(rows.get("PPid", 0))):
            total += int(rows.get("VmRSS", "0 kB").split()[0]) // 1024
    return total


def test_characters_whose_second_byte_is_a_delimiter(running: Process) -> None:
    """GB 18030 with the trail bytes 0x5C, 0x5E, 0x7C and 0x7E."""
    family, given = (bytes((0x81, trail)).decode("gb18030") for trail in (0x5C, 0x7C))
    street = "".join(
        bytes((lead, trail)).decode("gb18030") for lead in (0x82, 0x95) for trail in (0x5E, 0x7E, 0x5C, 0x7C)
    )
    text = HEAD.format(kind="ADT^A04^ADT_A01", id="GB1", charset="GB 18030-2000") + (
        f"EVN||20261120083000+0800\rPID|1||GB7^^^H1^MR||{family}^{given}||19850307|M|||{street}^^新河市\r"
    )
    raw = text.encode("gb18030")
    assert all(bytes((trail,)) in raw for trail in (0x5C, 0x5E, 0x7C, 0x7E))
    answer = ask(running.mllp, raw)
    assert b"MSA|AA|GB1" in answer
    (patient,) = found(running, "Patient?identifier=GB7")
    assert patient["name"] == [{"family": family, "given": [given]}]
    assert patient["address"] == [{"line": [street], "city": "新河市"}]
    ((read),) = found(running, f"Patient?family={family}")
    assert read["id"] == patient["id"]


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_report_of_30_megabytes(running: Process) -> None:
    content = random.Random(7).randbytes(22_500_000)
    text = HEAD.format(kind="ORU^R01^ORU_R01", id="PDF1", charset="UNICODE UTF-8") + PID.format(
        number="PDF7", name="张^伟"
    )
    text += "OBR|1|PA1|PF1|RPT^检查报告^L|||20261120||||||||||||||||||F\r"
    text += f"OBX|1|ED|PDF^报告^L||LIS^application^pdf^Base64^{base64.b64encode(content).decode()}||||||F\r"
    raw = text.encode()
    assert len(raw) > 30_000_000
    before, began = memory(running), time.monotonic()
    assert b"MSA|AA|PDF1" in ask(running.mllp, raw, 300)
    took, after = time.monotonic() - began, memory(running)
    (report,) = found(running, "DiagnosticReport?identifier=PF1")
    form = report["presentedForm"][0]
    assert (form["contentType"], form["size"], form["title"]) == ("application/pdf", len(content), "报告")
    stored = httpx.get(f"{running.base}/fhir/{form['url']}", headers={"accept": "application/pdf"}, timeout=120).content
    assert hashlib.sha256(stored).digest() == hashlib.sha256(content).digest()
    print(f"30 MB report: {took:.1f} s, {before} MB before, {after} MB after, {memory(running)} MB after it was read")
    assert after - before < 20 * len(raw) // 1_000_000


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_hundred_thousand_results(running: Process) -> None:
    count = 100_000
    text = HEAD.format(kind="ORU^R01^ORU_R01", id="OBX1", charset="UNICODE UTF-8") + PID.format(
        number="OBX7", name="李^芳"
    )
    text += "OBR|1|BA1|BF1|MON^监护^L|||20261120||||||||||||||||||F\r"
    text += "".join(
        f"OBX|{n}|NM|L{n % 500}^项目{n % 500}^L|{n}|{n % 97}.5|mmol/L|1-9|N|||F|||20261120092500+0800\r"
        for n in range(1, count + 1)
    )
    before, began = memory(running), time.monotonic()
    assert b"MSA|AA|OBX1" in ask(running.mllp, text.encode(), 1000)
    took, after = time.monotonic() - began, memory(running)
    total = httpx.get(f"{running.base}/fhir/Observation?code=L7&_summary=count", timeout=120).json()["total"]
    assert total == count // 500
    (report,) = found(running, "DiagnosticReport?identifier=BF1&_elements=result")
    assert len(report["result"]) == count
    print(f"100,000 results: {took:.1f} s, {before} MB before, {after} MB after")
    assert after < 4000

"""The public samples of every message type over one connection: each answered, stored or quarantined with reason."""

import os
import socket
from collections import Counter
from pathlib import Path

import httpx
import pytest

from hub.bench.mllp import END, START
from tests.running import Process

SHARED = Path(os.environ.get("REGION_HUB_SHARED", "nowhere")) / "data/hl7v2/samples"


def ask(connection: socket.socket, message: bytes) -> bytes:
    connection.sendall(START + message + END)
    answer = b""
    while not answer.endswith(END):
        piece = connection.recv(65536)
        assert piece, "the hub closed the connection"
        answer += piece
    return answer[1:-2]


@pytest.mark.skipif(not SHARED.is_dir(), reason="REGION_HUB_SHARED does not point to the public samples")
def test_every_sample_is_answered(running: Process) -> None:
    files = sorted(SHARED.glob("*.hl7"))
    verdicts: dict[str, str] = {}
    with socket.create_connection(running.mllp, timeout=60) as connection:
        for file in files:
            raw = file.read_bytes()
            header = raw.removeprefix(b"\xef\xbb\xbf").replace(b"\n", b"\r").split(b"\r")[0].split(b"|")
            answer = ask(connection, raw)
            acknowledgement = next(line for line in answer.split(b"\r") if line.startswith(b"MSA")).split(b"|")
            assert acknowledgement[2] == header[9], file.name
            verdicts[file.name] = acknowledgement[1].decode()
    counts = httpx.get(running.base + "/api/status").json()["inbox"]
    print(Counter(verdicts.values()), counts)
    assert len(verdicts) == len(files)
    assert counts.get("received", 0) == 0
    assert sum(counts.values()) <= len(files)  # samples that are byte for byte the same are one message
    for item in httpx.get(running.base + "/api/inbox", params={"limit": 500}).json()["items"]:
        assert item["state"] == "stored" or item["reason"], item

"""An unknown laboratory code arrives by MLLP; approved, the stored Observation gains the standard one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.hl7v2 import listener
from adapters.hl7v2.mllp import wrap
from hub import bootstrap
from hub.fhir import json
from hub.search.expression import Equals, Match, Query
from hub.services.context import Context
from hub.services.doors import Doors
from hub.settings import load
from terminology.governance import UNMAPPED, Target

ORU = "\r".join((
    "MSH|^~\\&|LIS|COUNTY|HUB|R|20261120083000||ORU^R01^ORU_R01|C1|P|2.5.1",
    "PID|1||109901198503070013^^^COUNTY^MR||测^试||19850307|M",
    "OBR|1|P1|F1|BIO^生化^99LIS|||20261120080000||||||||||||||||||F",
    "OBX|1|NM|0815^血清钾^99LIS||4.1|mmol/L^^UCUM|3.5-5.3||||F|||20261120080000",
    "OBX|2|NM|2951-2^Sodium^LN||140|mmol/L^^UCUM|137-147||||F|||20261120080000",
))  # fmt: skip


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Doors]:
    built = bootstrap.build(load(data=tmp_path, mllp={"port": 0}))
    yield built
    bootstrap.close(built)


def send(address: tuple[str, int], message: str) -> bytes:
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(wrap(message.encode()))
        received = b""
        while b"\x1c\r" not in received:
            piece = connection.recv(65536)
            assert piece, received
            received += piece
    return received


def observations(doors: Doors) -> dict[str, dict[str, Any]]:
    """Of each observation the newest version, by its first code."""
    found = {}
    for version in reversed(doors.store.history(("Observation",))):
        resource = json.decode(version.text)
        found[resource["code"]["coding"][0]["code"]] = resource
    return found


def test_from_the_wire_to_the_approved_code(doors: Doors) -> None:
    mllp = listener.create(doors)
    mllp.start()
    try:
        assert b"MSA|AA|C1" in send(mllp.address, ORU)
        before = observations(doors)
        assert UNMAPPED in before["0815"]["meta"]["tag"]
        assert "tag" not in before["2951-2"].get("meta", {})

        items = {item.code: item for item in doors.codes.work_list()}
        item = items["0815"]
        assert (item.display, item.count, len(item.waiting), len(item.examples)) == ("血清钾", 1, 1, 1)
        best = next(p for p in doors.codes.proposals(item) if p.system == "http://loinc.org")
        li, wang = Context("platform", "li"), Context("platform", "wang")
        doors.codes.map(li, item.system, "0815", Target(best.system, best.code, best.display))
        doors.codes.act(li, item.system, "0815", "submit", role="institution")
        doors.codes.act(wang, item.system, "0815", "approve", role="region")

        after = observations(doors)["0815"]
        assert [c["code"] for c in after["code"]["coding"]] == ["0815", "2823-3"]
        assert UNMAPPED not in after["meta"].get("tag", [])
        history = doors.store.history(("Observation",), str(after["id"]))
        assert [version.version for version in history] == [2, 1]
        about = Match("target", Equals(f"Observation/{after['id']}"))
        found = [json.decode(row.version.text) for row in doors.store.find(Query(("Provenance",), about))]
        (why,) = [one for one in found if one.get("activity", {}).get("text") == "local code mapped and approved"]
        assert why["target"] == [{"reference": f"Observation/{after['id']}/_history/2"}]
        assert why["agent"] == [{"who": {"display": "wang"}}]
        assert b"MSA|AA|C2" in send(mllp.address, ORU.replace("|C1|", "|C2|").replace("F1", "F2"))
        assert "0815" not in {item.code for item in doors.codes.work_list()}
    finally:
        mllp.stop()

"""PIX and PDQ over MLLP against a running hub: every row of the table, continuation, feeds, and outside clients."""

from __future__ import annotations

import csv
import socket
from collections.abc import Iterator
from pathlib import Path

import hl7
import pytest
from hl7.client import MLLPClient
from hl7apy.parser import parse_message

from adapters.hl7v2.message import Message, parse
from adapters.hl7v2.mllp import wrap
from tests.running import Process

TABLE = Path(__file__).parent.parent / "conformance" / "ihe_v2.csv"
ROWS = list(csv.DictReader(line for line in TABLE.read_text(encoding="utf-8").splitlines() if line[:1] != "#"))
AUTHORITIES = {"A": "&2.999.41&ISO", "B": "&2.999.42&ISO", "C": "&2.999.43&ISO", "?": "&2.999.49&ISO"}
MALE, FEMALE = "109901198503070013", "109901198503070021"
FEED = [
    ("ADT^A01", "PID|1||1^^^A^MR~{male}^^^^NI||张^三||19850307|M|||中山路1号^^信和市||13900000041",
     "NK1|1|张^母|MTH", "PV1|1|I|W1||||||||||||||||V41^^^A", "AL1|1|DA|PEN^青霉素^L"),
    ("ADT^A04", "PID|1||5^^^A^MR~{male}^^^^NI||张^三||19850307|M"),
    ("ADT^A04", "PID|1||7^^^B^MR~{male}^^^^NI||张^三||19850307|M"),
    ("ADT^A04", "PID|1||2^^^A^MR~{female}^^^^NI||李四||19850307|F"),
    ("ADT^A28", "PID|1||3^^^C^MR||ABBOTT^JOAN||19700101|F"),
    *(("ADT^A28", f"PID|1||P{at}^^^C^MR||PAGED^NO{at}||19{50 + at}0101|F") for at in range(12)),
]  # fmt: skip


def filled(text: str) -> str:
    """Authorities in the place of A, B, C and ?, and the resident ID numbers."""
    for letter, authority in AUTHORITIES.items():
        text = text.replace(f"^^^{letter}", f"^^^{authority}")
    return text.format(male=MALE, female=FEMALE)


def message(kind: str, id: str, segments: list[str], accept: str = "") -> bytes:
    structure = "^QBP_Q21" if kind.startswith("QBP") else ""
    head = f"MSH|^~\\&|CONSUMER|SITE|MPI|REGION|20261120083000||{kind}{structure}|{id}|P|2.5|||{accept}|||UNICODE UTF-8"
    return "\r".join([head, *segments, ""]).encode()


def ask(process: Process, raw: bytes, blocks: int = 1) -> list[Message]:
    with socket.create_connection(process.mllp, timeout=20) as connection:
        connection.sendall(wrap(raw))
        received = b""
        while received.count(b"\x1c\r") < blocks:
            piece = connection.recv(65536)
            assert piece, received
            received += piece
    return [parse(block.lstrip(b"\x0b")) for block in received.split(b"\x1c\r") if block]


@pytest.fixture(scope="module")
def fed(running: Process) -> Iterator[Process]:
    """A hub that three hospitals told of their patients (ITI-8, ITI-30, ITI-31), and that knows a practitioner."""
    for at, (kind, *segments) in enumerate(FEED):
        (answer,) = ask(running, message(kind, f"feed{at}", ["EVN||20261120083000", *map(filled, segments)]))
        assert answer["MSA-1"] == "AA", answer.encode()
    doctor = f"PV1|1|O|||||D41^王^医生^^^^^^{AUTHORITIES['A']}||||||||||||V42"
    (answer,) = ask(
        running, message("ADT^A04", "doctor", ["EVN||20261120083000", filled("PID|1||8^^^A^MR||赵^六"), doctor])
    )
    assert answer["MSA-1"] == "AA", answer.encode()
    yield running


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["case"])
def test_the_table(fed: Process, row: dict[str, str]) -> None:
    raw = message(row["kind"], row["case"][:20], [filled(line) for line in row["query"].split("/")])
    (answer,) = ask(fed, raw)
    assert answer["MSA-1"] == row["msa"], answer.encode().decode()
    assert answer["MSA-2"] == row["case"][:20]
    assert answer["QAK-2"] == row["qak"]
    places = " ".join(part for part in (answer["ERR-2"], answer["ERR-3.1"]) if part)
    assert places == row["err"].strip()
    assert " ".join(answer[f"QAK-{at}"] for at in (4, 5, 6)).strip() == row["sizes"]
    names = [segment.name for segment in answer.segments]
    assert names[names.index("QAK") + 2 if "QAK" in names else len(names) :] == row["segments"].split()
    for text in row["contains"].split():
        assert text in answer.encode().decode()


def pages(process: Process, lead: str, count: int) -> list[list[str]]:
    """The names of each page of a continued query, until there is no pointer."""
    query = [f"QPD|IHE PDQ Query|{lead}|@PID.5.1.1^PAGED", f"RCP|I|{count}^RD"]
    found, pointer = [], ""
    for turn in range(20):
        more = [f"DSC|{pointer}|I"] if pointer else []
        (answer,) = ask(process, message("QBP^Q22", f"{lead}{turn}", [*query, *more]))
        assert answer["MSA-1"] == "AA", answer.encode()
        found.append([answer.value(segment, 5, 1, 2) for segment in answer.all("PID")])
        pointer = answer["DSC-1"]
        if not pointer:
            break
    return found


@pytest.mark.parametrize("count", [1, 5, 12, 13])
def test_continuation_gives_everybody_once(fed: Process, count: int) -> None:
    """ITI-21 3.21.4.1.3.4."""
    found = pages(fed, f"page{count}", count)
    assert [len(page) for page in found[:-1]] == [count] * (len(found) - 1)
    assert sorted(name for page in found for name in page) == sorted(f"NO{at}" for at in range(12))


def test_a_cancelled_query_does_not_go_on(fed: Process) -> None:
    """ITI-21 3.21.4.3: QCN^J01."""
    query = ["QPD|IHE PDQ Query|c1|@PID.5.1.1^PAGED", "RCP|I|2^RD"]
    (first,) = ask(fed, message("QBP^Q22", "c1", query))
    (cancelled,) = ask(fed, message("QCN^J01", "c2", ["QID|c1|IHE PDQ Query"]))
    assert (cancelled["MSH-9.1"], cancelled["MSA-1"]) == ("ACK", "AA")
    (after,) = ask(fed, message("QBP^Q22", "c3", [*query, f"DSC|{first['DSC-1']}|I"]))
    assert (after["MSA-1"], after["QAK-2"], after["ERR-2"]) == ("AE", "AE", "DSC^1^1")


def test_somebody_elses_pointer_is_refused(fed: Process) -> None:
    query = ["QPD|IHE PDQ Query|o1|@PID.5.1.1^PAGED", "RCP|I|2^RD"]
    (first,) = ask(fed, message("QBP^Q22", "o1", query))
    raw = message("QBP^Q22", "o2", [*query, f"DSC|{first['DSC-1']}|I"]).replace(b"CONSUMER|SITE", b"OTHER|SITE")
    (answer,) = ask(fed, raw)
    assert answer["MSA-1"] == "AE"


def test_enhanced_mode_gets_the_commit_acknowledgement_first(fed: Process) -> None:
    """HL7 v2.5.1 2.9.3."""
    query = message("QBP^Q23", "e1", [filled("QPD|IHE PIX Query|e1|1^^^A|^^^B"), "RCP|I"], accept="AL")
    commit, answer = ask(fed, query, 2)
    assert [commit["MSA-1"], answer["MSA-1"], answer["QAK-2"]] == ["CA", "AA", "OK"]


def test_an_ascii_query_gets_names_it_can_read(fed: Process) -> None:
    raw = message("QBP^Q22", "u1", [filled("QPD|IHE PDQ Query|u1|@PID.3.1^2~@PID.3.4.2^2.999.41"), "RCP|I"])
    (answer,) = ask(fed, raw.replace(b"|||UNICODE UTF-8", b""))
    assert (answer["PID-5.1"], answer["MSH-18"]) == ("李四", "UNICODE UTF-8")


def corresponding(process: Process, number: str, tag: str) -> tuple[str, set[str]]:
    (answer,) = ask(process, message("QBP^Q23", tag, [filled(f"QPD|IHE PIX Query|{tag}|{number}"), "RCP|I"]))
    numbers = answer.all("PID")[0].repetitions(3) if answer.all("PID") else []
    return answer["QAK-2"], {one.split("^")[0] for one in numbers}


def test_feeds_change_what_corresponds(fed: Process) -> None:
    """ITI-8, ITI-30: A28 adds, A31 corrects, A40 merges, A24 links, A37 unlinks (ITI-8 3.8.4.2.4)."""
    told = ["EVN||20261120083000"]
    steps = [
        ("ADT^A28", "PID|1||m1^^^A^MR||刘一||19800101|M", "m1^^^A", ("NF", set())),
        ("ADT^A28", "PID|1||m2^^^B^MR||刘二||19900101|M", "m1^^^A", ("NF", set())),
        ("ADT^A31", "PID|1||m1^^^A^MR~E41^^^C^PPN||刘一||19800101|M", "m1^^^A", ("OK", {"E41"})),
        ("ADT^A28", "PID|1||m3^^^B^MR||刘一||19800101|M", "m2^^^B", ("NF", set())),
        ("ADT^A40", "PID|1||m3^^^B^MR||刘一||19800101|M/MRG|m2^^^B^MR", "m2^^^B", ("OK", {"m3"})),
        ("ADT^A28", "PID|1||k1^^^A^MR||陈二||19910202|M", "k1^^^A", ("NF", set())),
        ("ADT^A28", "PID|1||k2^^^B^MR||孙九||19920303|M", "k2^^^B", ("NF", set())),
        ("ADT^A24", "PID|1||k1^^^A^MR/PV1||N/PID|2||k2^^^B^MR/PV1||N", "k1^^^A", ("OK", {"k2"})),
        ("ADT^A37", "PID|1||k1^^^A^MR/PV1||N/PID|2||k2^^^B^MR/PV1||N", "k1^^^A", ("NF", set())),
    ]
    for at, (kind, segments, number, expected) in enumerate(steps):
        (answer,) = ask(fed, message(kind, f"step{at}", told + [filled(line) for line in segments.split("/")]))
        assert answer["MSA-1"] == "AA", answer.encode()
        assert corresponding(fed, number, f"s{at}") == expected, kind


def test_python_hl7_asks(fed: Process) -> None:
    """An outside client: python-hl7's MLLP client and parser."""
    query = message("QBP^Q22", "p1", ["QPD|IHE PDQ Query|p1|@PID.5.1.1^ABBOTT", "RCP|I"])
    with MLLPClient(*fed.mllp) as client:
        answer = hl7.parse(client.send_message(query).strip(b"\x0b\x1c\r").decode())
    assert str(answer.segment("MSA")[1]) == "AA"
    assert str(answer.segment("PID")[5][0][0]) == "ABBOTT"


@pytest.mark.parametrize(
    ("kind", "query", "group"),
    [
        ("QBP^Q23", "QPD|IHE PIX Query|h1|1^^^A|^^^B", "query_response"),
        ("QBP^Q22", "QPD|IHE PDQ Query|h2|@PID.5.1.1^ABBOTT", "query_response"),
    ],
)
def test_hl7apy_reads_the_answer_by_its_structure(fed: Process, kind: str, query: str, group: str) -> None:
    """An outside parser that knows the message structures: groups are found, nothing is out of place."""
    (answer,) = ask(fed, message(kind, f"hl7apy{kind[-2:]}", [filled(query), "RCP|I"]))
    read = parse_message(answer.encode().decode(), find_groups=True)
    response = getattr(read, f"{answer['MSH-9.3'].lower()}_{group}")
    assert response[0].pid.pid_3[0].cx_1.value

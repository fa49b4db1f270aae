"""Messages as nobody should send them: whatever is dropped, doubled, shuffled or mistyped, what comes out is valid R4.

The quick run mutates our own messages under every event; the soak run also the public ones.
"""

from __future__ import annotations

import csv
import os
import random
import re
from collections import Counter
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest

from adapters.hl7v2.interpret import CHANNEL, Interpreter, engine
from hub.errors import HubError
from hub.fhir import definitions
from hub.fhir.validate import Validator
from hub.services.inbox import Inbound

NOW = 1_795_132_800_000_000
OURS = sorted(Path(__file__).parent.parent.glob("golden/hl7v2/adt_a0[18]/in.hl7")) + sorted(
    Path(__file__).parent.parent.glob("golden/hl7v2/o*/in.hl7")
)
SHARED = Path(os.environ.get("REGION_HUB_SHARED", "nowhere")) / "data/hl7v2"
VERSIONS = ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.6", "2.7.1", "2.8.2", "2.9", "", "X")
VALUES = (
    "", '""', "x", "^^^", "&", "~", "20261399", "9" * 30, "^".join("abcdefghijklmno"), "\\X41\\", "\\.br\\", "<5",
    "2026", "-1", "Y", "é中", "a&b^c&d~e", "202611200830-0500", "1.5e3", "  ", "\\", "W1^2^3^H1", "D1^李^医生", "F",
    "DE", "NM", "ED", "A^B^L", "1", "20261120",
)  # fmt: skip


@cache
def fields() -> dict[str, int]:
    """Segment -> the highest field that a table reads."""
    highest: Counter[str] = Counter()
    for table in files("adapters.hl7v2").joinpath("tables/segments").iterdir():
        for row in csv.reader(table.read_text(encoding="utf-8").splitlines()):
            if match := re.match(r"([A-Z][A-Z0-9]{2})-(\d+)", row[0]):
                highest[match[1]] = max(highest[match[1]], int(match[2]))
    return highest


def mutant(raw: bytes, chance: random.Random) -> bytes:
    """The message with up to five faults, in two of five cases under another event and with a segment made up."""
    lines = re.split("[\r\n]+", raw.decode("utf-8", "surrogateescape").strip("\r\n"))
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(1, len(lines)) if len(lines) > 1 else 0
        parts = lines[at].split("|")
        place = chance.randrange(1, len(parts)) if len(parts) > 1 else 0
        match chance.randrange(7):
            case 0 if at:
                del lines[at]
            case 1 if at:
                lines.insert(chance.randrange(1, len(lines)), lines[at])
            case 2 if at and place:
                parts[place] = chance.choice(VALUES)
                lines[at] = "|".join(parts)
            case 3 if at:
                lines[at] = "|".join(parts[: chance.randint(1, len(parts))])
            case 4:
                header = [*lines[0].split("|"), *[""] * 17][:17]
                header[11:12] = [chance.choice(VERSIONS)]
                header[chance.choice((2, 3, 4, 6, 9, 15, 16))] = chance.choice(("", "A^1.2.3^ISO", "20261120"))
                lines[0] = "|".join(header)
            case 5 if at and place:
                pieces = parts[place].split("^")
                pieces[chance.randrange(len(pieces))] = chance.choice(VALUES)
                parts[place] = "^".join(pieces)
                lines[at] = "|".join(parts)
            case 6 if at:
                other = chance.randrange(1, len(lines))
                lines[at], lines[other] = lines[other], lines[at]
    if chance.random() < 0.4:
        header = [*lines[0].split("|"), *[""] * 9]
        header[8] = chance.choice(sorted(engine().tables.events))
        lines[0] = "|".join(header)
        name = chance.choice(sorted(fields()))
        made_up = "|".join([name, *(chance.choice(VALUES) for _ in range(fields()[name]))])
        lines.insert(chance.randrange(1, len(lines) + 1), made_up)
    return ("\r".join(lines) + "\r").encode("utf-8", "surrogateescape")


def faults(raw: bytes) -> list[object]:
    """What the validator finds in the Bundle; [] too for a located refusal."""
    interpreter = Interpreter(lambda: NOW, lambda: "0191c0de-0000-7000-8000-00000000000a", "Asia/Shanghai", "zh")
    try:
        bundle = interpreter.interpret(Inbound("i", CHANNEL, "s", "c", raw, "", NOW)).bundle
    except HubError as error:
        return [] if error.diagnostics and error.at else [f"nowhere: {error}"]
    validator = Validator(definitions.load())
    return [
        (entry["resource"]["resourceType"], issue.get("diagnostics"))
        for entry in (bundle or {"entry": ()})["entry"]
        for issue in validator(entry["resource"])
        if issue["severity"] in ("error", "fatal")
    ]


def campaign(sources: list[Path], number: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(number):
        raw = mutant(chance.choice(sources).read_bytes(), chance)
        assert faults(raw) == [], raw


def test_a_mutant_is_mapped_to_valid_resources_or_refused_with_a_place() -> None:
    campaign(OURS, 150, 7)


@pytest.mark.soak
@pytest.mark.skipif(not SHARED.is_dir(), reason="REGION_HUB_SHARED does not point to the public messages")
def test_mutants_of_public_messages() -> None:
    campaign(sorted(SHARED.glob("*/*.hl7")), 8000, 11)


@pytest.mark.skipif(not SHARED.is_dir(), reason="REGION_HUB_SHARED does not point to the public messages")
def test_every_public_message_gives_valid_resources() -> None:
    assert {path.name: found for path in sorted(SHARED.glob("*/*.hl7")) if (found := faults(path.read_bytes()))} == {}


def test_every_event_has_an_order_of_its_segments_named() -> None:
    """Under every event, a segment of every kind is mapped, or named as unmapped."""
    for event in sorted(engine().tables.events):
        lines = [
            f"MSH|^~\\&|HIS|H1|HUB|R|20261120083000||{event}|1|P|2.5.1",
            "PID|1||P1",
            *(f"{one}|1" for one in sorted(fields())),
        ]
        assert faults(("\r".join(lines) + "\r").encode()) == [], event

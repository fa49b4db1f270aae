"""Messages nobody should send: a grammar of HL7 v2 with odd choices, and broken bytes of good messages."""

from __future__ import annotations

import random
from pathlib import Path

from hub.bench.mllp import adt, oru

GOLDEN = Path(__file__).parent.parent / "golden/hl7v2"
NAMES = (
    "PID PV1 EVN OBR OBX ORC NTE NK1 AL1 DG1 MRG IN1 SPM TQ1 RXA RXE SCH TXA ZZZ FHS BHS BTS FTS DSC ERR MSA MSH QPD "
    "pid P1 A ABCD"
).split()
KINDS = (
    "ADT^A01 ADT^A08 ADT^A40 ADT^A24 ADT^A99 ORU^R01 ORM^O01 OML^O21 SIU^S12 MDM^T02 VXU^V04 DFT^P03 ACK^A01 ACK "
    "RSP^K23 QBP^Q22 MFN^M02 X ^^ ~ ADT ADT^A01^ADT_A01^X"
).split()
VALUES = (
    "", "", "", '""', "1", "0", "-1", "x", "X^Y", "a&b&c", "^^^", "~~~", "&", "^&~\\", "20261120", "2026112008+0800",
    "99999999", "2026-11-20", "NM", "ST", "CE", "ED", "FT", "TX", "SN", "TS", "\\F\\", "\\X0D0A\\", "\\X\\", "\\XZZ\\",
    "\\.br\\", "\\.sp99999\\", "\\H\\x\\N\\", "\\", "\\\\", "\\E", "李^芳", "7^^^H1&1.2.3&ISO^MR~8^^^H2^PI", "1e999",
    "NaN", "F", "M", "U", "A", "D", "P",
    "^A^B^C^D^E^F^G^H^I^J^K", "\x00", "\x07", "\ufeff", "1.2.3.4", "UNICODE UTF-8",
)  # fmt: skip
DELIMITERS = (
    "|^~\\&",
    "|^~\\&",
    "|^~\\&",
    "|^~\\&#",
    "|^~\\",
    "|^~",
    "|^",
    "|",
    "!@#$%",
    "\t^~\\&",
    "||||",
    "|^^^^",
    "aaaaa",
    "",
)
CONDITIONS = ("", "AL", "NE", "ER", "SU", '""', "?")
CODECS = ("utf-8", "utf-8", "gb18030", "utf-16", "utf-8-sig", "latin-1", "cp1252")
ENDS = ("\r", "\r", "\r", "\n", "\r\n", "\r\r", "")
PIECES = (
    b"|", b"^", b"~", b"\\", b"&", b"\r", b"\n", b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"MSH|^~\\&", b'""',
    b"\r\r", b"\\X", b"\x81\x5c", b"\x84\x31\x84", b"\xe6\x9d", b"|" * 60, b"~" * 60, b"^" * 60, b"A" * 300,
    b"\rMSH|^~\\&|A\r",
)  # fmt: skip


def seeds() -> list[bytes]:
    """Good messages of several kinds."""
    files = [file.read_bytes().replace(b"\n", b"\r") for file in sorted(GOLDEN.glob("**/*.hl7"))]
    return [adt(1, "F"), oru(1, "F", 3), *files]


class Hostile:
    """A reproducible stream of messages."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._seeds = seeds()

    def message(self) -> bytes:
        """The next one; half are written by the grammar, half are broken ones."""
        if self._chance.random() < 0.5:
            return self._written()
        raw = bytearray(self._chance.choice(self._seeds))
        for _ in range(self._chance.choice((1, 1, 1, 2, 3, 8))):
            self._broken(raw)
        return bytes(raw)

    def _written(self) -> bytes:
        chance = self._chance
        delimiters = chance.choice(DELIMITERS)
        field = delimiters[:1] or "|"
        head = [
            "A", "B", "C", "D", chance.choice(VALUES), "", chance.choice(KINDS), chance.choice(("1", "", "x" * 50)),
            chance.choice(("P", "T", "")), chance.choice(("2.1", "2.3.1", "2.5.1", "2.9", "", "x", "99.99")),
            chance.choice(("", "1", "0", "-1", "x")), "", chance.choice(CONDITIONS), chance.choice(CONDITIONS), "",
            chance.choice(("", "UNICODE UTF-8", "GB 18030-2000", "?")),
        ]  # fmt: skip
        lines = ["MSH" + delimiters + field + field.join(head)]
        for _ in range(chance.choice((0, 1, 2, 4, 8, 16))):
            count = chance.choice((0, 1, 5, 12, 40))
            lines.append(field.join([chance.choice(NAMES), *chance.choices(VALUES, k=count)]))
        if chance.random() < 0.1:
            chance.shuffle(lines)
        text = "".join(line + chance.choice(ENDS) for line in lines)
        return text.encode(chance.choice(CODECS), "replace")

    def _broken(self, raw: bytearray) -> None:
        chance = self._chance
        at = chance.randrange(len(raw) + 1)
        length = chance.choice((0, 1, 1, 2, 5, 40))
        action = chance.randrange(5)
        if action == 0:
            del raw[at : at + length]
        elif action == 1:
            raw[at:at] = chance.choice(PIECES)
        elif action == 2:
            raw[at : at + length] = chance.randbytes(length)
        elif action == 3:
            other = chance.choice(self._seeds)
            begin = chance.randrange(len(other))
            raw[at : at + length] = other[begin : begin + chance.choice((3, 20, 200))]
        elif len(raw) < 20_000:
            raw[at:at] = raw[at : at + 200] * chance.choice((1, 3))

"""The record of traffic: one line of JSON a message, raw bytes with their hash (``docs/simulators.md`` has the form).

It is what ``--record`` writes and what a recorder writes; what is replayed is exactly these bytes.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = "region-hub-record/1"
LOCAL = datetime.timezone(datetime.timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Fact:
    """What a message says that a hub must know afterwards: a resource by its business key, and values of it.

    ``key`` is (facility, number...), ``at`` the time of the event; a value None means that it must not be there (any
    more).
    """

    type: str
    key: tuple[str, ...]
    at: datetime.datetime
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sending:
    """One thing sent over ``link`` (mllp, dicom, http) at the virtual time ``at``, under a control id.

    ``control_id`` is MSH-10, the Study Instance UID or the Bundle's id. ``how`` says how the wire misbehaves (a row of
    faults.csv), ``expect`` what the peer must answer: ``accept``, ``refuse`` or ``none``. ``facts`` is what it truly
    says. ``request`` is method, path and media type of what is not the POST of a transaction.
    """

    at: datetime.datetime
    hospital: str
    link: str
    kind: str
    control_id: str
    resident: int | None
    body: bytes
    how: str = ""
    expect: str = "accept"
    facts: tuple[Fact, ...] = ()
    request: str = ""

    @property
    def order(self) -> tuple[datetime.datetime, str, str, str]:
        """What the log is sorted by."""
        return self.at, self.hospital, self.link, self.control_id

    def line(self) -> str:
        """The sending as one line of a record."""
        row = {
            "at": self.at.isoformat(), "hospital": self.hospital, "link": self.link, "kind": self.kind,
            "control_id": self.control_id, "resident": self.resident, "how": self.how, "expect": self.expect,
            "sha256": hashlib.sha256(self.body).hexdigest(), "body": base64.b64encode(self.body).decode("ascii"),
        }  # fmt: skip
        if self.request:
            row["request"] = self.request
        return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def parse(line: str) -> Sending:
    """A sending from its line. ValueError when the bytes do not have the hash, KeyError when a field is missing."""
    row = json.loads(line)
    body = base64.b64decode(row["body"], validate=True)
    if hashlib.sha256(body).hexdigest() != row["sha256"]:
        raise ValueError(f"the bytes of {row['control_id']!r} do not have the recorded hash")
    at = datetime.datetime.fromisoformat(row["at"])
    return Sending(
        at, row["hospital"], row["link"], row["kind"], row["control_id"], row["resident"], body,
        row.get("how", ""), row.get("expect", "accept"), request=row.get("request", ""),
    )  # fmt: skip


def header(**facts: Any) -> str:
    """The first line of a record: its format and how it was made."""
    return json.dumps({"format": FORMAT, **facts}, ensure_ascii=False, separators=(",", ":"))


def write(path: Path, log: Iterable[Sending], **facts: Any) -> None:
    """Write a record: the header, then a line each."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(header(**facts) + "\n")
        file.writelines(f"{sending.line()}\n" for sending in log)


def read(path: Path) -> Iterator[Sending]:
    """The sendings of a record. ValueError when it is not one."""
    with path.open(encoding="utf-8") as file:
        first = json.loads(file.readline() or "null")
        if not isinstance(first, dict) or first.get("format") != FORMAT:
            raise ValueError(f"{path} is not a record of the format {FORMAT}")
        for line in file:
            if line.strip():
                yield parse(line)


def digest(log: Iterable[Sending]) -> str:
    """SHA-256 of the lines of a log, in hex."""
    total = hashlib.sha256()
    for sending in log:
        total.update(f"{sending.line()}\n".encode())
    return total.hexdigest()

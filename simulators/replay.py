"""A recorded log again: what of it, changed how, to whom; and what two logs differ in."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from simulators.pseudonyms import Pseudonyms
from simulators.record import Sending
from simulators.rewrite import Rewriter
from simulators.traffic import Targets

FILTERS = {"link": "link", "wire": "link", "hospital": "hospital", "sender": "hospital", "kind": "kind"}
WEEKS = 52
"""De-identification moves dates back by one to so many weeks."""


def targets(addresses: Sequence[str], ae_title: str = "HUB") -> Targets:
    """Where to send: ``mllp://HOST:PORT``, ``dicom://[AE@]HOST:PORT``, ``http(s)://...``. ValueError for anything
    else."""
    found: dict[str, Any] = {"ae_title": ae_title}
    for address in addresses:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname:
            found["http"] = address
        elif parts.scheme in ("mllp", "dicom") and parts.hostname and parts.port:
            found[parts.scheme] = (parts.hostname, parts.port)
            if parts.scheme == "dicom" and parts.username:
                found["ae_title"] = parts.netloc.partition("@")[0]
        else:
            raise ValueError(f"{address!r} is not mllp://HOST:PORT, dicom://[AE@]HOST:PORT or a http address")
    return Targets(**found)


def chosen(log: Iterable[Sending], filters: Sequence[str]) -> list[Sending]:
    """The sendings that every filter lets through: ``link=mllp``, ``sender=people``, ``kind=ADT*``; several values
    with commas. ValueError for another filter."""
    wanted = []
    for one in filters:
        name, equals, patterns = one.partition("=")
        if not equals or name not in FILTERS:
            raise ValueError(f"the filter {one!r} is not wire=, sender= or kind= with a pattern")
        wanted.append((FILTERS[name], patterns.split(",")))
    return [
        sending
        for sending in log
        if all(any(fnmatchcase(getattr(sending, name), one) for one in patterns) for name, patterns in wanted)
    ]


def rewriter(key: str, days: int | None, reissue: bool, deidentify: bool) -> Rewriter:
    """What the options change. Without ``days`` de-identification moves dates back by whole weeks that the key says.

    De-identification also reissues identifiers: UIDs lead back to the images (PS3.15 E.3).
    """
    if deidentify and days is None:
        days = -7 * (1 + hashlib.sha256(f"weeks {key}".encode()).digest()[0] % WEEKS)
    secret = key.encode()
    people = Pseudonyms(secret, days or 0) if deidentify else None
    return Rewriter(days or 0, secret if reissue or deidentify else b"", people)


def plan(log: Sequence[Sending], to: Targets) -> dict[str, Any]:
    """What a replay would send, without sending."""
    kinds = Counter(f"{one.link} {one.kind}" for one in log if getattr(to, one.link) is not None)
    left = Counter(f"{one.link} {one.kind}" for one in log if getattr(to, one.link) is None)
    return {
        "messages": len(log),
        "bytes": sum(len(one.body) for one in log),
        "from": log[0].at.isoformat() if log else None,
        "until": log[-1].at.isoformat() if log else None,
        "hospitals": sorted({one.hospital for one in log}),
        "kinds": dict(sorted(kinds.items())),
        "left_out": dict(sorted(left.items())),
    }


# --- differences ------------------------------------------------------------------------------------------------------

Place = tuple[str, str, str, str, str, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """One message that two logs do not share: ``what`` is ``only in A``, ``only in B``, ``time``, ``answer``, ``bytes``
    (``where`` then says the places) or ``order``."""

    what: str
    message: str
    where: tuple[str, ...] = ()

    def text(self) -> str:
        """One line."""
        return f"{self.what}: {self.message}{': ' if self.where else ''}{'; '.join(self.where)}"


def differences(first: Iterable[Sending], second: Iterable[Sending]) -> list[Difference]:
    """What differs, in the order of the first log. A message is known by sender, wire, kind, id and SOP instance."""
    left, right = _places(first), _places(second)
    found = []
    for place, one in left.items():
        name = " ".join(str(part) for part in place[:4] if part)
        other = right.get(place)
        if other is None:
            found.append(Difference("only in A", name))
        elif one.body != other.body:
            found.append(Difference("bytes", name, tuple(_where(one, other))))
        elif one.at != other.at:
            found.append(Difference("time", name, (f"{one.at.isoformat()} / {other.at.isoformat()}",)))
        elif one.expect != other.expect:
            found.append(Difference("answer", name, (f"{one.expect} / {other.expect}",)))
    found += [Difference("only in B", " ".join(filter(None, place[:4]))) for place in right if place not in left]
    shared = [place for place in left if place in right], [place for place in right if place in left]
    moved = next((one for one, other in zip(*shared, strict=True) if one != other), None)
    if moved is not None:
        found.append(Difference("order", " ".join(filter(None, moved[:4])), ("is the first in another place",)))
    return found


def _places(log: Iterable[Sending]) -> dict[Place, Sending]:
    seen: Counter[tuple[str, ...]] = Counter()
    found: dict[Place, Sending] = {}
    for one in log:
        instance = dict(_elements(one)).get("(0008,0018)", "") if one.link == "dicom" else ""
        name = (one.hospital, one.link, one.kind, one.control_id, instance)
        seen[name] += 1
        found[*name, seen[name]] = one
    return found


def _where(one: Sending, other: Sending) -> Iterator[str]:
    """The first places where two messages differ."""
    left, right = dict(_elements(one)), dict(_elements(other))
    names = [
        name for name in [*left, *(name for name in right if name not in left)] if left.get(name) != right.get(name)
    ]
    for name in names[:5]:
        yield f"{name} {_short(left.get(name))} / {_short(right.get(name))}"
    if len(names) > 5:
        yield f"and {len(names) - 5} more"


def _short(text: str | None) -> str:
    return "nothing" if text is None else repr(text[:60])


def _elements(sending: Sending) -> Iterator[tuple[str, str]]:
    """The places of a message with their values: ``PID-5``, a JSON path, ``(gggg,eeee)``."""
    body = sending.body
    if sending.link == "mllp" and len(body) > 8:
        number: Counter[str] = Counter()
        for segment in body.decode("utf-8" if _is_utf8(body) else "gb18030", "replace").split("\r"):
            name, *fields = segment.split(chr(body[3]))
            number[name] += 1
            label = name if number[name] == 1 else f"{name}[{number[name]}]"
            first = 2 if name == "MSH" else 1
            yield from ((f"{label}-{place}", field) for place, field in enumerate(fields, first))
    elif sending.link == "dicom":
        try:
            dataset = dcmread(io.BytesIO(body))
        except InvalidDicomError:
            return
        for element in dataset:
            value = (
                hashlib.sha256(element.value).hexdigest() if isinstance(element.value, bytes) else str(element.value)
            )
            yield f"({element.tag.group:04X},{element.tag.element:04X})", value
    else:
        try:
            yield from _paths("", json.loads(body))
        except (ValueError, RecursionError):
            yield "body", body.decode("utf-8", "replace")


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _paths(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, held in value.items():
            yield from _paths(f"{path}.{key}" if path else key, held)
    elif isinstance(value, list):
        for place, held in enumerate(value):
            yield from _paths(f"{path}[{place}]", held)
    else:
        yield path, json.dumps(value, ensure_ascii=False)

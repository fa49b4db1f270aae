"""Everything that goes wrong between a hospital and the region, drawn for every message on its own stream
(tables/faults.csv).

A fault changes when or how a message is sent, or adds one; the facts that are true do not change, except where the
table says so.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache

from pydicom import Dataset, dcmread

from simulators.population import table
from simulators.record import Fact, Sending
from simulators.streams import Stream, digest

MINUTE = datetime.timedelta(minutes=1)
DOWN_FROM, DOWN_HOURS = 9, 2
Apply = Callable[[Sending, Stream], list[Sending]]


@cache
def rates() -> dict[str, dict[str, float]]:
    """Layer -> name of the fault -> rate."""
    found: dict[str, dict[str, float]] = {}
    for row in table("faults"):
        found.setdefault(row["layer"], {})[row["name"]] = float(row["rate"])
    return found


@cache
def _links() -> dict[str, str]:
    return {row["name"]: row["link"] for row in table("faults")}


def apply(seed: int, sent: list[Sending]) -> list[Sending]:
    """What becomes of the messages of one episode: at most one fault a message, each drawn from its own stream."""
    found: list[Sending] = []
    for sending in _episode(seed, sent):
        found += [sending] if sending.how else _message(seed, sending)
    return [_downtime(seed, sending) for sending in _ordered(seed, found)]


def _message(seed: int, sending: Sending) -> list[Sending]:
    for name, rate in (rates()["message"] | rates()["wire"]).items():
        stream = Stream(seed, "fault", name, sending.hospital, sending.control_id, sending.at.isoformat())
        if _links()[name] == sending.link and stream.chance(rate):
            if name in rates()["wire"]:
                return [replace(sending, how=name)]
            return MESSAGES[name](sending, stream)
    return [sending]


def _again(sending: Sending, how: str, minutes: int, body: bytes | None = None, expect: str = "accept") -> Sending:
    """Another sending beside a true one; it adds no facts."""
    return replace(
        sending,
        at=sending.at + minutes * MINUTE,
        how=how,
        body=sending.body if body is None else body,
        expect=expect,
        facts=(),
    )


# --- HL7 v2 -----------------------------------------------------------------------------------------------------------


def _duplicate(sending: Sending, stream: Stream) -> list[Sending]:
    return [sending, _again(sending, "duplicate", stream.between(1, 20))]


def _late(sending: Sending, stream: Stream) -> list[Sending]:
    return [replace(sending, at=sending.at + stream.between(60, 400) * MINUTE, how="late")]


def _early(sending: Sending, stream: Stream) -> list[Sending]:
    """Marked here, exchanged with the message before it in ``_ordered``."""
    return [replace(sending, how="out-of-order")]


def _charset(sending: Sending, stream: Stream) -> list[Sending]:
    """Only systems that declare UTF-8 can lie about it in this way."""
    try:
        text = sending.body.decode("utf-8")
    except UnicodeDecodeError:
        return [sending]
    if "|UNICODE UTF-8" not in text:
        return [sending]
    return [replace(sending, body=text.encode("gb18030"), how="charset")]


def _renamed(sending: Sending, letter: str) -> tuple[str, bytes]:
    """The message under another control id of the same length."""
    control = letter + hashlib.sha256(sending.control_id.encode()).hexdigest().upper()[: len(sending.control_id) - 1]
    return control, sending.body.replace(sending.control_id.encode(), control.encode(), 1)


def _delimiters(sending: Sending, stream: Stream) -> list[Sending]:
    control, body = _renamed(sending, "D")
    broken = body[:4] + body[3:4] * 4 + body[8:]
    return [replace(_again(sending, "delimiters", -1, broken, "refuse"), control_id=control), sending]


def _missing(sending: Sending, stream: Stream) -> list[Sending]:
    """Only where the structure of the message requires PID outside of any group."""
    if sending.kind[:3] not in ("ADT", "DFT", "MDM", "VXU"):
        return [sending]
    control, body = _renamed(sending, "M")
    kept = b"\r".join(segment for segment in body.split(b"\r") if not segment.startswith(b"PID"))
    return [replace(_again(sending, "missing-segment", -1, kept, "refuse"), control_id=control), sending]


def _unknown(sending: Sending, stream: Stream) -> list[Sending]:
    return [replace(sending, body=sending.body + b"ZXX" + sending.body[3:4] + b"1\r", how="unknown-z")]


def _oversize(sending: Sending, stream: Stream) -> list[Sending]:
    page = base64.b64encode(hashlib.sha256(sending.control_id.encode()).digest() * 49_152)
    return [replace(sending, body=sending.body + b"ZPG" + sending.body[3:4] + page + b"\r", how="oversize")]


def _clock(how: str, by: datetime.timedelta) -> Apply:
    def change(sending: Sending, stream: Stream) -> list[Sending]:
        """MSH-7 of an ADT; its EVN-2 stays."""
        if not sending.kind.startswith("ADT"):
            return [sending]
        mark = sending.body[3:4]
        fields = sending.body.split(mark, 7)
        fields[6] = (sending.at + by).strftime("%Y%m%d%H%M%S").encode()[: len(fields[6])] + fields[6][14:]
        return [replace(sending, body=mark.join(fields), how=how)]

    return change


def _same_id(sending: Sending, stream: Stream) -> list[Sending]:
    other = sending.body + b"NTE" + sending.body[3:4] + b"1\r"
    return [sending, _again(sending, "same-id", stream.between(1, 20), other, "refuse")]


def _same_body(sending: Sending, stream: Stream) -> list[Sending]:
    control, body = _renamed(sending, "S")
    return [sending, replace(_again(sending, "same-body", stream.between(1, 20), body), control_id=control)]


# --- FHIR and DICOM ---------------------------------------------------------------------------------------------------


def _bundle(sending: Sending, stream: Stream) -> list[Sending]:
    """At once: a Bundle is not sent again after the next one of the visit."""
    return [sending, replace(_again(sending, "duplicate-bundle", 0), at=sending.at + datetime.timedelta(seconds=1))]


def _instance(sending: Sending, stream: Stream) -> list[Sending]:
    return [sending, _again(sending, "duplicate-instance", 30)]


def _other_bytes(sending: Sending, stream: Stream) -> list[Sending]:
    pixels = bytes((sending.body[-1] ^ 1,))
    return [sending, _again(sending, "other-bytes", 40, sending.body[:-1] + pixels, "any")]


def _dataset(sending: Sending, change: Callable[[Dataset], None]) -> bytes:
    dataset = dcmread(io.BytesIO(sending.body))
    change(dataset)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _wrong_patient(sending: Sending) -> Sending:
    """The patient number with a digit too many: the study is that unknown patient's."""

    def change(dataset: Dataset) -> None:
        dataset.PatientID = f"{dataset.PatientID}9"

    facts = []
    for fact in sending.facts:
        key = (fact.key[0], f"{fact.key[1]}9") if fact.type == "Patient" else fact.key
        facts.append(Fact(fact.type, key, fact.at, fact.values | ({"sure": False} if fact.type == "Patient" else {})))
    return replace(sending, body=_dataset(sending, change), how="wrong-patient", facts=tuple(facts))


def _second_series(sending: Sending) -> Sending:
    """The same picture as an instance of a second series, hours later."""

    def change(dataset: Dataset) -> None:
        for name in ("SeriesInstanceUID", "SOPInstanceUID"):
            number = int.from_bytes(digest(0, "late", str(dataset[name].value))[:16], "big")
            setattr(dataset, name, f"2.25.{number}")
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.SeriesNumber = 2

    facts = []
    for fact in sending.facts:
        twice = {"instances": fact.values["instances"] * 2, "series": 2} if fact.type == "ImagingStudy" else {}
        facts.append(replace(fact, at=fact.at + 180 * MINUTE, values=fact.values | twice))
    body = _dataset(sending, change)
    return replace(sending, at=sending.at + 180 * MINUTE, body=body, how="late-series", facts=tuple(facts))


MESSAGES: dict[str, Apply] = {
    "duplicate": _duplicate, "late": _late, "out-of-order": _early, "charset": _charset, "delimiters": _delimiters,
    "missing-segment": _missing, "unknown-z": _unknown, "oversize": _oversize,
    "clock-skew": _clock("clock-skew", 7 * MINUTE), "clock-jump": _clock("clock-jump", datetime.timedelta(days=-1)),
    "same-id": _same_id, "same-body": _same_body, "duplicate-bundle": _bundle, "duplicate-instance": _instance,
    "other-bytes": _other_bytes,
}  # fmt: skip

# --- several messages -------------------------------------------------------------------------------------------------


def _episode(seed: int, sent: list[Sending]) -> list[Sending]:
    """Faults that concern the images or the order of an episode as a whole."""
    if not sent:
        return []
    first = sent[0]
    drawn = {
        name
        for name, rate in rates()["episode"].items()
        if Stream(seed, "fault", name, first.hospital, first.resident, first.at.isoformat()).chance(rate)
    }
    images = [one for one in sent if one.link == "dicom"]
    found = [one for one in sent if one.link != "dicom"]
    if images and "wrong-patient" in drawn:
        images = [_wrong_patient(one) for one in images]
    elif images and "late-series" in drawn:
        images += [_second_series(one) for one in images]
    elif len(images) > 1 and "split-study" in drawn:
        images[1:] = [replace(one, at=one.at + 60 * MINUTE, how="split-study") for one in images[1:]]
    if "result-first" in drawn:
        found = _result_first(found)
    return sorted([*found, *images], key=lambda one: one.order)


def _result_first(sent: list[Sending]) -> list[Sending]:
    """The order is delivered a minute after the first result of its hospital."""
    orders = [one for one in sent if one.kind.endswith(":lab") and one.kind[:3] in ("ORM", "OML")]
    for order in orders[:1]:
        results = [one for one in sent if one.kind.startswith("ORU^R01:lab") and one.hospital == order.hospital]
        if results:
            delayed = replace(order, at=results[0].at + MINUTE, how="result-first")
            return [delayed if one is order else one for one in sent]
    return sent


def _ordered(seed: int, sent: list[Sending]) -> list[Sending]:
    """Exchange the times of every message marked out of order and the message of its line before it."""
    found = sorted(sent, key=lambda one: one.order)
    for place, one in enumerate(found):
        if one.how == "out-of-order":
            before = next((other for other in reversed(found[:place]) if _exchangeable(other, one)), None)
            if before is not None:
                where = found.index(before)
                found[where], found[place] = replace(before, at=one.at), replace(one, at=before.at)
    return found


def _exchangeable(other: Sending, one: Sending) -> bool:
    return (other.link, other.hospital, other.expect, other.how) == (one.link, one.hospital, "accept", "")


def _downtime(seed: int, sending: Sending) -> Sending:
    """An interface that is down in the morning sends its backlog, in order, when it is up again."""
    day = sending.at.date().isoformat()
    if sending.link != "mllp" or not Stream(seed, "downtime", sending.hospital, day).chance(
        rates()["site"]["downtime"]
    ):
        return sending
    begin = sending.at.replace(hour=DOWN_FROM, minute=0, second=0, microsecond=0)
    end = begin + datetime.timedelta(hours=DOWN_HOURS)
    if not begin <= sending.at < end:
        return sending
    return replace(sending, at=end + (sending.at - begin) / 1000, how=sending.how or "downtime")

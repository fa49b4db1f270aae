"""Queries over MLLP: asked and answered at once, by the rows of ``queries.csv``.

IHE PIX and PDQ (ITI-9, ITI-21, ITI-22), HL7 v2.5.1 chapter 5 and 3.3.56 to 3.3.59. A query changes nothing, so it does
not go through the inbox; that it was asked is in the audit trail.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from adapters.hl7v2 import ack
from adapters.hl7v2.answers import ANSWERS, Asked, Row
from adapters.hl7v2.continuation import Continuations, Page
from adapters.hl7v2.criteria import Reading
from adapters.hl7v2.interpret import CHANNEL, circumstances_of, sender_of
from adapters.hl7v2.message import Message, Segment, header_of, parse
from hub.errors import HubError
from hub.services.context import Context
from hub.services.demographics import Demographics

CANCEL = "QCN^J01"
MAX_QUANTITY = 1000
END = b"\x1c\r\x0b"
"""The end of one block and the start of the next."""


@cache
def table() -> dict[str, Row]:
    """Kind of a query -> its row."""
    text = files("adapters.hl7v2").joinpath("queries.csv").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {
        row["kind"]: Row(**{**row, "subject": int(row["subject"]), "domains": int(row["domains"])})  # type: ignore[arg-type]
        for row in csv.DictReader(lines)
    }


class Queries:
    """Answers queries. ``clock`` gives microseconds since 1970 UTC."""

    def __init__(
        self,
        demographics: Demographics,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        time_zone: str,
        language: str,
    ) -> None:
        self._demographics = demographics
        self._clock = clock
        self._new_id = new_id
        self._zone = time_zone
        self._language = language
        self._continuations = Continuations(clock, new_id)

    def serves(self, header: Segment) -> bool:
        """Whether the message is a query, or the cancellation of one."""
        kind = f"{header.raw(9, 1, 1)}^{header.raw(9, 1, 2)}"
        return kind in table() or kind == CANCEL

    def answer(self, raw: bytes, peer: str) -> bytes:
        """The answer to a query: data, "nothing found", or what is wrong with it. Never raises HubError."""
        header, codec = header_of(raw)
        try:
            message = parse(raw)
            if message.kind == CANCEL:
                self._continuations.cancel(sender_of(message.header), message["QID-1"])
                return self._acknowledgement(header, codec, "AA", None)
            asked = self._asked(message, peer)
        except HubError as error:
            return self._acknowledgement(header, codec, ack.codes()[error.name].application, error)
        try:
            page = self._page(asked)
            lines = [line for group in page.groups for line in group()]
        except HubError as error:
            return self._response(asked, Page((), 0, 0), [], asked.located(error))
        return self._response(asked, page, lines, None)

    def _asked(self, message: Message, peer: str) -> Asked:
        row = table()[message.kind]
        name = "QRD" if row.kind.startswith("QRY") else "QPD"
        defining = next(iter(message.all(name)), None)
        if defining is None:
            raise HubError("required", f"a query needs the segment {name}", f"{name}[1]")
        context = Context(CHANNEL, sender_of(message.header), peer, request=message.control_id, language=self._language)
        reading = Reading(message, circumstances_of(message, self._zone), self._demographics.authority_named)
        return Asked(row, message, defining, reading, context, self._demographics)

    def _page(self, asked: Asked) -> Page:
        count, pointer = _quantity(asked), asked.message["DSC-1"]
        if pointer:
            return self._continuations.go_on(asked.context.actor, _tag(asked), pointer, count)
        return self._continuations.begin(asked.context.actor, _tag(asked), ANSWERS[asked.row.answer](asked), count)

    # --- the answer as bytes ------------------------------------------------------------------------------------------

    def _acknowledgement(self, header: Segment, codec: str, code: str, error: HubError | None) -> bytes:
        return ack.build(
            header, code, error, control_id=ack.fresh_control_id(self._new_id), time=self._now(),
            codec=codec, language=self._language,
        )  # fmt: skip

    def _now(self) -> str:
        now = datetime.fromtimestamp(self._clock() / 1e6, UTC).astimezone(ZoneInfo(self._zone))
        return now.strftime("%Y%m%d%H%M%S%z")

    def _response(self, asked: Asked, page: Page, lines: list[str], error: HubError | None) -> bytes:
        """MSH, MSA, ERR, QAK, what was asked, the data, DSC (HL7 v2.5.1 5.3); before it CA when MSH-15 wants it."""
        message, separator = asked.message, asked.message.delimiters.field
        header, version = message.header, ack.version_of(message.header)
        code = ack.codes()[error.name].application if error else "AA"
        errors = ack.errors(header, error, version, self._language, message.codec) if error else []
        state = code if error else "OK" if page.groups else "NF"
        own = [segment.text for segment in (asked.defining, *message.all("QRF"))]
        if asked.row.structure == "RSP_K25":
            own += [segment.text for segment in message.all("RCP")]
        name = asked.defining.field(1) if asked.defining.name == "QPD" else ""
        sizes = [str(number) for number in (page.total, len(page.groups), page.remaining)]
        head = [
            ["MSA", code, header.field(10)], *errors,
            ["QAK", _raw_tag(asked), state, name, *(sizes if not error else [])],
        ]  # fmt: skip
        body = [separator.join(fields) for fields in head] + own + lines
        if page.pointer:
            body.append(separator.join(["DSC", page.pointer, "I"]))
        codec, charset = message.codec, header.field(18)
        if not charset and not "".join(body).isascii():
            codec, charset = "utf-8", "UNICODE UTF-8"
        first = separator.join(self._header(asked, charset))
        whole = "".join(f"{line}\r" for line in (first, *body)).encode(codec, "replace")
        if header.field(15).split("^")[0] in ("AL", "SU"):
            return self._acknowledgement(header, message.codec, "CA", None) + END + whole
        return whole

    def _header(self, asked: Asked, charset: str) -> list[str]:
        sent, delimiters = asked.message.header.field, asked.message.delimiters
        kind = delimiters.component.join([*asked.row.response.split("^"), asked.row.structure])
        return [
            "MSH", delimiters.encoding_characters, sent(5), sent(6), sent(3), sent(4), self._now(), "", kind,
            ack.fresh_control_id(self._new_id), sent(11) or "P", sent(12) or "2.5.1", "", "", "", "", sent(17), charset,
        ]  # fmt: skip


def _raw_tag(asked: Asked) -> str:
    """The query tag as sent: QPD-2, QRD-4."""
    return asked.defining.field(4 if asked.defining.name == "QRD" else 2)


def _tag(asked: Asked) -> str:
    return asked.message.value(asked.defining, 4 if asked.defining.name == "QRD" else 2)


def _quantity(asked: Asked) -> int:
    """How many are wanted at most: RCP-2 or QRD-7, as records (RD). HubError("value") for what is no quantity."""
    place = "QRD-7" if asked.defining.name == "QRD" else "RCP-2"
    number, unit = asked.message[f"{place}.1"], asked.message[f"{place}.2"]
    if not number or unit not in ("", "RD"):
        return 0
    if not (number.isascii() and number.isdigit() and 0 < int(number[:9]) <= MAX_QUANTITY):
        raise HubError("value", f"a quantity is a number from 1 to {MAX_QUANTITY} of RD (records)", place)
    return int(number)

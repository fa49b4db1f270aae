"""HL7 v2 destinations: what a subscribed system is told, and the MLLP connection to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from adapters.hl7v2 import tls
from adapters.hl7v2.ack import ANSWERS
from adapters.hl7v2.message import parse
from adapters.hl7v2.mllp import Client, Limits
from adapters.hl7v2.render import Envelope, notice_of, render
from adapters.mapping.conversions import source
from hub.errors import HubError
from hub.services.doors import Doors
from hub.services.outbound import Answered, Change, Outgoing

ACCEPTED = ("AA", "CA")
MAX_OTHERS = 20
"""Messages that are no answer to ours and are passed over while we wait for it."""


class MllpDestination:
    """One entry of ``mllp.destinations`` (``hub.services.outbound.Destination``)."""

    def __init__(self, name: str, doors: Doors) -> None:
        settings = doors.settings
        self._to = settings.mllp.destinations[name]
        self.name = name
        self._feeds = frozenset(self._to.sends)
        self._source = source(self._to.facility, self._to.application)
        self._sender = ("HUB", settings.region)
        self._zone = ZoneInfo(settings.time_zone)
        self._clock: Callable[[], int] = doors.clock
        self._decode = doors.databases.decode
        self._read = doors.store.read
        host, _, port = self._to.address.rpartition(":")
        self._address = (host, int(port))
        ours = settings.mllp.tls_certificate, settings.mllp.tls_key
        self._tls = tls.client(self._to.tls_ca, *ours) if self._to.tls else None
        self._limits = Limits(frame_seconds=self._to.seconds)
        self._runner = asyncio.Runner()
        self._client: Client | None = None

    def messages(self, version: Change, control_id: str) -> list[Outgoing]:
        """The message of a change, unless the change came from this very system."""
        if version.type not in ("Patient", "Encounter", "Person", "ServiceRequest", "DiagnosticReport"):
            return []
        resource = self._decode(version)
        notice = notice_of(resource, version.version == 1, self._feeds)
        if notice is None or resource.get("meta", {}).get("source") == self._source:
            return []
        now = datetime.fromtimestamp(self._clock() / 1e6, UTC).astimezone(self._zone)
        receiver = (self._to.application, self._to.facility)
        envelope = Envelope(self._sender, receiver, now.strftime("%Y%m%d%H%M%S%z"), control_id)
        raw = render(notice, resource, envelope, self._resolve)
        return [Outgoing(notice.kind, f"{version.type}/{version.id}", raw)]

    def _resolve(self, reference: str) -> dict[str, Any] | None:
        type, _, id = reference.rpartition("/")
        version = self._read(type, id) if type else None
        return None if version is None or version.deleted else self._decode(version)

    def send(self, raw: bytes) -> Answered:
        """Send over the standing connection, made again when it is gone; answers to other messages are passed over."""
        if self._client is None:
            self._client = Client(*self._address, self._limits, release=self._to.release, tls=self._tls)
        try:
            return self._runner.run(self._exchange(self._client, raw))
        except (OSError, HubError) as error:
            self._runner.run(self._client.close())
            self._client = None
            raise error if isinstance(error, OSError) else ConnectionError(error.diagnostics) from error

    async def _exchange(self, client: Client, raw: bytes) -> Answered:
        sent = parse(raw).control_id
        await client.send(raw)
        for _ in range(MAX_OTHERS):
            content = await client.receive()
            answer = parse(content)
            if answer["MSA-2"] == sent and answer.header.raw(9, 1, 1) in ANSWERS:
                return Answered(answer["MSA-1"] in ACCEPTED, content)
        raise ConnectionError(f"no answer to message {sent}, but {MAX_OTHERS} to others")

    def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            self._runner.run(self._client.close())
        self._runner.close()


def destinations(doors: Doors) -> list[MllpDestination]:
    """Those of the settings. HubError("configuration") for unusable certificates."""
    return [MllpDestination(name, doors) for name in doors.settings.mllp.destinations]

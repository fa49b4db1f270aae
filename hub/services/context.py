"""Who asks, through which door, for what purpose: handed to every service call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Context:
    """The circumstances of one request or message.

    ``door`` is the edge it came through (``fhir``, ``platform``, ``web``, ``hl7v2``, ``dicom``, ``cli``); ``actor`` the
    authenticated or claimed party (user, HD of MSH-3/MSH-4, calling AE title); ``peer`` the network address;
    ``purpose`` a code of http://terminology.hl7.org/CodeSystem/v3-ActReason; ``origin`` the inbox item this data came
    from, or ""; ``request`` an id that ties log lines, audit and answer together; ``language`` zh or en; ``role`` of
    the person who asks and ``reason`` why, for the access decision (a break-glass needs one, and the trail keeps it).
    """

    door: str
    actor: str
    peer: str = ""
    purpose: str = "TREAT"
    origin: str = ""
    request: str = ""
    language: str = "zh"
    role: str = ""
    reason: str = ""

"""The e-health card (居民电子健康卡) by itself: its index, its states, its codes. Pure; the service keeps it.

The index of a card is HEX(SM3(region salt | document type | document number)); its static code is ``<index>:1``, its
dynamic code ``<index>:0:<expiry>:<nonce>:<mac>`` with HMAC-SM3 over what stands before it, valid 60 seconds. This
layout is ours: the national scheme is not public.
"""

from __future__ import annotations

import hmac
import re

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import hmac as keyed

from hub.errors import HubError

SYSTEM = "https://region-hub.example/fhir/healthcard"
RESIDENT_ID = "01"
"""Document type of the resident ID card (CV02.01.101)."""
DYNAMIC_SECONDS = 60
MAX_CODE = 160
MAC_DIGITS = 32
ACTIVE, SUSPENDED, LOST, CANCELLED = "active", "suspended", "lost", "cancelled"
TRANSITIONS = {
    (ACTIVE, "suspend"): SUSPENDED,
    (SUSPENDED, "resume"): ACTIVE,
    (ACTIVE, "report-lost"): LOST,
    (SUSPENDED, "report-lost"): LOST,
    (LOST, "resume"): ACTIVE,
    (ACTIVE, "cancel"): CANCELLED,
    (SUSPENDED, "cancel"): CANCELLED,
    (LOST, "cancel"): CANCELLED,
}
_STATIC = re.compile(r"([0-9A-Fa-f]{64}):1")
_DYNAMIC = re.compile(r"(([0-9A-F]{64}):0:([0-9]{1,12}):[0-9a-f]{12}):([0-9a-f]{32})")


def sm3(*parts: bytes) -> bytes:
    """SM3 (GB/T 32905) of the parts joined."""
    digest = hashes.Hash(hashes.SM3())
    for part in parts:
        digest.update(part)
    return digest.finalize()


class Codes:
    """Indexes and codes of one region; ``salt`` is its secret, times are seconds since 1970 UTC."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._key = sm3(b"healthcard dynamic code", salt)

    def index(self, type: str, number: str) -> str:
        """The index of the card of a document."""
        return sm3(self._salt, b"|", type.encode(), b"|", number.encode()).hex().upper()

    def dynamic(self, index: str, now: int, nonce: str) -> str:
        """A code for 60 seconds; ``nonce`` is 12 hexadecimal digits that make it another one than the last."""
        body = f"{index}:0:{now + DYNAMIC_SECONDS}:{nonce}"
        return f"{body}:{self._mac(body)}"

    def read(self, code: str, now: int) -> tuple[str, bool]:
        """Index of a code and whether it is dynamic.

        HubError("value") it is no code; "forbidden" forged; "expired" older than 60 seconds.
        """
        if static := _STATIC.fullmatch(code):
            return static[1].upper(), False
        dynamic = _DYNAMIC.fullmatch(code)
        if dynamic is None:
            raise HubError("value", "this is not the code of an e-health card", "code")
        body, index, expiry, mac = dynamic.groups()
        if not hmac.compare_digest(self._mac(body), mac):
            raise HubError("forbidden", "the code was not issued by this region", "code")
        if int(expiry) < now:
            raise HubError("expired", "the code is older than 60 seconds; ask the holder to show a new one", "code")
        return index, True

    def _mac(self, body: str) -> str:
        mac = keyed.HMAC(self._key, hashes.SM3())
        mac.update(body.encode())
        return mac.finalize().hex()[:MAC_DIGITS]


def following(state: str, action: str) -> str:
    """The state after an action. HubError("business-rule") when the state does not allow it."""
    after = TRANSITIONS.get((state, action))
    if after is None:
        raise HubError("business-rule", f"a card that is {state} cannot do {action!r}", "action")
    return after

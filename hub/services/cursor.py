"""Page links that cannot be forged: where the next page begins, as signed, url-safe text.

What the page is of (base, types, compartment) is part of what is signed, so that a cursor opens no other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import zlib
from typing import Any

from hub.errors import HubError

MAX_LENGTH = 8192
MAX_INFLATED = 65_536
_MAC_BYTES = 16


class Signer:
    """Seals and opens cursors with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, place: str, content: list[Any]) -> str:
        """JSON-able ``content`` as text that opens at ``place`` only.

        Raises HubError("too-long") when the query is too large to be carried in a link.
        """
        packed = zlib.compress(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(), 6)
        text = base64.urlsafe_b64encode(self._mac(place, packed) + packed).rstrip(b"=").decode()
        if len(text) > MAX_LENGTH:
            raise HubError("too-long", "the search is too long to be continued by a link; ask for a larger _count")
        return text

    def open(self, place: str, text: str) -> list[Any]:
        """The content sealed for ``place``. HubError("parameter-value") when altered, foreign or too long."""
        refusal = HubError("parameter-value", "this page link is not one of ours, or of another search; search again")
        if len(text) > MAX_LENGTH:
            raise refusal
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise refusal from None
        packed = raw[_MAC_BYTES:]
        if not hmac.compare_digest(raw[:_MAC_BYTES], self._mac(place, packed)):
            raise refusal
        content: list[Any] = json.loads(zlib.decompressobj().decompress(packed, MAX_INFLATED))
        return content

    def _mac(self, place: str, packed: bytes) -> bytes:
        return hmac.digest(self._key, place.encode() + b"\0" + packed, hashlib.sha256)[:_MAC_BYTES]

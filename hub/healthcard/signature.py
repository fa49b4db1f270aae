"""Signatures of dynamic codes: ES256 (FIPS 186-4 P-256, SHA-256; RFC 7518 3.4) or SM2 with SM3 (GB/T 32918).

Both are 64 bytes, r and s. A terminal that knows the public key can check a code while the network is down.
"""

from __future__ import annotations

import base64
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from hub.errors import HubError

SIZE = 32
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SM2_ORDER = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123


class Signer(Protocol):
    """A signature algorithm with its key."""

    def sign(self, data: bytes) -> str:
        """The signature in base64url without padding, 86 characters."""

    def verifies(self, data: bytes, signature: str) -> bool:
        """Whether it is ours."""

    def public(self) -> dict[str, str]:
        """The public key as a JSON Web Key (RFC 7517)."""


def signer(profile: str, secret: bytes) -> Signer:
    """The signer of a profile, ``es256`` or ``sm2``; the private key follows from 32 secret bytes.

    HubError("configuration") when the package of the profile is not installed.
    """
    return Es256(secret) if profile == "es256" else _sm2(secret)


class Es256:
    """ECDSA on P-256 with SHA-256."""

    def __init__(self, secret: bytes) -> None:
        self._key = ec.derive_private_key(scalar(secret, P256_ORDER), ec.SECP256R1())
        self._public = self._key.public_key()

    def sign(self, data: bytes) -> str:
        return packed(*decode_dss_signature(self._key.sign(data, ec.ECDSA(hashes.SHA256()))))

    def verifies(self, data: bytes, signature: str) -> bool:
        try:
            self._public.verify(encode_dss_signature(*unpacked(signature)), data, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True

    def public(self) -> dict[str, str]:
        point = self._public.public_numbers()
        return {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", **coordinates(point.x, point.y)}


def _sm2(secret: bytes) -> Signer:
    try:
        from hub.healthcard.sm2 import Sm2  # its package is an extra
    except ImportError:
        raise HubError(
            "configuration", "healthcard.signature = sm2 needs the extra: pip install region-hub[sm]", "healthcard"
        ) from None
    return Sm2(secret)


def scalar(secret: bytes, order: int) -> int:
    """A private key from secret bytes."""
    return int.from_bytes(secret, "big") % (order - 1) + 1


def packed(r: int, s: int) -> str:
    """r and s as text."""
    whole = r.to_bytes(SIZE, "big") + s.to_bytes(SIZE, "big")
    return base64.urlsafe_b64encode(whole).rstrip(b"=").decode()


def unpacked(text: str) -> tuple[int, int]:
    """r and s of a text. ValueError for another text than ``packed`` gives."""
    whole = base64.urlsafe_b64decode(text + "==")
    if len(whole) != 2 * SIZE or base64.urlsafe_b64encode(whole).rstrip(b"=").decode() != text:
        raise ValueError("not a signature")
    return int.from_bytes(whole[:SIZE], "big"), int.from_bytes(whole[SIZE:], "big")


def coordinates(x: int, y: int) -> dict[str, str]:
    """A point as members of a JSON Web Key (RFC 7518 6.2.1)."""
    return {
        name: base64.urlsafe_b64encode(number.to_bytes(SIZE, "big")).rstrip(b"=").decode()
        for name, number in (("x", x), ("y", y))
    }

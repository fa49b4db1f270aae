"""Content encrypted at rest: AES-256-GCM (NIST SP 800-38D) or SM4-GCM (GB/T 32907), each key with its number.

Pure: bytes in, bytes out. What is sealed is a nonce of 12 random bytes, the ciphertext and the tag of 16; the number of
the key stands beside it in the store, so that old keys stay readable while content moves to a new one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import SM4

from hub.errors import HubError

NONCE = 12
TAG = 16
AES, SM = "aes-gcm", "sm4-gcm"


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its cipher (AES or SM) and 32 secret bytes, of which SM4 takes 16."""

    cipher: str
    secret: bytes


class _Aead(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


class Sm4Gcm:
    """SM4-GCM with the interface of ``AESGCM``."""

    def __init__(self, secret: bytes) -> None:
        self._algorithm = SM4(secret[:16])

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        encryptor = Cipher(self._algorithm, modes.GCM(nonce)).encryptor()
        return encryptor.update(data) + encryptor.finalize() + encryptor.tag

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        decryptor = Cipher(self._algorithm, modes.GCM(nonce, data[-TAG:])).decryptor()
        return decryptor.update(data[:-TAG]) + decryptor.finalize()


class Vault:
    """Seals with the newest key, opens with any. Without keys, or when it does not seal (``seals``), it leaves new
    content as it is (number 0)."""

    def __init__(self, keys: Mapping[int, Key] | None = None, *, seals: bool = True) -> None:
        self._ciphers: dict[int, _Aead] = {}
        self._seals = seals
        self.newest = 0
        self.learn(keys or {})

    def learn(self, keys: Mapping[int, Key]) -> None:
        """Know these keys too; the one with the highest number is the newest."""
        fresh = {
            number: AESGCM(key.secret) if key.cipher == AES else Sm4Gcm(key.secret)
            for number, key in keys.items()
            if number not in self._ciphers
        }
        self._ciphers = {**self._ciphers, **fresh}
        self.newest = max(self._ciphers, default=0) if self._seals else 0

    def seal(self, data: bytes) -> tuple[int, bytes]:
        """(number of the key, sealed bytes)."""
        number = self.newest
        if not number:
            return 0, data
        nonce = os.urandom(NONCE)
        return number, nonce + self._ciphers[number].encrypt(nonce, data, None)

    def open(self, number: int, data: bytes) -> bytes:
        """What was sealed. HubError("configuration") for a key that is not here, or content that was changed."""
        if not number:
            return data
        cipher = self._ciphers.get(number)
        if cipher is None:
            raise HubError(
                "configuration", f"the store is encrypted with key {number}, which secrets/keys.json lacks; restore it"
            )
        try:
            return cipher.decrypt(data[:NONCE], data[NONCE:], None)
        except InvalidTag:
            raise HubError(
                "configuration", f"stored content does not open with key {number}: wrong key, or changed on disk"
            ) from None

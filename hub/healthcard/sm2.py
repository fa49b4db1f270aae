"""SM2 signatures with SM3 (GB/T 32918.2), by tongsuopy: an extra, because its wheels are not everywhere."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from tongsuopy.crypto import hashes
from tongsuopy.crypto.asymciphers import ec
from tongsuopy.crypto.exceptions import InvalidSignature

from hub.healthcard.signature import SM2_ORDER, coordinates, packed, scalar, unpacked


class Sm2:
    """SM2 on its standard curve."""

    def __init__(self, secret: bytes) -> None:
        self._key = ec.derive_private_key(scalar(secret, SM2_ORDER), ec.SM2())
        self._public = self._key.public_key()

    def sign(self, data: bytes) -> str:
        return packed(*decode_dss_signature(self._key.sign(data, ec.ECDSA(hashes.SM3()))))

    def verifies(self, data: bytes, signature: str) -> bool:
        try:
            self._public.verify(encode_dss_signature(*unpacked(signature)), data, ec.ECDSA(hashes.SM3()))
        except (InvalidSignature, ValueError):
            return False
        return True

    def public(self) -> dict[str, str]:
        point = self._public.public_numbers()
        return {"kty": "EC", "crv": "SM2", "alg": "SM2-SM3", "use": "sig", **coordinates(point.x, point.y)}

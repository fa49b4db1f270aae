"""Identity numbers in the index as keyed hashes (blind index): found by equality, readable by nobody without the key.

Pure. A resident ID number has some 37 bits, so a plain hash would be undone by trying them all; HMAC with a key of the
region cannot be. Values are hidden that look like one (15 or 18 characters, GB 11643), whatever their system, and all
values in the systems of other identity documents. A query asks for the value as written as well: what was stored before
hiding began, and codes that only look like a number, are still found; with several keys, for the hash by each.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import hmac as keyed

from hub.search.expression import And, Chain, Equals, Expression, In, Match, Not, Or, Reverse

SHA256, SM3 = "sha256", "sm3"
HASH = 16
MARK = "~"
DOCUMENTS = (
    "https://region-hub.example/fhir/document/",
    "http://hl7.org/fhir/sid/passport-",
    "http://hl7.org/fhir/sid/us-ssn",
)
"""Beginnings of the systems whose every value is hidden."""
_NUMBER = re.compile(r"[0-9]{17}[0-9Xx]|[0-9]{15}")
_TYPED = re.compile(r"[^|]*\|")


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the blind index: digest (SHA256 or SM3) and secret bytes."""

    digest: str
    secret: bytes


class Blind:
    """Hides values with the last key, unless it does not hide (``hides``) but only finds what was hidden."""

    def __init__(self, keys: Sequence[Key] = (), *, hides: bool = True) -> None:
        self._keys = tuple(reversed(keys))
        self._hides = hides and bool(keys)

    def hide(self, value: str, system: str) -> str:
        """The index value of an Identifier's value; as it is when it names nobody."""
        if not self._hides or not (_NUMBER.fullmatch(value) or system.startswith(DOCUMENTS)):
            return value
        return _hash(self._keys[0], value)

    def expression(self, where: Expression) -> Expression:
        """The query over an index with hidden values."""
        if not self._keys:
            return where
        match where:
            case Match(_, Equals(value, system)):
                forms = self._forms(value, system)
                return where if len(forms) == 1 else replace(where, test=In(forms, system))
            case Match(_, In(values, system)):
                every = dict.fromkeys(form for value in values for form in self._forms(value, system))
                return where if len(every) == len(values) else replace(where, test=In(tuple(every), system))
            case And(parts):
                return And(tuple(map(self.expression, parts)))
            case Or(parts):
                return Or(tuple(map(self.expression, parts)))
            case Not(inner) | Chain(_, _, inner) | Reverse(_, _, inner):
                return replace(where, where=self.expression(inner))
        return where

    def _forms(self, value: str, system: str | None) -> tuple[str, ...]:
        """The value as written, and hidden where it may be."""
        typed = _TYPED.match(value)  # of-type: ``NI|number``
        head = typed[0] if typed else ""
        text = value[len(head) :]
        hidden = _is_document(text) if system is None else system.startswith(DOCUMENTS)
        if text.startswith(MARK) or not (hidden or _NUMBER.fullmatch(text)):
            return (value,)
        return (value, *(head + _hash(key, text) for key in self._keys))


def _is_document(text: str) -> bool:
    """Whether a value without a system may be a passport's or permit's number."""
    return 6 <= len(text) <= 12 and text.isascii() and text.isalnum() and any(map(str.isdigit, text))


def _hash(key: Key, value: str) -> str:
    if key.digest == SM3:
        mac = keyed.HMAC(key.secret, hashes.SM3())
        mac.update(value.encode())
        digest = mac.finalize()
    else:
        digest = hmac.digest(key.secret, value.encode(), "sha256")
    return MARK + base64.urlsafe_b64encode(digest[:HASH]).rstrip(b"=").decode()

"""Text as a string search sees it (R4 3.1.1.4.8): without case, accents, punctuation and needless blanks.

Compatibility forms are unified (full-width Latin, ligatures); simplified and traditional Chinese stay different
characters, because turning one into the other loses names.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_ASCII = {ord(mark): None for mark in "!\"#%&'()*,-./:;?@[\\]_{}"}
_ACCENTS = re.compile("[\u0300-\u036f]")


@lru_cache(maxsize=16384)
def normalised(text: str) -> str:
    """The form in which two strings are compared; the same again for a text that already has it. May be empty."""
    if text.isascii():
        return " ".join(text.lower().translate(_ASCII).split())
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", text)).casefold()
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", plain))
    kept = "".join(char for char in plain if not unicodedata.category(char).startswith("P"))
    return " ".join(unicodedata.normalize("NFC", kept).split())

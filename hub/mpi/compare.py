"""Normal forms of what identifies a person: resident ID numbers (GB 11643), card indexes, names.

Everything here is pure. A normal form is None or "" when the input says nothing: a number that fails its check digit is
no identifier, only a text.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

RESIDENT_ID = re.compile(r"\d{17}[\dX]")
OLD_RESIDENT_ID = re.compile(r"\d{15}")
CARD_INDEX = re.compile(r"([0-9A-F]{64})(?::.*)?", re.DOTALL)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK = "10X98765432"
_EARLIEST_YEAR = 1850
_NEWBORN = re.compile(r"之[大小长次双]?[子女婴][0-9一二甲乙a-b]?$|新生儿|婴儿|毛毛$")
_LONGEST = 256
"""Longer texts are no identifier or name of a person; normalising them would only cost time."""
_DOTS = str.maketrans(dict.fromkeys("\u2022\u30fb\u2027\uff0e\u22c5\u2219", "·"))


@dataclass(frozen=True, slots=True)
class ResidentId:
    """A valid resident ID number, 18 characters, with what it says about its holder."""

    number: str
    birth_date: str
    gender: str


def plain(text: str) -> str:
    """NFKC, upper case, without white space: the form in which identifier texts are compared."""
    return "".join(unicodedata.normalize("NFKC", text[:_LONGEST]).split()).upper()


def check_digit(first17: str) -> str:
    """The 18th character of a resident ID number (GB 11643: ISO 7064 MOD 11-2)."""
    return _CHECK[sum(int(digit) * weight for digit, weight in zip(first17, _WEIGHTS, strict=True)) % 11]


@lru_cache(maxsize=65_536)
def resident_id(text: str) -> ResidentId | None:
    """The number in a text, 15 digits expanded to 18; None unless check digit and birth date are valid."""
    number = plain(text)
    if OLD_RESIDENT_ID.fullmatch(number):
        number = f"{number[:6]}19{number[6:]}"
        number += check_digit(number)
    if not RESIDENT_ID.fullmatch(number) or not number.isascii() or check_digit(number[:17]) != number[17]:
        return None
    try:
        born = datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return None
    if born.year < _EARLIEST_YEAR:
        return None
    return ResidentId(number, born.isoformat(), "male" if int(number[16]) % 2 else "female")


def card_index(text: str) -> str | None:
    """The index of an e-health card, 64 upper-case hexadecimal digits; ``:1`` after it is cut off."""
    match = CARD_INDEX.fullmatch(plain(text))
    return match[1] if match else None


@lru_cache(maxsize=65_536)
def name_form(text: str) -> str:
    """A name for comparison: NFKC, one kind of middle dot, no spaces, case folded."""
    folded = unicodedata.normalize("NFKC", text[:_LONGEST]).translate(_DOTS).casefold()
    return unicodedata.normalize("NFKC", "".join(folded.split()))


def is_newborn(form: str) -> bool:
    """Whether a name is that of a child without its own: somebody's son or daughter (王芳之子), a newborn."""
    return _NEWBORN.search(form) is not None


def name_text(name: dict[str, Any]) -> str:
    """A FHIR HumanName in one text: as written, or family and given in Chinese order."""
    text = name.get("text")
    if isinstance(text, str) and text:
        return text
    given = "".join(str(part) for part in name.get("given", ()))
    return f"{name.get('family', '')}{given}"


def names(resource: dict[str, Any]) -> frozenset[str]:
    """The normal forms of all names of a Patient or Person."""
    forms = (name_form(name_text(name)) for name in resource.get("name", ()))
    return frozenset(form for form in forms if form)

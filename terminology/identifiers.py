"""Check characters of China's identifiers, and what their digits say.

Every function takes the text as written; ``None`` from a parser or ``False`` from a check means "not valid". An
unassigned area code (such as 10....) is not an error here: the check algorithms do not know divisions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
RESIDENT_CHECKS = "10X98765432"
USCC_CHARACTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
USCC_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
ORGANIZATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)

_RESIDENT = re.compile(r"[0-9]{17}[0-9X]")
_OLD_RESIDENT = re.compile(r"[0-9]{15}")
_ORGANIZATION = re.compile(r"[0-9A-Z]{8}-?[0-9X]")
_INSTITUTION = re.compile(r"([0-9A-Z]{8}-?[0-9X])([0-9]{6})([0-9]{2})([A-Z][0-9]{3})([0-9])")


@dataclass(frozen=True, slots=True)
class ResidentId:
    """What an 18-digit resident identity number says (GB 11643). ``sex`` is male or female."""

    number: str
    area: str
    born: date
    sex: str


@dataclass(frozen=True, slots=True)
class InstitutionCode:
    """The parts of a 22-character code of a health institution (WS 218)."""

    organization: str
    area: str
    economic_type: str
    institution_class: str
    management_type: str


def resident_check(body: str) -> str:
    """The check character of 17 digits (ISO 7064 MOD 11-2)."""
    return RESIDENT_CHECKS[sum(int(d) * w for d, w in zip(body, RESIDENT_WEIGHTS, strict=True)) % 11]


def resident_id(text: str, today: date | None = None) -> ResidentId | None:
    """A resident identity number with a right check character and a date of birth that exists and, if ``today`` is
    given, has come. A trailing ``x`` is read as ``X``."""
    number = text[:-1] + text[-1:].upper()
    if not (number.isascii() and _RESIDENT.fullmatch(number)) or resident_check(number[:17]) != number[17]:
        return None
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return None
    if today is not None and born > today:
        return None
    return ResidentId(number, number[:6], born, "male" if int(number[16]) % 2 else "female")


def resident_id_from_15(text: str) -> str | None:
    """The 18-digit form of a 15-digit number of before 1999, whose holders were born in 19yy. None if it is none."""
    if not (text.isascii() and _OLD_RESIDENT.fullmatch(text)):
        return None
    body = f"{text[:6]}19{text[6:]}"
    number = body + resident_check(body)
    return number if resident_id(number) else None


def organization_check(body: str) -> str:
    """The check character of the 8 characters of an organisation code (GB 11714)."""
    rest = 11 - sum(int(c, 36) * w for c, w in zip(body, ORGANIZATION_WEIGHTS, strict=True)) % 11
    return "X" if rest == 10 else "0" if rest == 11 else str(rest)


def organization_code(text: str) -> bool:
    """An organisation code (GB 11714), with or without the hyphen before its check character."""
    if not (text.isascii() and _ORGANIZATION.fullmatch(text)):
        return False
    return organization_check(text[:8]) == text[-1]


def uscc_check(body: str) -> str:
    """The check character of the 17 characters of a unified social credit code (GB 32100, ISO 7064 MOD 31-3)."""
    total = sum(USCC_CHARACTERS.index(c) * w for c, w in zip(body, USCC_WEIGHTS, strict=True))
    return USCC_CHARACTERS[(31 - total % 31) % 31]


def uscc(text: str) -> bool:
    """A unified social credit code (GB 32100): both its own check character and that of the organisation code in it.

    The registering department is not checked: new letters are assigned.
    """
    if len(text) != 18 or not all(c in USCC_CHARACTERS for c in text) or not text[2:8].isdigit():
        return False
    return uscc_check(text[:17]) == text[17] and organization_code(text[8:17])


def institution_code(text: str) -> InstitutionCode | None:
    """The parts of a 22-character health institution code (WS 218; 23 with the hyphen of the organisation code)."""
    match = _INSTITUTION.fullmatch(text) if text.isascii() else None
    if match is None or not organization_code(match[1]):
        return None
    return InstitutionCode(match[1].replace("-", ""), match[2], match[3], match[4], match[5])

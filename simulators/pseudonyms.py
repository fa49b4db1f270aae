"""Pseudonyms by key: the same value gets the same pseudonym in every message, and none is a value of the traffic.

Values are learnt first (``learning``), from all messages; ``settle`` ends that. Names are drawn from the simulator's
tables of surnames and characters, numbers keep their form, an ID number stays valid with its sex and its (moved)
birth date under the area prefix 10, which no place has.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from functools import cache

from simulators.dates import moved
from simulators.population import check_digit, city, table

UNKNOWN = ("无名氏", "佚名")
NEWBORN = ("之子", "之女")
IDENTITY = re.compile(r"[1-9]\d{16}[\dXx]")
MOBILE = re.compile(r"1[3-9]\d{9}")
TOKEN = re.compile(r"[0-9A-Za-z]{6,}")
UID = re.compile(r"\d+(?:\.\d+){3,}")
PERSON = re.compile(r"[\u3400-\u9fff]{2,4}")
TRIES = 200
"""Draws for a pseudonym that is neither taken nor a value of the traffic; a short number may have none."""


@cache
def _names() -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    surnames = tuple((row["surname"], row["pinyin"]) for row in table("surnames"))
    return surnames, tuple((row["character"], row["pinyin"]) for row in table("given"))


def personal(text: str) -> bool:
    """Whether a text alone looks like the name of a Chinese person: two to four characters after a known surname."""
    surnames = {surname for surname, _ in _names()[0]}
    bare = text.removesuffix(NEWBORN[0]).removesuffix(NEWBORN[1])
    return bool(PERSON.fullmatch(bare)) and (bare[0] in surnames or bare[:2] in surnames)


class Pseudonyms:
    """The pseudonyms of one key. ``days`` is by how much dates move, those of birth too."""

    def __init__(self, key: bytes, days: int) -> None:
        self._key = key
        self.days = days
        self.learning = True
        self._people: dict[str, tuple[str, str]] = {}
        self._plain: dict[str, str] = {}
        self._given: dict[str, tuple[str, str]] = {}
        self._tokens: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    # --- values of fields ---------------------------------------------------------------------------------------------

    def name(self, family: str, given: str = "") -> tuple[str, str]:
        """Family and given name; a whole name comes back whole, a Latin one as pinyin."""
        whole = family + given
        if not any(map(str.isalpha, whole)) or whole in UNKNOWN:  # also the null of HL7 v2, ""
            return family, given
        if whole[-2:] in NEWBORN and not given:
            return self.name(whole[:-2])[0] + whole[-2:], ""
        if self.learning:
            if given or whole not in self._people:
                self._people[whole] = (family, given)
            return family, given
        new = self._draw(whole)
        if whole.isascii():
            new = self.latin(whole)
            new = (new[0].upper(), new[1].upper()) if whole.isupper() else new
        return new if given else ("".join(new), "")

    def latin(self, whole: str) -> tuple[str, str]:
        """The pinyin of the pseudonym of a whole name."""
        family, given = self._draw(whole)
        surnames, characters = map(dict, _names())
        return surnames[family], "".join(characters[one] for one in given).capitalize()

    def number(self, text: str) -> str:
        """A number of a person: resident ID, card, patient number, account."""
        return self._value(text, self._new_number)

    def phone(self, text: str) -> str:
        """A telephone number; a mobile one gets a series that no subscriber has."""
        return self._value(text, self._new_phone)

    def address(self, text: str) -> str:
        """Street, house and everything else of an address below its city."""
        return self._value(text, self._new_address)

    def text(self, text: str) -> str:
        """Free text without the names, numbers and addresses that fields of the traffic have."""
        if self.learning or self._pattern is None:
            return text
        return TOKEN.sub(lambda found: self._tokens.get(found[0], found[0]), self._pattern.sub(self._literal, text))

    # --- how they are made --------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """All values are known: give each its pseudonym."""
        self.learning = False
        for whole in sorted(self._people):
            self._draw(whole)
        makers = {text: self._plain[text] for text in sorted(self._plain)}
        taken = set(makers)
        for text, kind in makers.items():
            new = next((one for one in self._tries(kind, text) if one not in taken), "X" * len(text))
            taken.add(new)
            self._plain[text] = new
        self._tokens = {old: new for old, new in self._plain.items() if TOKEN.fullmatch(old) and not _date(old)}
        literals = {old for old in self._plain if len(old) >= 6 and not TOKEN.fullmatch(old) and not old.isdecimal()}
        patterns = [re.escape(one) for one in literals]
        for whole, (family, given) in self._people.items():
            if len(whole) >= 2 and not (whole.isascii() and len(whole) < 5):
                between = r"[\^$&| ]?" if given else ""
                pattern = re.escape(family) + between + re.escape(given)
                patterns.append(rf"(?i:\b{pattern}\b)" if whole.isascii() else pattern)
        ordered = sorted(patterns, key=lambda one: (-len(one), one))
        self._pattern = re.compile("|".join(ordered)) if ordered else None

    def _literal(self, found: re.Match[str]) -> str:
        text = found[0]
        if text in self._plain:
            return self._plain[text]
        whole = re.sub(r"[\^$&| ]", "", text)
        mark = re.search(r"[\^$&| ]", text)
        family, given = self.latin(whole) if whole.isascii() else self._draw(whole)
        return family + (mark[0] if mark else "") + given

    def _value(self, text: str, make: Callable[[str, int], str]) -> str:
        if not any(map(str.isalnum, text)):  # also the null of HL7 v2, ""
            return text
        if self.learning:
            self._plain.setdefault(text, make.__name__)
            return text
        return self._plain.get(text) or make(text, 0)

    def _tries(self, kind: str, text: str) -> Iterable[str]:
        make: Callable[[str, int], str] = getattr(self, kind)
        return (make(text, turn) for turn in range(TRIES))

    def _digest(self, kind: str, text: str, turn: int) -> bytes:
        return hmac.new(self._key, f"{kind}\0{turn}\0{text}".encode(), hashlib.sha256).digest()

    def _draw(self, whole: str) -> tuple[str, str]:
        """The pseudonym of a whole name, the same for one in capitals."""
        if (key := whole.casefold()) in self._given:
            return self._given[key]
        surnames, characters = _names()
        used = set(self._given.values())
        turn = 0
        while True:
            draws = self._digest("name", key, turn)
            family = surnames[int.from_bytes(draws[:4], "big") % len(surnames)][0]
            places = [int.from_bytes(draws[at : at + 4], "big") % len(characters) for at in (4, 8)]
            given = "".join(characters[place][0] for place in places)
            if ((family, given) not in used or turn > 1000) and not self._known(family + given):
                self._given[key] = (family, given)
                return family, given
            turn += 1

    def _known(self, text: str) -> bool:
        """Whether a text has a name of the traffic in it."""
        return any(
            text[begin:end] in self._people for begin in range(len(text)) for end in range(begin + 2, len(text) + 1)
        )

    def _new_number(self, text: str, turn: int) -> str:
        draws = self._digest("number", text, turn)
        if IDENTITY.fullmatch(text):
            area = text[:6] if text[0] == "9" else f"10{int.from_bytes(draws[:4], 'big') % 10_000:04d}"
            order = int.from_bytes(draws[4:8], "big") % 500 * 2 + int(text[16]) % 2
            first17 = f"{area}{moved(text[6:14], self.days)}{order:03d}"
            return first17 + check_digit(first17)
        if len(text) in (32, 64) and re.fullmatch(r"[0-9A-Fa-f]+", text):
            new = draws.hex()[: len(text)]
            return new.upper() if text.upper() == text else new
        return _alike(text, draws, letters=sum(map(str.isdecimal, text)) < 6)

    def _new_phone(self, text: str, turn: int) -> str:
        draws = self._digest("phone", text, turn)
        if MOBILE.fullmatch(text):
            return f"12{int.from_bytes(draws[:8], 'big') % 10**9:09d}"
        return _alike(text, draws, letters=sum(map(str.isdecimal, text)) < 6)

    def _new_address(self, text: str, turn: int) -> str:
        draws = self._digest("address", text, turn)
        streets = city()[2]
        house = int.from_bytes(draws[4:8], "big")
        street = streets[int.from_bytes(draws[:4], "big") % len(streets)]
        return f"{street}{1 + house % 9000}号{1 + house // 9000 % 900}室"


def _alike(text: str, draws: bytes, letters: bool) -> str:
    """A text of the same form: other digits, and other letters if so."""
    stream = int.from_bytes(draws, "big")
    found = []
    for place, one in enumerate(text):
        if place % 48 == 47:
            stream = int.from_bytes(hashlib.sha256(draws + bytes((place % 256,))).digest(), "big")
        if one.isdecimal() and one.isascii():
            stream, draw = divmod(stream, 10)
            found.append(str(draw))
        elif letters and one.isascii() and one.isalpha():
            stream, draw = divmod(stream, 26)
            found.append(chr(ord("A" if one.isupper() else "a") + draw))
        else:
            found.append(one)
    return "".join(found)


def _date(text: str) -> bool:
    return moved(text, 1) != text

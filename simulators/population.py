"""The seeded population of the fictional city of Xinhe: households of residents who do not contradict themselves.

ID number, birth date, sex, age, household, address and telephone agree in every resident; the numbers lie under the
area prefix 10, which GB/T 2260 does not assign. A household depends on (seed, its number) only, so it is the same
however
many are made. Ages, sexes, household sizes and insurance follow ``tables/census.csv``.
"""

from __future__ import annotations

import csv
import datetime
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import islice

from simulators.streams import Stream, digest

TODAY = datetime.date(2026, 11, 1)
"""The day on which the ages hold; the simulated days follow it."""
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK = "10X98765432"
TWINS = 0.011
"""Share of births that are twin births (ours; about what registries of births report)."""
SINGLE_CHARACTER = 0.13
"""Share of given names of one character (ours)."""
ETHNIC = (("01", "汉族", 966), ("03", "回族", 12), ("07", "彝族", 10), ("06", "苗族", 7), ("15", "土家族", 5))
"""GB/T 3304 code, name, share in per mille (ours)."""
FOREIGN = (("840", "USA", "SMITH", "JOHN", "EMMA"), ("410", "KOR", "KIM", "MINJUN", "SEOYEON"))
"""Nationality (ISO 3166 numeric, alphabetic), family name, given names of a man and a woman."""
FOREIGNERS = 0.0012
"""Share of heads of households below 70 who hold a foreigner's permanent residence card (ours)."""
BANDS = range(20, 90, 5)
"""Age bands of heads of households."""
MEMBERS = 8
"""A household has at most so many members; the index of a resident is household * MEMBERS + place."""
SLOTS, BLOCKS = 10, 50
"""Order codes (GB 11643) of a household, and how many households of one birthday find codes in one area."""


@dataclass(frozen=True, slots=True)
class County:
    """A county of the city: GB/T 2260 style code, name, share, towns."""

    code: str
    name: str
    share: int
    towns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resident:
    """One resident. ``sex`` is male or female, ``role`` the place in the household, ``card`` the card index.

    ``number`` is the resident ID number (GB 11643), or for a foreigner (``nationality`` other than CHN) the number
    of the
    permanent residence card, which has the same form and check digit. ``guardian`` is the index of the adult who
    answers for a minor, ``insurance`` the class (01 employees, 02 residents), ``twin`` marks a twin.
    """

    index: int
    household: int
    role: str
    family: str
    given: str
    family_pinyin: str
    given_pinyin: str
    sex: str
    born: datetime.date
    number: str
    ethnic: str
    county: str
    address: str
    phone: str
    card: str
    insurance: str = "02"
    nationality: str = "CHN"
    guardian: int | None = None
    twin: bool = False

    @property
    def name(self) -> str:
        """Family and given name as written in Chinese; a foreigner's as in the passport."""
        return self.family + self.given if self.nationality == "CHN" else f"{self.family} {self.given}"

    @property
    def pinyin(self) -> str:
        """Family and given name in Latin letters, as a passport has them."""
        return f"{self.family_pinyin} {self.given_pinyin}".upper().replace("Ü", "YU")

    def age(self, on: datetime.date = TODAY) -> int:
        """Completed years."""
        return on.year - self.born.year - ((on.month, on.day) < (self.born.month, self.born.day))


def check_digit(first17: str) -> str:
    """The 18th character of a resident ID number (GB 11643)."""
    return _CHECK[sum(int(digit) * weight for digit, weight in zip(first17, _WEIGHTS, strict=True)) % 11]


@cache
def table(name: str) -> list[dict[str, str]]:
    """The rows of ``tables/<name>.csv``."""
    lines = files("simulators").joinpath("tables", f"{name}.csv").read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


@cache
def city() -> tuple[str, tuple[County, ...], tuple[str, ...]]:
    """Name of the city with its province, counties, street names."""
    data = tomllib.loads(files("simulators").joinpath("tables", "divisions.toml").read_text(encoding="utf-8"))
    counties = tuple(County(row["code"], row["name"], row["share"], tuple(row["towns"])) for row in data["county"])
    return f"{data['province']}{data['city']}", counties, tuple(data["street"]["names"])


@cache
def kinds() -> dict[str, tuple[str, ...]]:
    """Kind of household -> its members, as ``tables/households.toml`` has them."""
    text = files("simulators").joinpath("tables", "households.toml").read_text(encoding="utf-8")
    return {kind: tuple(row) for kind, row in tomllib.loads(text).items()}


@cache
def _weights() -> tuple[tuple[tuple[str, int], ...], tuple[float, ...]]:
    rows = table("households")
    return tuple((row["kind"], int(row["band"])) for row in rows), tuple(float(row["weight"]) for row in rows)


@cache
def _surnames() -> tuple[tuple[tuple[str, str], ...], tuple[float, ...]]:
    rows = table("surnames")
    return tuple((row["surname"], row["pinyin"]) for row in rows), tuple(float(row["share"]) for row in rows)


@cache
def _characters(sex: str, year: int) -> tuple[tuple[tuple[str, str], ...], tuple[float, ...]]:
    rows = [
        row
        for row in table("given")
        if row["sex"] in (sex[0], "b") and int(row["from"]) <= max(year, 1940) <= int(row["to"])
    ]
    return tuple((row["character"], row["pinyin"]) for row in rows), tuple(float(row["weight"]) for row in rows)


def people(seed: int, count: int) -> list[Resident]:
    """The first ``count`` residents of a seed."""
    return list(islice(residents(seed), count))


def residents(seed: int) -> Iterator[Resident]:
    """The residents of a seed, household by household, without end."""
    number = 0
    while True:
        yield from household(seed, number)
        number += 1


def household(seed: int, number: int) -> list[Resident]:
    """The members of a household: head first, then spouse, children, parents; the same in every run."""
    stream = Stream(seed, "household", number)
    choices, weights = _weights()
    kind, band = stream.weighted(choices, weights)
    home = home_of(seed, number)
    found: list[Resident] = []
    for place, member in enumerate(members(stream, kind, band)):
        found.append(_resident(seed, number, place, home, member, found))
    return found


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a household before they have a name: role, sex, age in years, whether a twin of the one before."""

    role: str
    sex: str
    age: int
    twin: bool = False


@dataclass(frozen=True, slots=True)
class Home:
    """Where a household lives."""

    county: County
    address: str


def home_of(seed: int, household: int) -> Home:
    """The address of a household: city, county, town or street, road, number, building, room."""
    stream = Stream(seed, "home", household)
    name, counties, streets = city()
    county = stream.weighted(counties, [county.share for county in counties])
    town, street = stream.pick(county.towns), stream.pick(streets)
    place = f"{stream.between(1, 199)}号{stream.between(1, 24)}栋{stream.between(1, 18)}0{stream.between(1, 4)}室"
    return Home(county, f"{name}{county.name}{town}{street}{place}")


def members(stream: Stream, kind: str, band: int) -> list[Member]:
    """Who lives in a household of a kind whose head is in an age band; who cannot be there by age is not."""
    age = band + stream.below(5 if band < 85 else 10)
    mother = age
    found: list[Member] = []
    for name in kinds()[kind]:
        role, _, sex = name.partition("/")
        years = age
        if role == "spouse":
            years = mother = max(20, age - stream.between(-3, 6))
        elif role == "child":
            years = mother - stream.between(20, 38)
        elif role == "grandchild":
            years = mother - stream.between(44, 66)
        elif role == "parent":
            years = age + stream.between(20, 34)
        if (role == "child" and not 0 <= years <= 35) or (role == "grandchild" and not 0 <= years <= 17) or years > 104:
            continue
        one = Member(role, sex or stream.weighted(("male", "female"), (111, 100)), years)
        found.append(one)
        if role == "child" and len(found) < 6 and stream.chance(TWINS):
            found.append(replace(one, sex=stream.weighted((one.sex, "male", "female"), (2, 1, 1)), twin=True))
    return found


def _resident(seed: int, number: int, place: int, home: Home, member: Member, others: list[Resident]) -> Resident:
    stream = Stream(seed, "resident", number, place)
    names, shares = _surnames()
    head = others[0] if others else None
    inherited = head is not None and (member.role == "child" or (member.role == "parent" and member.sex == "male"))
    father = head if inherited else None
    family = (father.family, father.family_pinyin) if father else stream.weighted(names, shares)
    born = others[-1].born if member.twin else _born(number, place, member.age)
    characters, weights = _characters(member.sex, born.year)
    given = [stream.weighted(characters, weights) for _ in range(1 if stream.chance(SINGLE_CHARACTER) else 2)]
    mother = next((one for one in others if one.sex == "female" and one.role in ("spouse", "head")), head)
    area = _area(home.county.code, number)
    resident = Resident(
        index=number * MEMBERS + place,
        household=number,
        role=member.role,
        family=family[0],
        given="".join(character for character, _ in given),
        family_pinyin=family[1],
        given_pinyin="".join(pinyin for _, pinyin in given).capitalize(),
        sex=member.sex,
        born=born,
        number=_number(area, born, _order(number, place, member.twin), member.sex),
        ethnic=stream.weighted(ETHNIC, [share for _, _, share in ETHNIC])[0],
        county=home.county.code,
        address=home.address,
        phone=mother.phone if mother and member.age < 14 else _phone(seed, number, place),
        card="",
        insurance="01" if 18 <= member.age < 70 and stream.chance(0.40) else "02",
        guardian=mother.index if mother and member.age < 18 else None,
        twin=member.twin,
    )
    if not others and member.age < 70 and stream.chance(FOREIGNERS):
        resident = _foreigner(stream, resident, number)
    return replace(resident, card=digest(seed, "card", resident.number).hex().upper())


def _born(household: int, place: int, age: int) -> datetime.date:
    """The day of birth: the day in the year follows from household and place, so that ID numbers never meet."""
    birthday = datetime.date(TODAY.year - age, TODAY.month, TODAY.day)
    return birthday - datetime.timedelta(days=(household * 157 + place * 97) % 365)


def _order(household: int, place: int, twin: bool) -> int:
    """The order code of a member, below 500. A twin has a slot of its own: it shares the birthday of the place
    before."""
    return household // 365 % BLOCKS * SLOTS + (place + 4 if twin else place)


def _area(county: str, household: int) -> str:
    """Where the number was issued: the county; of many households, also one of the other prefectures of the
    province."""
    return f"{int(county) - 100 * (household // (365 * BLOCKS)):06d}"


def _number(area: str, born: datetime.date, order: int, sex: str) -> str:
    """A resident ID number; the order code is odd for males."""
    first17 = f"{area}{born:%Y%m%d}{order * 2 + (sex == 'male'):03d}"
    return first17 + check_digit(first17)


def _foreigner(stream: Stream, resident: Resident, number: int) -> Resident:
    """The resident as a foreigner with a permanent residence card: 9, province, nationality, birth, order, check."""
    code, nation, family, male, female = stream.pick(FOREIGN)
    given = male if resident.sex == "male" else female
    card = _number(f"910{code}", resident.born, number % 500, resident.sex)
    return replace(
        resident, family=family, given=given, family_pinyin=family, given_pinyin=given, number=card, nationality=nation
    )


def _phone(seed: int, household: int, place: int) -> str:
    """A mobile number of a series that is not given to anybody."""
    stream = Stream(seed, "phone", household, place)
    return f"1{stream.pick('358')}{stream.between(0, 9)}0000{stream.between(0, 9999):04d}"

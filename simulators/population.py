"""The seeded population of the fictional city of Xinhe: households of residents who do not contradict themselves.

ID number, birth date, sex, age, household, address and telephone agree in every resident; the numbers lie under the
area prefix 10, which GB/T 2260 does not assign. The first n residents of a seed are the same however many are made.
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
TWINS = 0.015
"""Share of births that are twin births (ours)."""
ETHNIC = (("01", "汉族", 966), ("03", "回族", 12), ("07", "彝族", 10), ("06", "苗族", 7), ("15", "土家族", 5))
"""GB/T 3304 code, name, share in per mille (ours)."""


@dataclass(frozen=True, slots=True)
class County:
    """A county of the city: GB/T 2260 style code, name, share, towns."""

    code: str
    name: str
    share: int
    towns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resident:
    """One resident. ``sex`` is male or female, ``role`` the place in the household, ``card`` the card index."""

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

    @property
    def name(self) -> str:
        """Family and given name as written in Chinese."""
        return self.family + self.given

    @property
    def pinyin(self) -> str:
        """Family and given name in Latin letters, as a passport has them."""
        return f"{self.family_pinyin} {self.given_pinyin}".upper().replace("Ü", "YU")


def check_digit(first17: str) -> str:
    """The 18th character of a resident ID number (GB 11643)."""
    return _CHECK[sum(int(digit) * weight for digit, weight in zip(first17, _WEIGHTS, strict=True)) % 11]


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
    taken: set[str] = set()
    index = household = 0
    while True:
        home = Stream(seed, "household", household)
        for member in _household(home):
            yield _resident(seed, index, household, home_of(seed, household), member, taken)
            index += 1
        household += 1


@dataclass(frozen=True, slots=True)
class _Member:
    role: str
    sex: str
    age: int
    family: tuple[str, str]
    days: int
    """Days since the last birthday."""


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


def _household(stream: Stream) -> list[_Member]:
    """One to six people: a couple or one adult, children who could be theirs, twins too, now and then a grandparent."""
    names, shares = _surnames()
    age = stream.between(22, 86)

    def member(role: str, sex: str, years: int, family: tuple[str, str] | None = None) -> _Member:
        return _Member(role, sex, years, family or stream.weighted(names, shares), stream.below(365))

    father = member("head", "male", age)
    mother = member("spouse", "female", max(20, age - stream.between(-3, 6)))
    if stream.chance(0.25):
        return [father if stream.chance(0.5) else member("head", "female", age, mother.family)]
    members = [father, mother]
    for _ in range(stream.weighted((0, 1, 2, 3), (3, 5, 3, 1)) if mother.age < 60 else 0):
        years = mother.age - stream.between(20, 38)
        if 0 <= years <= 24:
            child = member("child", stream.pick(("male", "female")), years, father.family)
            members.append(child)
            if stream.chance(TWINS):
                members.append(replace(child, sex=stream.weighted((child.sex, "male", "female"), (2, 1, 1))))
    if father.age < 50 and stream.chance(0.2):
        members.append(member("parent", "female", father.age + stream.between(21, 35)))
    return members


def _resident(seed: int, index: int, household: int, home: Home, member: _Member, taken: set[str]) -> Resident:
    stream = Stream(seed, "resident", index)
    born = TODAY - datetime.timedelta(days=member.age * 365 + member.age // 4 + member.days)
    characters, weights = _characters(member.sex, born.year)
    given = [stream.weighted(characters, weights) for _ in range(1 if stream.chance(0.13) else 2)]
    number = _number(stream, home.county.code, born, member.sex, taken)
    ethnic = stream.weighted(ETHNIC, [share for _, _, share in ETHNIC])[0]
    return Resident(
        index=index,
        household=household,
        role=member.role,
        family=member.family[0],
        given="".join(character for character, _ in given),
        family_pinyin=member.family[1],
        given_pinyin="".join(pinyin for _, pinyin in given).capitalize(),
        sex=member.sex,
        born=born,
        number=number,
        ethnic=ethnic,
        county=home.county.code,
        address=home.address,
        phone=_phone(seed, household, index, member),
        card=digest(seed, "card", number).hex().upper(),
    )


def _phone(seed: int, household: int, index: int, member: _Member) -> str:
    """A mobile number; a child below 14 has the mother's."""
    shared = member.role == "spouse" or (member.role == "child" and member.age < 14)
    stream = Stream(seed, "phone", household, "mother" if shared else index)
    return f"1{stream.pick('358')}{stream.between(0, 9)}0000{stream.between(0, 9999):04d}"


def _number(stream: Stream, area: str, born: datetime.date, sex: str, taken: set[str]) -> str:
    """A resident ID number nobody else has; the order code is odd for males."""
    while True:
        order = stream.below(500) * 2 + (sex == "male")
        first17 = f"{area}{born:%Y%m%d}{order:03d}"
        number = first17 + check_digit(first17)
        if number not in taken:
            taken.add(number)
            return number

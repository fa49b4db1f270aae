"""Blocking keys: 64-bit hashes of what two registrations of one person have in common in spite of an error.

``blocks`` of the rules lists them; each joins parts, and there is one for every combination of their values. Only
registrations that share a key are ever compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product

from hub.mpi import hanzi
from hub.mpi.features import Features, digest
from hub.mpi.rules import Key, Rules

ADDRESS_START = 24
Values = Iterable[str]


def blocks(features: Features, rules: Rules) -> frozenset[int]:
    """The keys of a Patient under which alike ones are looked for."""
    values = {part: list(PARTS[part](features)) for block in rules.blocks for part in block}
    found = {
        digest((*block, *combination))
        for block in rules.blocks
        for combination in product(*(values[part] for part in block))
    }
    shared = (*features.ids, *(f"{kind}|{value}" for kind, value in features.documents | features.numbers))
    return frozenset(found | {digest(("document", value)) for value in shared})


def counted(features: Features) -> list[int]:
    """The keys under which the bearers of a name are counted."""
    return [name_key(name) for name in features.names] if features.named else []


def own_key(reference: str) -> int:
    """The key of a record itself."""
    return digest(("id", reference))


def name_key(name: str) -> int:
    """The key of one name in normal form."""
    return digest(("name", name))


def asked(features: Features, rules: Rules) -> list[int]:
    """The keys under which Patients alike are looked for: blocks, hospital numbers, merges from either side."""
    local = (key_block(Key(system, value)) for system, value in features.local)
    links = map(link_block, (features.reference, *features.merged))
    return sorted({*blocks(features, rules), *local, *links})


def key_block(key: Key) -> int:
    """The key of an identifier."""
    return digest(("key", key.system, key.value))


def link_block(reference: str) -> int:
    """The key of what points to a Patient: its Person, its Tasks, and a Patient that it replaced."""
    return digest(("link", reference))


def _numbers(features: Features) -> frozenset[str]:
    return features.ids | features.wrong_ids


def _readings(features: Features) -> list[tuple[str, ...]]:
    return [hanzi.syllables(name) for name in features.names] if features.named else []


def _some(*values: str) -> Values:
    return [value for value in values if value]


PARTS: dict[str, Callable[[Features], Values]] = {
    "phone": lambda one: one.phones,
    "id-without-date": lambda one: [number[:10] + number[14:] for number in _numbers(one)],
    "id-end": lambda one: [number[8:] for number in _numbers(one)],
    "id-start": lambda one: [number[:14] for number in _numbers(one)],
    "born": lambda one: _some(one.born),
    "year": lambda one: _some(one.born[:4]),
    "month-or-day": lambda one: _some("".join(sorted(one.born[5:].split("-")))) if one.born else (),
    "gender": lambda one: _some(one.gender),
    "surname": lambda one: [reading[0] for reading in _readings(one) if len(reading) > 1],
    "given": lambda one: [given for reading in _readings(one) if (given := "".join(reading[1:]))],
    "reading": lambda one: one.readings if one.named else (),
    "county": lambda one: _some(one.county),
    "address": lambda one: _some(one.address[:ADDRESS_START]),
    "latin-family": lambda one: _some(one.family),
    "latin-given": lambda one: _some(one.given),
    "latin-name": lambda one: _some("".join(sorted((one.family, one.given)))),
    "initials": lambda one: _some("".join(sorted((one.family[:1], one.given[:1])))),
    "number": lambda one: [value for _, value in one.numbers],
    "house": lambda one: _some(one.house),
    "street": lambda one: _some(one.street),
    "locality": lambda one: _some(one.locality),
    "month-day": lambda one: _some(one.born[5:]),
    "given-start": lambda one: _some(one.given[:3]),
    "family-start": lambda one: _some(one.family[:3]),
    "place": lambda one: _some(one.place),
    "postcode": lambda one: _some(one.postcode),
    "state": lambda one: _some(one.state),
}
"""Part of a blocking key -> its values; none when the Patient says nothing."""

"""The master patient index against a whole region: how long a decision takes, and how many registrations are durable.

The residents are made up, each from its number, and are only in the index; the store that a decision reads is played by
them (it says the same each time it is asked), so that millions need no disk. The durable registrations are of people of
their own, in a real embedded store, with all residents in the index beside them.
"""

from __future__ import annotations

import gc
import platform
import random
import resource
import tempfile
import time
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from hub.databases.database import Databases
from hub.fhir import definitions, json
from hub.mpi import hanzi, keys
from hub.mpi.blocks import MemoryBlocks
from hub.mpi.compare import check_digit
from hub.mpi.features import compile_patient
from hub.mpi.index import Segment
from hub.mpi.link import Linker
from hub.mpi.rules import load
from hub.mpi.snapshot import Snapshot
from hub.search.expression import Query
from hub.search.parameters import Registry
from hub.store.protocol import Found, Item, Version
from hub.store.sqlite import SqliteStore

KEYS = ("mpi_residents", "mpi_decision_p50_us", "mpi_decision_p99_us", "mpi_registrations_per_s")
DECISIONS = 4000
KNOWN = 0.6
"""Share of the registrations of somebody who is in the index already."""
THREADS = 16
FIRST_DAY = date(1930, 1, 1)
DAYS = 35_000
COUNTIES = 60
SURNAMES = 400
GIVEN = 1500
TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
NI, CARD = "urn:oid:2.16.840.1.113883.2.23.1.19.1", "https://region-hub.example/fhir/healthcard"
Resource = dict[str, Any]


class Residents:
    """A Reader of Patients ``Patient/r<number>`` and their Persons ``Person/p<number>``."""

    def __init__(self, count: int) -> None:
        self.size = count
        self.ready: dict[tuple[str, str], Version | None] = {}
        """Answers at hand, so that making them up is not measured."""
        characters = hanzi.common()
        self._surnames, self._given = characters[:SURNAMES], characters[SURNAMES : SURNAMES + GIVEN]

    def patient(self, number: int, *, again: int = 0) -> Resource:
        """The first registration of a resident, or with ``again`` a later one, at another hospital, with errors."""
        draw = random.Random(number)
        born = FIRST_DAY + timedelta(days=draw.randrange(DAYS))
        male = draw.random() < 0.5
        name = self._pick(draw, self._surnames) + self._pick(draw, self._given)
        name += self._pick(draw, self._given) if draw.random() < 0.87 else ""
        county = draw.randrange(COUNTIES)
        order = f"{draw.randrange(500) * 2 + male:03d}"
        first17 = f"10{county:02d}{draw.randrange(1, 30):02d}{born:%Y%m%d}{order}"
        phone, road = f"1{draw.randrange(3, 10)}{draw.randrange(10**9):09d}", draw.randrange(500)
        home = f"示例省信和市{county}县{road}路{draw.randrange(200)}号{draw.randrange(20)}栋{draw.randrange(1, 30)}室"
        errors = random.Random(again * 10**9 + number)
        identifiers = [_identifier("MR", f"urn:oid:2.999.{errors.randrange(300)}", f"{again}-{number}")]
        if errors.random() < 0.8:
            identifiers.append(_identifier("NI", NI, first17 + check_digit(first17)))
        if errors.random() < 0.5:
            identifiers.append(_identifier("HC", CARD, f"{number:064X}"))
        if again and errors.random() < 0.2:
            phone = f"1{errors.randrange(3, 10)}{errors.randrange(10**9):09d}"
        return {
            "resourceType": "Patient",
            "id": f"a{again}-{number}" if again else f"r{number}",
            "identifier": identifiers,
            "name": [{"text": name}],
            "gender": "male" if male else "female",
            "birthDate": born.isoformat(),
            "telecom": [{"system": "phone", "value": phone}],
            "address": [{"text": home}],
        }

    def person(self, number: int) -> Resource:
        """The Person of a resident."""
        patient = self.patient(number)
        regional = [one for one in patient["identifier"] if one["system"] in (NI, CARD)]
        link = {"target": {"reference": f"Patient/r{number}"}, "assurance": "level1"}
        return {"resourceType": "Person", "id": f"p{number}", "active": True, "identifier": regional, "link": [link]}

    def _pick(self, draw: random.Random, characters: str) -> str:
        """The first are much more common than the last, as in names."""
        return characters[int(draw.random() ** 3 * len(characters))]

    # --- hub.store.protocol.Reader --------------------------------------------------------------------------------

    def read(self, type: str, id: str) -> Version | None:
        if (type, id) in self.ready:
            return self.ready[type, id]
        if id[:1] not in ("r", "p") or not id[1:].isdecimal():
            return None
        made = self.patient(int(id[1:])) if type == "Patient" else self.person(int(id[1:]))
        return Version("population", type, id, 1, "PUT", 0, json.encode(made), "", 1)

    def vread(self, type: str, id: str, version: int) -> Version | None:
        return self.read(type, id) if version == 1 else None

    def find(self, query: Query) -> list[Found]:
        return []

    def count(self, query: Query) -> int:
        return 0

    def item(self, queue: str, id: str) -> Item | None:
        return None

    def item_by_key(self, queue: str, key: str) -> Item | None:
        return None


def _identifier(code: str, system: str, value: str) -> Resource:
    return {"type": {"coding": [{"system": TYPES, "code": code}]}, "system": system, "value": value}


def measure(residents: int, seconds: float, *, console: Console) -> dict[str, Any]:
    """The figures; latencies are CPU time of the deciding thread, so that other work on the machine does not count."""
    clock = Clock()
    databases = Databases(Registry(definitions.load()), clock)
    linker = Linker(databases, blocks=MemoryBlocks)
    region = Residents(residents)
    console.print(f"{residents} residents ...")
    begin = time.perf_counter()
    fill(linker.blocks, region)
    filled = time.perf_counter() - begin
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as directory:
        snapshot = Snapshot(Path(directory) / "mpi.index", bytes(32))
        start = restart(linker.blocks, snapshot)
        size = (Path(directory) / "mpi.index").stat().st_size
        gc.freeze()
        console.print("decisions ...")
        times = sorted(decisions(linker, region))
        console.print("durable registrations ...")
        per_s = durable(linker, databases, region, Path(directory), seconds, clock)
    figures = (residents, _micro(times[len(times) // 2]), _micro(times[len(times) * 99 // 100]), round(per_s, 1))
    return {
        "figures": dict(zip(KEYS, figures, strict=True)),
        "details": {
            "decision_max_us": _micro(times[-1]),
            "compiled_in_s": round(filled, 1),
            "loaded_in_s": round(start, 1),
            "snapshot_mb": round(size / 1e6),
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        },
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }


class Clock:
    """Microseconds since 1970 UTC."""

    def __call__(self) -> int:
        return time.time_ns() // 1000


def _micro(seconds: float) -> float:
    return round(seconds * 1e6, 1)


def fill(blocks: Any, region: Residents) -> None:
    """Put every resident into the index."""
    rules, encode = load(), msgspec.msgpack.encode
    for type, made in (("Patient", _patients(region, rules, encode)), ("Person", _persons(region))):
        index = blocks.indexes[type]
        pairs, slots = array("Q"), array("I")
        for record, under in made:
            slots.extend([len(index.records)] * len(under))
            pairs.extend(under)
            index.records.append(record)
        index.take(Segment.of(pairs, slots))
    blocks.registrations = region.size


def _patients(region: Residents, rules: Any, encode: Any) -> Iterator[tuple[bytes, list[int]]]:
    for number in range(region.size):
        features = compile_patient(region.patient(number), rules, 1)
        under = [keys.own_key(features.reference), *keys.asked(features, rules), *keys.counted(features)]
        yield encode(features), under


def _persons(region: Residents) -> Iterator[tuple[bytes, list[int]]]:
    for number in range(region.size):
        yield f"p{number}".encode(), [keys.link_block(f"Patient/r{number}")]


def restart(blocks: Any, snapshot: Snapshot) -> float:
    """Write the index and read it again; seconds of the reading."""
    snapshot.save("bench", 1, "", blocks.indexes)
    blocks.indexes = {}
    gc.collect()
    begin = time.perf_counter()
    blocks.indexes = snapshot.load("bench", ())[2]
    return time.perf_counter() - begin


def decisions(linker: Linker, region: Residents) -> Iterator[float]:
    """CPU seconds of each decision about a registration, compiling it included."""
    draw = random.Random(7)
    for _ in range(DECISIONS):
        known = draw.random() < KNOWN
        number = draw.randrange(region.size) + (0 if known else region.size)
        patient = region.patient(number, again=1)
        region.ready = {key: region.read(*key) for key in (("Patient", f"r{number}"), ("Person", f"p{number}"))}
        begin = time.thread_time()
        linker.weigh(region, patient)
        yield time.thread_time() - begin


def durable(
    linker: Linker, databases: Databases, region: Residents, directory: Path, seconds: float, clock: Clock
) -> float:
    """Registrations a second that are stored, indexed, linked and on disk; two of three of somebody known."""
    store = SqliteStore(directory / "hub.sqlite3", clock=clock)
    numbers = iter(range(2 * region.size, 3 * region.size + 10**9))

    def register(patient: Resource) -> None:
        prepared = databases.prepare(patient)

        def work(tx: Any) -> None:
            now = clock()
            version, _ = databases.put(tx, patient, method="PUT", prepared=prepared, now=now)
            linker.link(tx, patient, now=now, version=version.version)

        store.write(work)

    def sender() -> int:
        done = 0
        while time.perf_counter() < until:
            number = next(numbers)
            for again in (1, 2, 3):
                register(region.patient(number, again=again))
                done += 1
        return done

    begin = time.perf_counter()
    until = begin + seconds
    with ThreadPoolExecutor(THREADS) as pool:
        total = sum(future.result() for future in [pool.submit(sender) for _ in range(THREADS)])
    took = time.perf_counter() - begin
    store.close()
    return total / took

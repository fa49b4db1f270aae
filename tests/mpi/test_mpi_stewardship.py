"""Care for the index: what its data say about themselves, what other rules change, a population file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hub.errors import HubError
from hub.mpi import register, rules
from hub.mpi.blocks import MemoryBlocks
from hub.mpi.link import Linker
from hub.mpi.snapshot import Snapshot
from hub.services.stewardship import Stewardship
from tests.mpi.region import Region
from tests.mpi.test_mpi_review import TWINS, patient

NUMBER = {"system": "urn:oid:2.16.840.1.113883.2.23.1.19.1", "value": "109901198503070013"}


def stewardship(region: Region) -> Stewardship:
    return Stewardship(region.store, region.databases, region.linker, region.clock)


def test_two_numbers_of_one_hospital_are_a_duplicate(region: Region) -> None:
    same = {"system": "urn:oid:2.999.7"}
    first = patient("a", identifier=[NUMBER, {**same, "value": "1"}])
    region.register(first, patient("b", identifier=[NUMBER, {**same, "value": "2"}]))
    report = stewardship(region).quality()
    assert (report["persons"], report["registrations"]) == (1, 2)
    (row,) = report["duplicates"]
    assert (row["source"], row["registrations"]) == ("urn:oid:2.999.7", ["Patient/a", "Patient/b"])


def test_a_record_that_becomes_somebody_else_is_an_overlay(region: Region) -> None:
    region.register(patient("a"))
    region.register(patient("a", "李大刚", "1950-11-11"))
    (row,) = stewardship(region).quality()["overlays"]
    assert row == {"patient": "Patient/a", "version": 2, "text": "王小明 → 李大刚"}


def test_thin_evidence_is_suspicious(region: Region) -> None:
    region.register(*TWINS)
    region.decide("tom", "tim", same=True)
    assert stewardship(region).quality()["counts"]["suspicious"] == 0, "nothing but the decision joins them"
    region.register(patient("c", phone=""), patient("d", phone="", address=[]))
    thin = stewardship(region).quality()["suspicious"]
    assert {row["why"] for row in thin} <= {"thin"}


def test_relink_shows_what_would_change_and_does_it_when_told(region: Region, tmp_path: Path) -> None:
    """Rules that linked nothing by score, then those of the hub."""
    text = Path(rules.__file__).with_name("rules.toml").read_text(encoding="utf-8")
    strict = rules.parse(text.replace("link = 9.0", "link = 90.0"))
    region.linker = Linker(region.databases, strict, MemoryBlocks)
    region.register(patient("a"), patient("b"), patient("x", "李大刚", "1950-11-11", phone=""))
    assert len(region.together()) == 3
    region.linker = restarted(region, tmp_path)
    preview = stewardship(region).relink()
    assert preview["rows"] == [{"now": [["Patient/a"], ["Patient/b"]], "then": [["Patient/a", "Patient/b"]]}]
    assert len(region.together()) == 3
    assert stewardship(region).relink(apply=True)["applied"]
    assert region.together() == {frozenset("ab"), frozenset("x")}
    assert stewardship(region).relink()["differences"] == 0


def restarted(region: Region, directory: Path) -> Linker:
    """A linker that learns from its snapshot, if there is one, and the store."""
    linker = Linker(region.databases, blocks=MemoryBlocks)
    linker.open(region.store, Snapshot(directory / "mpi.index", bytes(32)))
    return linker


def test_what_was_learned_is_kept_encrypted_and_known_at_the_next_start(region: Region, tmp_path: Path) -> None:
    region.linker = restarted(region, tmp_path)
    region.register(patient("a", identifier=[NUMBER]), *TWINS)
    region.linker.close()
    written = (tmp_path / "mpi.index").read_bytes()
    assert NUMBER["value"].encode() not in written and "王小明".encode() not in written
    region.linker = restarted(region, tmp_path)
    region.register(patient("b"))  # after the snapshot
    region.linker = restarted(region, tmp_path)
    region.register(patient("c", "王晓鸣"), patient("tim", "王小亮", "2015-01-02"))
    assert region.together() == {frozenset("abc"), frozenset({"tom"}), frozenset({"tim"})}
    region.linker.close()
    (tmp_path / "mpi.index").write_bytes(written[:-9])
    region.linker = restarted(region, tmp_path)
    region.register(patient("d"))
    assert frozenset("abcd") in region.together(), "a damaged snapshot is not used"


def test_a_population_file_becomes_patients(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("id,name,gender,birth_date,number\n7,王小明,male,1985-03-07,109901198503070013\n", encoding="utf-8")
    made: list[dict[str, Any]] = [json.loads(line) for line in register.lines(file)]
    assert made[0]["name"] == [{"text": "王小明"}]
    assert [one["value"] for one in made[0]["identifier"]] == ["7", "109901198503070013"]
    assert made == [json.loads(line) for line in register.lines(file)], "the same id again"


@pytest.mark.parametrize("text", ["id,nome\n1,x\n", "id,name\n1\n", "id,name\n,x\n"])
def test_a_wrong_population_file_says_where(tmp_path: Path, text: str) -> None:
    file = tmp_path / "people.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(HubError) as error:
        list(register.lines(file))
    assert "line" in error.value.at

"""Meaning over time: messages that arrive late, in any order, from those who have no say, and that take others back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.hl7v2.interpret import CHANNEL, Interpreter
from hub import bootstrap
from hub.fhir import json
from hub.services.doors import Doors
from hub.settings import load

ZONE = "Asia/Shanghai"


class Hospital:
    """Sends messages of one patient and visit; every journey has numbers of its own."""

    journeys = itertools.count(1)

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._number = next(self.journeys)
        self._sent = 0

    def message(self, kind: str, day: int, *segments: str) -> str:
        """A message of an event on a day of November 2026; ``{p}`` and ``{v}`` are patient and visit number."""
        self._sent += 1
        head = f"MSH|^~\\&|HIS|H1|HUB|R|202611{day:02d}120000+0800||{kind}|{self._number}-{self._sent}|P|2.5.1"
        lines = "\r".join((head, f"EVN||202611{day:02d}080000+0800", *segments))
        return lines.format(p=f"P{self._number}", v=f"V{self._number}") + "\r"

    def adt(self, event: str, day: int, pv1: str = "", pid: str = "张^伟||19850307|M") -> str:
        return self.message(f"ADT^{event}", day, "PID|1||{p}^^^H1^MR||" + pid, *([f"PV1|1|{pv1}"] if pv1 else []))

    def send(self, *messages: str) -> list[bytes]:
        return [
            self._doors.inbox.receive(
                channel=CHANNEL,
                sender="HIS|H1",
                control_id=text.split("|")[9],
                kind=text.split("|")[8],
                raw=text.encode(),
            )
            for text in messages
        ]

    def state(self) -> dict[str, Any]:
        """Every resource of the patient without what depends on the order of arrival."""
        found: set[str] = set()
        for item in self._doors.inbox.list(limit=200):
            if item.data["control_id"].startswith(f"{self._number}-"):
                assert item.state == "stored", item.data.get("reason")
                found |= set(item.data["references"])
        return {name: self.read(name) for name in sorted(found) if not name.startswith("Provenance/")}

    def read(self, reference: str) -> dict[str, Any]:
        version = self._doors.store.read(*reference.split("/"))
        assert version is not None
        return {name: value for name, value in json.decode(version.text).items() if name != "meta"}

    def one(self, type: str) -> dict[str, Any]:
        (found,) = (one for name, one in self.state().items() if name.startswith(f"{type}/"))
        return dict(found)


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    folder: Path = tmp_path_factory.mktemp("arrival")
    doors = bootstrap.build(load(data=folder))
    doors.inbox.register(CHANNEL, Interpreter(doors.clock, doors.new_id, ZONE, "en"))
    yield doors
    doors.imaging.close()
    doors.audit.close()
    doors.store.close()


@pytest.fixture
def hospital(doors: Doors) -> Hospital:
    return Hospital(doors)


VISIT = "||||||||||||||||{v}^^^H1^VN"
"""From PV1-4 to PV1-19, nothing but the visit number."""


def stay(hospital: Hospital) -> list[str]:
    """Admission, transfer, update, discharge taken back, discharge: each message says something new."""
    adt, end = hospital.adt, "|" * 25
    renamed, corrected = "张^伟^明||19850307|M|||新河市", "张^伟^明||19850308|M"
    return [
        adt("A01", 1, f"I|W1^1{VISIT}{end}20261101080000+0800"),
        adt("A02", 2, f"I|W2^2{VISIT}"),
        adt("A08", 3, f"I|W2^3{VISIT}", renamed),
        adt("A03", 4, f"I|W2^3{VISIT}{end}20261101080000+0800|20261104080000+0800", renamed),
        adt("A13", 5, f"I|W2^4{VISIT}", renamed),
        adt("A08", 6, f"I|W2^5{VISIT}", f'{corrected}|||""'),
        adt("A03", 7, f"I|W2^5{VISIT}{end}20261101080000+0800|20261107080000+0800", corrected),
    ]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(7)))
def test_a_stay_ends_the_same_whatever_the_order_of_arrival(doors: Doors, order: Sequence[int]) -> None:
    straight, shuffled = Hospital(doors), Hospital(doors)
    straight.send(*stay(straight))
    messages = stay(shuffled)
    shuffled.send(*(messages[place] for place in order))
    one, other = anonymous(straight), anonymous(shuffled)
    assert one == other
    assert [one["Encounter"][name] for name in ("status", "period")] == [
        "finished",
        {"start": "2026-11-01T08:00:00+08:00", "end": "2026-11-07T08:00:00+08:00"},
    ]
    assert "address" not in one["Patient"]
    assert one["Patient"]["birthDate"] == "1985-03-08"


def anonymous(hospital: Hospital) -> dict[str, Any]:
    """The state by type, without ids and numbers."""
    shown: dict[str, Any] = {}
    for type in ("Patient", "Encounter"):
        kept = {
            name: value for name, value in hospital.one(type).items() if name not in ("id", "identifier", "subject")
        }
        shown[type] = dict(sorted(kept.items()))
    return shown


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(4)))
def test_a_result_ends_the_same_whatever_the_order_of_arrival(doors: Doors, order: Sequence[int]) -> None:
    """Preliminary, final, corrected as a text, and the preliminary one of another test sent late."""
    hospital = Hospital(doors)

    def oru(day: int, status: str, *results: str) -> str:
        return hospital.message(
            "ORU^R01",
            day,
            "PID|1||{p}^^^H1^MR||张^伟",
            f"OBR|1|O{{p}}|F{{p}}|CBC^血常规^L|||||||||||||||||||||{status}",
            *results,
        )

    messages = [
        oru(1, "P", "OBX|1|NM|K^钾^L||4.0|mmol/L|||||P", "OBX|2|NM|NA^钠^L||139|mmol/L|||||P"),
        oru(2, "F", "OBX|1|NM|K^钾^L||4.1|mmol/L|||||F", "OBX|2|NM|NA^钠^L||140|mmol/L|||||F"),
        oru(3, "C", "OBX|1|ST|K^钾^L||haemolysed||||||C"),
        oru(4, "P", "OBX|2|NM|NA^钠^L||99|mmol/L|||||P"),
    ]
    hospital.send(*(messages[place] for place in order))
    observations = {
        one["code"]["text"] if "text" in one["code"] else one["code"]["coding"][0]["code"]: one
        for name, one in hospital.state().items()
        if name.startswith("Observation/")
    }
    assert (observations["K"]["status"], observations["K"]["valueString"]) == ("corrected", "haemolysed")
    assert "valueQuantity" not in observations["K"]
    assert (observations["NA"]["status"], str(observations["NA"]["valueQuantity"]["value"])) == ("final", "140")
    report = hospital.one("DiagnosticReport")
    assert report["status"] == "corrected"
    assert {row["reference"] for row in report["result"]} == {
        f"Observation/{one['id']}" for one in observations.values()
    }


def test_an_order_does_not_open_a_finished_visit(hospital: Hospital) -> None:
    hospital.send(*stay(hospital))
    order = hospital.message(
        "ORM^O01", 20, "PID|1||{p}^^^H1^MR||别^名", f"PV1|1|I|W9^9{VISIT}", "ORC|NW|A{p}", "OBR|1|A{p}||X^透视^L"
    )
    result = hospital.message(
        "ORU^R01", 21, "PID|1||{p}^^^H1^MR||别^名|||F", f"PV1|1|O|W9^9{VISIT}", "OBR|1|A{p}||X^透视^L"
    )
    hospital.send(order, result)
    visit, patient = hospital.one("Encounter"), hospital.one("Patient")
    assert (visit["status"], visit["class"]["code"]) == ("finished", "IMP")
    assert (patient["name"][0]["given"], patient["gender"]) == (["伟", "明"], "male")


def test_whoever_comes_first_is_filled_in_by_the_authority(hospital: Hospital) -> None:
    result = hospital.message("ORU^R01", 9, "PID|1||{p}^^^H1^MR||别^名|||F|||某路1号", "OBR|1|A{p}||X^透视^L")
    hospital.send(result, hospital.adt("A01", 1, f"I|W1^1{VISIT}"))
    patient = hospital.one("Patient")
    assert (patient["name"], patient["gender"]) == ([{"family": "张", "given": ["伟"]}], "male")
    assert patient["address"], "what the authority does not say stays as it was mentioned"


def test_an_update_before_the_admission_makes_a_provisional_visit(hospital: Hospital) -> None:
    update = hospital.adt("A08", 5, f"I|W1^1{VISIT}")
    hospital.send(update)
    assert hospital.one("Encounter")["status"] == "in-progress"
    hospital.send(hospital.adt("A05", 1, f"P|W1^1{VISIT}"))
    assert hospital.one("Encounter")["status"] == "planned"
    hospital.send(hospital.adt("A03", 3, f"I|W1^1{VISIT}"))
    assert hospital.one("Encounter")["status"] == "finished", "the update said nothing of how the visit stands"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_admission_that_was_taken_back_cannot_revive(hospital: Hospital, order: tuple[int, int]) -> None:
    messages = [hospital.adt("A01", 1, f"I|W1^1{VISIT}"), hospital.adt("A11", 2, f"I|W1^1{VISIT}")]
    hospital.send(*(messages[place] for place in order))
    assert hospital.one("Encounter")["status"] == "cancelled"


@pytest.mark.parametrize(
    ("event", "pv1", "cancel", "taken_back", "element", "value"),
    [
        ("A02", "I|W2^2", "A12", "I|", "location", "W1"),
        ("A02", "I|W2^2", "A12", "I|W3^3", "location", "W3"),
        ("A03", "I|W1^1", "A13", "I|W1^1", "status", "in-progress"),
        ("A21", "I|W1^1", "A52", "I|W1^1", "status", "in-progress"),
        ("A54", "I|||||D2^新^医生", "A55", "I|W1^1", "participant", "D1"),
    ],
)
def test_a_cancel_restores_what_was_before(
    hospital: Hospital, doors: Doors, event: str, pv1: str, cancel: str, taken_back: str, element: str, value: str
) -> None:
    def padded(text: str) -> str:
        return text + "|" * (17 - text.count("|")) + "{v}^^^H1^VN"

    hospital.send(
        hospital.adt("A01", 1, padded("I|W1^1||||D1^李^医生")),
        hospital.adt(event, 2, padded(pv1)),
        hospital.adt(cancel, 3, padded(taken_back)),
    )
    visit = hospital.one("Encounter")
    if element == "status":
        assert visit["status"] == value
        return
    reference = visit["location"][0]["location"] if element == "location" else visit["participant"][0]["individual"]
    assert value in str(hospital.read(reference["reference"]))


def test_a_discharge_date_that_is_deleted_leaves_the_admission_date(hospital: Hospital) -> None:
    end = "|" * 25
    hospital.send(
        hospital.adt("A03", 4, f"I|W2^3{VISIT}{end}20261101080000+0800|20261104080000+0800"),
        hospital.adt("A08", 5, f'I|W2^3{VISIT}{end}|""'),
    )
    assert hospital.one("Encounter")["period"] == {"start": "2026-11-01T08:00:00+08:00"}


def test_a_thin_update_leaves_what_other_fields_said(hospital: Hospital) -> None:
    hospital.send(
        hospital.adt(
            "A01",
            1,
            "I|W1^1||||D1^李^医生||||||||||D3^赵^医生||{v}^^^H1^VN",
            "张^伟||19850307|M|||||1^PRN^PH|2^WPN^PH",
        ),
        hospital.adt("A08", 2, "I|||||D2^王^医生||||||||||||{v}^^^H1^VN", "张^伟||||||||3^PRN^PH"),
    )
    roles = {
        one["type"][0]["coding"][0]["code"]: one["individual"]["reference"]
        for one in hospital.one("Encounter")["participant"]
    }
    assert {role: hospital.read(one)["name"][0]["family"] for role, one in roles.items()} == {"ATND": "王", "ADM": "赵"}
    assert {(one["use"], one["value"]) for one in hospital.one("Patient")["telecom"]} == {("home", "3"), ("work", "2")}


def test_a_clock_that_is_ahead_does_not_stop_what_comes_later(hospital: Hospital) -> None:
    ahead = hospital.adt("A08", 1, "", "张^未来").replace("202611", "209911")
    hospital.send(ahead, hospital.adt("A08", 30, "", "张^现在").replace("20261130", "20261122"))
    assert hospital.one("Patient")["name"][0]["given"] == ["现在"]


# --- records that become one, and visits that move ------------------------------------------------------------


def merge(hospital: Hospital, event: str, day: int, into: str, prior: str) -> str:
    return hospital.message(f"ADT^{event}", day, f"PID|1||{into}^^^H1^MR||张^伟", f"MRG|{prior}^^^H1^MR")


def patients(hospital: Hospital) -> dict[str, dict[str, Any]]:
    """Number -> Patient."""
    found = (one for name, one in hospital.state().items() if name.startswith("Patient/"))
    return {one["identifier"][0]["value"].partition("-")[2]: one for one in found}


@pytest.mark.parametrize("event", ["A18", "A34", "A36", "A39", "A40", "A30", "A46", "A47"])
def test_a_merge_leaves_the_prior_record_replaced(hospital: Hospital, event: str) -> None:
    hospital.send(
        hospital.message("ADT^A04", 1, "PID|1||{p}-B^^^H1^MR||张^为||19850307|M|||某路1号"),
        merge(hospital, event, 2, "{p}-A", "{p}-B"),
    )
    found = patients(hospital)
    assert found["B"]["active"] is False
    assert found["B"]["link"] == [{"type": "replaced-by", "other": {"reference": f"Patient/{found['A']['id']}"}}]
    assert found["A"]["name"][0]["given"] == ["伟"]
    assert found["A"]["birthDate"] == "1985-03-07", "a record that is new takes over what the prior one says"


def test_a_merge_that_goes_round_is_refused(hospital: Hospital) -> None:
    hospital.send(merge(hospital, "A40", 1, "{p}-A", "{p}-B"), merge(hospital, "A40", 2, "{p}-B", "{p}-C"))
    for number, (into, prior) in enumerate((("{p}-C", "{p}-A"), ("{p}-B", "{p}-A"), ("{p}-A", "{p}-A")), 3):
        (answer,) = hospital.send(merge(hospital, "A40", number, into, prior))
        assert b"MSA|AE" in answer
        assert b"ERR||MRG^1^1|205" in answer or b"ERR||MRG^1|205" in answer
        assert b"merged into" in answer


def test_linked_records_are_unlinked_again(hospital: Hospital) -> None:
    both = ("PID|1||{p}-A^^^H1^MR||张^伟", "PID|2||{p}-B^^^H1^MR||张^伟")
    hospital.send(hospital.message("ADT^A24", 1, *both))
    found = patients(hospital)
    assert found["B"]["link"] == [{"type": "seealso", "other": {"reference": f"Patient/{found['A']['id']}"}}]
    hospital.send(hospital.message("ADT^A37", 3, *both), hospital.message("ADT^A24", 2, *both))
    assert "link" not in patients(hospital)["B"], "a link that is older than its end does not come back"


@pytest.mark.parametrize("order", [("{p}-A", "{p}-B"), ("{p}-B", "{p}-A")])
def test_a_merge_is_undone_by_an_unlink(hospital: Hospital, order: tuple[str, str]) -> None:
    hospital.send(merge(hospital, "A40", 1, "{p}-A", "{p}-B"))
    both = (f"PID|{number}||{name}^^^H1^MR" for number, name in enumerate(order, 1))
    hospital.send(hospital.message("ADT^A37", 2, *both))
    found = patients(hospital)
    assert [("link" in found[name], found[name]["active"]) for name in "AB"] == [(False, True), (False, True)]


def test_a_visit_moves_to_another_patient_with_what_hangs_on_it(hospital: Hospital) -> None:
    visit = f"PV1|1|I|W1^1{VISIT}"
    hospital.send(
        hospital.message("ADT^A01", 1, "PID|1||{p}-A^^^H1^MR||张^伟", visit, "DG1|1||J18.9^肺炎^L"),
        hospital.message("ADT^A45", 2, "PID|1||{p}-B^^^H1^MR||李^明", "MRG|{p}-A^^^H1^MR||||{v}^^^H1^VN", visit),
    )
    found = patients(hospital)
    owner = {"reference": f"Patient/{found['B']['id']}"}
    assert (hospital.one("Encounter")["subject"], hospital.one("Encounter")["status"]) == (owner, "in-progress")
    assert hospital.one("Condition")["subject"] == owner


@pytest.mark.parametrize("event", ["A42", "A50"])
def test_a_visit_takes_over_another_one(hospital: Hospital, event: str) -> None:
    hospital.send(
        hospital.adt("A01", 1, f"I|W1^1||||D1^李^医生{VISIT[4:]}"),
        hospital.message(
            f"ADT^{event}",
            2,
            "PID|1||{p}^^^H1^MR||张^伟",
            "MRG|||||{v}^^^H1^VN",
            f"PV1|1|I|W1^1{VISIT}".replace("{v}", "{v}-new"),
        ),
    )
    visits = {
        one["identifier"][0]["value"].endswith("new"): one
        for name, one in hospital.state().items()
        if name.startswith("Encounter/")
    }
    assert visits[False]["status"] == "entered-in-error"
    assert visits[False]["partOf"]["reference"] == f"Encounter/{visits[True]['id']}"
    assert [one["individual"] for one in visits[True]["participant"]] == [
        one["individual"] for one in visits[False]["participant"]
    ]


def test_an_account_moves_and_merges(hospital: Hospital) -> None:
    hospital.send(
        hospital.message("ADT^A44", 1, "PID|1||{p}-B^^^H1^MR||李^明", "MRG|{p}-A^^^H1^MR||{p}-1^^^H1^AN"),
        hospital.message(
            "ADT^A41", 2, "PID|1||{p}-B^^^H1^MR||李^明|||||||||||||{p}-2^^^H1^AN", "MRG|{p}-B^^^H1^MR||{p}-1^^^H1^AN"
        ),
    )
    accounts = {
        one["identifier"][0]["value"][-1]: one for name, one in hospital.state().items() if name.startswith("Account/")
    }
    assert [accounts[number]["status"] for number in "12"] == ["inactive", "active"]
    assert accounts["1"]["partOf"]["reference"] == f"Account/{accounts['2']['id']}"

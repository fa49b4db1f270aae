"""What becomes of message types beyond admissions, orders and results; every resource is valid R4."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.hl7v2.interpret import CHANNEL, Interpreter, engine, kind_of, translate
from adapters.hl7v2.message import parse
from hub.fhir import definitions
from hub.fhir.validate import Validator
from hub.services.inbox import Inbound, Settled

HEAD = "MSH|^~\\&|HIS|H1|HUB|R|20261120083000||{kind}|1|P|2.5.1"
PID = "PID|1||P1^^^H1^MR||张^伟||19850307|M"


def mapped(kind: str, *segments: str) -> tuple[dict[str, Any], list[str]]:
    """Resources by type (one each, or a list), and the segments without a mapping."""
    raw = "\r".join((HEAD.format(kind=kind), *segments)) + "\r"
    outcome = translate(parse(raw.encode()), "Asia/Shanghai").mapped
    validator = Validator(definitions.load())
    found: dict[str, Any] = {}
    for resource in outcome.resources:
        faults = [issue for issue in validator(resource) if issue["severity"] in ("error", "fatal")]
        assert faults == [], resource
        found.setdefault(resource["resourceType"], []).append(resource)
    return {type: some[0] if len(some) == 1 else some for type, some in found.items()}, outcome.unmapped


def test_a_problem_with_its_goal_and_pathway() -> None:
    found, unmapped = mapped(
        "PPR^PC1^PPR_PC1",
        PID,
        "PV1|1|I|W1^1||||||||||||||||V1^^^H1^VN",
        "PRB|AD|20261101|I10^高血压^I10|PR1^HIS||1|20261101||20261110",
        "NTE|1||随访",
        "ROL|1|AD|AT|D1^李^医生",
        "PTH|AD|HTN^高血压路径^L|PA1^HIS|20261102",
        "OBX|1|NM|8480-6^收缩压^LN||150|mm[Hg]|||||F",
        "GOL|AD|20261102|BP^血压达标^L|G1^HIS|||20261102|20261220",
    )
    condition, goal, plan = found["Condition"], found["Goal"], found["CarePlan"]
    assert condition["clinicalStatus"]["coding"][0]["code"] == "resolved"
    assert condition["abatementDateTime"] == "2026-11-10"
    assert condition["recorder"] == {"reference": f"Practitioner/{found['Practitioner']['id']}"}
    assert goal["target"] == [{"dueDate": "2026-12-20"}]
    assert goal["addresses"] == plan["addresses"] == [{"reference": f"Condition/{condition['id']}"}]
    assert plan["title"] == "高血压路径"
    assert [one for one in unmapped if one != "MSH"] == []


def test_a_problem_deleted() -> None:
    condition = mapped("PPR^PC3", PID, "PRB|DE|20261101|I10^高血压^I10|PR1^HIS")[0]["Condition"]
    assert condition["verificationStatus"]["coding"][0]["code"] == "entered-in-error"
    assert "clinicalStatus" not in condition


@pytest.mark.parametrize("kind", ["ORL^O22", "ORG^O20", "ORI^O24", "ORR^O02"])
def test_an_answer_to_an_order_says_how_the_order_stands(kind: str) -> None:
    found, _ = mapped(kind, "MSA|AA|77", PID, "ORC|OK|A1^HIS|F1^LIS||IP", "OBR|1|A1^HIS|F1^LIS|CBC^血常规^L")
    order = mapped("OML^O21", PID, "ORC|NW|A1^HIS", "OBR|1|A1^HIS||CBC^血常规^L")[0]["ServiceRequest"]
    assert found["ServiceRequest"]["status"] == "active"
    assert found["ServiceRequest"]["id"] == order["id"]
    assert {one["value"] for one in found["ServiceRequest"]["identifier"]} == {"A1", "F1"}


def test_a_medication_order_is_answered() -> None:
    found, _ = mapped("RRE^O12", "MSA|AA|77", PID, "ORC|OK|A1^HIS|F1^PHA||HD", "RXE||N02BE01^对乙酰氨基酚^ATC|1||TAB")
    assert found["MedicationRequest"]["status"] == "on-hold"


def test_a_bed_changes_its_status() -> None:
    location = mapped("ADT^A20", "EVN||20261120", "NPU|W1^101^3^H1|H")[0]["Location"]
    assert location["operationalStatus"]["display"] == "Housekeeping"
    assert location["physicalType"]["coding"][0]["code"] == "bd"
    visit = mapped("ADT^A01", PID, "PV1|1|I|W1^101^3^H1")[0]
    assert visit["Location"]["id"] == location["id"]


def test_a_doctor_is_the_same_in_the_staff_file_and_in_a_visit() -> None:
    found, unmapped = mapped(
        "MFN^M02^MFN_M02",
        "MFI|STF^^HL70175|HIS|UPD|||AL",
        "MFE|MAD|1|20261120|D1^^L|CE",
        "STF|D1|D1^^^&&^DN|李^明^^^^^L|P|M|19700101|A|||^PRN^PH^^^^13900000001|某路1号^^新河市",
        "PRA|D1|CARD^心内科^L|I^主任医师^L||心内科",
        "LAN|1|zh^中文^ISO639",
        "EDU|1|MD",
    )
    visit = mapped("ADT^A01", PID, "PV1|1|I|W1||||D1^李^医生")[0]
    assert found["Practitioner"]["id"] == visit["Practitioner"]["id"]
    assert found["Practitioner"]["active"] is True
    role = found["PractitionerRole"]
    assert role["practitioner"] == {"reference": f"Practitioner/{found['Practitioner']['id']}"}
    assert role["specialty"] == [{"text": "心内科"}]
    assert [one for one in unmapped if one not in ("MSH", "MFI", "MFE")] == ["EDU"]


def test_a_doctor_who_left_is_inactive() -> None:
    found, _ = mapped("MFN^M02", "MFI|STF", "MFE|MDC|1|20261120|D1", "STF|D1||李^明", "PRA|D1|CARD^心内科")
    assert (found["Practitioner"]["active"], found["PractitionerRole"]["active"]) == (False, False)


def test_a_place_is_the_same_in_the_location_file_and_in_a_visit() -> None:
    found, _ = mapped(
        "MFN^M05",
        "MFI|LOC",
        "MFE|MAD|1|20261120|W1^101^3^H1",
        "LOC|W1^101^3^H1|三床|B|人民医院|某路1号^^新河市",
        "LDP|W1^101^3^H1|N|MED^内科^L",
    )
    visit = mapped("ADT^A01", PID, "PV1|1|I|W1^101^3^H1")[0]
    assert found["Location"]["id"] == visit["Location"]["id"]
    assert (found["Location"]["status"], found["Location"]["description"]) == ("active", "三床")
    assert len(found["Location"]["type"]) == 2


@pytest.mark.parametrize(
    ("kind", "segment", "type", "element", "value"),
    [
        ("MFN^M04", "CDM|C100^^L||CT 平扫|CT 平扫头部||||A", "ChargeItemDefinition", "status", "active"),
        ("MFN^M08", "OM1|1|K^钾^L|NM|Y|LIS|||||血清钾", "ObservationDefinition", "permittedDataType", ["Quantity"]),
        ("MFN^M15", "IIM|I1^^L|VAC1^疫苗^L|LOT7|20271231||||||||55|{dose}", "Substance", "status", "active"),
    ],
)
def test_a_master_file_fills_the_resources(kind: str, segment: str, type: str, element: str, value: object) -> None:
    found, _ = mapped(kind, "MFI|X", "MFE|MAD|1|20261120|K", segment)
    assert found[type][element] == value


def test_stock_is_a_substance_with_its_lot() -> None:
    segment = "IIM|I1^^L|VAC1^疫苗^L|LOT7|20271231||||||||55|{dose}"
    instance = mapped("MFN^M15", "MFI|INV", "MFE|MAD|1|20261120|I1", segment)[0]["Substance"]["instance"][0]
    assert (instance["identifier"]["value"], instance["expiry"], instance["quantity"]["value"]) == (
        "LOT7",
        "2027-12-31",
        55,
    )


def test_a_waveform_is_sampled_data() -> None:
    found, _ = mapped(
        "ORU^W01^ORU_W01",
        PID,
        "OBR|1|A1|F1|93000^ECG^C4",
        "OBX|1|CD|CHN^Channel^L||1&I^ECG^uV&&L^1&0&0^250^-2000&2000||||||F",
        "OBX|2|NA|WAV^Waveform^L||10^12^-3~7^0^1|uV|||||F",
        "OBX|3|MA|WAV2^Waveform^L||1^2~3^4~5^6|uV|||||F",
    )
    samples = [one["valueSampledData"] for one in found["Observation"] if "valueSampledData" in one]
    assert [one["data"] for one in samples] == ["10 12 -3 7 0 1", "1 2 3 4 5 6"]
    assert [one["dimensions"] for one in samples] == [1, 2]
    assert [str(one["period"]) for one in samples] == ["4", "4"]


def test_an_array_without_a_rate_is_a_text() -> None:
    found, _ = mapped("ORU^R01", PID, "OBR|1|A1|F1|X^X^L", "OBX|1|NA|A^a^L||1^2~3^4||||||F")
    assert found["Observation"]["valueString"].startswith("1 2")


def test_a_request_for_an_appointment_is_proposed_and_its_booking_the_same() -> None:
    request, _ = mapped(
        "SRM^S01", "ARQ|A1^HIS||||||R^复诊^L|CHK^检查^L||30|202611210900^202611211000", PID, "RGS|1", "AIS|1|A|CT^CT^L"
    )
    booked, _ = mapped("SIU^S12", "SCH|A1^HIS|F1^RIS||||R^复诊^L|||||^^^202611210900^202611210930|||||D1^李^医生", PID)
    assert (request["Appointment"]["status"], booked["Appointment"]["status"]) == ("proposed", "booked")
    assert request["Appointment"]["requestedPeriod"][0]["end"] == "2026-11-21T10:00:00+08:00"


def test_an_account_ends_and_carries_its_charges() -> None:
    pid = PID + "||||||||||AC1^^^H1^AN"
    found, _ = mapped("DFT^P03", "EVN||20261120", pid, "FT1|1|||20261120||CG|C100^CT^L|||1")
    ended, _ = mapped("BAR^P06", "EVN||20261120", pid)
    assert found["ChargeItem"]["account"] == [{"reference": f"Account/{found['Account']['id']}"}]
    assert (ended["Account"]["id"], ended["Account"]["status"]) == (found["Account"]["id"], "inactive")


@pytest.mark.parametrize(
    ("msh9", "evn", "served"),
    [("ORU", "", "ORU^"), ("ADT", "EVN|A08|20261120", "ADT^A08"), ("ADT", "", "ADT^"), ("ADT^A04^X", "", "ADT^A04")],
)
def test_a_message_that_names_no_event_has_a_table(msh9: str, evn: str, served: str) -> None:
    message = parse("\r".join(filter(None, (HEAD.format(kind=msh9), evn, PID, ""))).encode())
    assert kind_of(message) == served
    assert served in engine().tables.events


def test_a_document_that_was_not_sent_has_its_content_named_so() -> None:
    found, _ = mapped("MDM^T02", PID, "TXA|1|DS|TX|20261120|||||||DOC1^HIS")
    assert found["DocumentReference"]["content"] == [{"attachment": {"title": "not sent"}}]


def test_a_master_file_is_answered_record_by_record() -> None:
    interpreter = Interpreter(lambda: 0, lambda: "0191c0de-0000-7000-8000-00000000000a", "Asia/Shanghai", "zh")
    head = HEAD.format(kind="MFN^M02^MFN_M02")
    raw = "\r".join(
        (head, "MFI|STF||UPD", "MFE|MAD|1|20261120|D1|CE", "STF|D1||李^明", "MFE|MUP|2||D2|CE", "STF|D2||王^芳", "")
    )
    answer = interpreter.answer(Inbound("i", CHANNEL, "s", "1", raw.encode(), "", 0), Settled("stored")).decode()
    lines = [line.split("|") for line in answer.strip("\r").split("\r")]
    assert (lines[0][8], lines[1][:3], lines[2]) == ("MFK^M02^MFK_M01", ["MSA", "AA", "1"], ["MFI", "STF", "", "UPD"])
    assert [(line[0], line[1], line[2], line[4], line[5]) for line in lines[3:]] == [
        ("MFA", "MAD", "1", "S", "D1"),
        ("MFA", "MUP", "2", "S", "D2"),
    ]
